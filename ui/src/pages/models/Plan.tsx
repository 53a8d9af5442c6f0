/** What a build would change before it changes anything: which models and why, for whom, and in which rows. */
import { App, Button } from "antd";
import { useState } from "react";
import { Link, useSearchParams } from "react-router";
import { client, part, useDo, useGet, type Items, type Work } from "../../api";
import { useWords } from "../../i18n";
import { useLive } from "../../live";
import { useWho } from "../../session";
import { NodeLink } from "../../ui/assets";
import { Ask, Card, Chip, Empty, Figures, Grid, Page, Pick, Status, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { useKind } from "../../ui/kinds";
import { columnsOf, lines, PRODUCTION, type Changed, type Diff, type Differences, type Environment, type Plan as Planned, type Sample, type Touched } from "./plan";
import "./style.css";
import own from "./words";

/** The statuses whose colours and marks say what a change means to readers. */
const LIKE: Record<string, string> = { breaking: "warn", "non-breaking": "ok", nothing: "idle" };

export default function Plan() {
  const { t } = useWords(own);
  const [search, setSearch] = useSearchParams();
  const environments = useGet<Items<Environment>>("/v1/environments");
  const all = environments.data?.items ?? [];
  const name = search.get("environment") ?? PRODUCTION;
  const plan = useGet<Planned>(`/v1/plan?environment=${part(name)}`);
  const chosen = all.find((one) => one.name === name);
  // While another environment is asked for, the answer about the former one is still there.
  const shown = plan.data?.environment === name ? plan.data : undefined;
  return (
    <Page title={t("plan.title")} text={t("plan.text")} back={{ to: "/models", label: t("back") }} actions={<Actions plan={shown} environment={chosen} />}>
      <div className="filters">
        <Pick label={t("plan.environment")} value={name} choose={(next) => setSearch(next === PRODUCTION ? {} : { environment: next })} of={(all.length ? all : [{ name }]).map((one) => ({ key: one.name, label: one.name === PRODUCTION ? t("plan.prod") : one.name }))} />
        {chosen && name !== PRODUCTION && <span className="quiet small">{t("plan.from", { name: chosen.made_from ?? PRODUCTION })}</span>}
      </div>
      <Ask of={{ ...plan, data: shown }} lines={8}>{(data) => <Shown plan={data} environment={chosen} read={plan.dataUpdatedAt} />}</Ask>
    </Page>
  );
}

/** What can be done with the plan; each is asked about once more, as readers see what comes of it. */
function Actions({ plan, environment }: { plan: Planned | undefined; environment: Environment | undefined }) {
  const { t, n } = useWords(own);
  const { can } = useWho();
  const { modal } = App.useApp();
  const live = useLive();
  const go = useDo<Work, [string, unknown]>(([path, body]) => ["POST", path, body]);
  const ask = (title: string, content: string, path: string, body: unknown) => modal.confirm({ title, content, okText: t("plan.go"), cancelText: t("f.cancel"), onOk: () => go.mutate([path, body]) });
  const name = plan?.environment ?? PRODUCTION;
  const work = go.data && (live.work[go.data.work] ?? go.data);
  return (
    <>
      {work && <span className="plan-work" role="status"><Status of={work.status} /><Link to={`/work/${work.work}`}>{t("work.follow")}</Link></span>}
      {plan && can("promote") && <Button onClick={() => ask(t("plan.rollback.title", { name }), t("plan.rollback.text"), `/v1/environments/${part(name)}/rollback`, {})}>{t("plan.rollback")}</Button>}
      {plan && can("promote") && name !== PRODUCTION && <Button disabled={!environment?.differing} onClick={() => ask(t("plan.promote.title", { name }), t("plan.promote.text", { count: n(environment?.differing ?? 0) }), `/v1/environments/${part(name)}/promote`, {})}>{t("plan.promote")}</Button>}
      {plan && can("operate") && <Button type="primary" icon={<Icon name="play" size={15} />} disabled={plan.tasks === 0 || plan.breaks} loading={go.isPending} onClick={() => ask(t("plan.apply.title", { count: n(plan.tasks) }), t("plan.apply.text", { name }), "/v1/plan/apply", { plan: plan.digest, environment: name })}>{t("plan.apply")}</Button>}
      {go.error && <Trouble error={go.error} />}
    </>
  );
}

function Shown({ plan, environment, read }: { plan: Planned; environment: Environment | undefined; read: number }) {
  const { t, n, word } = useWords(own);
  const [search, setSearch] = useSearchParams();
  const looked = plan.models.find((model) => model.name === search.get("model"));
  const look = (name: string | null) => setSearch((now) => { if (name) now.set("model", name); else now.delete("model"); return now; }, { replace: true });
  return (
    <>
      <Figures of={[
        { label: t("plan.tasks"), value: n(plan.tasks) },
        { label: t("plan.unchanged"), value: n(plan.unchanged) },
        { label: t("plan.touched"), value: n(plan.dependents.length), tone: plan.breaks ? "bad" : undefined },
        ...(environment && environment.name !== PRODUCTION ? [{ label: t("plan.differing"), value: n(environment.differing), note: t("plan.differing.note") }] : []),
      ]} />
      {plan.breaks && <p className="models-blocked" role="alert"><Icon name="alert" size={16} />{t("plan.breaks")}</p>}
      <Card title={t("plan.models")} flush extra={<Trust read={read} route={`GET /v1/plan?environment=${plan.environment}`} />}>
        <Grid
          rows={plan.models} rowKey={(model) => model.name} label={t("plan.models")} page={100} empty={<Empty icon="check" text={t("plan.empty")} />}
          columns={[
            { key: "name", title: t("f.name"), wrap: true, by: (model) => model.name, cell: (model) => <div className="models-name">{model.change === "removed" ? <span>{model.name}</span> : <Link to={`/models/${part(model.name)}`}>{model.name}</Link>}{!model.selected && <small>{t("plan.left")}</small>}{model.error && <small className="bad">{model.error}</small>}</div> },
            { key: "change", title: t("plan.change"), by: (model) => model.change, cell: (model) => <Chip>{word("change", model.change)}</Chip> },
            { key: "impact", title: t("plan.impact"), by: (model) => model.impact, cell: (model) => <Status of={model.error ? "failed" : (LIKE[model.impact] ?? "idle")} label={word("impact", model.impact)} /> },
            { key: "columns", title: t("plan.columns"), wrap: true, cell: (model) => <Columns model={model} /> },
            { key: "through", title: t("plan.through"), wrap: true, cell: (model) => model.through.map((name) => <div key={name}><code>{name}</code></div>) },
            { key: "look", title: t("plan.look"), cell: (model) => <Button size="small" aria-pressed={looked?.name === model.name} aria-label={`${t("plan.look")}: ${model.name}`} onClick={() => look(looked?.name === model.name ? null : model.name)}>{t("plan.look")}</Button> },
          ]}
        />
      </Card>
      {looked && <Looked key={`${plan.digest} ${looked.name}`} model={looked} digest={plan.digest} environment={plan.environment} withheld={plan.queries_withheld} />}
      {plan.dependents.length > 0 && <Dependents all={plan.dependents} />}
    </>
  );
}

function Columns({ model }: { model: Changed }) {
  const { t } = useWords(own);
  const all = columnsOf(model);
  if (!all.length && !model.rows_changed) return <span className="quiet">–</span>;
  return <span className="plan-columns">{model.rows_changed && <span>{t("plan.rows")}</span>}{all.map((name) => <code key={name}>{name}</code>)}</span>;
}

/** One model: how its query changes, and on demand how its rows would differ. */
function Looked({ model, digest, environment, withheld }: { model: Changed; digest: string; environment: string; withheld: boolean }) {
  const { t } = useWords(own);
  const { can } = useWho();
  const [asked, setAsked] = useState(false);
  const found = useGet<Differences>(asked ? `/v1/plan/differences?environment=${part(environment)}&model=${part(model.name)}` : null);
  // An answer about another plan than the one above, such as one that was kept from before, is not shown beside it.
  const moved = found.data !== undefined && found.data.digest !== digest;
  const again = () => void client.invalidateQueries({ predicate: (query) => String(query.queryKey[0]).startsWith("/v1/plan") });
  return (
    <div className="columns">
      <Card title={t("plan.sql", { name: model.name })}>{withheld ? <Empty icon="alert" text={t("plan.sql.withheld")} /> : <Lines model={model} />}</Card>
      <Card title={t("plan.diff", { name: model.name })} extra={found.data && !moved && <Trust read={found.dataUpdatedAt} route={`GET /v1/plan/differences?model=${model.name}`} />}>
        {!can("query") ? <Empty text={t("plan.diff.noquery")} /> : !asked ? (
          <><p className="quiet">{t("plan.diff.text")}</p><Button onClick={() => setAsked(true)}>{t("plan.diff.go")}</Button></>
        ) : moved && !found.isFetching ? (
          <Empty icon="alert" text={t("plan.diff.moved")} action={<Button onClick={again}>{t("app.retry")}</Button>} />
        ) : (
          <Ask of={moved ? { ...found, data: undefined } : found} lines={4}>{(data) => (data.withheld ? <Empty icon="alert" text={t("plan.withheld")} /> : data.diff ? <Rows diff={data.diff} /> : <Empty icon="check" text={t("plan.diff.none")} />)}</Ask>
        )}
      </Card>
    </div>
  );
}

const SIGNS = { "+": "come", "-": "gone", " ": "same" } as const;

function Lines({ model }: { model: Changed }) {
  const { t } = useWords(own);
  const all = lines(model.sql_before, model.sql_after);
  if (!all.length) return <Empty text={t("plan.sql.none")} />;
  return (
    <>
      {all.every((line) => line.sign === " ") && <p className="quiet small">{t("plan.sql.same")}</p>}
      <div className="code">
        {/* It scrolls, so it must be reachable by keyboard. */}
        <pre className="plan-lines" tabIndex={0} role="region" aria-label={t("plan.sql", { name: model.name })}>
          {all.map((line, at) => <span key={at} className={`plan-${SIGNS[line.sign]}`}>{line.sign !== " " && <span className="unseen">{t(`plan.line.${SIGNS[line.sign]}`)} </span>}<i aria-hidden="true">{line.sign}</i>{line.text}{"\n"}</span>)}
        </pre>
      </div>
    </>
  );
}

function Rows({ diff }: { diff: Diff }) {
  const { t, n } = useWords(own);
  const values = (sample: Sample) => sample.values.map((value) => {
    const text = (one: string | null) => one ?? "∅";
    return <div key={value.column}><code>{value.column}</code> {sample.change === "changed" ? <>{text(value.before)} → <b>{text(value.after)}</b></> : text(sample.change === "added" ? value.after : value.before)}</div>;
  });
  return (
    <>
      <Figures of={[
        { label: t("plan.rows.before"), value: n(diff.rows_before) }, { label: t("plan.rows.after"), value: n(diff.rows_after) },
        { label: t("diff.added"), value: n(diff.added) }, { label: t("diff.removed"), value: n(diff.removed) }, { label: t("diff.changed"), value: n(diff.changed) },
      ]} />
      {diff.note && <p className="quiet small">{diff.note}</p>}
      {diff.key.length > 0 && <p className="quiet small">{t("plan.key")} <code>{diff.key.join(", ")}</code></p>}
      {diff.columns.length > 0 && <p className="small">{t("plan.values")} {diff.columns.map((one) => <span key={one.column}><code>~{one.column}</code> {n(one.changed)} </span>)}</p>}
      {diff.samples.length > 0 && (
        <Grid
          rows={diff.samples.map((sample, at) => ({ ...sample, at }))} rowKey={(row) => String(row.at)} label={t("plan.samples")} page={30} tight
          columns={[
            { key: "change", title: t("plan.change"), cell: (row) => t(`diff.${row.change}`), by: (row) => row.change },
            { key: "key", title: t("plan.key"), wrap: true, cell: (row) => <code>{row.key.join(", ")}</code>, by: (row) => row.key.join(", ") },
            { key: "values", title: t("f.value"), wrap: true, cell: (row) => values(row) },
          ]}
        />
      )}
    </>
  );
}

function Dependents({ all }: { all: Touched[] }) {
  const { t } = useWords(own);
  const kind = useKind();
  return (
    <Card title={t("plan.touched")} flush>
      <p className="plan-about">{t("plan.touched.text")}</p>
      <Grid
        rows={all} rowKey={(one) => `${one.kind}:${one.name}`} label={t("plan.touched")} page={50}
        columns={[
          { key: "kind", title: t("f.kind"), by: (one) => one.kind, cell: (one) => <Chip>{kind(one.kind)}</Chip> },
          { key: "name", title: t("f.name"), wrap: true, by: (one) => one.name, cell: (one) => <NodeLink name={`${one.kind}:${one.name}`} kind={one.kind} /> },
          { key: "reads", title: t("plan.reads"), wrap: true, cell: (one) => (one.columns.length ? one.columns : one.reads).map((name) => <div key={name}><code>{name}</code></div>) },
          { key: "breaks", title: t("f.status"), wrap: true, by: (one) => (one.breaks ? 0 : 1), cell: (one) => (one.breaks ? <><Status of="broken" label={t("plan.broken")} /><small className="models-error">{one.breaks}</small></> : <Status of="ok" label={t("plan.kept")} />) },
        ]}
      />
    </Card>
  );
}
