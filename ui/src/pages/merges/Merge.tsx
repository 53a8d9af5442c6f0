/** One merge: what it made, what waits for a person, its runs, and taking it apart. */
import { App, Button } from "antd";
import { useState } from "react";
import { Link as To, useParams } from "react-router";
import { part, Problem, useDo, useGet, type Task, type Work } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Code, Empty, Facts, Figures, Grid, Page, Status, Tabs, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { AssetLink } from "../../ui/links";
import { Edit } from "../files/buttons";
import { Asked } from "../syncs/parts";
import { Questions } from "./Questions";
import { didOf, waiting, type Did, type MergeOf } from "./parts";
import own from "./words";

type Apart = { record: string } | { all: true };

export default function Merge() {
  const { t } = useWords(own);
  const { can } = useWho();
  const { name = "" } = useParams();
  const merge = useGet<MergeOf>(`/v1/merges/${part(name)}`);
  const run = useDo<Work, { plan?: boolean }>((how) => ["POST", `/v1/merges/${part(name)}/run`, how]);
  const undo = useDo<Work, Apart>((what) => ["POST", `/v1/merges/${part(name)}/undo`, what]);
  const back = { to: "/merges", label: t("back") };
  if (merge.error instanceof Problem && merge.error.status === 404) return <Page title={name} back={back}><Empty icon="lineage" text={t("missing", { name })} action={<To to="/merges">{t("back")}</To>} /></Page>;
  const actions = merge.data && can("operate") && (
    <>
      <Edit kind="merge" name={name} />
      <Button loading={run.isPending && run.variables.plan === true} onClick={() => run.mutate({ plan: true })}>{t("plan")}</Button>
      <Button type="primary" icon={<Icon name="play" size={13} />} loading={run.isPending && !run.variables.plan} onClick={() => run.mutate({})}>{t("run")}</Button>
    </>
  );
  return (
    <Page title={<>{name}{merge.data?.last && <Status of={merge.data.last.status} />}</>} text={merge.data?.description ?? undefined} back={back} actions={actions}>
      {run.error && <Trouble error={run.error} />}
      {undo.error && <Trouble error={undo.error} />}
      {run.data && <Asked work={run.data} />}
      {undo.data && <Asked work={undo.data} />}
      <Ask of={merge}>{(one) => <Body one={one} read={merge.dataUpdatedAt} undo={can("operate") && one.last ? (what) => undo.mutate(what) : null} />}</Ask>
    </Page>
  );
}

function Body({ one, read, undo }: { one: MergeOf; read: number; undo: ((what: Apart) => void) | null }) {
  const { t, n, ago, moment, duration } = useWords(own);
  const did = didOf(one.last);
  return (
    <>
      <Figures of={[
        { label: t("target"), value: <AssetLink name={one.target} />, note: one.sources.map((source) => source.name).join(" + ") },
        { label: t("last"), value: one.last ? ago(one.last.started_at) : t("never"), note: one.last && `${moment(one.last.started_at)} · ${duration(one.last.duration_ms)}` },
        { label: t("groups"), value: n(did.groups), note: did.largest ? t("groups.note", { count: n(did.largest) }) : undefined },
        { label: t("questions"), value: n(waiting(one)), note: did.answered ? t("answered.count", { count: n(did.answered) }) : undefined, tone: waiting(one) ? "warn" : undefined },
      ]} />
      {one.last?.error && <div className="trouble" role="alert" style={{ marginBottom: 16 }}><Icon name="failed" size={20} /><p className="trouble-detail">{one.last.error}</p></div>}
      {one.plan && <Plan plan={one.plan} />}
      <Tabs
        label={one.name}
        tabs={[
          { key: "questions", label: t("tab.questions"), count: waiting(one), body: () => <Questions merge={one} /> },
          { key: "found", label: t("tab.found"), body: () => <Found did={did} undo={undo} /> },
          { key: "runs", label: t("tab.runs"), body: () => <Runs one={one} read={read} /> },
          { key: "file", label: t("tab.file"), body: () => <Card title={<code>{one.file}</code>} extra={<Trust read={read} route="GET /v1/merges/{merge}" />}><Code text={JSON.stringify(one.declared, null, 2)} max={640} /></Card> },
        ]}
      />
    </>
  );
}

/** What the newest plan says. */
function Plan({ plan }: { plan: Task }) {
  const { t, n, ago } = useWords(own);
  const did = didOf(plan);
  return (
    <Card title={<>{t("plan.title")} <Status of={plan.status} /></>} extra={<span className="quiet">{ago(plan.started_at)}</span>}>
      {plan.error ? <p className="bad">{plan.error}</p> : (
        <Facts of={[
          [t("rows"), n(plan.rows_in)],
          [t("records"), n(plan.rows_out)],
          [t("merged"), n(did.merged)],
          [t("aside"), n(plan.rows_rejected)],
          [t("groups"), n(did.groups)],
          [t("questions"), n(did.questions)],
        ]} />
      )}
    </Card>
  );
}

