/** Whether a figure is to be believed, by what is known of the tables it is made of. */
import type { Language } from "../format";

/** What `/v1/trust` says of a table. */
export interface Known {
  name: string; kind: string; owner: string | null; certification: string; committed_at: string | null; age_s: number | null; fresh_limit_s: number | null;
  tests: number; tests_status: string | null; passed: number; warned: number; failed: number; held: string | null;
}
/** What of a metric matters here. */
export interface Defined { name: string; tables?: string[]; certification?: string | null }

export type Why = { key: "failed" | "held" | "promises" | "stale" | "warned" | "doubted" | "deprecated"; name: string; count?: number; known?: Known };
export type Tone = "ok" | "warn" | "bad" | "unknown";
export interface Judged { tone: Tone; why: Why[]; tables: Known[] }

const BAD: Why["key"][] = ["failed", "held", "promises"];

export const isStale = (known: Known) => known.age_s !== null && known.fresh_limit_s !== null && known.age_s > known.fresh_limit_s;

/** The tables that a query names, with or without quotes. */
export function named(sql: string, known: Known[]): string[] {
  const text = sql.toLowerCase().replace(/'(?:[^']|'')*'/g, "''").replace(/--[^\n]*/g, " ").replaceAll('"', "").replace(/\s*\.\s*/g, ".");
  const words = new Set(text.match(/[\p{L}\p{N}_$]+\.[\p{L}\p{N}_$]+/gu) ?? []);
  return known.map((one) => one.name).filter((name) => words.has(name.toLowerCase()));
}

/** What speaks against a figure, the worst first. Nothing is said to be well of which nothing is known. */
export function judge(metrics: Defined[], sql: string | null | undefined, known: Known[]): Judged {
  const names = new Set([...metrics.flatMap((metric) => metric.tables ?? []), ...(sql ? named(sql, known) : [])]);
  const tables = known.filter((one) => names.has(one.name));
  const why: Why[] = [];
  for (const one of tables) {
    const add = (key: Why["key"], count?: number) => why.push({ key, name: one.name, count, known: one });
    if (one.tests_status === "failed") add("failed");
    if (one.held !== null) add("held");
    if (one.failed > 0) add("promises", one.failed);
    if (isStale(one)) add("stale");
    if (one.tests_status === "warned") add("warned");
    if (one.warned > 0) add("doubted", one.warned);
  }
  for (const metric of metrics) if (metric.certification === "deprecated") why.push({ key: "deprecated", name: metric.name });
  const bad = (one: Why) => BAD.includes(one.key);
  why.sort((a, b) => Number(bad(b)) - Number(bad(a)));
  return { tone: why.some(bad) ? "bad" : why.length ? "warn" : tables.length ? "ok" : "unknown", why, tables };
}

/** A number of seconds in its largest whole unit. */
export function age(seconds: number, language: Language): string {
  const [size, unit] = ([[86_400, "day"], [3_600, "hour"], [60, "minute"]] as const).find(([one]) => seconds >= one) ?? [1, "second"];
  return new Intl.NumberFormat(language === "zh" ? "zh-CN" : "en-GB", { style: "unit", unit, unitDisplay: "long", maximumFractionDigits: 0 }).format(Math.floor(seconds / size));
}
