/** The parts pages are made of. */
import { Button, Popover } from "antd";
import { type ReactNode, useEffect, useId, useMemo, useRef, useState } from "react";
import { Link, useSearchParams } from "react-router";
import { type Items, type Metric, part, Problem, useGet, withdrawn } from "../api";
import { useWords } from "../i18n";
import { entries } from "../pages";
import { useWho } from "../session";
import { Icon, type IconName } from "./icons";
import { age, isStale, judge, type Judged, type Known, type Why } from "./trust";

/** Words with `code` between backticks. */
export function Rich({ text }: { text: string }) {
  return <>{text.split("`").map((piece, at) => (at % 2 ? <code key={at}>{piece}</code> : piece))}</>;
}

/** A page: its title, one sentence about it, what can be done, and what it shows. */
export function Page({ title, text, back, actions, children }: { title: ReactNode; text?: ReactNode; back?: { to: string; label: string }; actions?: ReactNode; children: ReactNode }) {
  return (
    <div className="page">
      <header className="page-head">
        <div className="page-words">
          {back && <Link className="page-back" to={back.to}><Icon name="back" size={14} />{back.label}</Link>}
          <h1>{title}</h1>
          {text && <p>{typeof text === "string" ? <Rich text={text} /> : text}</p>}
        </div>
        {actions && <div className="page-actions">{actions}</div>}
      </header>
      {children}
    </div>
  );
}

export function Card({ title, extra, children, className = "", flush = false, id }: { title?: ReactNode; extra?: ReactNode; children: ReactNode; className?: string; flush?: boolean; id?: string }) {
  const label = useId();
  return (
    <section className={`card ${flush ? "card-flush" : ""} ${className}`} aria-labelledby={title ? label : undefined} id={id}>
      {(title || extra) && (
        <div className="card-head">
          {title && <h2 id={label}>{title}</h2>}
          {extra && <div className="card-extra">{extra}</div>}
        </div>
      )}
      <div className="card-body">{children}</div>
    </section>
  );
}

/** What is shown where there is nothing yet: why, and the next step. */
export function Empty({ text, action, icon = "info" }: { text: string; action?: ReactNode; icon?: IconName }) {
  return (
    <div className="empty">
      <Icon name={icon} size={26} />
      <p><Rich text={text} /></p>
      {action}
    </div>
  );
}

/** Grey bars where something is being asked for. */
export function Loading({ lines = 4 }: { lines?: number }) {
  const { t } = useWords();
  return (
    <div className="loading" role="status" aria-label={t("app.loading")}>
      {Array.from({ length: lines }, (_, at) => <i key={at} style={{ width: `${92 - ((at * 37) % 45)}%` }} />)}
    </div>
  );
}

/** Words that fit a code better where it can mean one thing only: of a sign-in, `unauthenticated` is a wrong password. */
export type Means = Record<string, "sign-in" | "set-up-link" | "old-password">;

/**
 * What went wrong: in words of the reader's language by its code, then what the server says about it and how to mend
 * it, which is English, and the number of the request.
 */
export function Trouble({ error, retry, means }: { error: unknown; retry?: () => void; means?: Means }) {
  const { t, word, language } = useWords();
  const problem = error instanceof Problem ? error : null;
  const special = problem && means?.[problem.code];
  const code = special ?? problem?.code;
  const known = code && problem?.status !== 0 ? word("problem", code) : null;
  const title = known === code ? null : known;
  const advice = title && (special || language !== "en") ? word("problem", `${code}.do`) : null;
  const detail = problem?.status === 0 ? t("app.offline") : (problem?.detail ?? (error instanceof Error ? error.message : String(error)));
  const hint = problem?.hint ?? (code === "denied" ? t("app.denied") : null);
  return (
    <div className="trouble" role="alert">
      <Icon name="failed" size={20} />
      <div>
        {title && <p className="trouble-title">{title}{problem && <code className="trouble-code">{problem.code}</code>}</p>}
        {advice && <p>{advice}</p>}
        {(!special || hint) && <div className={advice ? "trouble-said" : "trouble-plain"} lang={advice && problem ? "en" : undefined}>
          {advice && language !== "en" && <span className="unseen" lang="zh-CN">{t("problem.says")}</span>}
          {!special && <p className="trouble-detail">{!title && problem && <code className="trouble-code">{problem.code}</code>}<Rich text={detail} /></p>}
          {hint && <p><Rich text={hint} /></p>}
        </div>}
        {problem?.requestId && <p className="quiet small">{t("app.request", { id: problem.requestId })}</p>}
        {problem?.ask && <p><Link to={`/access?what=${problem.ask}`}>{t("app.access.ask")}</Link></p>}
        {retry && <Button size="small" onClick={retry}>{t("app.retry")}</Button>}
      </div>
    </div>
  );
}

