/** One link: what it keeps alike, what waits for a person, and its runs. */
import { App, Button } from "antd";
import { Link as To, useParams } from "react-router";
import { part, Problem, useDo, useGet, type Task, type Work } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Code, Empty, Facts, Figures, Grid, Page, Status, Tabs, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { PageLink } from "../../ui/links";
import { Asked } from "../syncs/parts";
import { approvable, Counts, didOf, type LinkOf, written } from "./parts";
import { Questions } from "./Questions";
import { Edit } from "../files/buttons";
import own from "./words";

type How = { plan?: boolean; approve?: string };

export default function Link() {
  const { t } = useWords(own);
  const { can } = useWho();
  const { name = "" } = useParams();
  const link = useGet<LinkOf>(`/v1/links/${part(name)}`);
  const run = useDo<Work, How>((how) => ["POST", `/v1/links/${part(name)}/run`, how]);
  const back = { to: "/links", label: t("back") };
  if (link.error instanceof Problem && link.error.status === 404) return <Page title={name} back={back}><Empty icon="link" text={t("missing", { name })} action={<To to="/links">{t("back")}</To>} /></Page>;
  const actions = link.data && can("operate") && (
    <>
      <Edit kind="link" name={name} />
      <Button loading={run.isPending && run.variables.plan === true} onClick={() => run.mutate({ plan: true })}>{t("plan")}</Button>
      <Button type="primary" icon={<Icon name="play" size={13} />} loading={run.isPending && !run.variables.plan} onClick={() => run.mutate({})}>{t("run")}</Button>
    </>
  );
  return (
    <Page title={<>{name}{link.data?.last && <Status of={link.data.last.status} />}</>} text={link.data?.description ?? undefined} back={back} actions={actions}>
      {run.error && <Trouble error={run.error} />}
      {run.data && <Asked work={run.data} />}
      <Ask of={link}>{(one) => <Body one={one} read={link.dataUpdatedAt} approve={(token) => run.mutate({ approve: token })} />}</Ask>
    </Page>
  );
}

function Body({ one, read, approve }: { one: LinkOf; read: number; approve: (token: string) => void }) {
  const { t, n, ago, moment, duration } = useWords(own);
  const did = didOf(one.last);
  return (
    <>
      <Figures of={[
        { label: t("way"), value: <span className="row" style={{ gap: 6, fontSize: 16 }}><PageLink to="connections" name={one.left} /><span aria-hidden="true" className="quiet">⇄</span><PageLink to="connections" name={one.right} /></span>, note: one.fields.join(", ") },
        { label: t("last"), value: one.last ? ago(one.last.started_at) : t("never"), note: one.last && `${moment(one.last.started_at)} · ${duration(one.last.duration_ms)}` },
        { label: t("written"), value: one.last ? n(written(did)) : "–", note: one.last?.rows_rejected ? t("refused.count", { count: n(one.last.rows_rejected) }) : t("records.read", { count: n(one.last?.rows_in) }) },
        { label: t("questions"), value: n(one.questions), note: one.answered ? t("answered.count", { count: n(one.answered) }) : undefined, tone: one.questions ? "warn" : undefined },
      ]} />
      {one.last?.error && <div className="trouble" role="alert" style={{ marginBottom: 16 }}><Icon name="failed" size={20} /><p className="trouble-detail">{one.last.error}</p></div>}
      {one.plan && <Plan one={one} plan={one.plan} approve={approve} />}
      <Tabs
        label={one.name}
        tabs={[
          { key: "questions", label: t("tab.questions"), count: one.questions, body: () => <Questions link={one} /> },
          { key: "runs", label: t("tab.runs"), body: () => <Runs one={one} read={read} /> },
          { key: "file", label: t("tab.file"), body: () => <Card title={<code>{one.file}</code>} extra={<Trust read={read} route="GET /v1/links/{link}" />}><Code text={JSON.stringify(one.declared, null, 2)} max={640} /></Card> },
        ]}
      />
    </>
  );
}

