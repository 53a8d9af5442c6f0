/** What a dashboard is, and what can be done with its tiles without drawing any. */
import type { Cell, Labels, Metric, Table } from "../../api";
import type { Language } from "../../format";
import { called, dimensionCalled, type Chosen } from "../metrics/question";

export interface Label { en?: string | null; zh?: string | null }
export const SHOWS = ["number", "line", "bar", "table", "pie"] as const;
export type Show = (typeof SHOWS)[number];
export const COMPARES = ["previous", "year", "none"] as const;
export type Compare = (typeof COMPARES)[number];

export interface Tile {
  tile: string; title: Label; description: string | null; metrics: string[]; by: string[]; grain: string | null; where: string[]; compare: Compare | null;
  sql: string | null; filters: Record<string, string>; text: Label; show: Show | null; limit: number | null; width: number | null; height: number | null;
}
export interface Board {
  dashboard: string; title: Label; description: string | null; owner: string | null; readers: "query" | "view";
  filters: { time: { days: number; compare: Compare } | null; dimensions: string[] }; tiles: Tile[];
}
/** What `GET /v1/dashboards/NAME` answers; a link sees neither file nor queries. */
export interface Opened {
  name: string; dashboard: Board; shown: Record<string, Show | null>; metrics: Metric[]; as_of: string; today?: string; demo: boolean; simulated: boolean; may: { rows: boolean; edit: boolean };
  file?: string; version?: string; comments?: number;
  /** The schedules that send it; not for who has a link. */
  sent?: { schedule: string; when: string; actions: string[] }[];
  /** The one tile that a link shows. */
  only?: string | null;
}

/** What a link shows, and where and to whom, from its scopes. */
export function scoped(scopes: string[]): { tile: string | null; role: string | null; sites: string[] } {
  const of = (prefix: string) => scopes.filter((scope) => scope.startsWith(prefix)).map((scope) => scope.slice(prefix.length));
  return { tile: of("tile:")[0] ?? null, role: of("as:")[0] ?? null, sites: of("site:") };
}

export interface Answer { show: Show; notes: string[]; unfiltered: string[]; span: { from: string; to: string } | null; grain: string | null; compare: string | null; labels?: Record<string, Labels>; table: Table; course: Table | null }

/** How much larger what is `natural` pixels high is shown where there is `room` for it; never so small that nobody can read it. */
export const fitted = (room: number, natural: number): number => (natural > 0 && room > 0 ? Math.round(Math.min(2, Math.max(0.5, room / natural)) * 100) / 100 : 1);

export const COLUMNS = 12;
export const ROWS_MAX = 12;

/** Conditions as one text; each keeps its meaning beside the others, whatever it is made of. */
export const whereText = (where: string[]): string => (where.length > 1 ? where.map((one) => `(${one})`).join(" and ") : (where[0] ?? ""));

/** The conditions that a text means: those that were read, as long as it says the same. */
export function whereOf(text: string, read: string[]): string[] {
  if (text === whereText(read)) return read;
  return text ? [text] : [];
}

/** How a tile shows its figures; nothing for a text. The server says the same. */
export function shownAs(tile: Pick<Tile, "metrics" | "by" | "show" | "sql">): Show | null {
  if (tile.metrics.length) return tile.show ?? (tile.by.length ? "bar" : "number");
  return tile.sql === null || tile.sql === undefined ? null : (tile.show ?? "table");
}

const SIZES: Record<Show | "text", [number, number]> = { number: [3, 2], line: [8, 4], bar: [4, 4], table: [6, 4], pie: [4, 4], text: [12, 2] };
/** Columns and rows of the grid that a tile takes. */
export function sizeOf(tile: Tile, show: Show | null): { width: number; height: number } {
  const [width, height] = SIZES[show ?? "text"];
  return { width: Math.min(COLUMNS, tile.width ?? width), height: Math.min(ROWS_MAX, tile.height ?? height) };
}

/** How many columns a tile takes where there are only six, or two, so that no row is left half empty without need. */
export const spans = (width: number) => ({ "--w": width, "--w6": Math.min(6, width <= 2 ? 2 : width <= 4 ? 3 : 6), "--w2": width <= 3 ? 1 : 2 });

