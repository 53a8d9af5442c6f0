/** What runs by itself: schedules, their runs, and the alerts that left. */
import { Button } from "antd";
import { useState } from "react";
import { Link } from "react-router";
import { part, useGet, usePieces, type Items } from "../../api";
import { useWords } from "../../i18n";
import { Ask, Card, Empty, Figures, Grid, Page, Pick, Status, Tabs, Trust } from "../../ui/basics";
import { Edit, New } from "../files/buttons";
import { Pause, RunNow, Runs, When, type Declared, type ScheduleRun } from "./parts";
import own from "./words";

const LISTED = 200;
const STATES = ["waiting", "running", "succeeded", "failed", "blocked", "cancelled", "skipped"];

interface Alert {
  key: string;
  kind: string;
  /** Empty if an alert's file says what is told. */
  schedule: string;
  scheduled_run: string;
  /** The alert whose file says what is told. */
  alert: string | null;
  subject: string | null;
  action: string;
  status: string;
  attempts: number;
  made_at: string;
  /** When it is tried next, if it is. */
  due_at: string;
  ended_at: string | null;
  error: string | null;
  title: string | null;
  text: string | null;
}

/** An alert of the project, and what it found that goes on. */
interface Standing {
  alert: string;
  description: string | null;
  when: string;
  send: string[];
  paused: boolean;
  file: string;
  open: { subject: string; text: string; since: string; told_at: string | null; times: number }[];
  /** What it told and did not arrive. */
  undelivered: { action: string; status: string; attempts: number; error: string | null; next_at: string | null; ended_at: string | null }[];
}

export default function Schedules() {
  const { t } = useWords(own);
  const schedules = useGet<Items<Declared>>("/v1/schedules", 30_000);
  const alerts = useGet<Items<Alert>>(`/v1/alerts?limit=${LISTED}`, 30_000);
  const standing = useGet<Items<Standing>>("/v1/alert-states", 30_000);
  const lost = alerts.data?.items.filter((one) => one.status === "dead").length ?? 0;
  const open = standing.data?.items.reduce((sum, one) => sum + one.open.length, 0) ?? 0;
  return (
    <Page title={t("title")} text={t("text")} actions={<><New kind="alert" /><New kind="schedule" /></>}>
      <Tabs
        label={t("title")}
        tabs={[
          { key: "schedules", label: t("schedules"), body: () => <List of={schedules} /> },
          { key: "runs", label: t("runs"), body: () => <RunList schedules={schedules.data?.items ?? []} /> },
          { key: "alerts", label: t("alerts"), count: lost + open || undefined, body: () => <><States of={standing} /><Alerts of={alerts} /></> },
        ]}
      />
    </Page>
  );
}

function List({ of }: { of: ReturnType<typeof useGet<Items<Declared>>> }) {
  const { t, n, moment, word } = useWords(own);
  return (
    <Ask of={of}>
      {({ items }) => {
        const failing = items.filter((one) => one.failing_since).length;
        const paused = items.filter((one) => one.paused).length;
        return (
          <>
            {items.length > 0 && <Figures of={[{ label: t("schedules"), value: n(items.length) }, { label: t("paused"), value: n(paused), tone: paused ? "warn" : undefined }, { label: t("failing"), value: n(failing), note: failing ? t("failing.note") : undefined, tone: failing ? "bad" : undefined }]} />}
            <Card flush extra={<Trust read={of.dataUpdatedAt} route="GET /v1/schedules" />}>
              <Grid
                rows={items} rowKey={(one) => one.schedule} label={t("schedules")} empty={<Empty icon="clock" text={t("empty")} />}
                columns={[
                  { key: "schedule", title: t("schedule"), wrap: true, cell: (one) => <><Link to={`/schedules/${part(one.schedule)}`}>{one.schedule}</Link>{one.description && <div className="quiet small">{one.description}</div>}</>, by: (one) => one.schedule },
                  { key: "does", title: t("does"), cell: (one) => `${word("kind", one.run)}${one.select.length ? ` ${one.select.join(" ")}` : ""}`, by: (one) => one.run },
                  { key: "when", title: t("when"), cell: (one) => <When when={one.when} /> },
                  { key: "next", title: t("next"), cell: (one) => (one.paused ? <Status of="paused" /> : (one.next[0]?.local ?? moment(one.next[0]?.at ?? null))), by: (one) => one.next[0]?.at },
                  { key: "last", title: t("last"), wrap: true, cell: (one) => <Last of={one} />, by: (one) => one.last?.moment },
                  { key: "do", title: "", cell: (one) => <span className="row"><RunNow schedule={one.schedule} /><Pause of={one} /></span> },
                ]}
              />
            </Card>
          </>
        );
      }}
    </Ask>
  );
}

/** What became of the newest run, or why there is none. */
function Last({ of }: { of: Declared }) {
  const { moment } = useWords(own);
  const why = of.paused ? of.reason : of.last?.error;
  return (
    <>
      {of.last && <><Status of={of.last.status} /> <span className="quiet small">{moment(of.last.moment)}</span></>}
      {why && <div className={of.paused ? "quiet small" : "bad small"}>{why}</div>}
    </>
  );
}