/** What the newest plan says, with the button that lets exactly it pass the limits. */
function Plan({ one, plan, approve }: { one: LinkOf; plan: Task; approve: (token: string) => void }) {
  const { t, n, ago } = useWords(own);
  const { can } = useWho();
  const { modal } = App.useApp();
  const did = didOf(plan);
  const token = approvable(one);
  const ask = (given: string) => modal.confirm({ title: t("approve"), content: t("approve.text", { limits: (did.beyond ?? []).join("; ") }), okText: t("approve"), okButtonProps: { danger: true }, cancelText: t("f.cancel"), onOk: () => approve(given) });
  return (
    <Card title={<>{t("plan.title")} <Status of={plan.status} /></>} extra={<span className="quiet">{ago(plan.started_at)}</span>}>
      {plan.error ? <p className="bad">{plan.error}</p> : (
        <Facts of={[
          [t("created"), <Counts key="created" of={did.created} />],
          [t("updated"), <Counts key="updated" of={did.updated} />],
          [t("deleted"), <Counts key="deleted" of={did.deleted} />],
          [t("archived"), <Counts key="archived" of={did.archived} />],
          [t("matched"), n(did.matched)],
          [t("questions"), n(Object.values(did.questions ?? {}).reduce((sum, count) => sum + count, 0))],
        ]} />
      )}
      {token && (
        <p className="row" style={{ marginTop: 12 }}>
          <Chip>{t("beyond")}</Chip><span>{(did.beyond ?? []).join("; ")}</span>
          {can("operate") && <Button danger size="small" onClick={() => ask(token)}>{t("approve")}</Button>}
        </p>
      )}
    </Card>
  );
}

function Runs({ one, read }: { one: LinkOf; read: number }) {
  const { t, n, moment, duration } = useWords(own);
  const sql = `select * from system.tasks where kind = 'link' and name = '${one.name.replaceAll("'", "''")}' order by started_at desc`;
  return (
    <Card flush title={t("tab.runs")} extra={<Trust read={read} sql={sql} />}>
      <p className="quiet small" style={{ padding: "0 18px 12px" }}>{t("sides.text")}</p>
      <Grid
        rows={one.recent ?? []} rowKey={(task) => `${task.run_id} ${task.position}`} label={t("tab.runs")} page={25} empty={<Empty icon="runs" text={t("runs.empty", { name: one.name })} />}
        columns={[
          { key: "at", title: t("f.started"), cell: (task) => <To to={`/runs/${part(task.run_id ?? "")}`}>{moment(task.started_at)}</To>, by: (task) => task.started_at },
          { key: "status", title: t("f.status"), cell: (task) => <Status of={task.status} />, by: (task) => task.status },
          { key: "records", title: t("records"), number: true, cell: (task) => n(task.rows_in), by: (task) => task.rows_in },
          { key: "matched", title: t("matched"), number: true, cell: (task) => n(didOf(task).matched), by: (task) => didOf(task).matched },
          { key: "created", title: t("created"), number: true, cell: (task) => <Counts of={didOf(task).created} /> },
          { key: "updated", title: t("updated"), number: true, cell: (task) => <Counts of={didOf(task).updated} /> },
          { key: "deleted", title: t("deleted"), number: true, cell: (task) => <Counts of={didOf(task).deleted} /> },
          { key: "refused", title: t("refused"), number: true, cell: (task) => (task.rows_rejected ? <span className="warn">{n(task.rows_rejected)}</span> : n(0)), by: (task) => task.rows_rejected },
          { key: "took", title: t("f.duration"), number: true, cell: (task) => duration(task.duration_ms), by: (task) => task.duration_ms },
          { key: "error", title: t("f.error"), wrap: true, cell: (task) => task.error && <span className="bad">{task.error}</span> },
        ]}
      />
    </Card>
  );
}
