/** Lift over turns, with its interval. Drawn by hand: it is on the first page, which shall be light. */
import { useId, useState } from "react";
import type { Lift } from "../api";
import { useWords } from "../i18n";
import { Grid, useWidth } from "./basics";

/** A turn whose lift has been measured. */
export type Measured = Lift & { lift: number; lower: number; upper: number };

export const measured = (turns: Lift[]): Measured[] => turns.filter((turn): turn is Measured => turn.lift !== null && turn.lower !== null && turn.upper !== null);

/** The query that gives a policy's lift again. */
export const liftSql = (policy: string) => `select * from system.lift where policy = '${policy.replaceAll("'", "''")}' order by turn`;

export type Verdict = "works" | "harms" | "unclear" | "broken" | "none";

/** Below it the arms are more uneven than chance allows, and no lift is to be believed; as in the program. */
const SPLIT_P = 0.001;

/** What the newest interval says: whether it lies wholly on one side of 0. Nothing, where the split into arms is broken. */
export function verdict(turns: Lift[]): Verdict {
  const last = measured(turns).at(-1);
  if (!last) return "none";
  if (last.split_p != null && last.split_p < SPLIT_P) return "broken";
  return last.lower > 0 ? "works" : last.upper < 0 ? "harms" : "unclear";
}

/** Round steps of about `count` for an axis from `low` to `high`; at least two. */
export function ticks(low: number, high: number, count: number): number[] {
  const span = high - low || 1;
  const raw = span / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= raw) ?? raw;
  const all: number[] = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step) all.push(Math.abs(at) < step / 1e6 ? 0 : at);
  return all;
}

/** The range that an axis shows: all intervals but those of the first, wide ones that would flatten the rest, and 0. */
export function range(points: Measured[]): [number, number] {
  const ends = points.slice(Math.floor(points.length / 4)).flatMap((point) => [point.lower, point.upper]);
  const values = [...ends, ...points.map((point) => point.lift), 0];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low || 0.01) * 0.08;
  return [low - room, high + room];
}

/** `names` are those of the two arms, where they are not treated and held-out units. */
export function LiftChart({ policy, turns, height = 260, names }: { policy: string; turns: Lift[]; height?: number; names?: [string, string] }) {
  const words = useWords();
  const { t, n, percent, points: pp, interval } = words;
  const [outer, width] = useWidth<HTMLDivElement>();
  const [at, setAt] = useState<number | null>(null);
  const clip = useId();
  const points = measured(turns);
  const last = points.at(-1);
  if (!last) return <p className="quiet">{t("lift.none")}</p>;
  const edge = { left: 58, right: 14, top: 12, bottom: 28 };
  const [low, high] = range(points);
  const first = points[0]?.turn ?? last.turn;
  const across = Math.max(1, last.turn - first);
  const x = (turn: number) => edge.left + ((turn - first) / across) * Math.max(1, width - edge.left - edge.right);
  const y = (value: number) => edge.top + ((high - value) / (high - low)) * (height - edge.top - edge.bottom);
  const line = (pick: (point: Measured) => number, back = false) => (back ? [...points].reverse() : points).map((point) => `${x(point.turn).toFixed(1)},${y(pick(point)).toFixed(1)}`).join(" ");
  const shown = at === null ? undefined : points[at];
  const label = t("lift.label", { policy, points: points.length, last: pp(last.lift), lower: pp(last.lower), upper: pp(last.upper) });
  const near = (clientX: number, box: DOMRect) => {
    const turn = first + ((clientX - box.left - edge.left) / Math.max(1, width - edge.left - edge.right)) * across;
    return points.reduce((best, point, index) => (Math.abs(point.turn - turn) < Math.abs((points[best]?.turn ?? 0) - turn) ? index : best), 0);
  };
  const step = (key: string) => {
    const now = at ?? points.length - 1;
    if (key === "ArrowLeft") setAt(Math.max(0, now - 1));
    else if (key === "ArrowRight") setAt(Math.min(points.length - 1, now + 1));
    else if (key === "Home") setAt(0);
    else if (key === "End") setAt(points.length - 1);
    else if (key === "Escape") setAt(null);
    else return false;
    return true;
  };
  return (
    <figure className="lift" ref={outer}>
      {!names && verdict(turns) === "broken" && <p className="bad" role="status">{t("lift.broken.text")}</p>}
      <svg
        width={width || "100%"} height={height} role="img" aria-label={label} tabIndex={0}
        onPointerMove={(event) => setAt(near(event.clientX, event.currentTarget.getBoundingClientRect()))}
        onPointerLeave={() => setAt(null)} onBlur={() => setAt(null)} onKeyDown={(event) => step(event.key) && event.preventDefault()}
      >
        {width > 0 && (
          <>
            <clipPath id={clip}><rect x={edge.left} y={edge.top} width={Math.max(0, width - edge.left - edge.right)} height={height - edge.top - edge.bottom} /></clipPath>
            {ticks(low, high, height < 200 ? 3 : 5).map((value) => (
              <g key={value}>
                <line x1={edge.left} x2={width - edge.right} y1={y(value)} y2={y(value)} className={value === 0 ? "axis-zero" : "axis-line"} />
                <text x={edge.left - 10} y={y(value) + 4} textAnchor="end" className="axis-text">{new Intl.NumberFormat(words.language, { maximumFractionDigits: 2, signDisplay: "exceptZero" }).format(value * 100)}{words.language === "zh" ? "" : " pp"}</text>
              </g>
            ))}
            {ticks(first, last.turn, Math.max(2, Math.floor(width / 90))).filter(Number.isInteger).map((turn) => (
              <text key={turn} x={x(turn)} y={height - 8} textAnchor="middle" className="axis-text">{n(turn)}</text>
            ))}
            <g clipPath={`url(#${clip})`}>
              <polygon points={`${line((point) => point.upper)} ${line((point) => point.lower, true)}`} className="lift-band" />
              <polyline points={line((point) => point.upper)} className="lift-edge" />
              <polyline points={line((point) => point.lower)} className="lift-edge" />
              <polyline points={line((point) => point.lift)} className="lift-line" />
            </g>
            {shown && <line x1={x(shown.turn)} x2={x(shown.turn)} y1={edge.top} y2={height - edge.bottom} className="lift-cursor" />}
            <circle cx={x((shown ?? last).turn)} cy={y((shown ?? last).lift)} r={4.5} className="lift-point" />
          </>
        )}
      </svg>
      {shown && (
        <div className="tip" style={{ left: Math.min(Math.max(8, x(shown.turn) + 14), Math.max(8, width - 226)) }} aria-live="polite">
          <b>{t("f.turn")} {n(shown.turn)}</b>
          <dl>
            <div><dt>{names ? t("f.difference") : t("lift.lift")}</dt><dd>{pp(shown.lift)}</dd></div>
            <div><dt>{t("lift.interval")}</dt><dd>{interval(shown.lower, shown.upper)}</dd></div>
            <div><dt>{names?.[0] ?? t("lift.treated")}</dt><dd>{percent(shown.treated_rate)}</dd></div>
            <div><dt>{names?.[1] ?? t("lift.holdout")}</dt><dd>{percent(shown.holdout_rate)}</dd></div>
            <div><dt>{t("lift.measured")}</dt><dd>{n(shown.measured)}</dd></div>
          </dl>
        </div>
      )}
    </figure>
  );
}