function RunList({ schedules }: { schedules: Declared[] }) {
  const { t, word } = useWords(own);
  const [schedule, setSchedule] = useState("");
  const [status, setStatus] = useState("");
  const runs = usePieces<ScheduleRun>(`/v1/schedule-runs?limit=${LISTED}${schedule && `&schedule=${part(schedule)}`}${status && `&status=${status}`}`, 15_000);
  return (
    <>
      <div className="filters">
        <Pick label={t("schedule")} value={schedule} choose={setSchedule} of={[{ key: "", label: t("f.all") }, ...schedules.map((one) => ({ key: one.schedule, label: one.schedule }))]} />
        <Pick label={t("f.status")} value={status} choose={setStatus} of={[{ key: "", label: t("f.all") }, ...STATES.map((key) => ({ key, label: word("status", key) }))]} />
      </div>
      <Ask of={runs}>
        {({ items }) => (
          <Card flush extra={<Trust read={runs.dataUpdatedAt} sql="select * from system.schedule_runs order by moment desc" />}>
            <Runs of={items} named empty={schedule || status ? t("runs.none") : t("runs.empty")} />
            {runs.more && <p className="grid-more"><Button type="text" loading={runs.loading} onClick={runs.more}>{t("f.older")}</Button></p>}
          </Card>
        )}
      </Ask>
    </>
  );
}

/** What the files of alerts tell of, and what they found. */
function States({ of }: { of: ReturnType<typeof useGet<Items<Standing>>> }) {
  const { t, moment } = useWords(own);
  return (
    <Ask of={of}>
      {({ items }) => (
        <Card flush title={t("states")} extra={<Trust read={of.dataUpdatedAt} route="GET /v1/alert-states" />}>
          <Grid
            rows={items} rowKey={(one) => one.alert} label={t("states")} empty={<Empty icon="alert" text={t("states.empty")} />}
            columns={[
              { key: "alert", title: t("alert"), wrap: true, cell: (one) => <><span className="row"><code>{one.alert}</code><Edit kind="alert" name={one.alert} small /></span>{one.description && <div className="quiet small">{one.description}</div>}</>, by: (one) => one.alert },
              { key: "when", title: t("tells"), wrap: true, cell: (one) => <code>{one.when}</code>, by: (one) => one.when },
              { key: "send", title: t("f.action"), wrap: true, cell: (one) => <>{one.paused ? <Status of="paused" /> : <code>{one.send.join(" ")}</code>}{one.undelivered.map((lost, place) => <div key={place} className="small"><span className="bad">{lost.action}</span> <span className="quiet">{lost.next_at ? t("try.next", { when: moment(lost.next_at) }) : t("try.over", { when: moment(lost.ended_at) })}</span> {lost.error}</div>)}</> },
              { key: "open", title: t("goes.on"), wrap: true, cell: (one) => (one.open.length ? one.open.map((open) => <div key={open.subject}><span className="bad">{open.subject}</span> <span className="quiet small">{t("since", { when: moment(open.since) })}</span><div className="small">{open.text}</div></div>) : <span className="quiet">{t("goes.on.none")}</span>), by: (one) => one.open.length },
            ]}
          />
        </Card>
      )}
    </Ask>
  );
}

function Alerts({ of }: { of: ReturnType<typeof useGet<Items<Alert>>> }) {
  const { t, n, moment, word } = useWords(own);
  return (
    <Ask of={of}>
      {({ items }) => (
        <Card flush title={t("sent")} extra={<Trust read={of.dataUpdatedAt} sql="select * from system.alerts order by made_at desc" />}>
          <Grid
            rows={items} rowKey={(one) => one.key} label={t("alerts")} empty={<Empty icon="alert" text={t("alerts.empty")} />}
            columns={[
              { key: "made", title: t("made"), cell: (one) => moment(one.made_at), by: (one) => one.made_at },
              { key: "kind", title: t("f.kind"), cell: (one) => word("alert", one.kind), by: (one) => one.kind },
              { key: "schedule", title: t("of"), cell: (one) => (one.alert ? <code>{one.alert}</code> : <Link to={`/schedules/${part(one.schedule)}`}>{one.schedule}</Link>), by: (one) => one.alert ?? one.schedule },
              { key: "text", title: t("says"), wrap: true, cell: (one) => one.title ?? one.text },
              { key: "action", title: t("f.action"), cell: (one) => <code>{one.action}</code>, by: (one) => one.action },
              { key: "status", title: t("f.status"), cell: (one) => <><Status of={one.status} />{one.status === "pending" && one.attempts > 0 && <div className="quiet small">{t("try.next", { when: moment(one.due_at) })}</div>}{one.status === "dead" && <div className="quiet small">{t("try.over", { when: moment(one.ended_at) })}</div>}</>, by: (one) => one.status },
              { key: "attempts", title: t("attempts"), number: true, cell: (one) => n(one.attempts), by: (one) => one.attempts },
              { key: "error", title: t("f.error"), wrap: true, cell: (one) => one.error && <span className="bad">{one.error}</span> },
            ]}
          />
        </Card>
      )}
    </Ask>
  );
}