interface Asked<T> { data: T | undefined; error: unknown; isPending: boolean; refetch: () => unknown }

/** What was asked for, once it is there; until then grey bars, or what went wrong. */
export function Ask<T>({ of, lines, children }: { of: Asked<T>; lines?: number; children: (data: T) => ReactNode }) {
  if (of.data !== undefined && !withdrawn(of.error)) return <>{children(of.data)}</>;
  if (of.error) return <Trouble error={of.error} retry={() => void of.refetch()} />;
  return <Loading lines={lines} />;
}

const TONES: Record<string, "ok" | "warn" | "bad" | "idle" | "brand"> = {
  ok: "ok", following: "ok", succeeded: "ok", published: "ok", passed: "ok", delivered: "ok", active: "ok", fresh: "ok", complete: "ok", works: "ok",
  running: "brand", starting: "brand", queued: "brand", waiting: "brand", pending: "brand",
  attention: "warn", failing: "warn", partial: "warn", warned: "warn", warn: "warn", blocked: "warn", paused: "warn", interrupted: "warn", open: "warn", stale: "warn", "never built": "idle",
  failed: "bad", broken: "bad", dead: "bad", harms: "bad", revoked: "bad",
};
const MARKS: Record<string, IconName> = { ok: "check", warn: "alert", bad: "failed" };

/** A word for a state, told by colour and by a mark. */
export function Status({ of, label }: { of: string; label?: string }) {
  const { word } = useWords();
  const tone = TONES[of] ?? "idle";
  const mark = MARKS[tone];
  return (
    <span className={`status status-${tone}`}>
      {mark ? <Icon name={mark} size={13} /> : <i className={`dot ${of === "running" ? "dot-live" : ""}`} />}
      {label ?? word("status", of)}
    </span>
  );
}

/** A small word beside something: a kind, a tag. */
export const Chip = ({ children }: { children: ReactNode }) => <span className="chip">{children}</span>;

/** Puts text on the clipboard, also where the browser keeps its own way for secure pages only. */
async function copy(text: string) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

export function Copy({ text, small = true }: { text: string; small?: boolean }) {
  const { t } = useWords();
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => setDone(false), 1500);
    return () => clearTimeout(timer);
  }, [done]);
  return (
    <Button size={small ? "small" : "middle"} type="text" icon={<Icon name={done ? "check" : "copy"} size={14} />} onClick={() => void copy(text).then(() => setDone(true))}>
      <span aria-live="polite">{done ? t("f.copied") : t("f.copy")}</span>
    </Button>
  );
}

/** Text of a program or file, to be read and copied. */
export function Code({ text, max = 360 }: { text: string; max?: number }) {
  return (
    <div className="code">
      <div className="code-copy"><Copy text={text} /></div>
      {/* It scrolls, so it must be reachable by keyboard. */}
      <pre tabIndex={0} style={{ maxHeight: max }}><code>{text}</code></pre>
    </div>
  );
}

export interface Origin {
  /** When the answer was read, in milliseconds. */
  read?: number;
  /** The logical moment it speaks of. */
  as?: string | null;
  /** The query that gives it again. */
  sql?: string | null;
  /** Where the API answers it. */
  route?: string;
  rows?: number;
  took_ms?: number;
  cut?: boolean;
  /** The metrics that it is a figure of, where it is to be said how good what they are made of is; none of a plain query. */
  of?: Metric[];
}

/** Whether there is a page to open a query in. */
const LAB = entries.some((entry) => entry.path === "sql");

