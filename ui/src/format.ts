/** How numbers, moments and durations are written. Each function takes the language, so that tests need no page. */
export type Language = "en" | "zh";

const locale = (language: Language) => (language === "zh" ? "zh-CN" : "en-GB");

/** What is shown where there is no value. */
export const NOTHING = "–";

/** A count or value with the separators of the language. Text that is an integer (beyond 2^53) keeps every digit. */
export function number(value: number | string | null | undefined, language: Language, digits = 2): string {
  if (value === null || value === undefined || value === "") return NOTHING;
  if (typeof value === "string") {
    return /^-?\d+$/.test(value) ? new Intl.NumberFormat(locale(language)).format(BigInt(value)) : value;
  }
  if (!Number.isFinite(value)) return NOTHING;
  return new Intl.NumberFormat(locale(language), { maximumFractionDigits: digits }).format(value);
}

/** A value with as many digits after the point as its neighbours in a column. */
export function fixed(value: number | null | undefined, language: Language, digits: number): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NOTHING;
  return new Intl.NumberFormat(locale(language), { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

/** A short form for large counts: 152k in English, 15.2万 in Chinese. */
export function compact(value: number | null | undefined, language: Language): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NOTHING;
  if (Math.abs(value) < 100_000) return number(value, language);
  return new Intl.NumberFormat(locale(language), { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

/** A share of 1 as per cent. */
export function percent(share: number | null | undefined, language: Language): string {
  if (share === null || share === undefined || !Number.isFinite(share)) return NOTHING;
  return new Intl.NumberFormat(locale(language), { style: "percent", maximumFractionDigits: 1 }).format(share);
}

/** A difference of two shares, in percentage points and with its sign. */
export function points(share: number | null | undefined, language: Language): string {
  if (share === null || share === undefined || !Number.isFinite(share)) return NOTHING;
  return `${signed(share, language)}${unit(language)}`;
}

const signed = (share: number, language: Language) =>
  new Intl.NumberFormat(locale(language), { minimumFractionDigits: 1, maximumFractionDigits: 1, signDisplay: "exceptZero" }).format(share * 100);
const unit = (language: Language) => (language === "zh" ? " 个百分点" : " pp");

/** The two ends of an interval of differences of shares; the unit is said once. */
export function interval(lower: number | null | undefined, upper: number | null | undefined, language: Language): string {
  if (lower === null || lower === undefined || upper === null || upper === undefined || !Number.isFinite(lower) || !Number.isFinite(upper)) return NOTHING;
  return `${signed(lower, language)} … ${signed(upper, language)}${unit(language)}`;
}

/** A duration given in milliseconds, in the largest unit that keeps it readable. */
export function duration(ms: number | null | undefined, language: Language): string {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return NOTHING;
  const zh = language === "zh";
  if (ms < 1000) return `${number(ms, language, ms < 10 ? 1 : 0)} ${zh ? "毫秒" : "ms"}`;
  if (ms < 60_000) return `${number(ms / 1000, language, 1)} ${zh ? "秒" : "s"}`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return zh ? `${minutes} 分 ${Math.floor((ms % 60_000) / 1000)} 秒` : `${minutes} min ${Math.floor((ms % 60_000) / 1000)} s`;
  return zh ? `${Math.floor(minutes / 60)} 小时 ${minutes % 60} 分` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A moment in the reader's time zone (or the one given). */
export function moment(text: string | null | undefined, language: Language, timeZone?: string): string {
  if (!text) return NOTHING;
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return text;
  return new Intl.DateTimeFormat(locale(language), { dateStyle: "medium", timeStyle: "short", timeZone }).format(at);
}

/** How long ago a moment is; a later moment is said to lie ahead. */
export function ago(text: string | null | undefined, language: Language, now = Date.now()): string {
  if (!text) return NOTHING;
  const seconds = (new Date(text).getTime() - now) / 1000;
  if (Number.isNaN(seconds)) return text;
  const relative = new Intl.RelativeTimeFormat(locale(language), { numeric: "auto" });
  const steps: [number, Intl.RelativeTimeFormatUnit][] = [[60, "second"], [60, "minute"], [24, "hour"], [365, "day"]];
  let value = seconds;
  for (const [size, unit] of steps) {
    if (Math.abs(value) < size) return relative.format(Math.round(value), unit);
    value /= size;
  }
  return relative.format(Math.round(value), "year");
}

/** The day of a logical moment. Turns are named by days in UTC, so it is not moved into the reader's time zone. */
export function day(text: string | null | undefined, language: Language): string {
  if (!text) return NOTHING;
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return text;
  return new Intl.DateTimeFormat(locale(language), { dateStyle: "medium", timeZone: "UTC" }).format(at);
}

/** Days, hours and minutes of a declared duration, which the API writes in microseconds: `604800000000us`. */
export function span(text: string | null | undefined, language: Language): string {
  const micros = /^(\d+)us$/.exec(text ?? "")?.[1];
  if (micros === undefined) return text || NOTHING;
  const ms = Number(micros) / 1000;
  const [size, name] = ([[86_400_000, "day"], [3_600_000, "hour"], [60_000, "minute"]] as const).find(([one]) => ms >= one && ms % one === 0) ?? [0, ""];
  if (!size) return duration(ms, language);
  return new Intl.NumberFormat(locale(language), { style: "unit", unit: name, unitDisplay: "long" }).format(ms / size);
}