/** The same as a table, newest first: for reading, for copying, for those who do not see the drawing. */
export function LiftTable({ policy, turns }: { policy: string; turns: Lift[] }) {
  const { t, n, percent, points, interval } = useWords();
  return (
    <details className="declared">
      <summary>{t("f.table.as")}</summary>
      <Grid
        rows={turns} rowKey={(turn) => String(turn.turn)} label={`${t("lift.lift")} · ${policy}`} tight page={20} first={{ key: "turn", down: true }}
        columns={[
          { key: "turn", title: t("f.turn"), number: true, cell: (turn) => n(turn.turn), by: (turn) => turn.turn },
          { key: "decisions", title: t("lift.decided"), number: true, cell: (turn) => n(turn.decisions), by: (turn) => turn.decisions },
          { key: "measured", title: t("lift.measured"), number: true, cell: (turn) => n(turn.measured), by: (turn) => turn.measured },
          { key: "treated", title: t("lift.treated"), number: true, cell: (turn) => percent(turn.treated_rate), by: (turn) => turn.treated_rate },
          { key: "holdout", title: t("lift.holdout"), number: true, cell: (turn) => percent(turn.holdout_rate), by: (turn) => turn.holdout_rate },
          { key: "lift", title: t("lift.lift"), number: true, cell: (turn) => points(turn.lift), by: (turn) => turn.lift },
          { key: "interval", title: t("lift.interval"), number: true, cell: (turn) => interval(turn.lower, turn.upper) },
          { key: "artifact", title: t("f.artifact"), cell: (turn) => (turn.artifact ? <code>{turn.artifact}</code> : "–") },
        ]}
      />
    </details>
  );
}

/** A small line of lift with its interval, without axes. */
export function Spark({ turns, width = 150, height = 40 }: { turns: Lift[]; width?: number; height?: number }) {
  const points = measured(turns);
  if (points.length < 2) return null;
  const [low, high] = range(points);
  const [first, last] = [points[0]?.turn ?? 0, points.at(-1)?.turn ?? 1];
  const x = (turn: number) => 2 + ((turn - first) / Math.max(1, last - first)) * (width - 6);
  const y = (value: number) => Math.min(height, Math.max(0, ((high - value) / (high - low)) * height));
  const line = (pick: (point: Measured) => number, list = points) => list.map((point) => `${x(point.turn).toFixed(1)},${y(pick(point)).toFixed(1)}`).join(" ");
  return (
    <svg className="spark" width={width} height={height} aria-hidden="true">
      <line x1={0} x2={width} y1={y(0)} y2={y(0)} className="axis-zero" />
      <polygon points={`${line((point) => point.upper)} ${line((point) => point.lower, [...points].reverse())}`} className="lift-band" />
      <polyline points={line((point) => point.lift)} className="lift-line" />
      <circle cx={x(last)} cy={y(points.at(-1)?.lift ?? 0)} r={3} className="lift-point" />
    </svg>
  );
}
