/** One run: what it did, how long each task took, and its log. */
import { useParams } from "react-router";
import { part, useGet, type Run as Shown } from "../../api";
import { useWords } from "../../i18n";
import { useLive } from "../../live";
import { Ask, Card, Figures, Page, Status, Trouble, Trust } from "../../ui/basics";
import { Log, Tasks } from "./parts";
import own from "./words";

export default function Run() {
  const { t, n, moment, duration, word } = useWords(own);
  const { run: id = "" } = useParams();
  const run = useGet<Shown>(`/v1/runs/${part(id)}`, 15_000);
  const live = useLive();
  const work = Object.values(live.work).find((one) => one.run_id === id);
  const data = run.data;
  const title = !data ? id : data.kind === "turn" && data.turn !== null ? t("one.turn", { turn: n(data.turn) }) : t("one", { kind: word("kind", data.kind), moment: moment(data.started_at) });
  return (
    <Page title={<>{title}{data && <Status of={data.status} />}</>} text={<code>{id}</code>} back={{ to: "/turns?tab=runs", label: t("title") }}>
      <Ask of={run}>
        {(shown) => {
          const tasks = shown.tasks ?? [];
          const heard = work ? (live.log[work.work] ?? []) : [];
          const kept = shown.log ?? [];
          const sum = (pick: (task: (typeof tasks)[number]) => number | null) => tasks.reduce((total, task) => total + (pick(task) ?? 0), 0);
          const rejected = sum((task) => task.rows_rejected);
          return (
            <>
              <Figures of={[
                { label: t("logical"), value: moment(shown.logical_at) },
                { label: t("f.started"), value: moment(shown.started_at) },
                { label: t("f.duration"), value: duration(shown.duration_ms) },
                { label: t("tasks"), value: n(tasks.length), note: tasks.some((task) => task.status === "failed") ? `${n(tasks.filter((task) => task.status === "failed").length)} ${t("status.failed")}` : undefined, tone: tasks.some((task) => task.status === "failed") ? "bad" : undefined },
                { label: t("f.rejected"), value: n(rejected), tone: rejected ? "warn" : undefined },
              ]} />
              {shown.error && <Trouble error={new Error(shown.error)} />}
              <Card title={t("tasks")} flush extra={<Trust read={run.dataUpdatedAt} sql={`select * from system.tasks where run_id = '${shown.run_id}' order by position`} />}><Tasks tasks={tasks} empty={t("tasks.none")} /></Card>
              <Card title={t("log")}><Log lines={kept.length >= heard.length ? kept : heard} empty={t("log.none")} name={id} /></Card>
            </>
          );
        }}
      </Ask>
    </Page>
  );
}