/** The list with the item at one place put at another. */
export function moved<T>(all: T[], from: number, to: number): T[] {
  const place = Math.max(0, Math.min(all.length - 1, to));
  const next = [...all];
  const [one] = next.splice(from, 1);
  if (one !== undefined) next.splice(place, 0, one);
  return next;
}

/** A label in a language, or in the other one if it lacks that. */
export const labelled = (label: Label, language: Language): string | null => (language === "zh" ? (label.zh ?? label.en) : (label.en ?? label.zh)) ?? null;

/** What stands above a tile: its title, else what its metrics are called. */
export function titled(tile: Tile, metrics: Metric[], language: Language, by: (what: string, dimension: string) => string): string {
  const own = labelled(tile.title, language);
  if (own) return own;
  if (!tile.metrics.length) return tile.sql === null || tile.sql === undefined ? "" : tile.tile;
  const names = tile.metrics.map((word) => { const metric = metrics.find((one) => one.name === word); return metric ? called(metric, language) : word; });
  const what = names.join(language === "zh" ? "、" : ", ");
  return tile.by.length ? by(what, tile.by.map((one) => dimensionCalled(one, metrics, language)).join(language === "zh" ? "、" : ", ")) : what;
}

/** What is chosen, as it stands in an address. */
export interface Choice { from: string | null; to: string | null; whole: boolean; compare: Compare | null; only: Chosen }

export function choiceOf(search: URLSearchParams): Choice {
  const day = (key: string) => { const text = search.get(key) ?? ""; return /^\d{4}-\d\d-\d\d$/.test(text) && !Number.isNaN(Date.parse(text)) ? text : null; };
  let only: Chosen = {};
  try {
    const value: unknown = JSON.parse(search.get("only") ?? "{}");
    if (typeof value === "object" && value !== null && Object.values(value).every(Array.isArray)) only = value as Chosen;
  } catch {
    // An address that was cut off asks for everything.
  }
  return { from: day("from"), to: day("to"), whole: search.get("whole") === "1", compare: COMPARES.find((one) => one === search.get("compare")) ?? null, only };
}

/** The same as a question to the server. */
export function asked(choice: Choice): string {
  const search = new URLSearchParams();
  if (choice.whole) search.set("whole", "true");
  if (choice.from && !choice.whole) search.set("from", choice.from);
  if (choice.to && !choice.whole) search.set("to", choice.to);
  if (choice.compare) search.set("compare", choice.compare);
  if (Object.keys(choice.only).length) search.set("only", JSON.stringify(choice.only));
  const text = search.toString();
  return text && `?${text}`;
}

/** A name for a new tile that no other has. */
export function freshName(wanted: string, tiles: Tile[]): string {
  const base = wanted.toLowerCase().replace(/[^a-z0-9_]+/g, "_").replace(/^_+|_+$/g, "") || "tile";
  const stem = /^[a-z]/.test(base) ? base : `t_${base}`;
  for (let number = 1; ; number += 1) {
    const name = number === 1 ? stem : `${stem}_${number}`;
    if (!tiles.some((one) => one.tile === name)) return name;
  }
}

export const blankTile = (tile: string): Tile => ({ tile, title: {}, description: null, metrics: [], by: [], grain: null, where: [], compare: null, sql: null, filters: {}, text: {}, show: null, limit: null, width: null, height: null });
export const blankBoard = (): Board => ({ dashboard: "", title: {}, description: null, owner: null, readers: "query", filters: { time: { days: 28, compare: "previous" }, dimensions: [] }, tiles: [] });

/** Slices of a pie, the largest first; what is beyond `most` is one more. */
export function slices(rows: [Cell, number][], most: number): { key: Cell; value: number; rest?: number }[] {
  const sorted = rows.filter(([, value]) => value > 0).sort(([, a], [, b]) => b - a);
  if (sorted.length <= most) return sorted.map(([key, value]) => ({ key, value }));
  const rest = sorted.slice(most - 1);
  return [...sorted.slice(0, most - 1).map(([key, value]) => ({ key, value })), { key: null, value: rest.reduce((sum, [, value]) => sum + value, 0), rest: rest.length }];
}
