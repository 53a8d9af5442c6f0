/** One learner: how good it was over time, and its artifacts. */
import { App, Button } from "antd";
import { useState } from "react";
import { Link, useParams } from "react-router";
import { part, useDo, useGet, type Fit, type Learner as Shown, type Measure, type Task, type Work } from "../../api";
import { groupBy } from "../../group";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Code, Declared, Empty, Facts, Grid, Page, Status, Trouble, Trust, useWidth } from "../../ui/basics";
import { ticks } from "../../ui/lift";
import { isLess, isNear, measureCalled } from "../../ui/measures";
import { Reason } from "../../ui/reason";
import { Edit } from "../files/buttons";
import "./style.css";
import own from "./words";

type Whole = Shown & { recent?: Task[] };

/** What somebody is about to do to the artifact that is served. */
type Change = { verb: "pin"; to: Fit } | { verb: "rollback"; to: Fit } | { verb: "unpin" };

export default function Learner() {
  const { t, n, day, moment, duration, word, language } = useWords(own);
  const { name = "" } = useParams();
  const { can } = useWho();
  const { message } = App.useApp();
  const learner = useGet<Whole>(`/v1/learners/${part(name)}`);
  const fit = useDo<Work>(() => ["POST", `/v1/learners/${part(name)}/learn`, {}], () => void message.success(t("fit.asked")));
  const [change, setChange] = useState<Change>();
  const serve = useDo<{ now?: string } | undefined, { change: Change; reason: string }>(
    ({ change: { verb, ...more }, reason }) => ["POST", `/v1/learners/${part(name)}/${verb}`, verb === "pin" && "to" in more ? { artifact: more.to.digest, reason } : { reason }],
    () => { setChange(undefined); void message.success(t("served.done")); },
  );
  const ask = (next: Change) => { serve.reset(); setChange(next); };
  const fits = learner.data?.artifacts ?? [];
  const champion = fits.find((one) => one.champion);
  // What one step back leads to: the newest of those before with other content, as the server takes it.
  const before = champion && fits.filter((one) => one.version < champion.version && one.digest !== champion.digest).at(-1);
  const pinned = learner.data?.pinned ?? null;
  return (
    <Page
      title={<>{name}{learner.data && <Chip>{word("kind", learner.data.kind)}</Chip>}</>} text={learner.data?.description ?? undefined} back={{ to: "/learners", label: t("title") }}
      actions={learner.data && <>
        <Edit kind="learner" name={name} />
        {can("promote") && before && <Button onClick={() => ask({ verb: "rollback", to: before })}>{t("rollback")}</Button>}
        {can("promote") && pinned !== null && <Button onClick={() => ask({ verb: "unpin" })}>{t("unpin")}</Button>}
        {can("operate") && <Button type="primary" disabled={pinned !== null} title={pinned !== null ? t("pinned.fit") : undefined} loading={fit.isPending} onClick={() => fit.mutate()}>{t("fit")}</Button>}
      </>}
    >
      {fit.error && <Trouble error={fit.error} />}
      {pinned !== null && <p><Status of="attention" label={t("pinned")} /> {t("pinned.text", { reason: pinned })}</p>}
      {learner.data?.drift && <p><Status of="attention" label={t("drift.short")} /> {learner.data.drift}</p>}
      {change && (
        <Reason
          title={`${t(change.verb)} · ${name}`} go={t(change.verb)} danger={change.verb === "rollback"} busy={serve.isPending} error={serve.error} close={() => setChange(undefined)} done={(reason) => serve.mutate({ change, reason })}
          text={change.verb === "unpin" ? t("unpin.text") : t("serve.text", { from: champion ? `${champion.version} (${champion.digest.slice(0, 12)})` : "–", to: `${change.to.version} (${change.to.digest.slice(0, 12)})`, fitted: moment(change.to.fitted_at), table: `learn.${name}` })}
        />
      )}
      <Ask of={learner} lines={8}>
        {(data) => {
          const artifacts = data.artifacts ?? [];
          return (
            <>
              <Card title={t("quality")} extra={<Trust read={learner.dataUpdatedAt} sql={`select turn, at, against, measure, value, baseline, count from system.evaluations where learner = '${name}' order by at`} />}>
                <Quality name={name} all={data.evaluations ?? []} />
              </Card>
              <Chosen of={choiceOf(champion)} read={learner.dataUpdatedAt} name={name} />
              {(data.drifts ?? []).length > 0 && (
                <Card title={t("drift")} flush extra={<Trust read={learner.dataUpdatedAt} sql={`select * from system.drift where learner = '${name}' order by at desc`} />}>
                  <p className="quiet small" style={{ padding: "0 18px 6px" }}>{t("drift.text")}</p>
                  <Grid
                    rows={data.drifts ?? []} rowKey={(one) => `${one.at} ${one.measure}`} label={t("drift")} page={8} first={{ key: "at", down: true }}
                    columns={[
                      { key: "at", title: t("f.at"), cell: (one) => day(one.at), by: (one) => one.at },
                      { key: "measure", title: t("f.measure"), cell: (one) => measureCalled(one.measure, language), by: (one) => one.measure },
                      { key: "before", title: t("drift.before"), number: true, cell: (one) => n(one.before, 4), by: (one) => one.before },
                      { key: "after", title: t("drift.after"), number: true, cell: (one) => n(one.after, 4), by: (one) => one.after },
                      { key: "since", title: t("drift.since"), cell: (one) => day(one.since), by: (one) => one.since },
                      { key: "answer", title: t("drift.answer"), wrap: true, cell: (one) => <>{word("answer", one.answer)}<br /><small className="quiet">{one.reason}</small></> },
                    ]}
                  />
                </Card>
              )}
              <div className="columns">
                <Card title={t("artifacts")} flush extra={<Trust read={learner.dataUpdatedAt} sql={`select * from system.artifacts where learner = '${name}' order by turn desc`} />}>
                  <p className="quiet small" style={{ padding: "0 18px 6px" }}>{t("artifacts.text")}</p>
                  <Grid
                    rows={artifacts} rowKey={(one) => one.digest + one.turn} label={t("artifacts")} page={10} first={{ key: "turn", down: true }} empty={<Empty icon="learn" text={t("artifacts.none")} />}
                    columns={[
                      { key: "version", title: t("version"), number: true, cell: (one) => n(one.version), by: (one) => one.version },
                      { key: "turn", title: t("f.turn"), number: true, cell: (one) => n(one.turn), by: (one) => one.turn },
                      { key: "digest", title: t("f.artifact"), cell: (one) => <><code title={one.digest}>{one.digest.slice(0, 12)}</code> {one.champion && <Status of="active" label={t("in.use")} />}{one.pinned && <> <Status of="attention" label={t("pinned")} /></>}{can("promote") && !one.pinned && <> <Button size="small" onClick={() => ask({ verb: "pin", to: one })}>{t("pin")}</Button></>}</> },
                      { key: "fitted", title: t("fitted"), cell: (one) => day(one.fitted_at), by: (one) => one.fitted_at },
                      { key: "detail", title: t("detail"), cell: (one) => <details className="declared"><summary>{t("detail")}</summary><Code text={JSON.stringify(one.detail, null, 2)} max={240} /></details> },
                    ]}
                  />
                </Card>
                <div>
                  <Card title={t("runs")} flush extra={<Trust read={learner.dataUpdatedAt} sql={`select * from system.tasks where kind = 'learn' and name = '${name}' order by started_at desc`} />}>
                    <Grid
                      rows={data.recent ?? []} rowKey={(one) => `${one.run_id} ${one.position}`} label={t("runs")} page={8} empty={<Empty text={t("runs.none")} />}
                      columns={[
                        { key: "at", title: t("f.started"), cell: (one) => (one.run_id ? <Link to={`/runs/${part(one.run_id)}`}>{moment(one.started_at)}</Link> : moment(one.started_at)), by: (one) => one.started_at },
                        { key: "status", title: t("f.status"), cell: (one) => <Status of={one.status} />, by: (one) => one.status },
                        { key: "rows", title: t("f.in"), number: true, cell: (one) => n(one.rows_in), by: (one) => one.rows_in },
                        { key: "duration", title: t("f.duration"), number: true, cell: (one) => duration(one.duration_ms), by: (one) => one.duration_ms },
                      ]}
                    />
                  </Card>
                  <Card title={t("f.declared")}><Facts of={[[t("current"), data.artifact ? <code key="a">{data.artifact}</code> : t("never")], [t("fitted"), day(data.fitted_at)]]} /><Declared file={data.file} value={data.declared} /></Card>
                </div>
              </div>
            </>
          );
        }}
      </Ask>
    </Page>
  );
}