/** What speaks against a figure, in words. */
function useReasons() {
  const { t, n, language } = useWords();
  return ({ key, name, count, known }: Why) => t(`trust.why.${key}`, { name, count: n(count ?? 0), age: age(known?.age_s ?? 0, language), limit: age(known?.fresh_limit_s ?? 0, language) });
}

/** What a figure means, what it is made of, and how good that is. */
function Ground({ of, judged }: { of: Metric[]; judged: Judged }) {
  const { t, word, ago, n, language } = useWords();
  const { can, has } = useWho();
  const reason = useReasons();
  const traced = can("view") && has("lineage") && entries.some((entry) => entry.path === "lineage");
  const tests = (one: Known) => {
    const [bad, warned] = [one.failed + Number(one.tests_status === "failed"), one.warned + Number(one.tests_status === "warned")];
    if (bad) return t("trust.tests.failed");
    if (warned) return t("trust.tests.warned");
    return one.passed || one.tests_status === "passed" ? t("trust.tests.passed", { count: n(one.passed + one.tests) }) : t("trust.tests.none");
  };
  const lineage = (name: string) => `/lineage?table=${encodeURIComponent(name)}`;
  return (
    <>
      {judged.why.length > 0 && <ul className={`trust-why trust-${judged.tone}`}>{judged.why.map((one) => <li key={`${one.key} ${one.name}`}>{reason(one)}</li>)}</ul>}
      {of.map((metric) => (
        <div key={metric.name} className="trust-part">
          <h4>{t("trust.means")} <code>{metric.name}</code>{metric.certification && <> <Chip>{word("trust.state", metric.certification)}</Chip></>}</h4>
          {metric.description && <p>{metric.description}</p>}
          {(metric.made_of?.length ?? 0) > 0 && <p className="small"><code>{metric.made_of?.join(" · ")}</code></p>}
          {metric.filter && <p className="small">{t("trust.only")} <code>{metric.filter}</code></p>}
          <p className="small quiet">{metric.owner ? t("trust.owner", { name: metric.owner }) : t("trust.owner.none")}</p>
          {traced && <Link to={lineage(`metric:${metric.name}`)}>{t("trust.lineage")}</Link>}
        </div>
      ))}
      {judged.tables.length > 0 && <div className="trust-part">
        <h4>{t("trust.made")}</h4>
        <ul className="trust-tables">{judged.tables.map((one) => (
          <li key={one.name}>
            <Link to={`/catalogue/${part(one.name)}`}><code>{one.name}</code></Link>
            <span className={isStale(one) ? "warn" : "quiet"}>{one.age_s === null ? t("trust.age.none") : t("trust.age", { age: age(one.age_s, language) })}</span>
            {one.committed_at && <span className="quiet">{t("trust.landed", { when: ago(one.committed_at) })}</span>}
            <span className={one.failed || one.tests_status === "failed" ? "bad" : "quiet"}>{tests(one)}</span>
            {traced && <Link to={lineage(one.name)} aria-label={`${t("trust.lineage")}: ${one.name}`}><Icon name="lineage" size={13} /></Link>}
          </li>
        ))}</ul>
      </div>}
    </>
  );
}

const MARK = { bad: "failed", warn: "alert", ok: "info", unknown: "info" } as const;