/** What found the records, where their values differ, what refers to them; and taking them apart. */
function Found({ did, undo }: { did: Did; undo: ((what: Apart) => void) | null }) {
  const { t, n } = useWords(own);
  if (!did.rules) return <Card><Empty icon="info" text={t("found.empty")} /></Card>;
  return (
    <>
      <Card flush title={t("rules")}>
        <Grid
          rows={did.rules} rowKey={(one) => one.rule} label={t("rules")}
          columns={[
            { key: "rule", title: t("rule"), wrap: true, cell: (one) => one.rule, by: (one) => one.rule },
            { key: "pairs", title: t("pairs"), number: true, cell: (one) => n(one.pairs), by: (one) => one.pairs },
          ]}
        />
      </Card>
      <Card flush title={t("conflicts")}>
        <Grid
          rows={Object.entries(did.conflicts ?? {})} rowKey={([field]) => field} label={t("conflicts")}
          columns={[
            { key: "field", title: t("field"), cell: ([field]) => field, by: ([field]) => field },
            { key: "records", title: t("conflicts.count"), number: true, cell: ([, count]) => n(count), by: ([, count]) => count },
          ]}
        />
      </Card>
      {(did.children ?? []).length > 0 && (
        <Card flush title={t("children")}>
          <Grid
            rows={did.children ?? []} rowKey={(one) => one.table} label={t("children")}
            columns={[
              { key: "table", title: t("table"), cell: (one) => <AssetLink name={one.table} />, by: (one) => one.table },
              { key: "rows", title: t("rows"), number: true, cell: (one) => n(one.rows), by: (one) => one.rows },
              { key: "repointed", title: t("repointed"), number: true, cell: (one) => n(one.repointed), by: (one) => one.repointed },
              { key: "dangling", title: t("dangling"), number: true, cell: (one) => n(one.dangling), by: (one) => one.dangling },
            ]}
          />
        </Card>
      )}
      {undo && <Undo undo={undo} />}
    </>
  );
}

function Undo({ undo }: { undo: (what: Apart) => void }) {
  const { t } = useWords(own);
  const { modal } = App.useApp();
  const [record, setRecord] = useState("");
  const all = () => modal.confirm({ title: t("undo.all"), content: t("undo.all.text"), okText: t("undo.all"), okButtonProps: { danger: true }, cancelText: t("f.cancel"), onOk: () => undo({ all: true }) });
  return (
    <Card title={t("undo.title")}>
      <p className="quiet" style={{ marginBottom: 12 }}>{t("undo.text")}</p>
      <div className="row">
        <input className="input" value={record} placeholder={t("undo.key")} aria-label={t("undo.key")} onChange={(event) => setRecord(event.target.value)} />
        <Button disabled={record.trim() === ""} onClick={() => undo({ record: record.trim() })}>{t("undo")}</Button>
        <Button danger onClick={all}>{t("undo.all")}</Button>
      </div>
    </Card>
  );
}

function Runs({ one, read }: { one: MergeOf; read: number }) {
  const { t, n, moment, duration } = useWords(own);
  const sql = `select * from system.tasks where kind = 'merge' and name = '${one.name.replaceAll("'", "''")}' order by started_at desc`;
  return (
    <Card flush title={t("tab.runs")} extra={<Trust read={read} sql={sql} />}>
      <Grid
        rows={one.recent ?? []} rowKey={(task) => `${task.run_id} ${task.position}`} label={t("tab.runs")} page={25} empty={<Empty icon="runs" text={t("runs.empty", { name: one.name })} />}
        columns={[
          { key: "at", title: t("f.started"), cell: (task) => <To to={`/runs/${part(task.run_id ?? "")}`}>{moment(task.started_at)}</To>, by: (task) => task.started_at },
          { key: "status", title: t("f.status"), cell: (task) => <Status of={task.status} />, by: (task) => task.status },
          { key: "rows", title: t("rows"), number: true, cell: (task) => n(task.rows_in), by: (task) => task.rows_in },
          { key: "records", title: t("records"), number: true, cell: (task) => n(task.rows_out), by: (task) => task.rows_out },
          { key: "merged", title: t("merged"), number: true, cell: (task) => n(didOf(task).merged), by: (task) => didOf(task).merged },
          { key: "aside", title: t("aside"), number: true, cell: (task) => (task.rows_rejected ? <span className="warn">{n(task.rows_rejected)}</span> : n(0)), by: (task) => task.rows_rejected },
          { key: "questions", title: t("questions"), number: true, cell: (task) => n(didOf(task).questions), by: (task) => didOf(task).questions },
          { key: "took", title: t("f.duration"), number: true, cell: (task) => duration(task.duration_ms), by: (task) => task.duration_ms },
          { key: "error", title: t("f.error"), wrap: true, cell: (task) => task.error && <span className="bad">{task.error}</span> },
        ]}
      />
    </Card>
  );
}
