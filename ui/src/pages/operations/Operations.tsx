/** How everything that is run here does: databases, stores, the queue, errors, room and slow statements. */
import { useQuery } from "@tanstack/react-query";
import { Button } from "antd";
import { Link } from "react-router";
import { call, type Cell, type Items, type Table, useDo, useGet, type Work } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Empty, Figures, Grid, type GridColumn, Page, Rich, Status, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { PageLink } from "../../ui/links";
import { bytes, type Database, troubles } from "./health";
import own from "./words";

const ERRORS = "select kind, name, error, count, last_seen, last_run_id from system.errors order by last_seen desc limit 50";
const DATABASES = "select * from system.databases";

export default function Operations() {
  const { t } = useWords(own);
  const all = useGet<Items<Database>>("/v1/databases", 60_000);
  const check = useDo<Items<Database>>(() => ["POST", "/v1/databases/check"]);
  return (
    <Page title={t("title")} text={t("text")} actions={<Button type="primary" loading={check.isPending} onClick={() => check.mutate()}>{t("ask")}</Button>}>
      {check.error && <Trouble error={check.error} />}
      <Ask of={all} lines={8}>{({ items }) => <Shown items={items} read={all.dataUpdatedAt} />}</Ask>
    </Page>
  );
}

function Shown({ items, read }: { items: Database[]; read: number }) {
  const { t, n, language } = useWords(own);
  const { can } = useWho();
  const work = useGet<Items<Work>>("/v1/work", 30_000);
  const errors = useQuery<Table>({ queryKey: ["/v1/runs", "operations errors"], queryFn: ({ signal }) => call<Table>("POST", "/v1/sql", { sql: ERRORS, limit: 50 }, signal), enabled: can("query") });
  const open = (work.data?.items ?? []).filter((one) => one.status === "queued" || one.status === "running");
  const [databases, stores] = [items.filter((one) => !one.own), items.filter((one) => one.own)];
  const asked = databases.filter((one) => one.reachable !== null);
  const disk = stores.find((one) => one.kind === "disk");
  const wrong = troubles(items);
  const slow = items.filter((one) => one.health.slow_queries);
  return (
    <>
      <Figures of={[
        { label: t("answer"), value: n(asked.filter((one) => one.reachable).length), note: t("answer.note", { count: n(asked.length) }), tone: asked.some((one) => !one.reachable) ? "bad" : undefined },
        { label: t("room"), value: bytes(disk?.free_bytes, language), note: disk?.health.size_bytes ? t("room.note", { size: bytes(disk.health.size_bytes, language) }) : undefined, tone: wrong.some((one) => one.key === "disk") ? "bad" : undefined },
        { label: t("work"), value: n(open.length), note: t("work.note", { count: n(open.filter((one) => one.status === "running").length) }) },
        ...(errors.data ? [{ label: t("errors.count"), value: n(errors.data.row_count), note: t("errors.note") }] : []),
      ]} />
      {wrong.length > 0 && (
        <Card title={<><Icon name="alert" />{t("look")}</>} extra={<Trust read={read} sql={DATABASES} />}>
          <ul>{wrong.map((one) => <li key={`${one.key} ${one.name}`} className={one.key === "away" || one.key === "disk" ? "bad" : undefined}>{t(one.key, { name: one.name, count: n(one.amount), size: bytes(one.amount, language) })}</li>)}</ul>
        </Card>
      )}
      {!items.length ? <Card><Empty icon="info" text={t("never")} /></Card> : (
        <>
          <Databases items={databases} read={read} />
          <Stores items={stores} read={read} />
          <Card flush title={t("slows")} extra={<Trust read={read} sql={`${DATABASES} where slow_queries > 0`} />}>
            <Grid rows={slow} rowKey={(one) => one.name} label={t("slows")} empty={<Empty icon="check" text={t("slows.empty")} />} columns={[
              { key: "name", title: t("name"), cell: (one) => <PageLink to="connections" name={one.name} />, by: (one) => one.name },
              { key: "slow", title: t("slowcount"), number: true, cell: (one) => n(one.health.slow_queries), by: (one) => one.health.slow_queries },
              { key: "active", title: t("active"), number: true, cell: (one) => n(one.health.active_queries), by: (one) => one.health.active_queries },
            ]} />
          </Card>
        </>
      )}
      <Card flush title={t("queue")} extra={<><Link to="/turns">{t("queue.all")}</Link><Trust read={work.dataUpdatedAt} route="GET /v1/work" /></>}>
        <Ask of={work}>{() => <Queue open={open} />}</Ask>
      </Card>
      <Card flush title={t("errors")} extra={<><Link to="/turns">{t("errors.runs")}</Link>{errors.data && <Trust read={errors.dataUpdatedAt} sql={ERRORS} />}</>}>
        {!can("query") ? <Empty text={t("errors.noquery")} /> : <Ask of={errors}>{(table) => <Errors rows={table.rows} />}</Ask>}
      </Card>
    </>
  );
}

