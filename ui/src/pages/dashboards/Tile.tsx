/** One tile: a card of the grid with what it shows. */
import { lazy, type ReactNode, Suspense, useEffect, useMemo, useRef, useState } from "react";
import type { Cell, Metric, Table } from "../../api";
import { useWords } from "../../i18n";
import { Grid, Loading, Rich, Trouble, Trust } from "../../ui/basics";
import type { Drawing } from "../../ui/Chart";
import { Icon } from "../../ui/icons";
import { exact, isNumber } from "../../ui/rows";
import { at, numberOf, writer } from "../metrics/ask";
import { valueCalled, valueText, written } from "../metrics/Explore";
import { signed } from "../metrics/Metrics";
import { called, dimensionCalled, GRAINS, valueLabel, windowed, type Chosen } from "../metrics/question";
import { Spark } from "../metrics/Spark";
import { guess, series } from "../sql/drawing";
import { labelled, shownAs, sizeOf, slices, spans, titled, type Answer, type Choice, type Show, type Tile as Declared } from "./board";
import { Markdown } from "./Markdown";
import { useAnswer, useSource } from "./source";
import own from "./words";

const Chart = lazy(() => import("../../ui/Chart"));

interface Given {
  board: string; tile: Declared; metrics: Metric[]; choice: Choice; rows: boolean;
  /** As the server says; a link does not see what a tile asks. */
  show?: Show | null;
  /** Dimensions that a click may narrow everything by. */
  narrows?: string[]; narrow?: (dimension: string, value: Cell) => void;
  /** What the builder adds around it. */
  tools?: ReactNode; className?: string; links?: boolean; props?: React.HTMLAttributes<HTMLElement> & { "data-tile"?: number };
}

export function Tile({ board, tile, metrics, choice, rows, show: said, narrows = [], narrow, tools, className = "", links = true, props }: Given) {
  const words = useWords(own);
  const { t, language } = words;
  const show = said === undefined ? shownAs(tile) : said;
  const { width, height } = sizeOf(tile, show);
  const answer = useAnswer(board, tile, choice, show !== null && rows);
  const title = titled(tile, metrics, language, (what, dimension) => t("tile.by", { what, dimension }));
  const unfiltered = answer.data?.unfiltered ?? [];
  const text = labelled(tile.text, language);
  const id = `tile-${tile.tile}`;
  const [body, scrolls] = useScrolls();
  const of = useMemo(() => metrics.filter((metric) => tile.metrics.includes(metric.name)), [metrics, tile.metrics]);
  return (
    <section {...props} id={id} className={`card board-tile tile-${show ?? "words"} ${className}`} aria-labelledby={title ? `${id}-title` : undefined} aria-label={title ? undefined : t("tile.text")} style={{ ...spans(width), "--h": height } as React.CSSProperties}>
      {(title || tools) && (
        <header className="board-head">
          {title ? <h2 id={`${id}-title`} title={title}>{title}</h2> : <span />}
          <div className="board-marks">
            {unfiltered.length > 0 && <Unfiltered names={unfiltered} metrics={metrics} />}
            {answer.data?.table.sql && !tools && <Trust of={of} read={answer.dataUpdatedAt} sql={answer.data.table.sql} rows={answer.data.table.row_count} took_ms={answer.data.table.elapsed_ms} cut={answer.data.table.truncated} />}
            {tools}
          </div>
        </header>
      )}
      {tile.description && <p className="quiet small board-about"><Rich text={tile.description} /></p>}
      <div ref={body} tabIndex={scrolls ? 0 : undefined} className={`board-body ${answer.isPlaceholderData ? "board-old" : ""}`}>
        {show === null ? (text ? <Markdown text={text} links={links} /> : <p className="quiet">{t("tile.empty.text")}</p>)
          : !rows ? <p className="quiet small">{t("noquery")}</p>
          : answer.error ? <Trouble error={answer.error} retry={() => void answer.refetch()} />
          : !answer.data ? <Loading lines={show === "number" ? 2 : Math.min(8, height * 2)} />
          : <Shown answer={answer.data} tile={tile} metrics={metrics} title={title} chosen={choice.only} narrow={narrow && tile.by.length === 1 && narrows.includes(tile.by[0] ?? "") ? narrow : undefined} />}
      </div>
    </section>
  );
}