/** A recommender that `algorithm: auto` has tried, and how good it would have been. */
type Tried = { algorithm: string; options?: unknown; value?: number | null; margin?: number; coverage?: number; novelty?: number | null; left_out?: string };
/** What a choice was made from, as the server keeps it beside the artifact. */
type Choice = { reason: string; by?: string; rows?: number; users?: number; judged_since?: string; tried?: Tried[] };

/** The choice that a fit was made by, if it was made by one. */
function choiceOf(fit: Fit | undefined): Choice | undefined {
  const detail = fit?.detail;
  if (typeof detail !== "object" || detail === null || !("choice" in detail)) return undefined;
  const choice = detail.choice;
  return typeof choice === "object" && choice !== null && "reason" in choice ? (choice as Choice) : undefined;
}

/** Every candidate of `algorithm: auto` beside the others. */
function Chosen({ of, read, name }: { of: Choice | undefined; read: number; name: string }) {
  const { t, n, day } = useWords(own);
  if (!of) return null;
  const called = (one: Tried) => (one.options ? `${one.algorithm} ${JSON.stringify(one.options)}` : one.algorithm);
  return (
    <Card title={t("choice")} flush extra={<Trust read={read} sql={`select detail from system.artifacts where learner = '${name}' and champion`} />}>
      <p className="quiet small" style={{ padding: "0 18px 6px" }}>{of.reason}</p>
      {of.tried && (
        <>
          <p className="quiet small" style={{ padding: "0 18px 6px" }}>{t("choice.text", { rows: n(of.rows ?? null), users: n(of.users ?? null), since: day(of.judged_since ?? null) })}</p>
          <Grid
            rows={of.tried} rowKey={called} label={t("choice")} page={20} first={{ key: "value", down: true }}
            columns={[
              { key: "algorithm", title: t("choice.candidate"), wrap: true, cell: (one) => <code>{called(one)}</code>, by: called },
              { key: "value", title: of.by ?? t("f.value"), number: true, cell: (one) => (one.value === undefined ? "–" : n(one.value, 4)), by: (one) => one.value ?? null },
              { key: "margin", title: t("choice.margin"), number: true, cell: (one) => (one.margin === undefined ? "–" : n(one.margin, 4)), by: (one) => one.margin ?? null },
              { key: "coverage", title: t("choice.coverage"), number: true, cell: (one) => (one.coverage === undefined ? "–" : n(one.coverage, 3)), by: (one) => one.coverage ?? null },
              { key: "left", title: t("choice.left"), wrap: true, cell: (one) => one.left_out ?? "" },
            ]}
          />
        </>
      )}
    </Card>
  );
}

