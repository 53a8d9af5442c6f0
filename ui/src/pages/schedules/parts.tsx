/** What the list of schedules and the page of one have in common. */
import { App, Button } from "antd";
import { Link } from "react-router";
import { part, useDo } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Empty, Grid, Status } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import own from "./words";

export interface ScheduleRun {
  id: string;
  schedule: string;
  moment: string;
  cause: string;
  status: string;
  attempt: number;
  asked_by: string;
  started_at: string | null;
  ended_at: string | null;
  run_id: string | null;
  error: string | null;
  stopping: string | null;
}

export interface Declared {
  schedule: string;
  description: string | null;
  run: string;
  select: string[];
  /** The dashboards that it sends. */
  sends: { dashboard: string; actions: string[]; attach: "workbook" | "none"; role: string | null }[];
  when: string;
  paused: boolean;
  reason: string | null;
  failing_since: string | null;
  next: { at: string; local: string | null }[];
  last: ScheduleRun | null;
}

/** How the API says that nothing but a person starts a schedule; everything else that it says is written as in the file. */
const WHEN_ASKED = "when asked";

/** When a schedule is due. */
export function When({ when }: { when: string }) {
  const { t } = useWords(own);
  return when === WHEN_ASKED ? <>{t("when.asked")}</> : <code>{when}</code>;
}

/** Says what the server answered, whether it did or did not. */
function useSaid() {
  const { message } = App.useApp();
  return { well: (text: string) => void message.success(text), ill: (error: Error) => void message.error(error.message, 8) };
}

export function RunNow({ schedule, main = false }: { schedule: string; main?: boolean }) {
  const { t } = useWords(own);
  const { can } = useWho();
  const said = useSaid();
  const ask = useDo(() => ["POST", `/v1/schedules/${part(schedule)}/run`, {}], () => said.well(t("asked", { what: schedule })));
  if (!can("operate")) return null;
  return <Button size={main ? "middle" : "small"} type={main ? "primary" : "default"} icon={<Icon name="play" size={14} />} loading={ask.isPending} onClick={() => ask.mutate(undefined, { onError: said.ill })} aria-label={t("run.what", { what: schedule })}>{t("run")}</Button>;
}

export function Pause({ of, main = false }: { of: Declared; main?: boolean }) {
  const { t } = useWords(own);
  const { can } = useWho();
  const said = useSaid();
  const way = of.paused ? "resume" : "pause";
  const ask = useDo(() => ["POST", `/v1/schedules/${part(of.schedule)}/${way}`, {}], () => said.well(t(`${way}.done`, { what: of.schedule })));
  if (!can("operate")) return null;
  return <Button size={main ? "middle" : "small"} icon={<Icon name={of.paused ? "play" : "pause"} size={14} />} loading={ask.isPending} onClick={() => ask.mutate(undefined, { onError: said.ill })} aria-label={t(`${way}.what`, { what: of.schedule })}>{t(way)}</Button>;
}

export function Runs({ of, named = false, empty }: { of: ScheduleRun[]; named?: boolean; empty: string }) {
  const { t, n, moment, duration, word } = useWords(own);
  const { can } = useWho();
  const said = useSaid();
  const ask = useDo<unknown, [string, "cancel" | "rerun"]>(([id, way]) => ["POST", `/v1/schedule-runs/${part(id)}/${way}`, {}], (_, [, way]) => said.well(t(`${way}.done`)));
  const took = (one: ScheduleRun) => (one.started_at && one.ended_at ? Date.parse(one.ended_at) - Date.parse(one.started_at) : null);
  const button = (one: ScheduleRun, way: "cancel" | "rerun") => <Button size="small" loading={ask.isPending && ask.variables[0] === one.id} onClick={() => ask.mutate([one.id, way], { onError: said.ill })}>{t(way)}</Button>;
  return (
    <Grid
      rows={of} rowKey={(one) => one.id} label={t("runs")} empty={<Empty icon="clock" text={empty} />}
      columns={[
        { key: "moment", title: t("moment"), cell: (one) => moment(one.moment), by: (one) => one.moment },
        ...(named ? [{ key: "schedule", title: t("schedule"), cell: (one: ScheduleRun) => <Link to={`/schedules/${part(one.schedule)}`}>{one.schedule}</Link>, by: (one: ScheduleRun) => one.schedule }] : []),
        { key: "cause", title: t("cause"), cell: (one) => <span title={one.asked_by}>{word("cause", one.cause)}</span>, by: (one) => one.cause },
        { key: "status", title: t("f.status"), cell: (one) => <Status of={one.status} label={one.stopping ? t("stopping") : undefined} />, by: (one) => one.status },
        { key: "attempt", title: t("attempts"), number: true, cell: (one) => n(one.attempt), by: (one) => one.attempt },
        { key: "started", title: t("f.started"), cell: (one) => moment(one.started_at), by: (one) => one.started_at },
        { key: "duration", title: t("f.duration"), number: true, cell: (one) => duration(took(one)), by: took },
        { key: "error", title: t("f.error"), wrap: true, cell: (one) => one.error && <span className="bad">{one.error}</span> },
        { key: "do", title: "", cell: (one) => (
          <span className="row">
            {one.run_id && <Link to={`/runs/${part(one.run_id)}`}>{t("details")}</Link>}
            {can("operate") && ["waiting", "running"].includes(one.status) && !one.stopping && button(one, "cancel")}
            {can("operate") && one.status === "failed" && button(one, "rerun")}
          </span>
        ) },
      ]}
    />
  );
}
