/** Which extensions there are for whoever looks, and what they may. */
import { Link } from "react-router";
import { part, useGet, type Items } from "../../api";
import { labelIn, titleOf, type Extension } from "../../extensions";
import { useWords } from "../../i18n";
import { Ask, Card, Chip, Empty, Grid, Page, Trust } from "../../ui/basics";
import own from "./words";

export default function Extensions() {
  const { t, word, language } = useWords(own);
  const all = useGet<Items<Extension>>("/v1/extensions");
  return (
    <Page title={t("title")} text={t("text")}>
      <Card flush title={t("title")} extra={<Trust read={all.dataUpdatedAt} route="GET /v1/extensions" />}>
        <Ask of={all}>
          {({ items }) => (
            <Grid
              rows={items} rowKey={(one) => one.name} label={t("title")} empty={<Empty icon="plus" text={t("empty")} />}
              columns={[
                { key: "name", title: t("name"), wrap: true, cell: (one) => <><b>{labelIn(language, [one.title], one.name)}</b>{one.description && <p className="quiet">{one.description}</p>}</>, by: (one) => one.name },
                { key: "shows", title: t("shows"), wrap: true, cell: (one) => (
                  <ul className="extension-shows">
                    {one.pages.map((page) => <li key={page.page}><Link to={`/extensions/${part(one.name)}/${part(page.page)}`}>{titleOf(language, one, page, page.page)}</Link> <span className="quiet">{t("page")}</span></li>)}
                    {one.panels.map((panel) => <li key={panel.panel}>{titleOf(language, one, panel, panel.panel)} <span className="quiet">{word("panel", panel.on)}</span></li>)}
                  </ul>
                ) },
                { key: "scopes", title: t("scopes"), wrap: true, cell: (one) => (one.scopes.length === 0 ? <span className="quiet">{t("scopes.none")}</span> : (
                  <span className="row" style={{ gap: 4 }}>{one.scopes.map((scope) => (one.granted.includes(scope) ? <Chip key={scope}>{scope}</Chip> : <s key={scope} className="quiet" title={t("scopes.less")}>{scope}</s>))}</span>
                )) },
                { key: "owner", title: t("owner"), cell: (one) => one.owner ?? "–", by: (one) => one.owner },
                { key: "file", title: t("file"), cell: (one) => <code>{one.declared_in}</code>, by: (one) => one.declared_in },
              ]}
            />
          )}
        </Ask>
      </Card>
    </Page>
  );
}