/** Whether there is more in an element than is in sight; it must then be reachable by keyboard. */
function useScrolls(): [React.RefObject<HTMLDivElement | null>, boolean] {
  const element = useRef<HTMLDivElement>(null);
  const [scrolls, setScrolls] = useState(false);
  useEffect(() => {
    const box = element.current;
    if (!box) return;
    const look = () => setScrolls(box.scrollHeight > box.clientHeight + 1 && ["auto", "scroll"].includes(getComputedStyle(box).overflowY));
    const sized = new ResizeObserver(look);
    const filled = new MutationObserver(look);
    sized.observe(box);
    filled.observe(box, { childList: true, subtree: true });
    return () => { sized.disconnect(); filled.disconnect(); };
  }, []);
  return [element, scrolls];
}

function Unfiltered({ names, metrics }: { names: string[]; metrics: Metric[] }) {
  const { t, language } = useWords(own);
  const says = t("unfiltered", { what: names.map((name) => (name === "time" ? t("time") : dimensionCalled(name, metrics, language))).join(language === "zh" ? "、" : ", ") });
  return <span className="board-unfiltered" title={says}><Icon name="info" size={14} /><span className="unseen">{says}</span></span>;
}

interface Part { answer: Answer; tile: Declared; metrics: Metric[]; title: string; chosen: Chosen; narrow?: (dimension: string, value: Cell) => void }

function Shown(part: Part) {
  const { t } = useWords(own);
  const { answer, tile } = part;
  if (answer.show !== "number" && !answer.table.rows.length) return <p className="board-none quiet">{t("tile.none")}</p>;
  if (answer.show === "number") return tile.metrics.length ? <Numbers {...part} /> : <Plain table={answer.table} />;
  if (answer.show === "table") return <Rows {...part} />;
  if (answer.show === "line") return <Lines {...part} />;
  return answer.show === "pie" ? <Pie {...part} /> : <Bars {...part} />;
}

/** Metrics by name, as the tile lists them; one that the page does not know is written plainly. */
function useMetrics(tile: Declared, metrics: Metric[]) {
  const words = useWords(own);
  return useMemo(() => tile.metrics.map((name) => {
    const metric = metrics.find((one) => one.name === name || one.synonyms?.includes(name) || [one.label ?? []].flat().includes(name));
    const known = metric ?? ({ name, label: null, kind: "measure", unit: null } as unknown as Metric);
    return { metric: known, name: known.name, label: called(known, words.language), write: writer(known, words) };
  }), [tile.metrics, metrics, words]);
}

const tone = (metric: Metric, change: number | null) => (change === null || Math.abs(change) < 0.0005 || !metric.direction ? "" : (change > 0) === (metric.direction === "up") ? "tone-good" : "tone-poor");

function Numbers({ answer, tile, metrics }: Part) {
  const { t, percent, day } = useWords(own);
  const known = useMetrics(tile, metrics);
  const { table, course, span } = answer;
  return (
    <div className="board-numbers">
      {known.map(({ metric, name, label, write }) => {
        const column = at(table, name);
        // What adds up over a window has a figure for each period; the last one counts.
        const over = windowed(metric);
        const row = over ? table.rows.findLast((one) => one[column] !== null) : table.rows[0];
        const pick = (of: string) => { const place = at(table, of); return row && place >= 0 ? numberOf(row[place]) : null; };
        const [now, change] = [pick(name), pick(`${name}_change`)];
        const drawn = over ? table : course;
        const values = drawn ? drawn.rows.map((one) => numberOf(one[at(drawn, name)])) : [];
        return (
          <div key={name} className="board-number">
            {known.length > 1 && <h3>{label}</h3>}
            <p className="board-now"><b>{now === null ? "–" : write.full(now)}</b>{change !== null && <span className={tone(metric, change)} title={t("number.before", { value: write.full(pick(`${name}_before`)) })}>{signed(change, percent)}</span>}</p>
            {answer.compare && <p className="quiet small">{t(answer.compare === "year" ? "number.year" : "number.previous", { value: write.full(pick(`${name}_before`)) })}</p>}
            {values.length > 1 && <Spark values={values} height={36} label={t("number.course", { what: label, first: span ? day(span.from) : "", count: values.length })} />}
          </div>
        );
      })}
    </div>
  );
}

/** The numbers of the first row of a query. */
function Plain({ table }: { table: Table }) {
  const { n, t } = useWords(own);
  const row = table.rows[0];
  const shown = table.columns.flatMap((column, place) => (isNumber(column) ? [{ name: column.name, value: numberOf(row?.[place]) }] : []));
  if (!shown.length) return <p className="board-none quiet">{t("tile.nonumber")}</p>;
  return <div className="board-numbers">{shown.map(({ name, value }) => <div key={name} className="board-number">{shown.length > 1 && <h3>{name}</h3>}<p className="board-now"><b>{value === null ? "–" : n(value)}</b></p></div>)}</div>;
}

