/** Parts of the pages of quality. */
import { Link } from "react-router";
import type { Work } from "../../api";
import { useWords } from "../../i18n";
import { useLive } from "../../live";
import { Rich, Status, useWidth } from "../../ui/basics";
import "./style.css";
import own from "./words";

export interface Result {
  quality: string; check: string; dataset: string; column: string | null; metric: string; dimension: string | null; severity: string; unit: string; value: number | null; rows: number | null; failing: number | null;
  threshold: string | null; low: number | null; high: number | null; history: number | null; verdict: string; reason: string | null; sql: string | null; at: string; run_id: string;
}
export interface Promised { quality: string; check: string; dataset: string; column: string | null; promised: string; severity: string; file: string | null; owner: string | null; description: string | null; dimension: string | null; monitor: boolean; last: Result | null }

export const NOT_KEPT = ["failed", "broken", "warned"];

/** A figure in its unit. */
export function Figure({ value, unit }: { value: number | null | undefined; unit: string | undefined }) {
  const { n } = useWords();
  return <>{n(value, 4)}{value !== null && value !== undefined && unit === "percent" ? " %" : ""}</>;
}

/** Why a promise was not kept; what can be done about it stands on a line of its own. */
export function Why({ reason, quiet }: { reason: string; quiet?: boolean }) {
  const [detail = "", hint] = reason.replace(/^error: /, "").split(/\n?hint: /);
  return <div className={`small ${quiet ? "quiet" : "bad"}`}><Rich text={detail} />{hint && <div className="quiet"><Rich text={hint} /></div>}</div>;
}

export function Asked({ work }: { work: Work }) {
  const { t } = useWords(own);
  const now = useLive().work[work.work] ?? work;
  return <p className="quality-asked" role="status"><Status of={now.status} />{t("run.asked", { work: work.work })} <Link to={now.run_id && now.status !== "running" && now.status !== "queued" ? `/runs/${now.run_id}` : `/work/${work.work}`}>{t("run.follow")}</Link></p>;
}

/** The bounds that a figure must keep, read from words such as `> 100`, `= 0`, `between 1 and 5`. */
export function bounds(threshold: string | null): number[] {
  return [...(threshold ?? "").matchAll(/-?\d+(?:\.\d+)?(?:e-?\d+)?/g)].map((match) => Number(match[0])).filter(Number.isFinite);
}

/** Figures of one check over time, oldest left, with what was expected and what they must be. */
export function Over({ check, results }: { check: string; results: Result[] }) {
  const { t, n, moment, word } = useWords(own);
  const [outer, width] = useWidth<HTMLDivElement>();
  const all = [...results].reverse().filter((one): one is Result & { value: number } => one.value !== null);
  const last = all.at(-1);
  if (!last) return <div ref={outer} />;
  const must = bounds(last.threshold);
  const expected = all.filter((one) => one.low !== null && one.high !== null);
  const values = [...all.map((one) => one.value), ...must, ...expected.flatMap((one) => [one.low ?? 0, one.high ?? 0])];
  const [min, max] = [Math.min(...values), Math.max(...values)];
  const pad = (max - min || Math.abs(max) || 1) * 0.15;
  // A figure that never moved says so in little room.
  const [height, left, right] = [max === min ? 64 : 150, 62, 12];
  const x = (at: number) => left + (all.length === 1 ? 0.5 : at / (all.length - 1)) * Math.max(0, width - left - right);
  const y = (value: number) => 10 + (1 - (value - (min - pad)) / (max - min + 2 * pad)) * (height - 26);
  const band = all.flatMap((one, at) => (one.low !== null && one.high !== null ? [{ at, low: one.low, high: one.high }] : []));
  const said = [last.threshold && t("chart.limits", { must: last.threshold }), last.low !== null && last.high !== null && t("chart.expected", { low: n(last.low, 4), high: n(last.high, 4) })].filter(Boolean).join(" ");
  const marks = [...new Set([max, min, ...must])];
  return (
    <div ref={outer} className="quality-over">
      {width > 0 && (
        <svg width={width} height={height} role="img" aria-label={t("chart.label", { check, count: n(all.length), last: n(last.value, 4), limits: said })}>
          {marks.map((value) => <text key={value} x={left - 8} y={y(value) + 4} textAnchor="end" className="axis-text">{n(value, 2)}</text>)}
          {band.length > 1 && <path className="lift-band" d={`M${band.map((one) => `${x(one.at)},${y(one.high)}`).join("L")}L${[...band].reverse().map((one) => `${x(one.at)},${y(one.low)}`).join("L")}Z`} />}
          {must.map((value) => <line key={value} x1={left} x2={width - right} y1={y(value)} y2={y(value)} className="quality-must" />)}
          <polyline className="lift-line" points={all.map((one, at) => `${x(at)},${y(one.value)}`).join(" ")} />
          {all.map((one, at) => <circle key={at} cx={x(at)} cy={y(one.value)} r={4} className={`quality-dot quality-${one.verdict}`}><title>{`${moment(one.at)} · ${n(one.value, 4)} · ${word("status", one.verdict)}`}</title></circle>)}
        </svg>
      )}
    </div>
  );
}
