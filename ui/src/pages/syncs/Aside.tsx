/** Rows that a sync set aside: why, where, and as they were read. */
import { App, Button } from "antd";
import { lazy, Suspense, useMemo, useState } from "react";
import { part, useDo, useGet, type Cell, type Table, type Work } from "../../api";
import { groupBy } from "../../group";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Choice, Empty, Grid, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { Reason } from "../../ui/reason";
import { alike } from "./mend";
import { Asked } from "./parts";
import own from "./words";

// Most who look at rows mend none of them here.
const Mend = lazy(() => import("./Mend"));

type Which = "open" | "replayed" | "discarded" | "superseded";
interface Row { id: string; stream: string; file: string; line: number | null; column: string | null; code: string; reason: string; raw: string; at: string | null }

const LIMIT = 1_000;

/** Rows of `system.quarantine` by the names of its columns. */
export function rowsOf({ columns, rows }: Pick<Table, "columns" | "rows">): Row[] {
  const at = (name: string) => columns.findIndex((column) => column.name === name);
  const [id, stream, file, line, column, code, reason, raw, first] = ["quarantine_id", "stream", "file", "line", "column", "code", "reason", "raw", "first_at"].map(at);
  const text = (row: Cell[], which = -1) => { const cell = row[which]; return cell === null || cell === undefined ? null : String(cell); };
  return rows.map((row) => ({
    id: text(row, id) ?? "", stream: text(row, stream) ?? "", file: text(row, file) ?? "", line: text(row, line) === null ? null : Number(text(row, line)), column: text(row, column),
    code: text(row, code) ?? "", reason: text(row, reason) ?? "", raw: text(row, raw) ?? "", at: text(row, first),
  }));
}

const causeOf = (row: Row) => `${row.stream}\u0000${row.code}\u0000${row.column ?? ""}`;

export function Aside({ sync, open }: { sync: string; open: number }) {
  const { t, n } = useWords(own);
  const { can } = useWho();
  const { modal } = App.useApp();
  const [which, setWhich] = useState<Which>("open");
  const [cause, setCause] = useState<string | null>(null);
  const rows = useGet<Table>(can("query") ? `/v1/quarantine?sync=${part(sync)}&status=${which}&limit=${LIMIT}` : null);
  const replay = useDo<Work>(() => ["POST", "/v1/quarantine/replay", { sync }]);
  const discard = useDo<Work>(() => ["POST", "/v1/quarantine/discard", { sync }]);
  const give = () => modal.confirm({ title: t("discard.title", { count: n(open), name: sync }), content: t("discard.text"), okText: t("discard.go"), okButtonProps: { danger: true }, cancelText: t("f.cancel"), onOk: () => discard.mutate() });
  const buttons = can("operate") && open > 0 && (
    <span className="row">
      <Button danger loading={discard.isPending} onClick={give}>{t("discard")}</Button>
      <Button type="primary" icon={<Icon name="undo" size={14} />} loading={replay.isPending} onClick={() => replay.mutate()}>{t("replay")}</Button>
    </span>
  );
  return (
    <>
      {(replay.error ?? discard.error) && <Trouble error={replay.error ?? discard.error} />}
      {replay.data && <Asked work={replay.data} text="replay.asked" />}
      {discard.data && <Asked work={discard.data} />}
      <Card flush title={t("aside")} extra={rows.data && <Trust read={rows.dataUpdatedAt} sql={rows.data.sql} rows={rows.data.row_count} took_ms={rows.data.elapsed_ms} cut={rows.data.truncated} />}>
        <p className="syncs-about">{t("aside.text")}</p>
        <div className="syncs-bar">
          {can("query") && <Choice label={t("f.status")} value={which} choose={(next) => { setWhich(next); setCause(null); }} of={(["open", "replayed", "discarded", "superseded"] as const).map((key) => ({ key, label: t(`aside.${key}`) }))} />}
          {buttons}
        </div>
        {can("query") ? <Ask of={rows}>{(table) => <Rows all={rowsOf(table)} which={which} cause={cause} choose={setCause} />}</Ask> : <Empty icon="info" text={t("aside.denied", { count: n(open) })} />}
      </Card>
    </>
  );
}

/** Events that were handed in and do not fit their topic; nothing while there are none. */
export function EventsAside() {
  const { t, n } = useWords(own);
  const { can } = useWho();
  const { modal } = App.useApp();
  const [cause, setCause] = useState<string | null>(null);
  const rows = useGet<Table>(can("query") ? `/v1/quarantine?sync=&status=open&limit=${LIMIT}` : null);
  const discard = useDo<Work>(() => ["POST", "/v1/quarantine/discard", { sync: "" }]);
  const table = rows.data;
  if (!table?.rows.length) return null;
  const give = () => modal.confirm({ title: t("events.discard", { count: n(table.rows.length) }), content: t("events.discard.text"), okText: t("discard.go"), okButtonProps: { danger: true }, cancelText: t("f.cancel"), onOk: () => discard.mutate() });
  return (
    <>
      {discard.error && <Trouble error={discard.error} />}
      {discard.data && <Asked work={discard.data} />}
      <Card flush title={t("events")} extra={<Trust read={rows.dataUpdatedAt} sql={table.sql} rows={table.row_count} took_ms={table.elapsed_ms} cut={table.truncated} />}>
        <p className="syncs-about">{t("events.text")}</p>
        {can("operate") && <div className="syncs-bar"><Button danger loading={discard.isPending} onClick={give}>{t("discard")}</Button></div>}
        <Rows events all={rowsOf(table)} which="open" cause={cause} choose={setCause} />
      </Card>
    </>
  );
}

