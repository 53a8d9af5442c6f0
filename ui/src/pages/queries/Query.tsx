/** One published query: what it asks, its rows for values of one's own, how programs call it, and their keys. */
import { useQuery } from "@tanstack/react-query";
import { App, Button } from "antd";
import { lazy, Suspense, useState } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { change, client, part, tagged, type Tagged } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Empty, Figures, Grid, Page, Rich, Trouble } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { SqlText } from "../../ui/sqltext";
import { Keys } from "./Keys";
import type { Query } from "./query";
import "./style.css";
import { Try } from "./Try";
import own from "./words";

const Publish = lazy(() => import("./Publish"));

export default function OneQuery() {
  const { name = "" } = useParams();
  const path = `/v1/queries/${part(name)}`;
  const read = useQuery<Tagged<Query>, Error>({ queryKey: [path], queryFn: ({ signal }) => tagged<Query>(path, signal) });
  return <Ask of={read} lines={8}>{({ value, tag }) => <One key={value.name} query={value} tag={tag} />}</Ask>;
}

function One({ query, tag }: { query: Query; tag: string | null }) {
  const { t, n, ago, duration } = useWords(own);
  const { can, has } = useWho();
  const { modal } = App.useApp();
  const go = useNavigate();
  // What is changed is what was read when that began, whatever is read meanwhile.
  const [editing, setEditing] = useState<{ query: Query; tag: string | null } | null>(null);
  const [error, setError] = useState<unknown>(null);
  const { name, calls, problem } = query;
  const path = `/v1/queries/${part(name)}`;
  const make = can("author") && can("query");
  // The lab gives no values and knows no templates.
  const runs = !query.parameters.length && !query.sql.includes("{{");
  const unpublish = async () => {
    setError(null);
    try {
      await change("DELETE", tag === null && query.version ? `${path}?version=${part(query.version)}` : path, tag);
    } catch (failed) {
      setError(failed);
      return;
    }
    await go("/queries");
    client.removeQueries({ queryKey: [path] });
    void client.invalidateQueries({ predicate: (other) => other.queryKey[0] !== "/v1/session" });
  };
  const ask = () => modal.confirm({ title: t("unpublish.title", { name }), content: t("unpublish.text"), okText: t("unpublish"), okButtonProps: { danger: true }, cancelText: t("f.cancel"), onOk: () => void unpublish() });
  return (
    <Page
      title={query.owner ? <>{name}<span title={t("owner")}><Chip>{query.owner}</Chip></span></> : name} text={query.description ?? undefined} back={{ to: "/queries", label: t("back") }}
      actions={<>
        {runs && can("query") && has("sql") && <Link className="query-action" to={`/sql?q=${encodeURIComponent(query.sql)}`}><Icon name="sql" size={16} />{t("lab")}</Link>}
        {make && <Button icon={<Icon name="edit" size={16} />} onClick={() => setEditing({ query, tag })}>{t("edit")}</Button>}
        {can("author") && <Button danger onClick={ask}>{t("unpublish")}</Button>}
      </>}
    >
      {Boolean(error) && <Trouble error={error} />}
      {problem && (
        <div className="trouble" role="alert">
          <Icon name="failed" size={20} />
          <div><p className="trouble-title">{t("broken.title")}</p><p>{t("broken.text")}</p><p className="trouble-said" lang="en"><Rich text={problem} /></p></div>
        </div>
      )}
      <Figures of={[
        { label: t("calls", { days: calls?.days ?? 7 }), value: calls ? n(calls.count) : "–", note: calls && calls.failed > 0 ? <span className="bad">{t("calls.failed", { count: n(calls.failed) })}</span> : undefined },
        { label: t("last"), value: calls?.last_at ? ago(calls.last_at) : t("never") },
        { label: t("rows"), value: n(query.rows) },
        { label: t("time.most"), value: duration(query.timeout_ms) },
      ]} />
      {can("call") && !problem ? <Try query={query} /> : !problem && <Card title={t("try")}><Empty icon="alert" text={t("try.not")} action={has("access") ? <Link to="/access?what=call">{t("app.access.ask")}</Link> : undefined} /></Card>}
      {make && <Keys query={query} />}
      <div className="columns">
        <Card title="SQL" extra={query.file && <code className="quiet small">{query.file}</code>}>
          <SqlText text={query.sql.trimEnd()} label={t("sql.of", { name })} />
        </Card>
        <Card flush title={t("parameters")}>
          <Grid
            rows={query.parameters} rowKey={(one) => one.name} label={t("parameters")} tight empty={<Empty text={t("parameters.none.long")} />}
            columns={[
              { key: "name", title: t("f.name"), cell: (one) => <code>{one.name}</code> },
              { key: "type", title: t("f.type"), cell: (one) => <code>{one.type}</code> },
              { key: "default", title: t("default"), wrap: true, cell: (one) => (one.required ? <span className="quiet">{t("required")}</span> : <code>{one.default === null || one.default === "" ? "''" : String(one.default)}</code>) },
              { key: "about", title: t("f.description"), wrap: true, cell: (one) => one.description ?? "" },
            ]}
          />
        </Card>
      </div>
      {editing && <Suspense><Publish sql={editing.query.sql} of={editing.query} tag={editing.tag} close={() => setEditing(null)} done={() => setEditing(null)} /></Suspense>}
    </Page>
  );
}
