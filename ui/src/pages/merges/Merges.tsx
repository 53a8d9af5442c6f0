/** Every merge of systems with its last run. */
import { Button } from "antd";
import { Link } from "react-router";
import { part, useDo, useGet, type Items, type Work } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Code, Empty, Figures, Grid, Page, Rich, Status, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { AssetLink, PageLink } from "../../ui/links";
import { New } from "../files/buttons";
import { Asked } from "../syncs/parts";
import { didOf, waiting, type MergeOf } from "./parts";
import own from "./words";

/** A file to start from. */
const EXAMPLE = `merge: customers
target: crm.customers
sources:
  - {name: north, table: raw.north_customers, key: id}
  - {name: south, table: raw.south_customers, key: id}
fields:
  - {name: name, keep: longest}
  - {name: email, from: {south: mail}, clean: email}
match: {exact: [{email: email}]}
`;

export default function Merges() {
  const { t, n } = useWords(own);
  const merges = useGet<Items<MergeOf>>("/v1/merges");
  return (
    <Page title={t("title")} text={t("text")} actions={<New kind="merge" />}>
      <Ask of={merges}>
        {({ items }) => {
          if (!items.length) return <Card><Empty icon="lineage" text={t("empty")} /><Code text={EXAMPLE} /></Card>;
          const open = items.reduce((sum, one) => sum + waiting(one), 0);
          const aside = items.reduce((sum, one) => sum + (one.last?.rows_rejected ?? 0), 0);
          return (
            <>
              <Figures of={[
                { label: t("count"), value: n(items.length) },
                { label: t("merged"), value: n(items.reduce((sum, one) => sum + (didOf(one.last).merged ?? 0), 0)), note: t("merged.note") },
                { label: t("aside"), value: n(aside), tone: aside ? "warn" : undefined },
                { label: t("questions"), value: n(open), note: t("questions.note"), tone: open ? "warn" : undefined },
              ]} />
              <List items={items} read={merges.dataUpdatedAt} />
            </>
          );
        }}
      </Ask>
    </Page>
  );
}

function List({ items, read }: { items: MergeOf[]; read: number }) {
  const { t, n, ago, moment } = useWords(own);
  const { can } = useWho();
  const run = useDo<Work, string>((name) => ["POST", `/v1/merges/${part(name)}/run`, {}]);
  return (
    <>
      {run.error && <Trouble error={run.error} />}
      {run.data && <Asked work={run.data} />}
      <Card flush title={t("all")} extra={<Trust read={read} sql="select * from system.tasks where kind = 'merge' order by started_at desc" />}>
        <Grid
          rows={items} rowKey={(one) => one.name} label={t("title")}
          columns={[
            { key: "name", title: t("f.name"), wrap: true, cell: (one) => <><PageLink to="merges" name={one.name}><b>{one.name}</b></PageLink>{one.description && <div className="quiet small"><Rich text={one.description} /></div>}</>, by: (one) => one.name },
            { key: "sources", title: t("sources"), wrap: true, cell: (one) => one.sources.map((source) => source.name).join(", ") },
            { key: "target", title: t("target"), cell: (one) => <AssetLink name={one.target} />, by: (one) => one.target },
            { key: "last", title: t("last"), cell: (one) => (one.last ? <span className="row" style={{ flexWrap: "nowrap" }}><Status of={one.last.status} /><span className="quiet" title={moment(one.last.started_at)}>{ago(one.last.started_at)}</span></span> : <span className="quiet">{t("never")}</span>), by: (one) => one.last?.started_at },
            { key: "rows", title: t("rows"), number: true, cell: (one) => n(one.last?.rows_in), by: (one) => one.last?.rows_in },
            { key: "records", title: t("records"), number: true, cell: (one) => n(one.last?.rows_out), by: (one) => one.last?.rows_out },
            { key: "merged", title: t("merged"), number: true, cell: (one) => n(didOf(one.last).merged), by: (one) => didOf(one.last).merged },
            { key: "questions", title: t("questions"), number: true, cell: (one) => (waiting(one) ? <Link className="warn" to={`/merges/${part(one.name)}`}>{n(waiting(one))}</Link> : n(0)), by: (one) => waiting(one) },
            ...(can("operate") ? [{ key: "run", title: "", cell: (one: MergeOf) => <Button size="small" aria-label={`${t("run")}: ${one.name}`} icon={<Icon name="play" size={12} />} loading={run.isPending && run.variables === one.name} onClick={() => run.mutate(one.name)}>{t("run")}</Button> }] : []),
          ]}
        />
      </Card>
    </>
  );
}