/** What is done with rows that were chosen one by one; events can only be given up. */
function Chosen({ rows, events, clear }: { rows: Row[]; events: boolean; clear: () => void }) {
  const { t, n } = useWords(own);
  const [doing, setDoing] = useState<"mend" | "dismiss" | null>(null);
  const [work, setWork] = useState<Work | null>(null);
  const ids = rows.map((row) => row.id);
  const done = (next: Work) => { setWork(next); clear(); };
  const dismiss = useDo<Work, string>((reason) => ["POST", "/v1/quarantine/dismiss", { rows: ids, reason }], (next) => { done(next); setDoing(null); });
  return (
    <>
      {work && <Asked work={work} />}
      {rows.length > 0 && (
        <div className="syncs-bar" role="group" aria-label={t("mend.chosen", { count: n(rows.length) })}>
          <span className="quiet">{t("mend.chosen", { count: n(rows.length) })}</span>
          {!events && <Button size="small" type="primary" disabled={!alike(rows)} title={alike(rows) ? undefined : t("mend.mixed")} onClick={() => setDoing("mend")}>{t("mend")}</Button>}
          <Button size="small" danger onClick={() => { dismiss.reset(); setDoing("dismiss"); }}>{t("dismiss")}</Button>
          {!events && !alike(rows) && <span className="small quiet">{t("mend.mixed")}</span>}
        </div>
      )}
      {doing === "mend" && <Suspense><Mend rows={ids} close={() => setDoing(null)} done={done} /></Suspense>}
      {doing === "dismiss" && <Reason danger title={t("dismiss.title", { count: n(rows.length) })} text={t("dismiss.text")} go={t("dismiss")} busy={dismiss.isPending} error={dismiss.error} close={() => setDoing(null)} done={(reason) => dismiss.mutate(reason)} />}
    </>
  );
}

function Rows({ all, which, cause, choose, events = false }: { all: Row[]; which: Which; cause: string | null; choose: (cause: string | null) => void; events?: boolean }) {
  const { t, n, day } = useWords(own);
  const { can } = useWho();
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const pick = (ids: string[], on: boolean) => setPicked((now) => { const next = new Set(now); for (const id of ids) if (on) next.add(id); else next.delete(id); return next; });
  const mends = which === "open" && can("operate");
  const causes = useMemo(() => [...groupBy(all, causeOf).entries()].sort(([, a], [, b]) => b.length - a.length), [all]);
  const shown = cause === null ? all : all.filter((row) => causeOf(row) === cause);
  // What landed meanwhile is not among the rows any more.
  const chosen = mends ? all.filter((row) => picked.has(row.id)) : [];
  const bar = mends && <Chosen rows={chosen} events={events} clear={() => setPicked(new Set())} />;
  const every = shown.length > 0 && shown.every((row) => picked.has(row.id));
  if (!all.length) return <>{bar}<Empty icon="check" text={t(which === "open" ? "aside.none" : `aside.none.${which}`)} /></>;
  return (
    <>
      {mends && <label className="syncs-bar mend-all"><input type="checkbox" checked={every} onChange={(event) => pick(shown.map((row) => row.id), event.target.checked)} />{t("mend.all", { count: n(shown.length) })}</label>}
      {bar}
      {causes.length > 1 && (
        <div className="syncs-causes" role="group" aria-label={t("aside.causes")}>
          <button type="button" aria-pressed={cause === null} onClick={() => choose(null)}><b>{n(all.length)}</b><span>{t("aside.all")}</span></button>
          {causes.map(([key, rows]) => (
            <button key={key} type="button" aria-pressed={cause === key} onClick={() => choose(cause === key ? null : key)}><b>{n(rows.length)}</b><span>{rows[0]?.code}{rows[0]?.column && <> · <code>{rows[0].column}</code></>}</span></button>
          ))}
        </div>
      )}
      <Grid
        rows={shown} rowKey={(row) => row.id} label={t("aside")} page={25}
        columns={[
          ...(mends ? [{ key: "pick", title: t("mend.pick"), cell: (row: Row) => <input type="checkbox" className="mend-pick" checked={picked.has(row.id)} aria-label={t("mend.one", { place: `${row.file} ${row.line ?? ""}`.trim() })} onChange={(event) => pick([row.id], event.target.checked)} /> }] : []),
          { key: "place", title: t("aside.place"), wrap: true, cell: (row) => <><code>{row.file}</code>{row.line !== null && <div className="quiet small">{t("aside.line", { line: n(row.line) })}</div>}</>, by: (row) => `${row.file} ${row.line ?? ""}` },
          { key: "why", title: t("aside.why"), wrap: true, cell: (row) => <><Chip>{row.code}</Chip>{row.column && <> <code>{row.column}</code></>}<div>{row.reason}</div></>, by: (row) => row.code },
          { key: "raw", title: t("aside.raw"), wrap: true, cell: (row) => <code className="syncs-raw">{row.raw}</code> },
          { key: "stream", title: t("stream"), cell: (row) => <code>{row.stream}</code>, by: (row) => row.stream },
          { key: "since", title: t("aside.since"), cell: (row) => day(row.at), by: (row) => row.at },
        ]}
      />
      {all.length === LIMIT && <p className="quiet small" style={{ padding: "8px 18px" }}>{t("aside.cut", { count: n(LIMIT) })}</p>}
    </>
  );
}
