/** One metric, explored: over time and against before, by each of its dimensions, narrowed by clicks. */
import { Button } from "antd";
import { lazy, Suspense, useCallback, useMemo } from "react";
import { Link, useParams, useSearchParams } from "react-router";
import { part, useGet, type Cell, type Items, type Labels, type Metric, type Table } from "../../api";
import type { Language } from "../../format";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Choice, Empty, Facts, Figures, Grid, Loading, Page, Pick, Rich, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { exact } from "../../ui/rows";
import { SqlText } from "../../ui/sqltext";
import { at, numberOf, useAsk, writer } from "./ask";
import { Board } from "./Board";
import { signed, useAsOf } from "./Metrics";
import { called, COMPARE, compared, conditions, daysBetween, dimensionCalled, dimensions, extentOf, fitting, GRAINS, movedTo, NEWEST_MAX, over, plus, plusDays, snapped, toggled, valueLabel, valueLabels, wanted, windowed, type Chosen, type Compare, type Extent, type Grain, type Question } from "./question";
import "./style.css";
import own from "./words";

const Chart = lazy(() => import("../../ui/Chart"));

/** Periods that are drawn at most. */
const PERIODS_MAX = 1_000;
/** Lines of a split. */
const LINES_MAX = 6;
const RANGES = ["7", "28", "90", "365"] as const;

export default function Explore() {
  const { t } = useWords(own);
  const { name = "" } = useParams();
  const metrics = useGet<Items<Metric>>("/v1/metrics");
  return (
    <Ask of={metrics} lines={8}>
      {({ items }) => {
        const metric = items.find((one) => one.name === name);
        return metric ? <One key={name} metric={metric} all={items} /> : <Page title={name} back={{ to: "/metrics", label: t("back") }}><Card><Empty icon="measure" text={t("missing", { name })} action={<Link to="/metrics">{t("back")}</Link>} /></Card></Page>;
      }}
    </Ask>
  );
}

/** What an address says, with what follows from it. */
function useAsked() {
  const [search, setSearch] = useSearchParams();
  const set = useCallback((changes: Record<string, string | null>) => setSearch((now) => {
    const next = new URLSearchParams(now);
    for (const [key, value] of Object.entries(changes)) {
      if (value === null) next.delete(key);
      else next.set(key, value);
    }
    return next;
  }), [setSearch]);
  const only = search.get("only");
  const chosen = useMemo<Chosen>(() => {
    try {
      const value: unknown = JSON.parse(only ?? "{}");
      return typeof value === "object" && value !== null && Object.values(value).every(Array.isArray) ? (value as Chosen) : {};
    } catch {
      // An address that was cut off asks for everything.
      return {};
    }
  }, [only]);
  const day = (key: string) => (/^\d{4}-\d\d-\d\d$/.test(search.get(key) ?? "") && !Number.isNaN(Date.parse(search.get(key) ?? "")) ? search.get(key) : null);
  return {
    set, chosen, from: day("from"), to: day("to"),
    grain: GRAINS.find((one) => one === search.get("grain")) ?? null,
    compare: COMPARE.find((one) => one === search.get("compare")) ?? "previous",
    split: search.get("split"),
    narrow: (dimension: string, value: Cell) => {
      const next = toggled(chosen, dimension, value);
      set({ only: Object.keys(next).length ? JSON.stringify(next) : null });
    },
  };
}

function One({ metric, all }: { metric: Metric; all: Metric[] }) {
  const words = useWords(own);
  const { t, language } = words;
  const { can } = useWho();
  const name = called(metric, language);
  const others = all.filter((one) => one.view === metric.view && one.name !== metric.name);
  return (
    <Page
      title={<>{name}<Chip>{words.word("kind", metric.kind)}</Chip></>} text={metric.description ?? undefined} back={{ to: "/metrics", label: t("back") }}
      actions={<Link className="metrics-action" to={`/lineage?table=${encodeURIComponent(`metric:${metric.name}`)}`}><Icon name="lineage" size={16} />{t("lineage")}</Link>}
    >
      {can("query") ? <Explored metric={metric} /> : <Card><Empty icon="alert" text={t("noquery")} /></Card>}
      <div className="columns">
        <Card title={t("defined")}><Definition metric={metric} /></Card>
        {others.length > 0 && <Card title={t("others", { view: metric.view })}><ul className="metrics-others">{others.map((one) => <li key={one.name}><Link to={`/metrics/${part(one.name)}`}>{called(one, language)}</Link><span className="quiet small">{one.description ?? words.word("kind", one.kind)}</span></li>)}</ul></Card>}
      </div>
    </Page>
  );
}

