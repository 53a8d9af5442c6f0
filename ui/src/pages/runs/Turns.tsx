/** Turns, runs, and what waits to be done. */
import { App, Button } from "antd";
import { useState } from "react";
import { Link } from "react-router";
import { part, useDo, useGet, usePieces, type Items, type Run, type Turn, type Work } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { useWorkName } from "../../shell/names";
import { Ask, Card, Choice, Empty, Grid, Page, Pick, Rich, Status, Tabs, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import own from "./words";

const LISTED = 500;
const WAITS = ["queued", "running"];

export default function Turns() {
  const { t } = useWords(own);
  const { can } = useWho();
  const { message } = App.useApp();
  const ask = useDo<Work>(() => ["POST", "/v1/turns", {}], () => void message.success(t("work.asked", { what: t("kind.turn") })));
  const work = useGet<Items<Work>>("/v1/work");
  const waiting = work.data?.items.filter((one) => WAITS.includes(one.status)).length;
  return (
    <Page title={t("title")} text={t("text")} actions={can("operate") && <Button type="primary" icon={<Icon name="play" size={14} />} loading={ask.isPending} onClick={() => ask.mutate()}>{t("run")}</Button>}>
      <Tabs
        label={t("title")}
        tabs={[
          { key: "turns", label: t("turns"), body: () => <TurnList /> },
          { key: "runs", label: t("runs"), body: () => <RunList /> },
          { key: "queue", label: t("queue"), count: waiting || undefined, body: () => <Queue work={work} /> },
        ]}
      />
    </Page>
  );
}

function TurnList() {
  const { t, n, day, moment, duration } = useWords(own);
  const turns = useGet<Items<Turn>>(`/v1/turns?limit=${LISTED}`);
  return (
    <Ask of={turns}>
      {({ items }) => (
        <Card flush extra={<Trust read={turns.dataUpdatedAt} sql="select * from system.runs where kind = 'turn' order by started_at desc" />}>
          <Grid
            rows={items} rowKey={(turn) => String(turn.turn)} label={t("turns")} empty={<Empty icon="runs" text={t("turns.empty")} />}
            columns={[
              { key: "turn", title: t("f.turn"), number: true, width: 80, cell: (turn) => (turn.run_id ? <Link to={`/runs/${part(turn.run_id)}`}>{n(turn.turn)}</Link> : n(turn.turn)), by: (turn) => turn.turn },
              { key: "day", title: t("f.day"), cell: (turn) => day(turn.at), by: (turn) => turn.at },
              { key: "status", title: t("f.status"), cell: (turn) => <Status of={turn.status && turn.status !== "succeeded" ? turn.status : turn.complete ? "complete" : "open"} />, by: (turn) => turn.status },
              { key: "started", title: t("f.started"), cell: (turn) => moment(turn.started_at), by: (turn) => turn.started_at },
              { key: "duration", title: t("f.duration"), number: true, cell: (turn) => duration(turn.duration_ms), by: (turn) => turn.duration_ms },
              { key: "error", title: t("f.error"), wrap: true, cell: (turn) => turn.error && <span className="bad">{turn.error}</span> },
              { key: "open", title: "", cell: (turn) => turn.run_id && <Link to={`/runs/${part(turn.run_id)}`}>{t("details")}</Link> },
            ]}
          />
        </Card>
      )}
    </Ask>
  );
}

function RunList() {
  const { t, n, moment, duration, word } = useWords(own);
  const [kind, setKind] = useState("");
  const [status, setStatus] = useState<"" | "failed">("");
  const runs = usePieces<Run>(`/v1/runs?limit=${LISTED}${kind && `&kind=${kind}`}${status && `&status=${status}`}`);
  return (
    <>
      <div className="filters">
        <Pick label={t("f.kind")} value={kind} choose={setKind} of={[{ key: "", label: t("f.all") }, ...["turn", "sync", "build", "learn", "quarantine", "quality", "act", "tasks", "dashboard"].map((one) => ({ key: one, label: word("kind", one) }))]} />
        <Choice label={t("f.status")} value={status} choose={setStatus} of={[{ key: "", label: t("f.all") }, { key: "failed", label: t("failed.only") }]} />
      </div>
      <Ask of={runs}>
        {({ items }) => (
          <Card flush extra={<Trust read={runs.dataUpdatedAt} sql="select * from system.runs order by started_at desc" />}>
            <Grid
              rows={items} rowKey={(run) => run.run_id} label={t("runs")} empty={<Empty icon="runs" text={t("runs.empty")} />}
              columns={[
                { key: "run", title: t("runs"), cell: (run) => <Link to={`/runs/${part(run.run_id)}`}><code>{run.run_id}</code></Link> },
                { key: "kind", title: t("f.kind"), cell: (run) => word("kind", run.kind), by: (run) => run.kind },
                { key: "turn", title: t("f.turn"), number: true, cell: (run) => n(run.turn), by: (run) => run.turn },
                { key: "at", title: t("logical"), cell: (run) => moment(run.logical_at), by: (run) => run.logical_at },
                { key: "status", title: t("f.status"), cell: (run) => <Status of={run.status} />, by: (run) => run.status },
                { key: "started", title: t("f.started"), cell: (run) => moment(run.started_at), by: (run) => run.started_at },
                { key: "duration", title: t("f.duration"), number: true, cell: (run) => duration(run.duration_ms), by: (run) => run.duration_ms },
                { key: "error", title: t("f.error"), wrap: true, cell: (run) => run.error && <span className="bad">{run.error}</span> },
              ]}
            />
            {runs.more && <p className="grid-more"><Button type="text" loading={runs.loading} onClick={runs.more}>{t("f.older")}</Button></p>}
          </Card>
        )}
      </Ask>
    </>
  );
}

function Queue({ work }: { work: ReturnType<typeof useGet<Items<Work>>> }) {
  const { t, moment, ago } = useWords(own);
  const { can } = useWho();
  const name = useWorkName();
  const { message } = App.useApp();
  const cancel = useDo<Work, string>((one) => ["POST", `/v1/work/${part(one)}/cancel`, {}], () => void message.info(t("cancel.asked")));
  return (
    <Ask of={work}>
      {({ items }) => (
        <Card flush title={undefined} extra={<Trust read={work.dataUpdatedAt} route="GET /v1/work" />}>
          <p className="quiet small" style={{ padding: "0 18px 8px" }}><Rich text={t("queue.text")} /></p>
          <Grid
            rows={items} rowKey={(one) => one.work} label={t("queue")} empty={<Empty icon="runs" text={t("queue.empty")} />}
            columns={[
              { key: "what", title: t("what"), cell: (one) => <Link to={`/work/${part(one.work)}`}>{name(one)}</Link>, by: name },
              { key: "status", title: t("f.status"), cell: (one) => <Status of={one.status} />, by: (one) => one.status },
              { key: "who", title: t("asked"), cell: (one) => one.asked_by, by: (one) => one.asked_by },
              { key: "at", title: t("asked.at"), cell: (one) => <span title={moment(one.asked_at)}>{ago(one.asked_at)}</span>, by: (one) => one.asked_at },
              { key: "error", title: t("f.error"), wrap: true, cell: (one) => one.error && <span className="bad">{one.error}</span> },
              { key: "do", title: "", cell: (one) => can("operate") && WAITS.includes(one.status) && <Button size="small" loading={cancel.isPending && cancel.variables === one.work} onClick={() => cancel.mutate(one.work)}>{t("cancel")}</Button> },
            ]}
          />
        </Card>
      )}
    </Ask>
  );
}
