/** The wheel as it is: eight stages, each an arrow into the next, with what is in it and how it fares. */
import { useId } from "react";
import { Link } from "react-router";
import type { Health, Stage } from "../../api";
import { useWords } from "../../i18n";
import { entries } from "../../pages";
import { useWho } from "../../session";
import { Icon, type IconName } from "../../ui/icons";
import own from "./words";

const SIZE = { width: 760, height: 640, x: 380, y: 320 };
const OUTER = 214;
const INNER = 160;
const LABEL = 276;
/** How far the tip of an arrow reaches into the next one, in degrees. */
const TIP = 7;
const GAP = 1.6;

const place = (radius: number, degrees: number): [number, number] => {
  const angle = ((degrees - 90) * Math.PI) / 180;
  return [SIZE.x + radius * Math.cos(angle), SIZE.y + radius * Math.sin(angle)];
};
const text = ([x, y]: [number, number]) => `${x.toFixed(1)} ${y.toFixed(1)}`;

/** The outline of the arrow between two angles. */
export function arrow(from: number, to: number): string {
  const middle = (OUTER + INNER) / 2;
  return [
    `M${text(place(OUTER, from))}`, `A${OUTER} ${OUTER} 0 0 1 ${text(place(OUTER, to))}`, `L${text(place(middle, to + TIP))}`,
    `L${text(place(INNER, to))}`, `A${INNER} ${INNER} 0 0 0 ${text(place(INNER, from))}`, `L${text(place(middle, from + TIP))}`, "Z",
  ].join("");
}

const TARGETS: Record<string, string> = { connect: "connections", land: "syncs", model: "models", measure: "metrics", learn: "learners", decide: "policies", act: "actions", outcome: "policies" };
const MARKS: Partial<Record<Health, IconName>> = { attention: "alert", failed: "failed" };

export function Ring({ stages, active, turning, children }: { stages: Stage[]; active: string | null; turning: boolean; children: React.ReactNode }) {
  const { t, n, compact, word } = useWords(own);
  const { may } = useWho();
  const title = useId();
  const size = 360 / Math.max(1, stages.length);
  const spoken = stages.map((stage) => t("ring.stage", { stage: word("stage", stage.stage), count: n(stage.count), unit: word("unit", stage.unit), health: word("health", stage.health) })).join("; ");
  return (
    <div className={`wheel ${turning ? "wheel-turning" : ""}`}>
      <div className="wheel-face">
      <svg viewBox={`0 0 ${SIZE.width} ${SIZE.height}`} role="img" aria-labelledby={title}>
        <title id={title}>{t("ring", { text: spoken })}</title>
        <circle cx={SIZE.x} cy={SIZE.y} r={INNER - 16} className="wheel-hub" />
        <circle cx={SIZE.x} cy={SIZE.y} r={OUTER + 13} className="wheel-rim" />
        <g className="wheel-spin"><circle cx={SIZE.x} cy={SIZE.y} r={OUTER + 13} className="wheel-run" pathLength={100} /></g>
        {stages.map((stage, index) => {
          const centre = index * size;
          const [x, y] = place((OUTER + INNER) / 2, centre + TIP / 2);
          return (
            <g key={stage.stage} className={`wheel-stage wheel-${stage.health} ${active === stage.stage ? "wheel-active" : ""}`}>
              <path d={arrow(centre - size / 2 + GAP, centre + size / 2 - GAP)} />
              <g transform={`translate(${(x - 14).toFixed(1)} ${(y - 14).toFixed(1)})`}><Icon name={stage.stage as IconName} size={28} /></g>
            </g>
          );
        })}
      </svg>
      <div className="wheel-centre">{children}</div>
      </div>
      <ul className="wheel-labels">
        {stages.map((stage, index) => {
          const [x, y] = place(LABEL, index * size);
          const target = TARGETS[stage.stage];
          const entry = entries.find((one) => one.path === target);
          const mark = MARKS[stage.health];
          const body = (
            <>
              <span className="wheel-name">{mark && <Icon name={mark} size={14} />}{word("stage", stage.stage)}<span className="unseen"> {word("health", stage.health)}</span></span>
              <b key={stage.count} title={n(stage.count)}>{compact(stage.count)}</b>
              <span className="wheel-unit">{word("unit", stage.unit)}</span>
            </>
          );
          return (
            <li key={stage.stage} className={`wheel-label wheel-${stage.health}`} style={{ left: `${(x / SIZE.width) * 100}%`, top: `${(y / SIZE.height) * 100}%` }} title={stage.note ?? undefined}>
              {entry && may(entry) ? <Link to={`/${entry.path}`}>{body}</Link> : <div>{body}</div>}
            </li>
          );
        })}
      </ul>
    </div>
  );
}