function Definition({ metric }: { metric: Metric }) {
  const { t, word } = useWords(own);
  const facts: [React.ReactNode, React.ReactNode][] = [[t("f.name"), <code key="n">{metric.name}</code>]];
  if (metric.made_of?.length) facts.push([t("made"), <code key="m">{metric.made_of.join(" · ")}</code>]);
  if (metric.filter) facts.push([t("filter"), <code key="f">{metric.filter}</code>]);
  facts.push([t("view"), <code key="v">{metric.view}</code>]);
  if (metric.tables?.length) facts.push([t("tables"), metric.tables.join(", ")]);
  if (metric.synonyms.length) facts.push([t("synonyms"), metric.synonyms.join(" · ")]);
  if (metric.unit) facts.push([t("unit"), metric.unit]);
  if (metric.direction) facts.push([t("direction"), word("direction", metric.direction)]);
  if (metric.owner) facts.push([t("owner"), metric.owner]);
  if (metric.certification) facts.push([t("certification"), word("certification", metric.certification)]);
  if (metric.file) facts.push([t("f.file"), <code key="p">{metric.file}</code>]);
  return <Facts of={facts} />;
}

function Explored({ metric }: { metric: Metric }) {
  const { times } = dimensions(metric);
  const timed = times.includes("time");
  // The whole time that there is, in months: few rows, however long it is.
  const whole = useAsk(timed ? { metrics: [metric.name], grain: "month", order: ["time"], limit: PERIODS_MAX } : null);
  const newest = useAsk(timed ? { metrics: [metric.name], grain: "day", order: ["-time"], limit: NEWEST_MAX } : null);
  const asOf = useAsOf();
  if (asOf === undefined) return <Loading lines={10} />;
  if (!timed) return <Shown metric={metric} along={times[0] ?? null} extent={null} asOf={asOf} />;
  if (whole.error) return <Trouble error={whole.error} retry={() => void whole.refetch()} />;
  // A time that is known by month only has no days to be asked for; its months are all there is then.
  if (!whole.data || (!newest.data && !newest.error)) return <Loading lines={10} />;
  const days = newest.data?.rows ?? [];
  return <Shown metric={metric} along="time" extent={extentOf(filled(whole.data.rows), filled(days), days.length < NEWEST_MAX, asOf)} asOf={asOf} />;
}

/** The periods of an answer that have a figure. */
const filled = (rows: Cell[][]): string[] => rows.filter((row) => row[0] !== null && row[1] !== null).map((row) => String(row[0]));

