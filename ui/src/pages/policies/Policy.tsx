/** One policy: its lift, its rules, who decides for it, and its decisions. */
import { App, Button } from "antd";
import { useDeferredValue, useState } from "react";
import { Link, useParams } from "react-router";
import { part, useDo, useGet, type Cell, type Policy as Shown, type Table } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Choice, Code, Declared, Empty, Facts, Figures, Grid, Page, Rich, Status, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { LiftChart, LiftTable, liftSql, measured, verdict } from "../../ui/lift";
import { Reason } from "../../ui/reason";
import { Waiting } from "../../ui/approvals";
import { Champion } from "./Champion";
import { areUnshown, Chosen, Named, parsed } from "./parts";
import { DryRun } from "./Preview";
import { Reported } from "./Reported";
import own from "./words";

/** The parts of a declaration that are told in words. */
interface Rules { every?: string; holdout?: number; caps?: { per_unit_every?: string | null; per_turn?: number | null } | null; budget?: { amount: number; per: string; pacing: string } | null; stock?: string | null; quiet_hours?: { from: string; to: string; zone: string } | null; consent?: { column?: string; sql?: string } | null; guardrails?: { pause_when_harmful?: boolean; min_units?: number } | null; action?: string; outcome?: { window?: string } | null }

export default function Policy() {
  const words = useWords(own);
  const { t, word } = words;
  const { name = "" } = useParams();
  const { can } = useWho();
  const { message } = App.useApp();
  const [pausing, setPausing] = useState(false);
  const policy = useGet<Shown>(`/v1/policies/${part(name)}`);
  const pause = useDo<unknown, string>((reason) => ["POST", `/v1/policies/${part(name)}/pause`, { reason }], () => { setPausing(false); void message.success(t("done.pause", { name })); });
  const resume = useDo(() => ["POST", `/v1/policies/${part(name)}/resume`, {}], () => void message.success(t("done.resume", { name })));
  const data = policy.data;
  const paused = data && data.paused !== null;
  return (
    <Page
      title={<>{name}{data?.choose && <Chip>{word("choose", data.choose)}</Chip>}{data && <Status of={paused ? "paused" : "active"} />}{(data?.failed || data?.unread) && <Status of="failed" />}</>} text={data?.description ?? undefined} back={{ to: "/policies", label: t("title") }}
      actions={data && can("operate") && (paused ? <Button type="primary" loading={resume.isPending} onClick={() => resume.mutate()}>{t("resume")}</Button> : <Button onClick={() => setPausing(true)}>{t("pause")}</Button>)}
    >
      {resume.error && <Trouble error={resume.error} />}
      <Ask of={policy} lines={8}>{(shown) => <Body policy={shown} name={name} read={policy.dataUpdatedAt} />}</Ask>
      {pausing && <Reason title={`${t("pause")} · ${name}`} text={t("pause.text")} go={t("pause")} busy={pause.isPending} error={pause.error} close={() => setPausing(false)} done={(reason) => pause.mutate(reason)} />}
    </Page>
  );
}