/** Where a figure comes from: how fresh it is, the query or answer behind it, and whether what it is made of is good. */
export function Trust({ read, as, sql, route, rows, took_ms, cut, of }: Origin) {
  const { t, ago, day, n, duration } = useWords();
  const { can, has } = useWho();
  const reason = useReasons();
  // One answer for all figures of a page.
  const known = useGet<Items<Known>>(of && can("view") ? "/v1/trust" : null);
  const items = known.data?.items;
  const judged = useMemo(() => (of && items ? judge(of, sql, items) : null), [of, sql, items]);
  const tone = judged?.tone ?? "unknown";
  const title = [t("trust.title"), ...(judged?.why.map(reason) ?? [])].join(" · ");
  const [open, setOpen] = useState(false);
  const [button, panel] = [useRef<HTMLButtonElement>(null), useRef<HTMLDivElement>(null)];
  // Whoever opened it by keyboard stands in it, and goes back to the mark.
  const close = (event: React.KeyboardEvent) => {
    if (event.key !== "Escape" || !open) return;
    event.stopPropagation();
    setOpen(false);
    button.current?.focus();
  };
  const content = () => (
    <div className="trust" ref={panel} tabIndex={-1} role="dialog" aria-label={t("trust.title")} onKeyDown={close}>
      {of && judged && <Ground of={of} judged={judged} />}
      {as && <p>{t("trust.as", { when: day(as) })}</p>}
      {read !== undefined && <p>{t("trust.read", { when: ago(new Date(read).toISOString()) })}</p>}
      {rows !== undefined && took_ms !== undefined && <p>{t(rows === 1 ? "trust.took.one" : "trust.took", { rows: n(rows), time: duration(took_ms) })}{cut ? ` · ${t("trust.cut")}` : ""}</p>}
      {sql && <><h4>{t("trust.query")}</h4><Code text={sql} max={180} /></>}
      {sql && can("query") && has("sql") && LAB && <Link to={`/sql?q=${encodeURIComponent(sql)}`}>{t("trust.open")}</Link>}
      {!sql && route && <><h4>{t("trust.route")}</h4><code>{route}</code></>}
    </div>
  );
  return (
    <Popover trigger="click" content={content} placement="bottomRight" destroyOnHidden open={open} onOpenChange={setOpen} afterOpenChange={(shown) => { if (shown) panel.current?.focus(); }}>
      <button ref={button} type="button" className={`trust-mark trust-${tone}`} aria-label={title} aria-haspopup="dialog" aria-expanded={open} title={title} onKeyDown={close}><Icon name={MARK[tone]} size={15} /></button>
    </Popover>
  );
}

/** Figures in a row, each with its name. */
export function Figures({ of }: { of: { label: ReactNode; value: ReactNode; note?: ReactNode; tone?: "ok" | "warn" | "bad" }[] }) {
  return (
    <dl className="figures">
      {of.map((one, at) => (
        <div key={at} className={one.tone ? `tone-${one.tone}` : undefined}>
          <dt>{one.label}</dt>
          <dd>{one.value}</dd>
          {one.note && <dd className="figures-note">{one.note}</dd>}
        </div>
      ))}
    </dl>
  );
}

/** Names and values, one a line. */
export function Facts({ of }: { of: [ReactNode, ReactNode][] }) {
  return (
    <dl className="facts">
      {of.map(([name, value], at) => <div key={at}><dt>{name}</dt><dd>{value}</dd></div>)}
    </dl>
  );
}

export interface GridColumn<T> {
  key: string;
  title: string;
  /** Numbers stand right. */
  number?: boolean;
  cell: (row: T) => ReactNode;
  /** What rows are sorted by; without it the column is not sortable. */
  by?: (row: T) => number | string | null | undefined;
  width?: number | string;
  wrap?: boolean;
}