function Shown({ metric, along, extent, asOf }: { metric: Metric; along: string | null; extent: Extent | null; asOf: string | null }) {
  const words = useWords(own);
  const { t, n, day, percent, language } = words;
  const asked = useAsked();
  const { chosen, set } = asked;
  const name = called(metric, language);
  const write = useMemo(() => writer(metric, words), [metric, words]);
  const timed = along === "time";
  const { values: listed } = dimensions(metric);
  const says = (dimension: string) => dimensionCalled(dimension, [metric], language);
  const saysValue = (dimension: string, value: Cell) => valueCalled(value, valueLabels(dimension, [metric]), language, t);
  const split = asked.split && listed.includes(asked.split) ? asked.split : null;
  const window = windowed(metric);

  const days = extent ? daysBetween(extent.from, extent.whole) : 0;
  const said = extent && wanted(asked, extent);
  const sound = said && said.from < said.to ? said : extent;
  const grain: Grain = asked.grain ?? (sound ? fitting(daysBetween(sound.from, sound.to)) : "week");
  const time = sound && snapped(sound.from, sound.to, grain);
  const compare: Compare = timed && time ? asked.compare : "none";
  const against = time ? compared(compare, time.periods, grain) : undefined;
  const where = useMemo(() => conditions(chosen), [chosen]);
  const of = useMemo(() => [metric], [metric]);
  // A period that is widened beyond the figures ends with them: what it is compared with is cut alike. One that lies beyond them is asked for as it is.
  const until = time && extent && sound && !window && time.to > extent.to && time.from < extent.to ? (sound.to < extent.to ? sound.to : extent.to) : time?.to;
  const span = timed && time ? { from: time.from, to: until } : {};
  const column = along === null ? null : timed ? "time" : `${along.replaceAll(".", "_")}_${grain}`;
  const series = useAsk(along === null ? null : { metrics: [metric.name], where, limit: PERIODS_MAX, ...(timed ? { grain, ...span, compare: against, order: ["time"], fill: metric.kind === "measure" } : { by: [`${along}:${grain}`] }) });
  const total = useAsk(window ? null : { metrics: [metric.name], where, ...span, compare: against });
  // A figure over a window belongs to one period: boards show the last one.
  const lastPeriod = window && time ? { from: plus(time.to, grain, -1), to: time.to } : null;
  const board = (dimension: string): Question => ({
    metrics: [metric.name], by: [dimension], where: conditions(chosen, dimension), order: [`-${metric.name}`], compare: against,
    ...(lastPeriod ? { grain, ...lastPeriod } : span),
  });
  const lines = useLines({ metric, split, grain, along, where, span, board: split ? board(split) : null });
  const drawn = lines.data ?? series.data;

  const drawing = useMemo(() => {
    if (!drawn || column === null) return null;
    const place = at(drawn, column);
    const value = at(drawn, metric.name);
    const rows = drawn.rows.filter((row) => row[place] !== null);
    const spots = [...new Set(rows.map((row) => String(row[place])))].sort();
    const base = { kind: "line" as const, along: spots, alongLabel: (one: string) => written(one, grain, day, language), write: (one: number) => write.full(one), writeShort: write.short };
    if (split && lines.data) {
      const by = drawn.columns.findIndex((_, index) => index !== place && index !== value);
      const named = new Map<string, Map<string, number | null>>();
      for (const row of rows) {
        const key = valueCalled(row[by] ?? null, drawn.labels?.[drawn.columns[by]?.name ?? ""], language, t);
        if (!named.has(key)) named.set(key, new Map());
        named.get(key)?.set(String(row[place]), numberOf(row[value]));
      }
      const size = (spotted: Map<string, number | null>) => [...spotted.values()].reduce<number>((sum, one) => sum + Math.abs(one ?? 0), 0);
      return { ...base, series: [...named].sort(([, a], [, b]) => size(b) - size(a)).map(([key, spotted]) => ({ name: key, values: spots.map((spot) => spotted.get(spot) ?? null) })) };
    }
    const before = at(drawn, `${metric.name}_before`);
    const current = rows.map((row) => numberOf(row[value]));
    return { ...base, area: true, series: [{ name, values: current }, ...(before >= 0 && rows.some((row) => row[before] !== null) ? [{ name: t("before", { name }), values: rows.map((row) => numberOf(row[before])), before: true }] : [])] };
  }, [drawn, column, metric.name, split, lines.data, grain, day, language, write, name, t]);

  const summed = window ? series : total;
  const figures = useFigures(metric, summed.data, window);
  const good = figures.change === null || !metric.direction ? undefined : (figures.change > 0) === (metric.direction === "up") ? "ok" as const : "bad" as const;
  const brushed = useCallback((from: number, to: number) => {
    const [first, last] = [drawing?.along[Math.max(0, from)], drawing?.along[Math.min(drawing.along.length - 1, to)]];
    if (timed && first && last) set({ from: first.slice(0, 10), to: plus(last.slice(0, 10), grain, 1), grain: null });
  }, [drawing, timed, grain, set]);
  const some = drawing?.series[0]?.values.filter((value) => value !== null) ?? [];
  const open = timed && drawing && drawing.along.length > 1 && !over(drawing.along.at(-1) ?? "", grain, asOf);
  const picked = Object.entries(chosen).flatMap(([dimension, values]) => values.map((value) => ({ dimension, value })));
  return (
    <>
      <div className="filters metrics-bar">
        {timed && extent && time && (
          <>
            <Choice label={t("range")} value={(sound && range(sound, extent)) ?? ""} choose={(key) => set({ from: key === "whole" ? extent.from : plusDays(extent.whole, -Number(key)), to: key === "whole" ? extent.to : null, grain: null })} of={[...RANGES.filter((key) => Number(key) < days).map((key) => ({ key: key as string, label: t(`range.${key}`) })), { key: "whole", label: t("whole") }]} />
            <span className="metrics-dates">
              <label><span className="unseen">{t("from")}</span><input className="input" type="date" value={time.from} min={extent.from} max={plusDays(time.to, -1)} onChange={(event) => event.target.value && set(movedTo(time, "first", event.target.value))} /></label>
              <span className="quiet" aria-hidden="true">{t("to")}</span>
              <label><span className="unseen">{t("to")}</span><input className="input" type="date" value={plusDays(time.to, -1)} min={time.from} onChange={(event) => event.target.value && set(movedTo(time, "last", event.target.value))} /></label>
            </span>
          </>
        )}
        {along !== null && <Choice label={t("grain")} value={grain} choose={(key) => set({ grain: key })} of={GRAINS.map((key) => ({ key, label: t(`grain.${key}`) }))} />}
        {timed && <Pick label={t("compare")} value={asked.compare} choose={(key) => set({ compare: key === "previous" ? null : key })} of={COMPARE.map((key) => ({ key, label: t(`compare.${key}`) }))} />}
        {along !== null && listed.length > 0 && <Pick label={t("split")} value={split ?? ""} choose={(key) => set({ split: key || null })} of={[{ key: "", label: t("split.none") }, ...listed.map((key) => ({ key, label: says(key) }))]} />}
      </div>
      {picked.length > 0 && (
        <div className="filters" role="group" aria-label={t("filters")}>
          <span className="quiet">{t("filters")}</span>
          {picked.map(({ dimension, value }) => <button type="button" key={`${dimension} ${String(value)}`} className="metrics-only" aria-label={t("filter.remove", { what: `${says(dimension)} ${saysValue(dimension, value)}` })} onClick={() => asked.narrow(dimension, value)}><span>{says(dimension)}</span>{" "}<b>{saysValue(dimension, value)}</b><Icon name="close" size={13} /></button>)}
          <Button type="text" size="small" onClick={() => set({ only: null })}>{t("filter.clear")}</Button>
        </div>
      )}
      {!window && total.error ? <Trouble error={total.error} retry={() => void total.refetch()} /> : (
        <div className="metrics-figures">
          <Figures of={[
            { label: t(window ? "total.last" : timed ? "total" : "total.all"), value: write.full(figures.now) },
            ...(compare !== "none" ? [
              { label: `${t("total.before")} · ${t(`compare.${compare}`)}`, value: write.full(figures.before) },
              { label: t("total.change"), value: figures.change === null ? "–" : signed(figures.change, percent), tone: good },
            ] : []),
            ...(drawing ? [{ label: t("periods"), value: n(drawing.along.length), note: time ? `${day(time.from)} … ${day(plusDays(until ?? time.to, -1))}` : undefined }] : []),
          ]} />
          {summed.data && <span className="metrics-trust"><Trust of={of} read={summed.dataUpdatedAt} sql={summed.data.sql} rows={summed.data.row_count} took_ms={summed.data.elapsed_ms} as={asOf} /></span>}
        </div>
      )}
      {along !== null && (
        <Card title={timed ? t("chart") : `${t("along")} ${says(along)}`} extra={<>{drawn && <Trust of={of} read={series.dataUpdatedAt} sql={drawn.sql} rows={drawn.row_count} took_ms={drawn.elapsed_ms} cut={drawn.truncated} as={asOf} />}</>}>
          {series.error ? <Trouble error={series.error} retry={() => void series.refetch()} /> : !drawing ? <Loading lines={7} /> : !some.length ? <Empty icon="measure" text={t("chart.none")} /> : (
            <>
              <Suspense fallback={<div style={{ height: 300 }}><Loading lines={7} /></div>}>
                <Chart drawing={drawing} height={300} brushed={timed ? brushed : undefined} label={t("chart.label", { name, grain: t(`grain.${grain}`), count: n(drawing.along.length), first: drawing.along[0] ?? "", last: drawing.along.at(-1) ?? "", low: write.full(Math.min(...some)), high: write.full(Math.max(...some)) })} />
              </Suspense>
              <p className="quiet small metrics-hint">{timed && t("chart.brush")}{open && ` ${t("chart.open")}`}</p>
              {drawn && <AsTable table={drawn} label={name} write={write.full} metric={metric.name} place={(one) => written(one, grain, day, language)} column={column ?? ""} heading={(one) => (split && one === split.replaceAll(".", "_") ? says(split) : one)} percent={percent} />}
              {drawn?.sql && <details className="declared"><summary>{t("sql")}</summary><p className="quiet small metrics-why">{t("sql.text")}</p><SqlText text={drawn.sql} label={t("sql")} /></details>}
              {drawn?.notes?.map((note) => <p key={note} className="quiet small"><Rich text={note} /></p>)}
            </>
          )}
        </Card>
      )}
      {listed.length > 0 && (
        <>
          <div className="section-head"><div><h2>{t("boards")}</h2><p>{t("boards.text")}{lastPeriod && ` ${t("boards.lastonly", { when: written(lastPeriod.from, grain, day, language) })}`}</p></div></div>
          <div className="metrics-boards">
            {listed.map((dimension) => <Board key={dimension} metric={metric} dimension={dimension} question={board(dimension)} total={figures.now} chosen={chosen[dimension] ?? []} choose={(value) => asked.narrow(dimension, value)} write={write} />)}
          </div>
        </>
      )}
    </>
  );
}