function Body({ policy, name, read }: { policy: Shown; name: string; read: number }) {
  const { t, n, percent, points, interval, span, moment, word } = useWords(own);
  const { can } = useWho();
  const last = measured(policy.turns).at(-1);
  const says = verdict(policy.turns);
  const rules = (policy.declared ?? {}) as Rules;
  const facts: [string, React.ReactNode][] = [
    [t("rule.every"), rules.every ? span(rules.every) : t("rule.every.turn")],
    [t("rule.holdout"), percent(policy.holdout)],
    ...(rules.caps?.per_unit_every ? [[t("rule.each"), span(rules.caps.per_unit_every)] as [string, string]] : []),
    ...(rules.caps?.per_turn ? [[t("rule.turn"), n(rules.caps.per_turn)] as [string, string]] : []),
    ...(rules.budget ? [[t("rule.spend"), t("rule.spend.of", { amount: n(rules.budget.amount), time: word("budget.per", rules.budget.per), pace: word("budget.pace", rules.budget.pacing) })] as [string, string]] : []),
    ...(rules.stock ? [[t("rule.stock"), "SQL"] as [string, string]] : []),
    ...(rules.quiet_hours ? [[t("rule.quiet"), <>{rules.quiet_hours.from}–{rules.quiet_hours.to} <code>{rules.quiet_hours.zone}</code></>] as [string, React.ReactNode]] : []),
    ...(rules.consent ? [[t("rule.consent"), rules.consent.column ? <code>{rules.consent.column}</code> : "SQL"] as [string, React.ReactNode]] : []),
    ...(policy.contact ? [[t("rule.contact"), t("rule.contact.of", { count: n(policy.contact.per_unit), time: span(policy.contact.every) })] as [string, React.ReactNode]] : []),
    ...(policy.global_holdout ? [[t("rule.global"), percent(policy.global_holdout.share)] as [string, React.ReactNode]] : []),
    ...(policy.left_out?.length ? [[t("rule.left", { turn: n(policy.left_out[0]?.turn) }), <ul key="left">{policy.left_out.map((one) => <li key={one.reason}>{word("left", one.reason)}: {n(one.units)}</li>)}</ul>] as [string, React.ReactNode]] : []),
    ...(rules.outcome?.window ? [[t("rule.window"), span(rules.outcome.window)] as [string, string]] : []),
    ...(policy.learner ? [[t("rule.learner"), <Link key="l" to={`/learners/${part(policy.learner)}`}>{policy.learner}</Link>] as [string, React.ReactNode]] : []),
    ...(rules.action ? [[t("rule.action"), <code key="a">{rules.action}</code>] as [string, React.ReactNode]] : []),
    ...(rules.guardrails ? [[t("rule.harm"), rules.guardrails.pause_when_harmful ? t("f.yes") : t("f.no")] as [string, string]] : []),
    ...(rules.guardrails?.min_units ? [[t("rule.units"), n(rules.guardrails.min_units)] as [string, string]] : []),
  ];
  return (
    <>
      {policy.failed && (
        <div className="trouble" role="alert">
          <Icon name="failed" size={20} />
          <div>
            <p className="trouble-title">{t("failed")}</p>
            <p>{t("failed.text")}</p>
            <p className="trouble-said" lang="en"><Rich text={policy.failed} /></p>
            <p>{t("failed.do")} <Link to="/turns?tab=runs">{t("failed.runs")}</Link></p>
          </div>
        </div>
      )}
      {policy.unread && (
        <div className="trouble" role="alert">
          <Icon name="failed" size={20} />
          <div>
            <p className="trouble-title">{t("unread", { since: moment(policy.unread_since) })}</p>
            <p>{t("unread.text")}</p>
            <p className="trouble-said" lang="en"><Rich text={policy.unread} /></p>
            <p><Rich text={t("unread.do")} /> <Link to="/turns?tab=runs">{t("failed.runs")}</Link></p>
          </div>
        </div>
      )}
      {policy.without_forecast ? <div className="trouble"><div><p className="trouble-detail"><Rich text={t("unforecast", { count: n(policy.without_forecast) })} /></p></div></div> : null}
      {policy.split_broken && (
        <div className="trouble" role="alert">
          <Icon name="alert" size={20} />
          <div>
            <p className="trouble-title">{t("split")}</p>
            <p>{t("split.text", { share: percent(policy.holdout), turn: n(policy.turns.at(-1)?.turn) })}</p>
            <ul className="draft-notes">{(["audience", "logging", "changed"] as const).map((cause) => <li key={cause}><Rich text={t(`split.${cause}`)} /></li>)}</ul>
            <p><Rich text={t("split.do")} /></p>
          </div>
        </div>
      )}
      {policy.paused !== null && <div className="trouble"><div><p className="trouble-detail">{t("paused", { reason: String(policy.paused) })}</p>{policy.decisions === 0 && <p><Rich text={t(can("operate") ? "approve" : "approve.ask")} /> {can("query") && t("approve.look")}</p>}</div></div>}
      <Figures of={[
        { label: t("lift.lift"), value: last ? points(last.lift) : "–", note: last ? interval(last.lower, last.upper) : t("lift.none"), tone: says === "works" ? "ok" : says === "harms" ? "bad" : undefined },
        { label: t("decisions"), value: n(policy.decisions) },
        { label: t("heldout"), value: n(policy.held_out), note: policy.decisions ? t("heldout.share", { share: percent(policy.held_out / policy.decisions) }) : undefined },
        { label: t("actions"), value: n(policy.actions) },
        { label: t("outcomes"), value: n(policy.outcomes) },
      ]} />
      <Waiting policy={name} />
      <Card title={t("lift")} extra={<><Status of={says} label={t(`lift.${says}`)} /><Trust read={read} sql={liftSql(name)} /></>}>
        {last ? <><p className="quiet small">{t("lift.text")}</p><LiftChart policy={name} turns={policy.turns} height={300} /><LiftTable policy={name} turns={policy.turns} /></> : <Empty icon="outcome" text={policy.holdout ? t("nolift.wait") : t("nolift.holdout")} />}
      </Card>
      <div className="columns">
        <Card title={t("rules")} extra={<Trust read={read} route={`GET /v1/policies/${name}`} />}><Facts of={facts} /><Declared file={policy.file} value={policy.declared} /></Card>
        <Champion policy={policy} name={name} read={read} />
      </div>
      {can("query") && <Reported name={name} />}
      <DryRun key={name} name={name} />
      <Decisions name={name} decided={policy.decisions} />
    </>
  );
}

