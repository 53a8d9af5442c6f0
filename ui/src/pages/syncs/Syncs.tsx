/** Every sync with its last run. */
import { Button } from "antd";
import { Link, useNavigate } from "react-router";
import { part, useDo, useGet, type Items, type Sync, type Work } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Empty, Figures, Grid, Page, Rich, Status, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { PageLink } from "../../ui/links";
import { EventsAside } from "./Aside";
import { Asked } from "./parts";
import own from "./words";

export default function Syncs() {
  const { t, n } = useWords(own);
  const { can } = useWho();
  const go = useNavigate();
  const syncs = useGet<Items<Sync>>("/v1/syncs");
  const make = can("operate") && <Button type="primary" icon={<Icon name="plus" size={14} />} onClick={() => void go("/new-sync")}>{t("new")}</Button>;
  return (
    <Page title={t("title")} text={t("text")} actions={(syncs.data?.items.length ?? 0) > 0 && make}>
      <Ask of={syncs}>
        {({ items }) => {
          const sum = (count: (sync: Sync) => number | null | undefined) => items.reduce((total, sync) => total + (count(sync) ?? 0), 0);
          const failed = items.filter((sync) => sync.last?.status === "failed").length;
          const aside = sum((sync) => sync.quarantined);
          if (!items.length) return <Card><Empty icon="syncs" text={t("empty")} action={make} /></Card>;
          return (
            <>
              <Figures of={[
                { label: t("count"), value: n(items.length), note: t("count.streams", { count: n(sum((sync) => sync.streams.length)) }) },
                { label: t("landed"), value: n(sum((sync) => sync.last?.rows_out)), note: t("landed.note") },
                { label: t("failed"), value: n(failed), note: t("failed.note"), tone: failed ? "bad" : undefined },
                { label: t("aside"), value: n(aside), note: t("aside.note"), tone: aside ? "warn" : undefined },
              ]} />
              <List items={items} read={syncs.dataUpdatedAt} />
            </>
          );
        }}
      </Ask>
      <EventsAside />
    </Page>
  );
}

function List({ items, read }: { items: Sync[]; read: number }) {
  const { t, n, ago, duration, moment } = useWords(own);
  const { can } = useWho();
  const run = useDo<Work, string>((name) => ["POST", `/v1/syncs/${part(name)}/run`, {}]);
  return (
    <>
      {run.error && <Trouble error={run.error} />}
      {run.data && <Asked work={run.data} />}
      <Card flush title={t("all")} extra={<Trust read={read} sql="select * from system.tasks where kind = 'sync' order by started_at desc" />}>
        <Grid
          rows={items} rowKey={(one) => one.name} label={t("title")}
          columns={[
            { key: "name", title: t("f.name"), wrap: true, cell: (one) => <><span className="row"><PageLink to="syncs" name={one.name}><b>{one.name}</b></PageLink>{one.following && <Status of={one.following.state} />}</span>{one.description && <div className="quiet small"><Rich text={one.description} /></div>}</>, by: (one) => one.name },
            { key: "way", title: t("way"), cell: (one) => <span className="row" style={{ gap: 6, flexWrap: "nowrap" }}><PageLink to="connections" name={one.from} /><span aria-hidden="true" className="quiet">→</span>{(one.destinations ?? [one.to ?? "lake"]).map((to, at) => <span key={to}>{at > 0 && ", "}{to === "lake" ? t("lake") : <PageLink to="connections" name={to} />}</span>)}</span>, by: (one) => one.from },
            { key: "streams", title: t("streams"), number: true, cell: (one) => n(one.streams.length), by: (one) => one.streams.length },
            { key: "last", title: t("last"), cell: (one) => (one.last?.status ? <span className="row" style={{ flexWrap: "nowrap" }}><Status of={one.last.status} /><span className="quiet" title={moment(one.last.started_at)}>{ago(one.last.started_at)}</span></span> : <span className="quiet">{t("never")}</span>), by: (one) => one.last?.started_at },
            { key: "in", title: t("f.in"), number: true, cell: (one) => n(one.last?.rows_in), by: (one) => one.last?.rows_in },
            { key: "out", title: t("f.out"), number: true, cell: (one) => n(one.last?.rows_out), by: (one) => one.last?.rows_out },
            { key: "took", title: t("f.duration"), number: true, cell: (one) => duration(one.last?.duration_ms), by: (one) => one.last?.duration_ms },
            { key: "aside", title: t("aside"), number: true, cell: (one) => (one.quarantined ? <Link className="warn" to={`/syncs/${part(one.name)}?tab=aside`}>{n(one.quarantined)}</Link> : n(0)), by: (one) => one.quarantined },
            ...(can("operate") ? [{ key: "run", title: "", cell: (one: Sync) => <Button size="small" aria-label={`${t("run")}: ${one.name}`} icon={<Icon name="play" size={12} />} loading={run.isPending && run.variables === one.name} onClick={() => run.mutate(one.name)}>{t("run")}</Button> }] : []),
          ]}
        />
      </Card>
    </>
  );
}