function Databases({ items, read }: { items: Database[]; read: number }) {
  const { t, n, ago, language } = useWords(own);
  const columns: GridColumn<Database>[] = [
    { key: "name", title: t("name"), cell: (one) => <><PageLink to="connections" name={one.name} /> <span className="quiet small">{one.kind}</span></>, by: (one) => one.name },
    { key: "state", title: t("state"), cell: (one) => <State of={one} />, by: (one) => (one.reachable === false ? 0 : one.reachable ? 1 : 2) },
    { key: "version", title: t("version"), cell: (one) => one.health.version ?? "–", wrap: true },
    { key: "connections", title: t("connections"), number: true, cell: ({ health }) => (health.connections_max ? t("connections.of", { open: n(health.connections), most: n(health.connections_max) }) : n(health.connections)), by: (one) => one.health.connections },
    { key: "size", title: t("size"), number: true, cell: (one) => bytes(one.health.size_bytes, language), by: (one) => one.health.size_bytes },
    { key: "log", title: t("log"), cell: (one) => <Log of={one} />, by: (one) => one.health.slots[0]?.kept_bytes ?? one.health.log_bytes, wrap: true },
    { key: "active", title: t("active"), number: true, cell: (one) => n(one.health.active_queries), by: (one) => one.health.active_queries },
    { key: "slow", title: t("slowcount"), number: true, cell: (one) => n(one.health.slow_queries), by: (one) => one.health.slow_queries },
    { key: "error", title: t("error"), cell: ({ error }) => (error ? <Failure of={error} /> : "–"), wrap: true },
    { key: "checked", title: t("checked"), cell: (one) => ago(one.checked_at), by: (one) => one.checked_at },
  ];
  return (
    <Card flush title={t("databases")} extra={<Trust read={read} sql={`${DATABASES} where not own`} />}>
      <Grid rows={items} rowKey={(one) => one.name} label={t("databases")} columns={columns} empty={<Empty icon="connect" text={t("none")} />} />
    </Card>
  );
}

function State({ of }: { of: Database }) {
  const { t } = useWords(own);
  if (of.reachable === null) return <Status of="idle" label={t("state.unknown")} />;
  return of.reachable ? <Status of="ok" label={t("state.yes")} /> : <Status of="failed" label={t("state.no")} />;
}

function Failure({ of }: { of: NonNullable<Database["error"]> }) {
  const { ago } = useWords(own);
  return <><code>{of.kind}</code> <span className="quiet small">{ago(of.at)}</span><div className="small"><Rich text={of.text} />{of.hint && <div className="quiet"><Rich text={of.hint} /></div>}</div></>;
}

