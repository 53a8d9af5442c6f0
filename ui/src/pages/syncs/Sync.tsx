/** One sync: its streams, its runs, and the rows that it set aside. */
import { App, Button } from "antd";
import { Link, useParams } from "react-router";
import { useState } from "react";
import { part, useDo, useGet, Problem, type Following, type Items, type Sync as Shown, type Work } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Code, Empty, Facts, Figures, Grid, Page, Status, Tabs, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { AssetLink, PageLink } from "../../ui/links";
import { Aside } from "./Aside";
import { Compare } from "./Compare";
import { Asked, Bars, byRun } from "./parts";
import own from "./words";

interface Lag { name: string; read: string; behind: number | null; unit: string | null; last_at: string | null; age_s: number | null; failure: string | null; error: string | null }

export default function Sync() {
  const { t } = useWords(own);
  const { can } = useWho();
  const { modal } = App.useApp();
  const { name = "" } = useParams();
  const sync = useGet<Shown>(`/v1/syncs/${part(name)}`, 15_000);
  const run = useDo<Work, boolean>((restart) => ["POST", `/v1/syncs/${part(name)}/run`, { restart }]);
  const back = { to: "/syncs", label: t("back") };
  if (sync.error instanceof Problem && sync.error.status === 404) return <Page title={name} back={back}><Empty icon="syncs" text={t("missing", { name })} action={<Link to="/syncs">{t("back")}</Link>} /></Page>;
  const cdc = sync.data?.streams.some((stream) => stream.read === "cdc");
  const again = () => modal.confirm({ title: t("restart"), content: t("restart.text"), okText: t("restart"), cancelText: t("f.cancel"), onOk: () => run.mutate(true) });
  const actions = sync.data && can("operate") && (
    <>
      {sync.data.following && <Pause name={name} of={sync.data.following} />}
      {cdc && <Button icon={<Icon name="undo" size={14} />} onClick={again}>{t("restart")}</Button>}
      <Button type="primary" icon={<Icon name="play" size={13} />} loading={run.isPending} onClick={() => run.mutate(false)}>{t("run")}</Button>
    </>
  );
  return (
    <Page title={<>{name}{sync.data?.following ? <Status of={sync.data.following.state} /> : sync.data?.last?.status && <Status of={sync.data.last.status} />}</>} text={sync.data?.description ?? undefined} back={back} actions={actions}>
      {run.error && <Trouble error={run.error} />}
      {run.data && <Asked work={run.data} />}
      <Ask of={sync}>{(one) => <Body one={one} read={sync.dataUpdatedAt} />}</Ask>
    </Page>
  );
}

/** Has the server leave a sync alone, or take it up again. */
function Pause({ name, of }: { name: string; of: Following }) {
  const { t } = useWords(own);
  const { message } = App.useApp();
  const way = of.state === "paused" || of.state === "failed" ? "resume" : "pause";
  const ask = useDo<unknown>(() => ["POST", `/v1/syncs/${part(name)}/${way}`, way === "pause" ? {} : undefined], () => void message.success(t(`follow.${way}.done`, { name })));
  return <Button icon={<Icon name={way === "resume" ? "play" : "pause"} size={14} />} loading={ask.isPending} aria-label={t(`follow.${way}.what`, { name })} onClick={() => ask.mutate(undefined, { onError: (error) => void message.error(error.message, 8) })}>{t(`follow.${way}`)}</Button>;
}

