/** One dashboard: its filters and its tiles. */
import { App, Button } from "antd";
import { lazy, Suspense, useCallback, useMemo, useState } from "react";
import { Link, useLocation, useNavigate, useParams } from "react-router";
import { fetched, part, save, useGet, type Cell } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Empty, Page } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { toggled } from "../metrics/question";
import { asked, choiceOf, labelled, type Choice, type Opened } from "./board";
import { Filters } from "./Filters";
import "./style.css";
import { Tile } from "./Tile";
import own from "./words";

const Share = lazy(() => import("./Share"));
const Wall = lazy(() => import("./Wall"));

export default function Dashboard() {
  const { name = "" } = useParams();
  const { can } = useWho();
  const opened = useGet<Opened>(`/v1/dashboards/${part(name)}`);
  return <Ask of={opened} lines={8}>{(data) => <One key={data.name} opened={{ ...data, may: { ...data.may, edit: data.may.edit && can("author") } }} />}</Ask>;
}

/** What the address says is chosen, and how to choose otherwise. */
export function useChoice(): [Choice, (next: Partial<Choice>) => void] {
  const { search, hash } = useLocation();
  const go = useNavigate();
  const choice = useMemo(() => choiceOf(new URLSearchParams(search)), [search]);
  const set = useCallback((next: Partial<Choice>) => {
    const changed = new URLSearchParams(search);
    const all = { ...choiceOf(changed), ...next };
    const put = (key: string, value: string | null) => { if (value === null) changed.delete(key); else changed.set(key, value); };
    put("from", all.from);
    put("to", all.to);
    put("whole", all.whole ? "1" : null);
    put("compare", all.compare);
    put("only", Object.keys(all.only).length ? JSON.stringify(all.only) : null);
    // What a link proves itself by stands after the #.
    void go({ search: changed.toString(), hash }, { replace: true });
  }, [search, hash, go]);
  return [choice, set];
}

function One({ opened }: { opened: Opened }) {
  const { t, language } = useWords(own);
  const { message } = App.useApp();
  const [sharing, setSharing] = useState(false);
  const [large, setLarge] = useState(false);
  const [saving, setSaving] = useState(false);
  const [choice] = useChoice();
  const { dashboard: board, may, name } = opened;
  const title = labelled(board.title, language) ?? name;
  const small = useCallback(() => setLarge(false), []);
  const take = async () => {
    setSaving(true);
    try {
      save(await fetched(`/v1/dashboards/${part(name)}/workbook${asked(choice)}`, language), `${name}.xlsx`);
    } catch (error) {
      message.error(error instanceof Error ? error.message : String(error));
    } finally {
      setSaving(false);
    }
  };
  return (
    <Page
      title={title} text={board.description ?? undefined} back={{ to: "/dashboards", label: t("back") }}
      actions={<>
        <Button icon={<Icon name="board" size={16} />} onClick={() => setLarge(true)}>{t("wall")}</Button>
        {may.rows && <Button loading={saving} icon={<Icon name="download" size={16} />} onClick={() => void take()}>{t("take")}</Button>}
        <Button icon={<Icon name="print" size={16} />} onClick={() => print()}>{t("print")}</Button>
        {may.edit && <Button icon={<Icon name="share" size={16} />} onClick={() => setSharing(true)}>{t("share")}</Button>}
        {may.edit && <Link className="board-action" to={`/dashboards/${part(name)}/edit`}><Icon name="edit" size={16} />{t("edit")}</Link>}
      </>}
    >
      <Tiles opened={opened} />
      {opened.sent?.map(({ schedule, when, actions }) => (
        <p key={schedule} className="quiet small">{t("sent", { when: when === "when asked" ? t("sent.asked") : when, actions: actions.join(language === "zh" ? "、" : ", ") })} <Link to={`/schedules/${part(schedule)}`}>{schedule}</Link></p>
      ))}
      {large && <Suspense><Wall opened={opened} title={title} close={small} /></Suspense>}
      {sharing && <Suspense><Share opened={opened} close={() => setSharing(false)} /></Suspense>}
    </Page>
  );
}

/** The filters and tiles of a dashboard to be read, whoever reads it. */
export function Tiles({ opened, links = true }: { opened: Opened; links?: boolean }) {
  const { t, day } = useWords(own);
  const { dashboard: board, may, metrics } = opened;
  const [choice, set] = useChoice();
  const narrow = useCallback((dimension: string, value: Cell) => set({ only: toggled(choice.only, dimension, value) }), [choice.only, set]);
  if (!board.tiles.length) return <Card><Empty icon="board" text={t("notiles")} action={may.edit && links ? <Link className="board-action" to={`/dashboards/${part(opened.name)}/edit`}><Icon name="plus" size={15} />{t("addtile")}</Link> : undefined} /></Card>;
  return (
    <>
      {!may.rows && <p className="board-note"><Icon name="info" size={16} />{t("norows")}</p>}
      {may.rows && <Filters board={board} metrics={metrics} asOf={opened.today ?? opened.as_of} choice={choice} set={set} />}
      <p className="board-printed">{t("printed", { when: day(opened.as_of) })}</p>
      <div className="board-frame"><div className="board-grid">
        {board.tiles.map((tile) => <Tile key={tile.tile} board={opened.name} tile={tile} show={opened.shown[tile.tile]} metrics={metrics} choice={choice} rows={may.rows} narrows={board.filters.dimensions} narrow={narrow} links={links} />)}
      </div></div>
    </>
  );
}