/** What of its log a server keeps, and for whom. */
function Log({ of: { health } }: { of: Database }) {
  const { t, n, language } = useWords(own);
  const said: string[] = [];
  if (health.log_bytes !== null) said.push(bytes(health.log_bytes, language));
  if (health.log_kept_s !== null) said.push(t("log.days", { days: n(health.log_kept_s / 86_400, 1) }));
  if (health.log_position && !health.slots.length) said.push(t("log.at", { place: health.log_position }));
  if (!health.slots.length) return <>{said.join(" · ") || "–"}</>;
  return (
    <ul className="small" style={{ margin: 0, paddingLeft: 16 }}>
      {health.slots.map((slot) => <li key={slot.name}>{t("log.slot", { name: slot.name, size: bytes(slot.kept_bytes, language) })}{slot.behind_bytes !== null && ` · ${t("log.behind", { size: bytes(slot.behind_bytes, language) })}`}{!slot.active && ` · ${t("log.idle")}`}</li>)}
    </ul>
  );
}

function Stores({ items, read }: { items: Database[]; read: number }) {
  const { t, word, n, ago, language } = useWords(own);
  return (
    <Card flush title={t("stores")} extra={<Trust read={read} sql={`${DATABASES} where own`} />}>
      <Grid rows={items} rowKey={(one) => one.name} label={t("stores")} columns={[
        { key: "name", title: t("name"), cell: (one) => word("own", one.kind) },
        { key: "state", title: t("state"), cell: (one) => <State of={one} /> },
        { key: "size", title: t("size"), number: true, cell: (one) => bytes(one.health.size_bytes, language), by: (one) => one.health.size_bytes },
        { key: "free", title: t("free"), number: true, cell: (one) => bytes(one.free_bytes, language), by: (one) => one.free_bytes },
        { key: "tables", title: t("tables"), number: true, cell: (one) => n(one.tables), by: (one) => one.tables },
        { key: "files", title: t("files"), number: true, cell: (one) => n(one.files), by: (one) => one.files },
        { key: "error", title: t("error"), cell: ({ error }) => (error ? <Failure of={error} /> : "–"), wrap: true },
        { key: "checked", title: t("checked"), cell: (one) => ago(one.checked_at), by: (one) => one.checked_at },
      ]} />
    </Card>
  );
}

function Queue({ open }: { open: Work[] }) {
  const { t, word, ago } = useWords(own);
  return (
    <Grid rows={open} rowKey={(one) => one.work} label={t("queue")} empty={<Empty icon="check" text={t("queue.empty")} />} columns={[
      { key: "what", title: t("what"), cell: (one) => <Link to={`/work/${one.work}`}>{word("kind", one.kind)} {one.what}</Link> },
      { key: "state", title: t("state"), cell: (one) => <Status of={one.status} /> },
      { key: "by", title: t("asked"), cell: (one) => one.asked_by },
      { key: "at", title: t("checked"), cell: (one) => ago(one.asked_at), by: (one) => one.asked_at },
    ]} />
  );
}

function Errors({ rows }: { rows: Cell[][] }) {
  const { t, word, n, ago } = useWords(own);
  const text = (cell: Cell | undefined) => (cell === null || cell === undefined ? "" : String(cell));
  return (
    <Grid rows={rows} rowKey={(row) => `${text(row[0])} ${text(row[1])} ${text(row[2])}`} label={t("errors")} empty={<Empty icon="check" text={t("errors.empty")} />} columns={[
      { key: "what", title: t("what"), cell: (row) => <>{word("kind", text(row[0]))} <code>{text(row[1])}</code></>, by: (row) => text(row[1]) },
      { key: "error", title: t("error"), cell: (row) => (text(row[5]) ? <Link to={`/runs/${text(row[5])}`}>{text(row[2])}</Link> : text(row[2])), wrap: true },
      { key: "count", title: t("count"), number: true, cell: (row) => n(text(row[3])), by: (row) => Number(row[3]) },
      { key: "seen", title: t("seen"), cell: (row) => ago(text(row[4])), by: (row) => text(row[4]) },
    ]} />
  );
}
