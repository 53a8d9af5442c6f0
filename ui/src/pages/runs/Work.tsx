/** Something that was asked of this server: how it goes, as it goes. */
import { App, Button } from "antd";
import { Link, useParams } from "react-router";
import { part, useDo, useGet, type Work as Shown } from "../../api";
import { useWords } from "../../i18n";
import { useLive } from "../../live";
import { useWho } from "../../session";
import { useWorkName } from "../../shell/names";
import { Ask, Card, Page, Status, Trouble, Trust } from "../../ui/basics";
import { Log, Tasks, type ShownTask } from "./parts";
import own from "./words";

export default function Work() {
  const { t, moment } = useWords(own);
  const { work: id = "" } = useParams();
  const { can } = useWho();
  const { message } = App.useApp();
  const name = useWorkName();
  const live = useLive();
  const work = useGet<Shown>(`/v1/work/${part(id)}`, 15_000);
  const cancel = useDo<Shown>(() => ["POST", `/v1/work/${part(id)}/cancel`, {}], () => void message.info(t("cancel.asked")));
  const now = live.work[id] ?? work.data;
  const waits = now && ["queued", "running"].includes(now.status);
  const heard = live.tasks[id] ?? [];
  const tasks: ShownTask[] = heard.map((task) => ({ ...task, status: task.phase === "started" ? "running" : (task.status ?? "succeeded"), started_at: null, rows_in: null, rows_rejected: null }));
  return (
    <Page
      title={<>{now ? name(now) : id}{now && <Status of={now.status} />}</>} text={now && t("work.text", { who: now.asked_by, when: moment(now.asked_at) })} back={{ to: "/turns?tab=queue", label: t("queue") }}
      actions={<>{now?.run_id && <Link to={`/runs/${part(now.run_id)}`}><Button tabIndex={-1}>{t("work.run")}</Button></Link>}{can("operate") && waits && <Button danger loading={cancel.isPending} onClick={() => cancel.mutate()}>{t("cancel")}</Button>}</>}
    >
      <Ask of={work}>
        {(shown) => {
          const lines = live.log[id] ?? [];
          return (
            <>
              {cancel.error && <Trouble error={cancel.error} />}
              {now?.error && <Trouble error={new Error(now.hint ? `${now.error} – ${now.hint}` : now.error)} />}
              {(tasks.length > 0 || waits) && <Card title={t("tasks")} flush extra={<Trust read={work.dataUpdatedAt} route="GET /v1/live" />}><Tasks tasks={tasks} empty={t("tasks.waiting")} /></Card>}
              <Card title={t("log")}><Log lines={shown.log.length >= lines.length ? shown.log : lines} empty={t("log.waiting")} name={id} /></Card>
              {!waits && !tasks.length && now?.run_id && <p className="quiet"><Link to={`/runs/${part(now.run_id)}`}>{t("work.run")}</Link></p>}
            </>
          );
        }}
      </Ask>
    </Page>
  );
}