/** One line for each of the largest values of a dimension. */
function useLines({ metric, split, grain, along, where, span, board }: { metric: Metric; split: string | null; grain: Grain; along: string | null; where: string[]; span: { from?: string; to?: string }; board: Question | null }) {
  const best = useAsk(board && { ...board, limit: LINES_MAX, compare: undefined });
  const values = useMemo(() => {
    const table = best.data;
    if (!table || !split) return null;
    const by = table.columns.findIndex((column) => column.name === split.replaceAll(".", "_"));
    return by < 0 ? null : table.rows.map((row) => row[by] ?? null);
  }, [best.data, split]);
  return useAsk(split && values?.length ? {
    metrics: [metric.name], where: [...where, ...conditions({ [split]: values })], limit: PERIODS_MAX * LINES_MAX,
    ...(along === "time" ? { grain, by: [split], ...span } : { by: [`${along}:${grain}`, split] }),
  } : null);
}

function useFigures(metric: Metric, table: Table | undefined, last: boolean) {
  return useMemo(() => {
    const row = last ? table?.rows.findLast((one) => one[at(table, metric.name)] !== null) : table?.rows[0];
    if (!table || !row) return { now: null, before: null, change: null };
    const pick = (column: string) => (at(table, column) < 0 ? null : numberOf(row[at(table, column)]));
    return { now: pick(metric.name), before: pick(`${metric.name}_before`), change: pick(`${metric.name}_change`) };
  }, [metric.name, table, last]);
}