/** How a sync is doing that the server follows. */
function Follows({ of, read }: { of: Following; read: number }) {
  const { t, n, ago, moment, duration } = useWords(own);
  const when = (at: string) => <span title={moment(at)}>{ago(at)}</span>;
  const facts: [React.ReactNode, React.ReactNode][] = [[t("f.status"), <Status key="state" of={of.state} />]];
  if (of.since) facts.push([t("follow.since"), when(of.since)]);
  if (of.committed_at) facts.push([t("follow.committed"), when(of.committed_at)]);
  if (of.reached) facts.push([t("follow.reached"), <>{moment(of.reached)}{of.behind_s !== null && <span className="quiet"> · {t("follow.behind", { time: duration(of.behind_s * 1_000) })}</span>}</>]);
  if (of.since) facts.push([t("follow.rate"), t("follow.rate.value", { count: n(of.rows), rate: n(of.rows_per_second) })]);
  if (of.attempt !== null && of.next_at !== null) facts.push([t("follow.attempt"), t("follow.attempt.value", { count: n(of.attempt), when: moment(of.next_at) })]);
  const aside = of.streams.filter((stream) => stream.aside);
  if (aside.length > 0) facts.push([t("follow.aside"), <span key="aside">{aside.map((stream) => <code key={stream.name} className="bad">{stream.name} </code>)}<span className="quiet">{t("follow.aside.text")}</span></span>]);
  if (of.by) facts.push([t("follow.by"), of.by]);
  if (of.reason) facts.push([t("f.reason"), of.reason]);
  if (of.error) facts.push([t("f.error"), <span key="error" className="bad">{of.error}</span>]);
  if (of.run_id) facts.push([t("run.one"), <Link key="run" to={`/runs/${part(of.run_id)}`}><code>{of.run_id}</code></Link>]);
  return (
    <Card title={t("follow")} extra={<Trust read={read} sql="select * from system.followed_syncs" />}>
      <p className="quiet small" style={{ marginBottom: 8 }}>{t("follow.text")}</p>
      <Facts of={facts} />
    </Card>
  );
}

function Body({ one, read }: { one: Shown; read: number }) {
  const { t, n, ago, moment, duration } = useWords(own);
  const runs = byRun(one.recent ?? []);
  return (
    <>
      <Figures of={[
        { label: t("way"), value: <span className="row" style={{ gap: 6, fontSize: 16 }}><PageLink to="connections" name={one.from} /><span aria-hidden="true" className="quiet">→</span>{(one.destinations ?? []).map((to) => (to === "lake" ? t("lake") : to)).join(", ")}</span> },
        { label: t("last"), value: one.last?.started_at ? ago(one.last.started_at) : t("never"), note: one.last?.started_at && `${moment(one.last.started_at)} · ${duration(one.last.duration_ms)}` },
        { label: t("landed"), value: n(one.last?.rows_out), note: `${t("f.in")} ${n(one.last?.rows_in)} · ${t("f.rejected")} ${n(one.last?.rows_rejected)}` },
        { label: t("aside"), value: n(one.quarantined), note: t("aside.one"), tone: one.quarantined ? "warn" : undefined },
      ]} />
      {one.following && <Follows of={one.following} read={read} />}
      {one.last?.error && <div className="trouble" role="alert" style={{ marginBottom: 16 }}><Icon name="failed" size={20} /><p className="trouble-detail">{one.last.error}</p></div>}
      <Tabs
        label={one.name}
        tabs={[
          { key: "streams", label: t("tab.streams"), count: one.streams.length, body: () => <><Streams one={one} read={read} />{runs.length > 0 && <Card title={t("chart")} extra={<Trust read={read} sql={runsSql(one.name)} />}><p className="quiet small" style={{ marginBottom: 8 }}>{t("chart.text")}</p><Bars name={one.name} runs={runs} /></Card>}</> },
          { key: "runs", label: t("tab.runs"), body: () => <Runs name={one.name} runs={runs} read={read} /> },
          { key: "aside", label: t("tab.aside"), count: one.quarantined, body: () => <Aside sync={one.name} open={one.quarantined} /> },
          { key: "compare", label: t("tab.compare"), body: () => <Compare one={one} read={read} /> },
          { key: "file", label: t("tab.file"), body: () => <Card title={<code>{one.file}</code>} extra={<Trust read={read} route="GET /v1/syncs/{sync}" />}><Code text={JSON.stringify(one.declared, null, 2)} max={640} /></Card> },
        ]}
      />
    </>
  );
}