/** How a place in time is written. */
function useSpot(grain: string | null) {
  const { day, language } = useWords(own);
  const known = GRAINS.find((one) => one === grain) ?? "day";
  return useMemo(() => (spot: string) => written(spot, known, day, language), [known, day, language]);
}

function Lines({ answer, tile, metrics, title }: Part) {
  const words = useWords(own);
  const { t, n, compact, language } = words;
  const known = useMetrics(tile, metrics);
  const spot = useSpot(answer.grain);
  const { table } = answer;
  const drawing = useMemo((): Drawing | null => {
    if (!known.length) {
      const choice = guess(table);
      if (!choice) return null;
      const made = series(table, { ...choice, kind: "line", value: "all" });
      return { kind: "line", along: made.along, series: made.series, write: (value) => n(value, 6), writeShort: compact, area: made.series.length === 1 };
    }
    const place = at(table, "time");
    const spots = [...new Set(table.rows.filter((row) => row[place] !== null).map((row) => String(row[place])))].sort();
    const [first] = known;
    if (place < 0 || !first) return null;
    const base = { kind: "line" as const, along: spots, alongLabel: spot, write: (value: number) => first.write.full(value), writeShort: first.write.short };
    const split = table.columns.findIndex((column, index) => index !== place && !known.some(({ name }) => column.name.startsWith(name)));
    if (split >= 0) {
      const column = at(table, first.name);
      const named = new Map<string, Map<string, number | null>>();
      for (const row of table.rows) {
        const key = valueCalled(row[split] ?? null, answer.labels?.[table.columns[split]?.name ?? ""], language, t);
        if (!named.has(key)) named.set(key, new Map());
        named.get(key)?.set(String(row[place]), numberOf(row[column]));
      }
      const size = (of: Map<string, number | null>) => [...of.values()].reduce<number>((sum, one) => sum + Math.abs(one ?? 0), 0);
      return { ...base, series: [...named].sort(([, a], [, b]) => size(b) - size(a)).map(([name, of]) => ({ name, values: spots.map((one) => of.get(one) ?? null) })) };
    }
    const rows = [...table.rows].filter((row) => row[place] !== null).sort((a, b) => String(a[place]).localeCompare(String(b[place])));
    const values = (column: string) => rows.map((row) => numberOf(row[at(table, column)]));
    const before = known.length === 1 && at(table, `${first.name}_before`) >= 0 ? [{ name: t("before", { name: first.label }), values: values(`${first.name}_before`), before: true }] : [];
    return { ...base, area: known.length === 1, series: [...known.map(({ name, label }) => ({ name: label, values: values(name) })), ...before.filter((one) => one.values.some((value) => value !== null))] };
  }, [table, answer.labels, known, spot, t, n, compact, language]);
  if (!drawing) return <p className="board-none quiet">{t("tile.nonumber")}</p>;
  const places = drawing.along.map((one) => (drawing.alongLabel ? drawing.alongLabel(String(one)) : String(one)));
  return <Suspense fallback={<Loading lines={5} />}><Chart drawing={drawing} height="100%" label={t("chart.label", { what: title, series: drawing.series.map((one) => one.name).join(", "), first: places[0] ?? "", last: places.at(-1) ?? "" })} /></Suspense>;
}

/** Rows with what they stand for and their first number, whether metrics or a query gave them. */
function useRanked({ answer, tile, metrics }: Part) {
  const { t, n, language } = useWords(own);
  const known = useMetrics(tile, metrics);
  return useMemo(() => {
    const { table, labels } = answer;
    const called = (place: number) => (key: Cell) => valueCalled(key, labels?.[table.columns[place]?.name ?? ""], language, t);
    const [first] = known;
    if (first) {
      const column = at(table, first.name);
      const by = table.columns.findIndex((one) => !known.some(({ name }) => one.name === name || one.name === `${name}_before` || one.name === `${name}_change`));
      return { metric: first.metric, name: first.label, says: called(by), write: first.write.full, more: known.slice(1).map((one) => ({ ...one, column: at(table, one.name) })), rows: table.rows.map((row) => ({ key: row[by] ?? null, value: numberOf(row[column]), change: numberOf(row[at(table, `${first.name}_change`)]), row })) };
    }
    const by = Math.max(0, table.columns.findIndex((column) => !isNumber(column)));
    const column = table.columns.findIndex((one, index) => isNumber(one) && index !== by);
    return { metric: null, says: called(by), name: table.columns[column]?.name ?? "", write: (value: number | null) => (value === null ? "–" : n(value)), more: [], rows: column < 0 ? [] : table.rows.map((row) => ({ key: row[by] ?? null, value: numberOf(row[column]), change: null, row })) };
  }, [answer, known, n, language, t]);
}