/** A period as people say it. */
export function written(spot: string, grain: Grain, day: (text: string) => string, language: string): string {
  const start = spot.slice(0, 10);
  if (grain === "year") return start.slice(0, 4);
  if (grain === "quarter") return `${start.slice(0, 4)} Q${Math.floor((Number(start.slice(5, 7)) + 2) / 3)}`;
  if (grain === "month") return new Intl.DateTimeFormat(language === "zh" ? "zh-CN" : "en-GB", { year: "numeric", month: "short", timeZone: "UTC" }).format(new Date(start));
  return day(start);
}

type Plain = (key: "null" | "yes" | "no") => string;
/** A value as people call it, or as it is. */
export const valueCalled = (value: Cell, labels: Labels | undefined, language: Language, t: Plain): string => valueLabel(value, labels, language) ?? valueText(value, t);
export const valueText = (value: Cell, t: Plain): string => (value === null ? t("null") : value === true ? t("yes") : value === false ? t("no") : exact(value, ""));

/** Which of the ready ranges a time is, if it is one. */
function range(time: { from: string; to: string }, extent: Extent): string | null {
  if (time.from <= extent.from && time.to >= extent.to) return "whole";
  return time.to === extent.whole ? (RANGES.find((days) => time.from === plusDays(extent.whole, -Number(days))) ?? null) : null;
}

function AsTable({ table, label, write, metric, column, heading, place, percent }: { table: Table; label: string; write: (value: number | null) => string; metric: string; column: string; heading: (column: string) => string; place: (spot: string) => string; percent: (value: number) => string }) {
  const { t, language } = useWords(own);
  const spot = at(table, column);
  const rows = table.rows.map((row, index) => ({ row, index }));
  return (
    <details className="declared">
      <summary>{t("f.table.as")}</summary>
      <Grid
        rows={rows} rowKey={(one) => String(one.index)} label={label} tight page={20} first={{ key: column, down: true }}
        columns={table.columns.map((one, place_of) => ({
          key: one.name, title: place_of === spot ? t("period") : one.name === metric ? label : one.name === `${metric}_before` ? t("total.before") : one.name === `${metric}_change` ? t("total.change") : heading(one.name),
          number: one.name.startsWith(metric), by: ({ row }: { row: Cell[] }) => (one.name.startsWith(metric) ? numberOf(row[place_of]) : (row[place_of] as string | null)),
          cell: ({ row }: { row: Cell[] }) => {
            const value = row[place_of] ?? null;
            if (place_of === spot) return value === null ? t("null") : place(String(value));
            if (one.name === `${metric}_change`) return value === null ? "–" : signed(Number(value), percent);
            return one.name.startsWith(metric) ? write(numberOf(value)) : valueCalled(value, table.labels?.[one.name], language, t);
          },
        }))}
      />
    </details>
  );
}
