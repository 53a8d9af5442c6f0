/** Parts of the pages of syncs. */
import { Link } from "react-router";
import type { Task, Work } from "../../api";
import { groupBy } from "../../group";
import { useWords } from "../../i18n";
import { useLive } from "../../live";
import { Status } from "../../ui/basics";
import "./style.css";
import own from "./words";

/** What was just asked for, and where to follow it; what is heard of it is shown as it comes. */
export function Asked({ work, text }: { work: Work; text?: "run.asked" | "replay.asked" }) {
  const { t } = useWords(own);
  const now = useLive().work[work.work] ?? work;
  return <p className="syncs-asked" role="status"><Status of={now.status} />{t(text ?? "run.asked", { work: work.work })} <Link to={now.run_id && now.status !== "running" && now.status !== "queued" ? `/runs/${now.run_id}` : `/work/${work.work}`}>{t("run.follow")}</Link></p>;
}

export interface RunSum { run: string; at: string; status: string; landed: number; aside: number; read: number; ms: number; error: string | null }

/** The tasks of a sync put together by run, newest first. */
export function byRun(tasks: Task[]): RunSum[] {
  return [...groupBy(tasks, (task) => task.run_id ?? "").entries()].map(([run, all]) => {
    const sum = (count: (task: Task) => number | null) => all.reduce((total, task) => total + (count(task) ?? 0), 0);
    const bad = all.find((task) => task.status === "failed");
    const at = all.reduce((first, task) => (task.started_at < first ? task.started_at : first), all[0]?.started_at ?? "");
    return { run, at, status: bad?.status ?? all[0]?.status ?? "unknown", landed: sum((task) => task.rows_out), aside: sum((task) => task.rows_rejected), read: sum((task) => task.rows_in), ms: sum((task) => task.duration_ms), error: bad?.error ?? null };
  });
}

/** Runs that are drawn. */
const DRAWN = 40;
/** By how much a run must be larger than the next for its bar to be cut off: a first load would flatten all others. */
const CUT_FROM = 4;

/** The height of the drawing in rows: that of the largest run, or a little above the next where one is out of proportion. */
export function scale(totals: number[]): number {
  const [first = 1, second = first] = [...totals].sort((a, b) => b - a);
  return second > 0 && first > CUT_FROM * second ? second * 1.3 : Math.max(1, first);
}

/** Rows of the last runs as bars; the table of runs says the same in numbers. */
export function Bars({ name, runs }: { name: string; runs: RunSum[] }) {
  const { t, n, moment, word } = useWords(own);
  const shown = runs.slice(0, DRAWN).reverse();
  const most = scale(shown.map((run) => run.landed + run.aside));
  const label = t("chart.label", { name, count: n(shown.length), last: n(shown.at(-1)?.landed), most: n(Math.max(0, ...shown.map((run) => run.landed))), aside: n(shown.reduce((sum, run) => sum + run.aside, 0)) });
  return (
    <figure className="syncs-bars">
      <div role="img" aria-label={label}>
        {shown.map((run) => {
          const cut = run.landed + run.aside > most;
          return (
            <span key={run.run} className={cut ? "syncs-cut" : undefined} title={`${moment(run.at)} · ${word("status", run.status)} · ${t("chart.landed")} ${n(run.landed)} · ${t("chart.aside")} ${n(run.aside)}`}>
              {cut && <small>{n(run.landed + run.aside)}</small>}
              {run.aside > 0 && <i className="syncs-aside" style={{ height: cut ? 4 : `max(2px, ${(run.aside / most) * 100}%)` }} />}
              <i className={run.status === "failed" ? "syncs-failed" : "syncs-landed"} style={{ height: cut ? "100%" : `max(2px, ${(run.landed / most) * 100}%)` }} />
            </span>
          );
        })}
      </div>
      <figcaption className="row small quiet"><i className="key syncs-key-landed" />{t("chart.landed")}<i className="key syncs-key-aside" />{t("chart.aside")}</figcaption>
    </figure>
  );
}
