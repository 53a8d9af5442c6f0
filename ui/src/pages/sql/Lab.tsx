/** Queries: written, run, stopped, read as rows or as a chart, taken along as CSV. */
import { App, Button } from "antd";
import { lazy, Suspense, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useNavigate, useSearchParams } from "react-router";
import { call, download, part, Problem, save, useGet, type Table } from "../../api";
import { useWords } from "../../i18n";
import { useWho, whose } from "../../session";
import { Choice, Empty, Loading, Page, Pick, Rich, Status, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { Rows } from "../../ui/rows";
import { SqlText } from "../../ui/sqltext";
import { Drawn } from "./Drawn";
import type { EditorHandle } from "./Editor";
import { draft, history, keep, keepDraft, remembered, type Ran } from "./history";
import { forSheets, place, quoted, type Known } from "./known";
import "./style.css";
import { Tables } from "./Tables";
import own from "./words";

const Editor = lazy(() => import("./Editor"));
const Publish = lazy(() => import("../queries/Publish"));

const LIMITS = ["100", "1000", "10000", "100000"] as const;
const TIMES = ["30000", "120000", "600000"] as const;
type What = "result" | "chart" | "plan" | "history";

type State =
  | { is: "idle" }
  | { is: "running"; id: string; since: number; what: "query" | "plan" }
  | { is: "rows"; table: Table; sql: string; at: number; limit: number }
  | { is: "failed"; error: unknown }
  | { is: "stopped"; ms: number };

/** A name for a query that nobody else of this user has. */
const named = () => `lab-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;

export default function Lab() {
  const { t, n, duration } = useWords(own);
  const who = useWho();
  const { message } = App.useApp();
  const { project } = who.session;
  const mine = whose(who);
  const [search, setSearch] = useSearchParams();
  const [start] = useState(() => search.get("q") ?? draft(mine));
  const editor = useRef<EditorHandle>(null);
  const [text, setText] = useState(start);
  const [selected, setSelected] = useState(false);
  const [state, setState] = useState<State>({ is: "idle" });
  const [plan, setPlan] = useState<Table | null>(null);
  const [tab, setTab] = useState<What>("result");
  const [past, setPast] = useState<Ran[]>(() => history(mine));
  const [limit, setLimit] = useState<(typeof LIMITS)[number]>("1000");
  const [time, setTime] = useState<(typeof TIMES)[number]>("30000");
  const [saving, setSaving] = useState(false);
  const [publishing, setPublishing] = useState<string | null>(null);
  const go = useNavigate();
  const schema = useGet<{ tables: Known }>("/v1/sql/schema");
  const known = useMemo(() => schema.data?.tables ?? [], [schema.data]);
  const stop = useRef<AbortController | null>(null);

  // An address with another query, from a link on this very page or from elsewhere.
  const asked = search.get("q");
  const shown = useRef(asked);
  useEffect(() => {
    if (asked === null || asked === shown.current) return;
    shown.current = asked;
    editor.current?.replace(asked);
  }, [asked]);
  useEffect(() => () => stop.current?.abort(), []);

  const changed = useCallback((now: string, some: boolean) => {
    setText(now);
    setSelected(some);
    keepDraft(mine, now);
  }, [mine]);

  const note = useCallback((ran: Ran) => setPast((all) => {
    const next = remembered(all, ran);
    keep(mine, next);
    return next;
  }), [mine]);

  const ask = useCallback(async (what: "query" | "plan", given?: string, rows?: string) => {
    const chosen = editor.current?.selected().trim();
    const sql = (given ?? (chosen || editor.current?.text() || "")).trim().replace(/;\s*$/, "");
    if (!sql) return;
    stop.current?.abort();
    const control = new AbortController();
    stop.current = control;
    const [id, since, at] = [named(), performance.now(), new Date().toISOString()];
    setState({ is: "running", id, since, what });
    setTab(what === "plan" ? "plan" : "result");
    const most = Number(rows ?? limit);
    try {
      const table = await call<Table>("POST", "/v1/sql", { sql: what === "plan" ? `explain ${sql}` : sql, limit: most, timeout_ms: Number(time), query_id: id }, control.signal);
      if (stop.current !== control) return;
      if (what === "plan") {
        setPlan(table);
        setState({ is: "idle" });
      } else {
        setState({ is: "rows", table, sql, at: Date.now(), limit: most });
        note({ sql, at, ms: table.elapsed_ms, rows: table.row_count, end: "ok" });
      }
    } catch (error) {
      if (stop.current !== control) return;
      const ms = performance.now() - since;
      if (control.signal.aborted || (error instanceof Problem && error.code === "cancelled")) {
        setState({ is: "stopped", ms });
        note({ sql, at, ms, rows: null, end: "stopped" });
        return;
      }
      setState({ is: "failed", error });
      if (what === "query") note({ sql, at, ms, rows: null, end: "failed" });
      const fault = error instanceof Problem && !chosen && !given ? place(error.detail) : null;
      if (fault) editor.current?.point(fault.line, fault.column);
    }
  }, [limit, time, note]);

  const cancel = () => {
    if (state.is !== "running") return;
    // The query may just have ended; then there is nothing to stop. Leaving stops it as well, should the server be too
    // busy to hear the first.
    void call("POST", `/v1/sql/${part(state.id)}/cancel`).catch(() => undefined);
    stop.current?.abort();
  };

  const put = (sql: string) => {
    editor.current?.replace(sql);
    editor.current?.focus();
  };

  const csv = async (sql: string, most: number) => {
    setSaving(true);
    try {
      const file = forSheets(await download("/v1/sql/csv", { sql, limit: most, timeout_ms: Number(time) }));
      save(file, `${project}-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.csv`);
    } catch (error) {
      message.error(error instanceof Error ? error.message : String(error));
    } finally {
      setSaving(false);
    }
  };

  const share = () => {
    const to = `/sql?q=${encodeURIComponent(text)}`;
    shown.current = text;
    setSearch({ q: text }, { replace: true });
    void navigator.clipboard?.writeText(location.origin + to).then(() => message.success(t("shared")), () => undefined);
  };

  const running = state.is === "running";
  const publishes = who.can("author") && who.can("query") && who.has("queries");
  const more = state.is === "rows" && state.table.truncated ? LIMITS.find((one) => Number(one) > state.limit) : undefined;
  return (
    <Page title={t("title")} text={t("text")}>
      <div className="sql-lab">
        <Tables known={known} pending={schema.isPending} error={schema.error} retry={() => void schema.refetch()} insert={(name) => editor.current?.insert(name)} first={(name) => {
          const sql = `select * from ${quoted(name)} limit 100`;
          put(sql);
          void ask("query", sql);
        }} />
        <div className="sql-main">
          <section className="card sql-write" aria-label={t("title")}>
            <Suspense fallback={<div className="sql-editor sql-waits"><Loading lines={3} /></div>}>
              <Editor ref={editor} first={start} known={known} label={t("editor")} hint="select … from …" run={() => void ask("query")} changed={changed} />
            </Suspense>
            <div className="sql-bar">
              {running ? <Button danger icon={<Icon name="close" size={15} />} onClick={cancel}>{t("stop")}</Button> : <Button type="primary" icon={<Icon name="play" size={15} />} disabled={!text.trim()} onClick={() => void ask("query")}>{selected ? t("run.part") : t("run")}</Button>}
              <Button disabled={!text.trim() || running} onClick={() => void ask("plan")}>{t("explain")}</Button>
              {publishes && <Button disabled={!text.trim()} onClick={() => setPublishing((editor.current?.selected().trim() || text).trim().replace(/;\s*$/, ""))}>{t("publish")}</Button>}
              <Pick label={t("limit")} value={limit} choose={(key) => setLimit(LIMITS.find((one) => one === key) ?? "1000")} of={LIMITS.map((key) => ({ key, label: t("limit.some", { count: n(Number(key)) }) }))} />
              <Pick label={t("time")} value={time} choose={(key) => setTime(TIMES.find((one) => one === key) ?? "30000")} of={TIMES.map((key) => ({ key, label: t("time.some", { time: duration(Number(key)) }) }))} />
              <span className="sql-keys small"><Rich text={t("keys")} /></span>
              <Button type="text" disabled={!text.trim()} icon={<Icon name="copy" size={15} />} onClick={share}>{t("share")}</Button>
            </div>
          </section>
          <section className="card sql-answer" aria-label={t("tabs")}>
            <div className="sql-answer-head">
              <Choice label={t("tabs")} value={tab} choose={setTab} of={(["result", "chart", "plan", "history"] as const).map((key) => ({ key, label: t(`tab.${key}`) }))} />
              <div className="sql-answer-words" aria-live="polite">
                {running && <Running since={state.since} />}
                {state.is === "rows" && <span className="quiet small">{t(state.table.row_count === 1 ? "rows.one" : "rows", { rows: n(state.table.row_count), time: duration(state.table.elapsed_ms) })}</span>}
              </div>
              {state.is === "rows" && (
                <>
                  <Button size="small" loading={saving} icon={<Icon name="download" size={14} />} onClick={() => void csv(state.sql, state.limit)}>{t("csv")}</Button>
                  <Trust read={state.at} sql={state.sql} rows={state.table.row_count} took_ms={state.table.elapsed_ms} cut={state.table.truncated} />
                </>
              )}
            </div>
            {more && state.is === "rows" && <p className="sql-cut"><Icon name="alert" size={14} />{t("cut", { rows: n(state.table.row_count) })}<Button size="small" type="link" onClick={() => { setLimit(more); void ask("query", state.sql, more); }}>{t("cut.more", { rows: n(Number(more)) })}</Button></p>}
            <div role="region" aria-label={t(`tab.${tab}`)} className={tab === "result" && state.is === "rows" && state.table.row_count > 0 ? "sql-panel-rows" : "sql-panel"}>
              {tab === "history" ? <History past={past} use={put} forget={() => { setPast([]); keep(mine, []); }} />
                : tab === "plan" && !running && state.is !== "failed" ? <Plan plan={plan} />
                  : running ? <Loading lines={5} />
                    : state.is === "failed" ? <Trouble error={state.error} />
                      : state.is === "stopped" ? <Empty icon="pause" text={t("stopped", { time: duration(state.ms) })} />
                        : state.is === "idle" ? <Begin known={known} ready={schema.isSuccess} use={(sql) => { put(sql); void ask("query", sql); }} />
                          : tab === "chart" ? <Drawn table={state.table} />
                            : state.table.row_count === 0 ? <Empty text={t("norows")} />
                              : <Rows key={state.at} table={state.table} label={t("result")} height={520} />}
            </div>
          </section>
        </div>
      </div>
      {publishing !== null && <Suspense><Publish sql={publishing} close={() => setPublishing(null)} done={(name) => void go(`/queries/${part(name)}`)} /></Suspense>}
    </Page>
  );
}

function Running({ since }: { since: number }) {
  const { t, duration } = useWords(own);
  const [now, setNow] = useState(since);
  useEffect(() => {
    const timer = setInterval(() => setNow(performance.now()), 250);
    return () => clearInterval(timer);
  }, []);
  return <span className="sql-running"><i className="dot dot-live" />{t("running", { time: duration(Math.max(0, now - since)) })}</span>;
}

/** What to ask first. */
function Begin({ known, ready, use }: { known: Known; ready: boolean; use: (sql: string) => void }) {
  const { t } = useWords(own);
  const usable = known.filter((table) => !table.name.startsWith("system."));
  const best = usable.find((table) => table.name.startsWith("mart.")) ?? usable[0];
  if (ready && !best) return <Empty icon="sql" text={t("empty.tables")} action={<Button onClick={() => use("select * from system.runs order by started_at desc limit 20")}>system.runs</Button>} />;
  const lift = known.some((table) => table.name === "system.lift");
  return (
    <Empty icon="sql" text={t("empty")} action={
      <div className="sql-begin">
        {best && <Button onClick={() => use(`select * from ${quoted(best.name)} limit 100`)}>{t("first.rows", { table: best.name })}</Button>}
        {best && <Button onClick={() => use(`select count(*) as row_count from ${quoted(best.name)}`)}>{t("first.count", { table: best.name })}</Button>}
        {lift && <Button onClick={() => use("select policy, turn, lift, lower, upper, decisions\nfrom system.lift\norder by turn desc, policy\nlimit 100")}>{t("first.lift")}</Button>}
      </div>
    } />
  );
}

function Plan({ plan }: { plan: Table | null }) {
  const { t } = useWords(own);
  if (!plan) return <Empty text={t("plan.none")} />;
  const names: Record<string, string> = { logical_plan: t("plan.logical"), physical_plan: t("plan.physical") };
  return (
    <div className="sql-plan">
      {plan.rows.map(([kind, text]) => (
        <div key={String(kind)}>
          <h3>{names[String(kind)] ?? String(kind)}</h3>
          <SqlText text={String(text ?? "").trimEnd()} max={360} label={t("plan.of", { what: names[String(kind)] ?? String(kind) })} />
        </div>
      ))}
    </div>
  );
}

function History({ past, use, forget }: { past: Ran[]; use: (sql: string) => void; forget: () => void }) {
  const { t, n, ago, duration } = useWords(own);
  if (!past.length) return <Empty icon="runs" text={t("history.none")} />;
  return (
    <>
      <ul className="sql-history">
        {past.map((ran) => (
          <li key={ran.at + ran.sql}>
            <button type="button" title={t("history.use")} onClick={() => use(ran.sql)}><code>{ran.sql}</code></button>
            <span className="quiet small">{ran.end === "ok" ? t(ran.rows === 1 ? "rows.one" : "rows", { rows: n(ran.rows), time: duration(ran.ms) }) : <Status of={ran.end === "failed" ? "failed" : "cancelled"} label={t(ran.end === "failed" ? "history.failed" : "history.stopped")} />}</span>
            <time className="quiet small" dateTime={ran.at}>{ago(ran.at)}</time>
          </li>
        ))}
      </ul>
      <div className="grid-more"><Button type="text" onClick={forget}>{t("history.clear")}</Button></div>
    </>
  );
}