/** A table of rows that are all here. Long ones are shown a piece at a time. */
export function Grid<T>({ rows, columns, rowKey, label, empty, page = 50, first, tight }: { rows: T[]; columns: GridColumn<T>[]; rowKey: (row: T) => string; label: string; empty?: ReactNode; page?: number; first?: { key: string; down?: boolean }; tight?: boolean }) {
  const { t, n, language } = useWords();
  const [sort, setSort] = useState(first ?? null);
  const [shown, setShown] = useState(page);
  const sorted = useMemo(() => {
    const by = sort && columns.find((column) => column.key === sort.key)?.by;
    if (!by) return rows;
    const collator = new Intl.Collator(language, { numeric: true });
    return [...rows].sort((one, other) => {
      const [a, b] = [by(one), by(other)];
      // What has no value is last, whichever way.
      if (a === null || a === undefined) return b === null || b === undefined ? 0 : 1;
      if (b === null || b === undefined) return -1;
      const order = typeof a === "number" && typeof b === "number" ? a - b : collator.compare(String(a), String(b));
      return sort.down ? -order : order;
    });
  }, [rows, columns, sort, language]);
  if (!rows.length && empty) return <>{empty}</>;
  return (
    <div className="grid-outer" tabIndex={0} role="region" aria-label={label}>
      <table className={`grid ${tight ? "grid-tight" : ""}`}>
        <caption className="unseen">{label}</caption>
        <thead>
          <tr>
            {columns.map((column) => {
              const on = sort?.key === column.key;
              return (
                <th key={column.key} scope="col" className={column.number ? "right" : undefined} style={{ width: column.width }} aria-sort={on ? (sort.down ? "descending" : "ascending") : undefined}>
                  {column.by ? (
                    <button type="button" title={t("sort.by", { what: column.title })} onClick={() => setSort({ key: column.key, down: on ? !sort.down : Boolean(column.number) })}>
                      {column.title}<span aria-hidden="true" className="sort-mark">{on ? (sort.down ? "↓" : "↑") : ""}</span>
                    </button>
                  ) : column.title}
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>
          {sorted.slice(0, shown).map((row) => (
            <tr key={rowKey(row)}>
              {columns.map((column) => <td key={column.key} className={`${column.number ? "right" : ""} ${column.wrap ? "wrap" : ""}`}>{column.cell(row)}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
      {sorted.length > shown && <div className="grid-more"><Button type="text" onClick={() => setShown(shown + page * 4)}>{t("f.more", { count: n(Math.min(page * 4, sorted.length - shown)) })}</Button></div>}
    </div>
  );
}

/** Tabs whose choice is part of the address, so that it can be linked and goes back with the browser. */
export function Tabs<K extends string>({ tabs, label }: { tabs: { key: K; label: string; count?: number; body: () => ReactNode }[]; label: string }) {
  const { n } = useWords();
  const [search, setSearch] = useSearchParams();
  const asked = search.get("tab");
  const at = Math.max(0, tabs.findIndex((tab) => tab.key === asked));
  const id = useId();
  const go = (index: number, focus = false) => {
    const tab = tabs[(index + tabs.length) % tabs.length];
    if (!tab) return;
    setSearch((now) => { now.set("tab", tab.key); return now; }, { replace: true });
    if (focus) document.getElementById(`${id}-${tab.key}`)?.focus();
  };
  return (
    <>
      <div role="tablist" aria-label={label} className="tabs">
        {tabs.map((tab, index) => (
          <button
            key={tab.key} type="button" role="tab" id={`${id}-${tab.key}`} aria-selected={index === at} aria-controls={`${id}-body`} tabIndex={index === at ? 0 : -1} onClick={() => go(index)}
            onKeyDown={(event) => { if (event.key === "ArrowRight") go(at + 1, true); else if (event.key === "ArrowLeft") go(at - 1, true); }}
          >
            {tab.label}{tab.count !== undefined && <span className="tabs-count">{n(tab.count)}</span>}
          </button>
        ))}
      </div>
      <div role="tabpanel" id={`${id}-body`} aria-labelledby={`${id}-${tabs[at]?.key}`}>{tabs[at]?.body()}</div>
    </>
  );
}

/** One of a few, all in sight. */
export function Choice<K extends string>({ of, value, choose, label }: { of: { key: K; label: ReactNode }[]; value: K; choose: (key: K) => void; label: string }) {
  return (
    <div className="choice" role="group" aria-label={label}>
      {of.map((one) => <button key={one.key} type="button" aria-pressed={one.key === value} onClick={() => choose(one.key)}>{one.label}</button>)}
    </div>
  );
}

/** One of many. */
export function Pick({ of, value, choose, label }: { of: { key: string; label: string }[]; value: string; choose: (key: string) => void; label: string }) {
  return (
    <label className="pick"><span>{label}</span>
      <select value={value} onChange={(event) => choose(event.target.value)}>{of.map((one) => <option key={one.key} value={one.key}>{one.label}</option>)}</select>
    </label>
  );
}

/** The width that an element has now, in pixels; 0 before it is shown. */
export function useWidth<E extends HTMLElement>(): [React.RefObject<E | null>, number] {
  const ref = useRef<E>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const element = ref.current;
    if (!element) return;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.round(entry?.contentRect.width ?? 0)));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return [ref, width];
}

/** The declaration of something, as the server read it from its file. */
export function Declared({ file, value }: { file?: string | null; value: unknown }) {
  const { t } = useWords();
  return (
    <details className="declared">
      <summary>{t("f.declared")}{file && <code>{file}</code>}</summary>
      <Code text={JSON.stringify(value, null, 2)} />
    </details>
  );
}
