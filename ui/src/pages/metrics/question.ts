/** Questions about a metric: which time, which grain, which values; and how they are asked of the API. */
import type { Cell, Labels, Metric } from "../../api";
import type { Language } from "../../format";

export const GRAINS = ["day", "week", "month", "quarter", "year"] as const;
export type Grain = (typeof GRAINS)[number];
export const COMPARE = ["previous", "year", "none"] as const;
export type Compare = (typeof COMPARE)[number];

/** What the body of `POST /v1/metrics/query` holds. */
export interface Question {
  metrics: string[];
  by?: string[];
  grain?: Grain;
  where?: string[];
  from?: string;
  to?: string;
  compare?: string;
  order?: string[];
  fill?: boolean;
  limit?: number;
}

/** Days from the first to before the second. */
export const daysBetween = (from: string, to: string) => Math.round((Date.parse(to) - Date.parse(from)) / 86_400_000);
const text = (at: Date) => at.toISOString().slice(0, 10);
export const plusDays = (day: string, days: number) => text(new Date(Date.parse(day) + days * 86_400_000));

/** The first day of the period that a day lies in; weeks begin on Monday. */
export function floor(day: string, grain: Grain): string {
  const at = new Date(`${day.slice(0, 10)}T00:00:00Z`);
  if (grain === "week") at.setUTCDate(at.getUTCDate() - ((at.getUTCDay() + 6) % 7));
  if (grain === "month" || grain === "quarter" || grain === "year") at.setUTCDate(1);
  if (grain === "quarter") at.setUTCMonth(at.getUTCMonth() - (at.getUTCMonth() % 3));
  if (grain === "year") at.setUTCMonth(0);
  return text(at);
}

/** The first day of the period `count` periods after the one that begins with `day`. */
export function plus(day: string, grain: Grain, count: number): string {
  if (grain === "day") return plusDays(day, count);
  if (grain === "week") return plusDays(day, 7 * count);
  const at = new Date(`${day}T00:00:00Z`);
  at.setUTCMonth(at.getUTCMonth() + count * (grain === "month" ? 1 : grain === "quarter" ? 3 : 12));
  return text(at);
}

/** A time that begins and ends with a period, `to` not counted any more, and the number of its periods. */
export function snapped(from: string, to: string, grain: Grain): { from: string; to: string; periods: number } {
  const start = floor(from, grain);
  const end = floor(plusDays(to, -1), grain);
  let periods = 1;
  if (end > start) {
    if (grain === "day" || grain === "week") periods = daysBetween(start, end) / (grain === "day" ? 1 : 7) + 1;
    else {
      const months = (Number(end.slice(0, 4)) - Number(start.slice(0, 4))) * 12 + Number(end.slice(5, 7)) - Number(start.slice(5, 7));
      periods = months / (grain === "month" ? 1 : grain === "quarter" ? 3 : 12) + 1;
    }
  }
  return { from: start, to: plus(start, grain, periods), periods };
}

/** A time with another first day, or another last one; an end that would lie before the start goes along with it, and the other way round. */
export function movedTo(time: { from: string; to: string }, end: "first" | "last", day: string): { from: string; to: string } {
  const after = plusDays(day, 1);
  if (end === "first") return { from: day, to: day >= time.to ? after : time.to };
  return { from: day < time.from ? day : time.from, to: after };
}

/** Whether a period has ended at a moment; without one, by now. */
export const over = (day: string, grain: Grain, asOf: string | null): boolean => Date.parse(plus(day.slice(0, 10), grain, 1)) <= (asOf === null ? Date.now() : Date.parse(asOf) + 1_000);

/** The grain that shows a time in a readable number of periods. */
export function fitting(days: number): Grain {
  if (days <= 120) return "day";
  if (days <= 800) return "week";
  if (days <= 366 * 8) return "month";
  return days <= 366 * 25 ? "quarter" : "year";
}

/** With what a time is compared, in the API's words: as many periods before, or a year. */
export const compared = (compare: Compare, periods: number, grain: Grain): string | undefined =>
  compare === "none" ? undefined : compare === "year" ? "year" : grain === "quarter" ? `${periods * 3} months` : `${periods} ${grain}s`;

/** A value as it stands in a condition. */
export function literal(value: Cell): string {
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  return `'${String(value).replaceAll("'", "''")}'`;
}

/** Values chosen of each dimension. */
export type Chosen = Record<string, Cell[]>;

/** The conditions of what was chosen; `but` is left out, so that a board shows what else there is. */
export function conditions(chosen: Chosen, but?: string): string[] {
  return Object.entries(chosen).filter(([dimension, values]) => dimension !== but && values.length > 0).map(([dimension, values]) => {
    const some = values.filter((value) => value !== null);
    const parts = [...(some.length ? [`${dimension} in (${some.map(literal).join(", ")})`] : []), ...(some.length < values.length ? [`${dimension} is null`] : [])];
    return parts.length > 1 ? `(${parts.join(" or ")})` : (parts[0] ?? "true");
  });
}