function Quality({ name, all }: { name: string; all: Measure[] }) {
  const { t, n, day, word, language } = useWords(own);
  if (!all.length) return <Empty icon="measure" text={t("quality.none")} />;
  const series = [...groupBy(all, (one) => `${one.against}\n${one.measure}`).values()].sort((a, b) => ((a[0]?.against ?? "") < (b[0]?.against ?? "") ? 1 : -1));
  return (
    <>
      <p className="quiet small">{t("quality.text")}</p>
      <div className="learners-charts">{series.map((one) => <Line key={`${one[0]?.against} ${one[0]?.measure}`} name={name} points={one} />)}</div>
      <details className="declared">
        <summary>{t("f.table.as")}</summary>
        <Grid
          rows={all} rowKey={(one) => `${one.turn} ${one.at} ${one.against} ${one.measure}`} label={t("quality")} tight page={20} first={{ key: "turn", down: true }}
          columns={[
            { key: "turn", title: t("f.turn"), number: true, cell: (one) => n(one.turn), by: (one) => one.turn },
            { key: "at", title: t("f.at"), cell: (one) => day(one.at), by: (one) => one.at },
            { key: "against", title: t("measured"), cell: (one) => word("against", one.against), by: (one) => one.against },
            { key: "measure", title: t("f.measure"), cell: (one) => measureCalled(one.measure, language), by: (one) => one.measure },
            { key: "value", title: t("f.value"), number: true, cell: (one) => n(one.value, 4), by: (one) => one.value },
            { key: "baseline", title: t("f.baseline"), number: true, cell: (one) => n(one.baseline, 4), by: (one) => one.baseline },
            { key: "count", title: t("f.count"), number: true, cell: (one) => n(one.count), by: (one) => one.count },
          ]}
        />
      </details>
    </>
  );
}

