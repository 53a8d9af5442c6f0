/** All published queries: what each answers, what it asks for, and how often it is called. */
import { Link } from "react-router";
import { part, useGet } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Empty, Grid, Page, Rich, Status, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { listOf, type Query } from "./query";
import "./style.css";
import own from "./words";

export default function Queries() {
  const { t, n, ago, moment } = useWords(own);
  const { can, has } = useWho();
  const all = useGet<unknown>("/v1/queries");
  const make = can("author") && can("query") && has("sql");
  const lab = <Link className="query-action" to="/sql"><Icon name="plus" size={15} />{t("new")}</Link>;
  return (
    <Page title={t("title")} text={t("text")} actions={<>{make && lab}<Trust read={all.dataUpdatedAt} route="GET /v1/queries" /></>}>
      <Ask of={all} lines={8}>
        {(answer) => {
          const items = listOf<Query>(answer, "queries");
          if (!items.length) return <Card><Empty icon="share" text={make ? t("empty") : t("empty.reader")} action={make ? <Link to="/sql">{t("empty.go")}</Link> : undefined} /></Card>;
          return (
            <Card flush>
              <Grid
                rows={items} rowKey={(one) => one.name} label={t("title")} first={{ key: "name" }}
                columns={[
                  { key: "name", title: t("f.name"), wrap: true, cell: (one) => <><Link to={`/queries/${part(one.name)}`}><b>{one.name}</b></Link>{one.description && <p className="query-about">{one.description}</p>}</>, by: (one) => one.name },
                  { key: "parameters", title: t("parameters"), wrap: true, cell: (one) => (one.parameters.length ? <span className="row query-chips">{one.parameters.map((parameter) => <Chosen key={parameter.name} name={parameter.name} type={parameter.type} required={parameter.required} />)}</span> : <span className="quiet">{t("parameters.none")}</span>), by: (one) => one.parameters.length },
                  { key: "calls", title: t("calls", { days: items[0]?.calls?.days ?? 7 }), number: true, cell: (one) => (one.calls ? <>{n(one.calls.count)}{one.calls.failed > 0 && <div className="bad small">{t("calls.failed", { count: n(one.calls.failed) })}</div>}</> : "–"), by: (one) => one.calls?.count },
                  { key: "last", title: t("last"), cell: (one) => (one.calls?.last_at ? <span title={moment(one.calls.last_at)}>{ago(one.calls.last_at)}</span> : <span className="quiet">{t("never")}</span>), by: (one) => one.calls?.last_at },
                  { key: "state", title: t("f.status"), wrap: true, cell: (one) => (one.problem ? <><Status of="failed" label={t("broken")} /><p className="query-about" lang="en"><Rich text={one.problem} /></p></> : <Status of="ok" label={t("works")} />), by: (one) => (one.problem ? 0 : 1) },
                ]}
              />
            </Card>
          );
        }}
      </Ask>
    </Page>
  );
}

/** A parameter in a few letters. */
function Chosen({ name, type, required }: { name: string; type: string; required: boolean }) {
  const { t } = useWords(own);
  return <span className="chip" title={required ? t("required") : t("optional")}><b>{name}</b> {type}{!required && "?"}</span>;
}