function Bars(part: Part) {
  const { t, percent } = useWords(own);
  const { tile, chosen, narrow, title } = part;
  const { metric, write, rows, more, says } = useRanked(part);
  const most = Math.max(0, ...rows.map((row) => Math.abs(row.value ?? 0)));
  const changes = metric !== null && rows.some((row) => row.change !== null);
  const dimension = tile.by[0] ?? "";
  const on = chosen[dimension] ?? [];
  if (!rows.length) return <p className="board-none quiet">{t("tile.nonumber")}</p>;
  return (
    <ul className="board-bars" aria-label={title}>
      {rows.map((row, index) => {
        const name = says(row.key);
        const line = (
          <>
            <i style={{ width: most ? `${(Math.abs(row.value ?? 0) / most) * 100}%` : 0 }} aria-hidden="true" />
            <span className={row.key === null ? "quiet" : undefined} title={name}>{name}</span>
            {more.map((one) => <small key={one.name} title={one.label}>{one.write.full(numberOf(row.row[one.column]))}</small>)}
            <b>{write(row.value)}</b>
            {changes && metric && <em className={tone(metric, row.change)}>{row.change === null ? "–" : signed(row.change, percent)}</em>}
          </>
        );
        return <li key={`${index} ${String(row.key)}`}>{narrow ? <button type="button" aria-pressed={on.includes(row.key)} className={on.length && !on.includes(row.key) ? "board-off" : undefined} title={t("only", { value: name })} onClick={() => narrow(dimension, row.key)}>{line}</button> : <div>{line}</div>}</li>;
      })}
    </ul>
  );
}

const SLICES = 7;

function Pie(part: Part) {
  const { t, percent } = useWords(own);
  const { rows, write, says } = useRanked(part);
  const shown = slices(rows.map((row) => [row.key, row.value ?? 0]), SLICES);
  const total = shown.reduce((sum, one) => sum + one.value, 0);
  if (!total) return <p className="board-none quiet">{t("tile.none")}</p>;
  const round = 2 * Math.PI * 40;
  let done = 0;
  return (
    <div className="board-pie">
      <svg viewBox="0 0 100 100" role="img" aria-label={t("pie.label", { what: part.title, count: shown.length })}>
        {shown.map((one, index) => {
          const [length, start] = [(one.value / total) * round, done];
          done += length;
          return <circle key={index} className={`slice slice-${index}`} cx={50} cy={50} r={40} strokeDasharray={`${Math.max(0, length - 0.8)} ${round}`} strokeDashoffset={-start} transform="rotate(-90 50 50)" />;
        })}
      </svg>
      <ul>{shown.map((one, index) => <li key={index}><i className={`slice-key slice-${index}`} aria-hidden="true" /><span>{one.rest ? t("pie.rest", { count: one.rest }) : says(one.key)}</span><b>{write(one.value)}</b><em>{percent(one.value / total)}</em></li>)}</ul>
    </div>
  );
}

function Rows({ answer, tile, metrics, title }: Part) {
  const { t, n, percent, language } = useWords(own);
  const known = useMetrics(tile, metrics);
  const { table } = answer;
  const columns = table.columns.map((column, place) => {
    const of = known.find(({ name }) => column.name === name || column.name === `${name}_before` || column.name === `${name}_change`);
    const number = isNumber(column) || of !== undefined;
    const by = tile.by.find((one) => one.replaceAll(".", "_") === column.name);
    const title = by ? dimensionCalled(by, metrics, language) : !of ? column.name : column.name === of.name ? of.label : column.name.endsWith("_change") ? t("change", { name: of.label }) : t("before", { name: of.label });
    return {
      key: column.name, title, number, by: ({ row }: { row: Cell[] }) => (number ? numberOf(row[place]) : ((row[place] ?? null) as string | null)),
      cell: ({ row }: { row: Cell[] }) => {
        const value = row[place] ?? null;
        if (of && column.name.endsWith("_change") && column.name !== of.name) return value === null ? "–" : signed(Number(value), percent);
        if (of) return of.write.full(numberOf(value));
        const label = valueLabel(value, answer.labels?.[column.name], language);
        if (label !== null) return label;
        if (isNumber(column)) return value === null ? "–" : n(Number(value));
        return value === null || typeof value === "boolean" ? valueText(value, t) : exact(value, column.type);
      },
    };
  });
  return <Grid rows={table.rows.map((row, index) => ({ row, index }))} rowKey={(one) => String(one.index)} label={title} tight page={50} columns={columns} />;
}

/** Whether tiles are those of a dashboard that is being made. */
export const useDraft = () => useSource().draft !== undefined;
