/** One schedule: when it is due, what became of it, and runs for days of the past. */
import { App, Button } from "antd";
import { useState } from "react";
import { Link, useParams } from "react-router";
import { part, useDo, useGet } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Declared as File, Facts, Page, Status, Trouble, Trust } from "../../ui/basics";
import { Edit } from "../files/buttons";
import { Pause, RunNow, Runs, When, type Declared, type ScheduleRun } from "./parts";
import own from "./words";

interface Opened extends Declared { runs: ScheduleRun[]; declared: unknown; file: string | null }

export default function Schedule() {
  const { t } = useWords(own);
  const { schedule = "" } = useParams();
  const opened = useGet<Opened>(`/v1/schedules/${part(schedule)}`, 15_000);
  const now = opened.data;
  return (
    <Page
      title={<>{schedule}{now && (now.paused || now.last) && <Status of={now.paused ? "paused" : (now.last?.status ?? "")} />}</>} text={now?.description ?? undefined} back={{ to: "/schedules", label: t("title") }}
      actions={now && <><Edit kind="schedule" name={schedule} /><RunNow schedule={schedule} main /><Pause of={now} main /></>}
    >
      <Ask of={opened} lines={6}>{(data) => <One of={data} read={opened.dataUpdatedAt} />}</Ask>
    </Page>
  );
}

function One({ of, read }: { of: Opened; read: number }) {
  const { t, moment, word } = useWords(own);
  const { can } = useWho();
  const timed = of.next.length > 0 || of.paused;
  return (
    <>
      <Card title={t("when")} extra={<Trust read={read} route={`GET /v1/schedules/${of.schedule}`} />}>
        <Facts of={[
          [t("does"), `${word("kind", of.run)}${of.select.length ? ` ${of.select.join(" ")}` : ""}`],
          ...(of.sends.length ? [[t("sends"), <Sends of={of.sends} />] as [string, React.ReactNode]] : []),
          [t("when"), <When when={of.when} />],
          ...(of.paused && of.reason ? [[t("paused"), of.reason] as [string, string]] : []),
          ...(of.failing_since ? [[t("failing"), t("since", { when: moment(of.failing_since) })] as [string, string]] : []),
          ...(of.next.length ? [[t("next"), of.next.slice(0, 3).map((one) => one.local ?? moment(one.at)).join(", ")] as [string, string]] : []),
        ]} />
      </Card>
      {can("operate") && timed && <Backfill schedule={of.schedule} />}
      <Card title={t("runs")} flush><Runs of={of.runs} empty={t("runs.empty")} /></Card>
      <File file={of.file} value={of.declared} />
    </>
  );
}

/** Which dashboards go by which actions, and what goes with them. */
function Sends({ of }: { of: Declared["sends"] }) {
  const { t, word, language } = useWords(own);
  return (
    <>
      {of.map(({ dashboard, actions, attach, role }, index) => (
        <div key={index}>
          <Link to={`/dashboards/${part(dashboard)}`}>{dashboard}</Link>{" "}
          {t("sends.to", { actions: actions.join(language === "zh" ? "、" : ", ") })}
          {attach === "workbook" && t("sends.book")}
          {role && t("sends.role", { role: word("role", role) })}
        </div>
      ))}
    </>
  );
}

/** Asks for a run for each moment of a span of the past. */
function Backfill({ schedule }: { schedule: string }) {
  const { t, n } = useWords(own);
  const { message } = App.useApp();
  const [from, setFrom] = useState("");
  const [to, setTo] = useState("");
  const ask = useDo<{ moments: string[] }>(() => ["POST", `/v1/schedules/${part(schedule)}/run`, { from, ...(to && { to }) }], ({ moments }) => void message.success(moments.length ? t("backfill.done", { count: n(moments.length) }) : t("backfill.none")));
  return (
    <Card title={t("backfill")}>
      <p className="quiet small">{t("backfill.text")}</p>
      <form className="filters" onSubmit={(event) => { event.preventDefault(); ask.mutate(); }}>
        <label className="pick"><span>{t("from")}</span><input type="date" required value={from} max={to || undefined} onChange={(event) => setFrom(event.target.value)} /></label>
        <label className="pick"><span>{t("to")}</span><input type="date" value={to} min={from || undefined} onChange={(event) => setTo(event.target.value)} /></label>
        <Button htmlType="submit" disabled={!from} loading={ask.isPending}>{t("backfill.go")}</Button>
      </form>
      {ask.error && <Trouble error={ask.error} />}
    </Card>
  );
}