/** Adds a value, or takes it away. */
export function toggled(chosen: Chosen, dimension: string, value: Cell): Chosen {
  const now = chosen[dimension] ?? [];
  const next = now.includes(value) ? now.filter((one) => one !== value) : [...now, value];
  const { [dimension]: _, ...rest } = chosen;
  return next.length ? { ...rest, [dimension]: next } : rest;
}

/** Dimensions with values to be listed, and those that are times. */
export function dimensions(metric: Metric): { values: string[]; times: string[] } {
  const times = metric.dimensions.filter((one) => one.endsWith(":<grain>")).map((one) => one.slice(0, -":<grain>".length));
  return { values: metric.dimensions.filter((one) => !one.endsWith(":<grain>")), times };
}

/** Kinds whose figure belongs to one period and cannot be added up over several. */
export const windowed = (metric: Metric): boolean => ["rolling", "to_date", "compare", "cumulative"].includes(metric.kind);

/** Kinds whose figures are shares of 1. */
export const isShare = (metric: Metric): boolean => ["share", "conversion", "compare"].includes(metric.kind) || metric.unit === "%" || metric.unit === "percent";

const CHINESE = /\p{Script=Han}/u;
/** What a metric is called in a language: its label in it, then any, then its name. */
export function called(metric: Pick<Metric, "name" | "label">, language: Language): string {
  const labels = metric.label === null ? [] : Array.isArray(metric.label) ? metric.label : [metric.label];
  return labels.find((label) => CHINESE.test(label) === (language === "zh")) ?? (language === "zh" ? labels[0] : undefined) ?? metric.name;
}

/** What a dimension is called in a language by the metrics that have it, or its name; of several that are called alike, those of other tables say their name too. */
export function dimensionCalled(dimension: string, metrics: Pick<Metric, "dimension_labels">[], language: Language): string {
  const bare = dimension.split(":")[0] ?? dimension;
  for (const { dimension_labels: labels = {} } of metrics) {
    const own = (name: string) => (language === "zh" ? (labels[name]?.zh ?? labels[name]?.en) : labels[name]?.en);
    const label = own(bare);
    if (!label) continue;
    const alike = bare.includes(".") && Object.keys(labels).some((name) => name !== bare && own(name) === label);
    return `${label}${alike ? ` (${bare})` : ""}${dimension.slice(bare.length)}`;
  }
  return dimension;
}

/** What the values of a dimension are called, by the metrics that have it. */
export function valueLabels(dimension: string, metrics: Pick<Metric, "value_labels">[]): Labels | undefined {
  for (const { value_labels: labels = {} } of metrics) if (Object.hasOwn(labels, dimension)) return labels[dimension];
  return undefined;
}

/** What a value is called in a language; nothing if it has no name there, since the value itself then says more. */
export function valueLabel(value: Cell, labels: Labels | undefined, language: Language): string | null {
  const label = value !== null && labels && Object.hasOwn(labels, String(value)) ? labels[String(value)] : undefined;
  return (language === "zh" ? (label?.zh ?? label?.en) : label?.en) ?? null;
}

/** The time that there are figures of: `to` is the first day after them, `whole` the same without a day that is not over. */
export interface Extent { from: string; to: string; whole: string }
/** Newest days that are asked for: as many as tell where figures begin and end wherever a comparison could reach the beginning. */
export const NEWEST_MAX = 250;

/**
 * The time of a metric's figures, from the months that have some and, newest first, the days; `every` says that these are all.
 * Months alone are not enough: days without data at either end would look like a fall or a rise.
 */
export function extentOf(months: string[], days: string[], every: boolean, asOf: string | null): Extent | null {
  const [first, last] = [months[0]?.slice(0, 10), months.at(-1)?.slice(0, 10)];
  if (!first || !last) return null;
  const [newest, oldest] = [days[0]?.slice(0, 10) ?? "", days.at(-1)?.slice(0, 10) ?? ""];
  let to = newest >= last ? plusDays(newest, 1) : plus(last, "month", 1);
  // What lies ahead of the last turn, within its month, is not to be counted yet.
  const turned = asOf === null ? null : plusDays(asOf.slice(0, 10), 1);
  if (turned !== null && turned > last && turned < to) to = turned;
  const from = every && oldest > first && oldest < to ? oldest : first;
  const end = plusDays(to, -1);
  return { from, to, whole: end > from && !over(end, "day", asOf) ? end : to };
}

/** Days shown at first, of those that there are: so many that as many lie before them to compare with, if that is of use. */
export const opening = (days: number): number => (days >= 180 ? 90 : days >= 56 ? 28 : days);

/** The time that an address asks for; if it says nothing, whole days that leave something to compare them with. */
export function wanted(asked: { from: string | null; to: string | null }, extent: Extent): { from: string; to: string } {
  const days = daysBetween(extent.from, extent.whole);
  if (asked.from === null && asked.to === null && opening(days) === days) return { from: extent.from, to: extent.to };
  return { from: asked.from ?? (asked.to === null ? plusDays(extent.whole, -opening(days)) : extent.from), to: asked.to ?? extent.whole };
}
