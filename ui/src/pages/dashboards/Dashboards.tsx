/** All dashboards, each with a picture of how its tiles stand. */
import { Link } from "react-router";
import { part, useGet, type Items } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Empty, Page, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { labelled, sizeOf, type Label, type Show, type Tile } from "./board";
import "./style.css";
import own from "./words";

interface Listed { name: string; title: Label; description: string | null; owner: string | null; file: string; readers: "query" | "view"; tiles: { tile: string; show: Show | null; width: number | null; height: number | null }[] }

export default function Dashboards() {
  const { t, language } = useWords(own);
  const { can } = useWho();
  const all = useGet<Items<Listed>>("/v1/dashboards");
  const make = can("author") && can("query");
  const fresh = <Link className="board-action board-action-main" to="/dashboards/new"><Icon name="plus" size={15} />{t("new")}</Link>;
  return (
    <Page title={t("title")} text={t("text")} actions={<>{make && fresh}<Trust read={all.dataUpdatedAt} route="GET /v1/dashboards" /></>}>
      <Ask of={all} lines={8}>
        {({ items }) => (items.length ? (
          <ul className="board-cards">
            {items.map((one) => (
              <li key={one.name} className="card board-card">
                <Outline tiles={one.tiles} />
                <h2><Link to={`/dashboards/${part(one.name)}`}>{labelled(one.title, language) ?? one.name}</Link></h2>
                <p>{one.description ?? t("tiles", { count: one.tiles.length })}</p>
                <p className="board-card-foot"><code>{one.file}</code>{one.owner && <Chip>{one.owner}</Chip>}{one.readers === "view" && <Chip>{t("readers.view.short")}</Chip>}</p>
              </li>
            ))}
          </ul>
        ) : <Card><Empty icon="board" text={t("empty")} action={make ? fresh : undefined} /></Card>)}
      </Ask>
    </Page>
  );
}

/** Where the tiles stand, as the browser would put them. */
function Outline({ tiles }: { tiles: Listed["tiles"] }) {
  return (
    <div className="board-outline" aria-hidden="true">
      {tiles.slice(0, 24).map((one) => {
        const { width, height } = sizeOf(one as Tile, one.show);
        return <i key={one.tile} className={`outline-${one.show ?? "words"}`} style={{ gridColumn: `span ${width}`, gridRow: `span ${height}` }} />;
      })}
    </div>
  );
}