type Arm = "" | "treatment" | "holdout" | "global_holdout";

function Decisions({ name, decided }: { name: string; decided: number }) {
  const { t, n, percent, moment, word } = useWords(own);
  const { can } = useWho();
  const [arm, setArm] = useState<Arm>("");
  const [unit, setUnit] = useState("");
  const asked = useDeferredValue(unit.trim());
  const table = useGet<Table & { names?: Record<string, string> }>(can("query") ? `/v1/policies/${part(name)}/decisions?limit=100${arm && `&arm=${arm}`}${asked && `&unit=${part(asked)}`}` : null);
  if (!can("query")) return <Card title={t("recent")}><Empty text={t("recent.denied")} /></Card>;
  const data = table.data;
  const names = data?.names ?? {};
  const at = (column: string) => data?.columns.findIndex((one) => one.name === column) ?? -1;
  const cell = (row: Cell[], column: string) => row[at(column)];
  return (
    <Card title={t("recent")} extra={data && <Trust read={table.dataUpdatedAt} sql={data.sql} rows={data.row_count} took_ms={data.elapsed_ms} cut={data.truncated} />} className="after-columns">
      <p className="quiet small">{t("recent.text")}</p>
      <div className="filters" style={{ marginTop: 10 }}>
        <Choice label={t("arm")} value={arm} choose={setArm} of={[{ key: "", label: t("f.all") }, { key: "treatment", label: t("arm.treatment") }, { key: "holdout", label: t("arm.holdout") }, { key: "global_holdout", label: t("arm.global_holdout") }]} />
        <input className="input" type="search" aria-label={t("unit.find")} placeholder={t("unit.find")} value={unit} maxLength={200} onChange={(event) => setUnit(event.target.value)} />
      </div>
      <Ask of={table}>
        {({ rows }) => (
          <Grid
            rows={rows} rowKey={(row) => String(cell(row, "decision_id"))} label={t("recent")} page={25} empty={<Empty text={t(areUnshown(decided, arm, asked) ? "unshown" : "recent.none")} />}
            columns={[
              { key: "unit", title: t("unit"), cell: (row) => <Named id={String(cell(row, "unit_id"))} names={names} />, by: (row) => String(cell(row, "unit_id")) },
              { key: "at", title: t("decided"), cell: (row) => moment(String(cell(row, "decided_at"))), by: (row) => String(cell(row, "decided_at")) },
              { key: "arm", title: t("arm"), cell: (row) => <><i className={`key key-${cell(row, "arm") === "treatment" ? "treated" : "holdout"}`} /> {word("arm", String(cell(row, "arm")))}</>, by: (row) => String(cell(row, "arm")) },
              { key: "choice", title: t("choice"), wrap: true, cell: (row) => <Chosen action={cell(row, "action")} items={cell(row, "items")} names={names} /> },
              { key: "p", title: t("propensity"), number: true, cell: (row) => percent(Number(cell(row, "propensity"))), by: (row) => Number(cell(row, "propensity")) },
              { key: "turn", title: t("f.turn"), number: true, cell: (row) => n(cell(row, "turn") as number), by: (row) => Number(cell(row, "turn")) },
              { key: "more", title: t("features"), cell: (row) => <details className="declared"><summary>{t("features")}</summary><Code text={JSON.stringify({ decision_id: cell(row, "decision_id"), features: parsed(cell(row, "features")), payload: parsed(cell(row, "payload")), artifact: cell(row, "artifact"), seed: cell(row, "seed") }, null, 2)} max={260} /></details> },
            ]}
          />
        )}
      </Ask>
    </Card>
  );
}