/** A measure over turns beside its baseline. */
function Line({ name, points }: { name: string; points: Measure[] }) {
  const { t, n, word, language } = useWords(own);
  const [outer, width] = useWidth<HTMLDivElement>();
  const height = 130;
  const edge = { left: 44, right: 10, top: 8, bottom: 22 };
  const last = points.at(-1);
  const first = points[0];
  const values = points.flatMap((one) => [one.value, one.baseline]).filter((value): value is number => value !== null);
  if (!last || !first || !values.length) return null;
  const room = (Math.max(...values) - Math.min(...values) || Math.abs(values[0] ?? 1) || 1) * 0.12;
  const [low, high] = [Math.min(...values) - room, Math.max(...values) + room];
  const [from, to] = [first.turn ?? 0, last.turn ?? 0];
  const called = measureCalled(first.measure, language);
  const x = (turn: number) => edge.left + ((turn - from) / Math.max(1, to - from)) * Math.max(1, width - edge.left - edge.right);
  const y = (value: number) => edge.top + ((high - value) / (high - low)) * (height - edge.top - edge.bottom);
  const line = (pick: (one: Measure) => number | null) => points.filter((one) => pick(one) !== null).map((one) => `${x(one.turn ?? 0).toFixed(1)},${y(pick(one) ?? 0).toFixed(1)}`).join(" ");
  return (
    <div className="learners-chart" ref={outer}>
      <h3>{called}<span>{word("against", first.against)}{isNear(first.measure) ? "" : ` · ${t(isLess(first.measure) ? "lower" : "higher")}`}</span><b>{n(last.value, 3)}</b></h3>
      <svg width={width || "100%"} height={height} role="img" aria-label={t("chart", { measure: called, learner: name, points: points.length, last: n(last.value, 3), baseline: n(last.baseline, 3) })}>
        {width > 0 && (
          <>
            {ticks(low, high, 3).map((value) => <g key={value}><line x1={edge.left} x2={width - edge.right} y1={y(value)} y2={y(value)} className="axis-line" /><text x={edge.left - 8} y={y(value) + 4} textAnchor="end" className="axis-text">{n(value, 3)}</text></g>)}
            {ticks(from, to, 5).filter(Number.isInteger).map((turn) => <text key={turn} x={x(turn)} y={height - 5} textAnchor="middle" className="axis-text">{n(turn)}</text>)}
            <polyline points={line((one) => one.baseline)} className="learners-base" />
            <polyline points={line((one) => one.value)} className="learners-line" />
            {last.value !== null && <circle cx={x(to)} cy={y(last.value)} r={4} className="lift-point" />}
          </>
        )}
      </svg>
    </div>
  );
}