const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`;
const runsSql = (name: string) => `select * from system.tasks where kind = 'sync' and (name = ${quoted(name)} or starts_with(name, ${quoted(`${name}.`)})) order by started_at desc`;

function Streams({ one, read }: { one: Shown; read: number }) {
  const { t, n, ago, moment, duration } = useWords(own);
  const { can } = useWho();
  const [asked, setAsked] = useState(false);
  const lag = useGet<Items<Lag>>(asked ? `/v1/syncs/${part(one.name)}/lag` : null);
  const last = (stream: string) => one.recent?.find((task) => task.name === `${one.name}.${stream}` || task.name.startsWith(`${one.name}.${stream} `));
  const behind = (stream: string) => lag.data?.items.find((row) => row.name === `${one.name}.${stream}` || row.name.startsWith(`${one.name}.${stream} `));
  return (
    <Card
      title={t("streams")} flush
      extra={<>{can("operate") && <Button size="small" loading={lag.isFetching} onClick={() => (asked ? void lag.refetch() : setAsked(true))}>{t(lag.data ? "lag.again" : "lag")}</Button>}<Trust read={read} sql={runsSql(one.name)} /></>}
    >
      {lag.error && <div style={{ padding: "0 18px" }}><Trouble error={lag.error} /></div>}
      <Grid
        rows={one.streams} rowKey={(stream) => stream.stream} label={t("streams")}
        columns={[
          { key: "stream", title: t("stream"), cell: (stream) => <code>{stream.stream}</code>, by: (stream) => stream.stream },
          { key: "table", title: t("f.table"), cell: (stream) => (stream.table ? <AssetLink name={stream.table} /> : "–"), by: (stream) => stream.table },
          { key: "read", title: t("read"), cell: (stream) => <Chip>{stream.read}</Chip>, by: (stream) => stream.read },
          { key: "write", title: t("write"), cell: (stream) => <Chip>{stream.write}</Chip>, by: (stream) => stream.write },
          { key: "key", title: t("key"), cell: (stream) => (stream.key?.length ? <code>{stream.key.join(", ")}</code> : "–") },
          { key: "status", title: t("f.status"), cell: (stream) => { const task = last(stream.stream); return task ? <Status of={task.status} /> : <span className="quiet">{t("never")}</span>; }, by: (stream) => last(stream.stream)?.status },
          { key: "when", title: t("last.row"), cell: (stream) => { const task = last(stream.stream); return task ? <span title={moment(task.started_at)}>{ago(task.started_at)}</span> : "–"; }, by: (stream) => last(stream.stream)?.started_at },
          { key: "rows", title: t("f.out"), number: true, cell: (stream) => n(last(stream.stream)?.rows_out), by: (stream) => last(stream.stream)?.rows_out },
          { key: "took", title: t("f.duration"), number: true, cell: (stream) => duration(last(stream.stream)?.duration_ms), by: (stream) => last(stream.stream)?.duration_ms },
          ...(lag.data ? [{
            key: "lag", title: t("lag.column"), wrap: true, number: true,
            cell: (stream: Shown["streams"][number]) => {
              const row = behind(stream.stream);
              if (row?.error) return <span className="bad">{row.error}</span>;
              if (row?.failure) return <span className="bad">{t("lag.failed", { error: row.failure })}</span>;
              if (!row || row.behind === null) return <span className="quiet">{t("lag.unknown")}</span>;
              return row.behind === 0 ? t("lag.none") : `${n(row.behind)} ${row.unit ?? ""}`;
            },
          }] : []),
        ]}
      />
    </Card>
  );
}

function Runs({ name, runs, read }: { name: string; runs: ReturnType<typeof byRun>; read: number }) {
  const { t, n, moment, duration } = useWords(own);
  return (
    <Card flush title={t("tab.runs")} extra={<Trust read={read} sql={runsSql(name)} />}>
      <Grid
        rows={runs} rowKey={(run) => run.run} label={t("tab.runs")} page={25} empty={<Empty icon="runs" text={t("runs.empty", { name })} />}
        columns={[
          { key: "at", title: t("f.started"), cell: (run) => <Link to={`/runs/${part(run.run)}`}>{moment(run.at)}</Link>, by: (run) => run.at },
          { key: "status", title: t("f.status"), cell: (run) => <Status of={run.status} />, by: (run) => run.status },
          { key: "in", title: t("f.in"), number: true, cell: (run) => n(run.read), by: (run) => run.read },
          { key: "out", title: t("f.out"), number: true, cell: (run) => n(run.landed), by: (run) => run.landed },
          { key: "aside", title: t("f.rejected"), number: true, cell: (run) => (run.aside ? <span className="warn">{n(run.aside)}</span> : n(0)), by: (run) => run.aside },
          { key: "took", title: t("f.duration"), number: true, cell: (run) => duration(run.ms), by: (run) => run.ms },
          { key: "error", title: t("f.error"), wrap: true, cell: (run) => run.error && <span className="bad">{run.error}</span> },
        ]}
      />
    </Card>
  );
}
