/** Every link between two systems with its last run. */
import { Button } from "antd";
import { Link } from "react-router";
import { part, useDo, useGet, type Items, type Work } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Code, Empty, Figures, Grid, Page, Rich, Status, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { PageLink } from "../../ui/links";
import { Asked } from "../syncs/parts";
import { didOf, written, type LinkOf } from "./parts";
import { New } from "../files/buttons";
import own from "./words";

/** A file to start from. */
const EXAMPLE = `link: people
left: {connection: sales, options: {table: contacts}, target: {table: contacts}, id: id, create_by: email}
right: {connection: support, options: {table: people}, target: {table: people}, id: id, create_by: email}
fields:
  - {name: email}
  - {name: phone, type: text, clean: phone(CN)}
match: {exact: [{email: email}]}
`;

export default function Links() {
  const { t, n } = useWords(own);
  const links = useGet<Items<LinkOf>>("/v1/links");
  return (
    <Page title={t("title")} text={t("text")} actions={<New kind="link" />}>
      <Ask of={links}>
        {({ items }) => {
          if (!items.length) return <Card><Empty icon="link" text={t("empty")} /><Code text={EXAMPLE} /></Card>;
          const failed = items.filter((one) => one.last?.status === "failed").length;
          const open = items.reduce((sum, one) => sum + one.questions, 0);
          return (
            <>
              <Figures of={[
                { label: t("count"), value: n(items.length) },
                { label: t("written"), value: n(items.reduce((sum, one) => sum + written(didOf(one.last)), 0)), note: t("written.note") },
                { label: t("failed"), value: n(failed), note: t("failed.note"), tone: failed ? "bad" : undefined },
                { label: t("questions"), value: n(open), note: t("questions.note"), tone: open ? "warn" : undefined },
              ]} />
              <List items={items} read={links.dataUpdatedAt} />
            </>
          );
        }}
      </Ask>
    </Page>
  );
}

function List({ items, read }: { items: LinkOf[]; read: number }) {
  const { t, n, ago, moment } = useWords(own);
  const { can } = useWho();
  const run = useDo<Work, string>((name) => ["POST", `/v1/links/${part(name)}/run`, {}]);
  return (
    <>
      {run.error && <Trouble error={run.error} />}
      {run.data && <Asked work={run.data} />}
      <Card flush title={t("all")} extra={<Trust read={read} sql="select * from system.tasks where kind = 'link' order by started_at desc" />}>
        <Grid
          rows={items} rowKey={(one) => one.name} label={t("title")}
          columns={[
            { key: "name", title: t("f.name"), wrap: true, cell: (one) => <><PageLink to="links" name={one.name}><b>{one.name}</b></PageLink>{one.description && <div className="quiet small"><Rich text={one.description} /></div>}</>, by: (one) => one.name },
            { key: "way", title: t("way"), cell: (one) => <span className="row" style={{ gap: 6, flexWrap: "nowrap" }}><PageLink to="connections" name={one.left} /><span aria-hidden="true" className="quiet">⇄</span><PageLink to="connections" name={one.right} /></span>, by: (one) => one.left },
            { key: "last", title: t("last"), cell: (one) => (one.last ? <span className="row" style={{ flexWrap: "nowrap" }}><Status of={one.last.status} /><span className="quiet" title={moment(one.last.started_at)}>{ago(one.last.started_at)}</span></span> : <span className="quiet">{t("never")}</span>), by: (one) => one.last?.started_at },
            { key: "records", title: t("records"), number: true, cell: (one) => n(one.last?.rows_in), by: (one) => one.last?.rows_in },
            { key: "written", title: t("written"), number: true, cell: (one) => (one.last ? n(written(didOf(one.last))) : "–"), by: (one) => written(didOf(one.last)) },
            { key: "refused", title: t("refused"), number: true, cell: (one) => (one.last?.rows_rejected ? <span className="warn">{n(one.last.rows_rejected)}</span> : n(0)), by: (one) => one.last?.rows_rejected },
            { key: "questions", title: t("questions"), number: true, cell: (one) => (one.questions ? <Link className="warn" to={`/links/${part(one.name)}`}>{n(one.questions)}</Link> : n(0)), by: (one) => one.questions },
            ...(can("operate") ? [{ key: "run", title: "", cell: (one: LinkOf) => <Button size="small" aria-label={`${t("run")}: ${one.name}`} icon={<Icon name="play" size={12} />} loading={run.isPending && run.variables === one.name} onClick={() => run.mutate(one.name)}>{t("run")}</Button> }] : []),
          ]}
        />
      </Card>
    </>
  );
}
