/** Who a new policy decides for: a table, conditions in rows, and the SQL that they make, which can be written by hand instead. */
import { useQuery } from "@tanstack/react-query";
import { Button } from "antd";
import { useMemo, useState } from "react";
import { call, type Cell, type Table } from "../../api";
import { useWords, type Speaker } from "../../i18n";
import { useWho } from "../../session";
import { Card, Choice, Empty, Loading, Rich, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { SqlText } from "../../ui/sqltext";
import { audienceSql, builtSql, carried, compiled, condition, conditionFaults, countSql, fresh, handFault, ident, likelyUnit, opsOf, sourceOf, takes, type Condition, type Draft, type Fault, type Op, type Sent, type Source } from "./draft";
import { Columns, control, Labelled, Said, Tables, Values } from "./Fields";
import own from "./words";

/** Part of the form: what it holds, how that is changed, and what is wrong. */
export interface Part { draft: Draft; put: (more: Partial<Draft>) => void; sources: Source[]; faults: Fault[] }

/** What is sent whatever the table is. */
const fixed = (payload: Sent[]) => payload.filter((one) => one.from !== "column");

export function Audience({ draft, put, sources, faults }: Part) {
  const { t } = useWords(own);
  const source = sourceOf(sources, draft.table);
  const sql = useMemo(() => audienceSql(draft, sources), [draft, sources]);
  // Which columns go along changes no count.
  const counted = useMemo(() => (draft.hand === null ? builtSql({ ...draft, along: [], action: "", consent: "" }, sources) : sql), [draft, sources, sql]);
  const change = (id: number, more: Partial<Condition>) => put({ conditions: draft.conditions.map((one) => (one.id === id ? { ...one, ...more } : one)) });
  // A row that somebody has left says what is wrong with it; the others do when somebody wants to go on.
  const [left, setLeft] = useState<ReadonlySet<number>>(new Set());
  const open = useMemo(() => conditionFaults(draft.conditions, source?.columns ?? []), [draft.conditions, source]);
  const written = draft.hand === null ? null : handFault(draft.hand);
  const said: Fault[] = faults.length || written !== "fault.hand.many" ? faults : [{ at: "hand", word: written }];
  const sent = source ? carried({ ...draft, along: [] }, source) : [];
  if (!sources.length) return <Card title={t("step.audience")}><Empty icon="land" text={t("table.none")} /></Card>;
  return (
    <Card title={`1 · ${t("step.audience")}`} id="draft-audience">
      {draft.hand === null ? (
        <>
          <div className="draft-pair">
            <Labelled at="table" label={t("table")} help={t("table.help")} faults={faults}>{(given) => (
              <Tables sources={sources} value={draft.table} {...given} choose={(table) => put({ table, unit: likelyUnit(sourceOf(sources, table)?.columns ?? []), conditions: [], along: [], consent: "", payload: fixed(draft.payload), candidates: draft.candidates.map((one) => ({ ...one, payload: fixed(one.payload) })) })} />
            )}</Labelled>
            <Labelled at="unit" label={t("unitcolumn")} help={t("unitcolumn.help")} faults={faults}>{(given) => <Columns columns={source?.columns ?? []} value={draft.unit} choose={(unit) => put({ unit })} {...given} />}</Labelled>
          </div>
          {source && (
            <>
              <div className="draft-line">
                <h3 className="sub">{t("joined")}</h3>
                {draft.conditions.length > 1 && <Choice label={t("joined")} value={draft.joined} choose={(joined) => put({ joined })} of={(["all", "any"] as const).map((key) => ({ key, label: t(`joined.${key}`) }))} />}
              </div>
              {draft.conditions.length === 0 && <p className="quiet small">{t("condition.none")}</p>}
              <ul className="draft-conditions">
                {draft.conditions.map((one, at) => <Row key={one.id} number={at + 1} one={one} source={source} faults={faults.length ? faults : left.has(one.id) ? open : []} leave={() => setLeft((now) => new Set([...now, one.id]))} change={(more) => change(one.id, more)} remove={() => put({ conditions: draft.conditions.filter((other) => other.id !== one.id) })} />)}
              </ul>
              <Button size="small" icon={<Icon name="plus" size={14} />} onClick={() => { const [first] = source.columns; if (first) put({ conditions: [...draft.conditions, condition(fresh(draft.conditions), first)] }); }}>{t("condition.add")}</Button>
              <details className="declared">
                <summary>{t("along")}{draft.along.length > 0 && <code>{draft.along.join(", ")}</code>}</summary>
                <p className="quiet small">{t("along.help")}</p>
                <ul className="draft-along">
                  {source.columns.filter((column) => column.name !== "unit_id").map(({ name }) => {
                    const on = sent.includes(name);
                    return <li key={name}><label><input type="checkbox" checked={on || draft.along.includes(name)} disabled={on} onChange={(event) => put({ along: event.target.checked ? [...draft.along, name] : draft.along.filter((other) => other !== name) })} /><code>{name}</code></label></li>;
                  })}
                </ul>
              </details>
            </>
          )}
          {sql && <><h3 className="sub">{t("sql")}</h3><SqlText text={sql} label={t("sql")} max={260} /></>}
        </>
      ) : (
        <>
          <p className="draft-note"><Icon name="edit" size={16} /><span><b>{t("hand")}</b> · {t("hand.text")}</span></p>
          <Labelled at="hand" label={t("hand.sql")} help={t("hand.help")} faults={said}>{(given) => <textarea className="draft-hand" rows={10} spellCheck={false} value={draft.hand ?? ""} onChange={(event) => put({ hand: event.target.value })} {...given} />}</Labelled>
        </>
      )}
      <div className="draft-line">
        <Count sql={counted} sources={sources} held={draft.hand === null ? open.length > 0 : written !== null} />
        {draft.hand === null
          ? <Button size="small" type="text" icon={<Icon name="edit" size={14} />} onClick={() => put({ hand: builtSql(draft, sources) })}>{t("hand.start")}</Button>
          : <Button size="small" type="text" icon={<Icon name="undo" size={14} />} onClick={() => put({ hand: null })}>{t("hand.back")}</Button>}
      </div>
    </Card>
  );
}

interface RowOf { number: number; one: Condition; source: Source; faults: Fault[]; leave: () => void; change: (more: Partial<Condition>) => void; remove: () => void }

function Row({ number, one, source, faults, leave, change, remove }: RowOf) {
  const { t } = useWords(own);
  const column = source.columns.find((field) => field.name === one.column);
  const type = column?.type ?? "other";
  const dated = type === "day" || type === "moment";
  const counted = type === "integer" || type === "number";
  const kind = takes(one.op);
  const [asked, setAsked] = useState(false);
  const values = useSuggested(source.relation, one.column, asked && type === "text" && kind !== "nothing");
  const list = `draft-values-${one.id}`;
  const input = dated && kind !== "days" ? "date" : counted || kind === "days" ? "number" : "text";
  const choose = (name: string) => {
    const next = source.columns.find((field) => field.name === name);
    if (!next) return;
    // Of another type, what was typed says nothing.
    change(next.type === type ? { column: name, values: [], value: "", to: "" } : { ...condition(one.id, next) });
  };
  const place = control(`condition-${one.id}`, faults);
  const field = (key: "value" | "to", given: object) => (
    <input
      className="input" type={input} step={kind === "days" ? 1 : "any"} min={kind === "days" ? 1 : undefined} list={input === "text" && values.length ? list : undefined} value={one[key]} maxLength={500}
      aria-label={t(key === "to" ? "condition.to" : "condition.value", { number })} onFocus={() => setAsked(true)} onChange={(event) => change({ [key]: event.target.value })} {...given}
    />
  );
  return (
    <li onBlur={(event) => { if (!event.currentTarget.contains(event.relatedTarget)) leave(); }}>
      <select className="input" value={one.column} aria-label={t("condition.column", { number })} onChange={(event) => choose(event.target.value)} {...(kind === "nothing" ? place : {})}>
        {!column && <option value={one.column}>{one.column}</option>}
        {source.columns.map((field) => <option key={field.name} value={field.name}>{field.name}</option>)}
      </select>
      <select className="input" value={one.op} aria-label={t("condition.op", { number })} onChange={(event) => { const op = opsOf(type).find((other) => other === event.target.value); if (op) change(takes(op) === kind ? { op } : { op, value: "", to: "", values: [] }); }}>
        {opsOf(type).map((op) => <option key={op} value={op}>{opWord(t, op, dated)}</option>)}
      </select>
      <span className="draft-value">
        {kind === "many" && <span className="draft-many" onFocus={() => setAsked(true)}><Values values={one.values} set={(next) => change({ values: next })} type={counted ? "number" : "text"} list={values.length ? list : undefined} label={t("condition.value", { number })} {...place} /></span>}
        {(kind === "one" || kind === "two" || kind === "days") && field("value", place)}
        {kind === "days" && <span>{t("condition.days")}</span>}
        {kind === "two" && <><span>{t("condition.and")}</span>{field("to", control(`condition-${one.id}-to`, faults))}</>}
        {values.length > 0 && <datalist id={list}>{values.map((value) => <option key={value} value={value} />)}</datalist>}
      </span>
      <Button type="text" size="small" icon={<Icon name="remove" size={15} />} aria-label={t("condition.remove", { number })} title={t("condition.remove", { number })} onClick={remove} />
      <Said at={[`condition-${one.id}`, `condition-${one.id}-to`]} faults={faults} />
    </li>
  );
}

type Speak = Speaker<keyof typeof own.en>["t"];
const opWord = (t: Speak, op: Op, dated: boolean) => (dated && (op === "is" || op === "more" || op === "less") ? t(`dated.${op}`) : t(`op.${op}`));

/** Values above which choosing from a list helps nobody. */
const SUGGESTED = 50;

/** Values that a column has, the most frequent first; none where looking takes too long. */
function useSuggested(relation: string, column: string, wanted: boolean): string[] {
  const { can } = useWho();
  const name = ident(column);
  const sql = `select ${name} as value, count(*) as number_of from ${relation.split(".").map(ident).join(".")} where ${name} is not null group by ${name} order by number_of desc, value limit ${SUGGESTED}`;
  const found = useQuery<Table, Error>({
    queryKey: ["policy values", relation, column], queryFn: ({ signal }) => call<Table>("POST", "/v1/sql", { sql, limit: SUGGESTED, timeout_ms: 3000 }, signal),
    enabled: wanted && can("query"), staleTime: 300_000, retry: false, refetchOnWindowFocus: false,
  });
  return useMemo(() => (found.data?.rows ?? []).map((row) => String(row[0] ?? "")).filter((value) => value !== ""), [found.data]);
}

/** How many units match now, counted when somebody asks; not while a condition is not finished, which would not count. */
function Count({ sql, sources, held }: { sql: string; sources: Source[]; held: boolean }) {
  const { t, n } = useWords(own);
  const { can } = useWho();
  const plain = useMemo(() => (sql ? compiled(sql, sources) : null), [sql, sources]);
  const [asked, setAsked] = useState<string | null>(null);
  const now = !held && asked !== null && asked === plain;
  const query = countSql(plain ?? "");
  const counted = useQuery<Table, Error>({ queryKey: ["policy count", asked], queryFn: ({ signal }) => call<Table>("POST", "/v1/sql", { sql: query, limit: 1 }, signal), enabled: now, staleTime: 60_000, retry: false, refetchOnWindowFocus: false });
  if (!can("query") || !sql) return <span />;
  if (plain === null) return <span className="quiet small"><Rich text={t("count.template")} /></span>;
  const [row] = now ? (counted.data?.rows ?? []) : [];
  const [units, all, none] = row ?? [];
  const number = (cell: Cell | undefined) => Number(cell ?? 0);
  const repeated = number(all) - number(none) - number(units);
  return (
    <div className="draft-count" aria-live="polite">
      <Button size="small" icon={<Icon name="measure" size={14} />} disabled={held} loading={now && counted.isFetching} onClick={() => { if (now) void counted.refetch(); else setAsked(plain); }}>{t("count")}</Button>
      {held && <span className="quiet small">{t("count.held")}</span>}
      {now && counted.isPending && <span className="draft-waits"><Loading lines={1} /></span>}
      {row && <><b>{number(units) === 1 ? t("count.one") : t("count.units", { count: n(number(units)) })}</b>{repeated > 0 && <span className="warn">{t("count.repeated", { count: n(repeated) })}</span>}{number(none) > 0 && <span className="warn">{t("count.nounit", { count: n(number(none)) })}</span>}<Trust read={counted.dataUpdatedAt} sql={query} /></>}
      {now && counted.error && <div className="draft-trouble"><Trouble error={counted.error} /></div>}
    </div>
  );
}
