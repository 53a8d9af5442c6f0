/** Experiments: variants beside their control, now and over turns. */
import { App, Button } from "antd";
import { useState } from "react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { call, part, useDo, useGet, type Items, type Lift, type Table } from "../../api";
import { groupBy } from "../../group";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Empty, Grid, Page, Rich, Status, Trust } from "../../ui/basics";
import { LiftChart } from "../../ui/lift";
import { Reason } from "../../ui/reason";
import { Keep } from "./Keep";
import own from "./words";

export interface Standing {
  turn: number; at: string; policy: string; metric: string; variant: string; control: string; units: number; control_units: number; rate: number | null; control_rate: number | null;
  difference: number | null; lower: number | null; upper: number | null; variance_saved: number | null; split_p: number | null; standing: string;
  kind?: string | null; several?: number | null; p_value?: number | null; changed_at?: string | null; changed?: string | null;
  concluded: string | null;
}

/** A split less likely than this is broken; the engine draws the same line. */
const SPLIT_P = 0.001;
const TONES: Record<string, string> = { better: "works", worse: "harms", safe: "ok", breached: "failed", "split-broken": "failed", unmeasured: "failed", open: "unclear", balanced: "ok", biased: "failed" };
/** What is no share has a scale of its own. */
const AMOUNTS = ["value", "ratio", "quantile"];
const isShare = (row: Standing) => !AMOUNTS.includes(row.kind ?? row.metric) && row.metric !== "value-before";

export default function Experiments() {
  const { t } = useWords(own);
  const experiments = useGet<Items<Standing>>("/v1/experiments");
  return (
    <Page title={t("title")} text={t("text")}>
      <Ask of={experiments}>
        {({ items }) => (items.length === 0 ? <Card><Empty icon="experiments" text={t("empty")} /></Card> : [...groupBy(items, (one) => one.policy)].map(([policy, rows]) => <Experiment key={policy} policy={policy} rows={rows} read={experiments.dataUpdatedAt} />))}
      </Ask>
    </Page>
  );
}

/** An interval on a line, with 0 marked. */
function Interval({ row, reach }: { row: Standing; reach: number }) {
  if (row.lower === null || row.upper === null || row.difference === null) return <>–</>;
  const at = (value: number) => `${Math.min(100, Math.max(0, 50 + (value / reach) * 48))}%`;
  const tone = ["worse", "breached", "biased"].includes(row.standing) ? "interval-bad" : ["open", "balanced"].includes(row.standing) ? "interval-idle" : "";
  return (
    <div className={`interval ${tone}`} aria-hidden="true">
      <i style={{ left: at(row.lower), right: `calc(100% - ${at(row.upper)})` }} /><u style={{ left: "50%" }} /><b style={{ left: at(row.difference) }} />
    </div>
  );
}

function Experiment({ policy, rows, read }: { policy: string; rows: Standing[]; read: number }) {
  const { t, n, percent, points, interval, moment, word } = useWords(own);
  const { can } = useWho();
  const { message } = App.useApp();
  const [keeping, setKeeping] = useState(false);
  const [opening, setOpening] = useState(false);
  const reopen = useDo<{ was: string }, string>((reason) => ["POST", `/v1/policies/${part(policy)}/reopen`, { reason }], ({ was }) => { setOpening(false); void message.success(t("reopen.done", { was })); });
  const [first] = rows;
  const concluded = first?.concluded ?? null;
  const quoted = `'${policy.replaceAll("'", "''")}'`;
  const sql = `select turn, variant, control, units, control_units, rate, control_rate, difference, lower, upper from system.experiments where policy = ${quoted} and metric = 'outcome' order by turn`;
  const over = useQuery<Table>({ queryKey: [`/v1/experiments/${policy}`], queryFn: ({ signal }) => call<Table>("POST", "/v1/sql", { sql, limit: 10_000 }, signal), enabled: can("query") });
  // Shares are drawn on one scale, each other metric on its own.
  const alike = (one: Standing, other: Standing) => (isShare(one) ? isShare(other) : one.metric === other.metric);
  const reach = (of: Standing) => Math.max(1e-9, ...rows.filter((row) => alike(of, row)).flatMap((row) => [Math.abs(row.lower ?? 0), Math.abs(row.upper ?? 0)]));
  const rate = (row: Standing, value: number | null) => (isShare(row) ? percent(value) : n(value));
  const broken = rows.some((row) => row.standing === "split-broken" || (row.split_p !== null && row.split_p < SPLIT_P));
  return (
    <Card title={<Link to={`/policies/${part(policy)}`}>{policy}</Link>} extra={<>{can("promote") && concluded !== null && <Button size="small" onClick={() => setOpening(true)}>{t("reopen")}</Button>}{can("promote") && <Button size="small" onClick={() => setKeeping(true)}>{t("keep")}</Button>}{first && <span className="quiet small">{t("turn", { turn: n(first.turn) })}</span>}<Trust read={read} as={first?.at} sql={`select * from system.experiments where policy = ${quoted} order by turn desc, metric, variant`} /></>}>
      {concluded !== null && <p><b>{t("kept", { variant: concluded })}</b></p>}
      {first?.split_p !== null && first?.split_p !== undefined && <p className={broken ? "bad" : "quiet small"}>{t(broken ? "split.bad" : "split.good", { p: n(first.split_p, 3) })}{first.variance_saved !== null && ` ${t("saved", { share: percent(first.variance_saved) })}`}</p>}
      {(first?.several ?? 0) > 0 && <p className="quiet small">{t("several", { count: n(first?.several ?? 0) })}</p>}
      {first?.changed_at && <p className="bad" role="alert"><Rich text={t("changed", { at: moment(first.changed_at), parts: first.changed ?? "" })} /></p>}
      {rows.some((row) => row.standing === "unmeasured") && <p className="bad" role="alert">{t("unmeasured")} <Link to="/turns?tab=runs">{t("turn", { turn: n(first?.turn ?? 0) })}</Link></p>}
      {rows.some((row) => row.standing === "biased") && <p className="bad" role="alert">{t("biased")}</p>}
      <Grid
        rows={rows} rowKey={(row) => `${row.metric} ${row.variant}`} label={policy}
        columns={[
          { key: "metric", title: t("metric"), cell: (row) => word("metric", row.metric) },
          { key: "variant", title: t("variant"), cell: (row) => <><b>{row.variant}</b> <span className="quiet small">/ {row.control}</span></> },
          { key: "units", title: t("units"), number: true, cell: (row) => `${n(row.units)} / ${n(row.control_units)}` },
          { key: "rate", title: t("rate"), number: true, cell: (row) => rate(row, row.rate) },
          { key: "control", title: t("rate.control"), number: true, cell: (row) => rate(row, row.control_rate) },
          { key: "difference", title: t("difference"), number: true, cell: (row) => <><b>{isShare(row) ? points(row.difference) : n(row.difference)}</b><br /><span className="quiet small">{isShare(row) ? interval(row.lower, row.upper) : `${n(row.lower)} … ${n(row.upper)}`}</span></> },
          { key: "interval", title: t("interval"), width: "14%", cell: (row) => <Interval row={row} reach={reach(row)} /> },
          { key: "standing", title: t("standing"), cell: (row) => <Status of={TONES[row.standing] ?? "unknown"} label={word("standing", row.standing)} /> },
        ]}
      />
      {over.data && [...groupBy(over.data.rows, (row) => String(row[1]))].map(([variant, all]) => {
        const turns = all.map((row): Lift => ({ turn: Number(row[0]), decisions: 0, measured: Number(row[3]) + Number(row[4]), treated_rate: row[5] as number | null, holdout_rate: row[6] as number | null, lift: row[7] as number | null, lower: row[8] as number | null, upper: row[9] as number | null }));
        const control = String(all[0]?.[2]);
        return turns.filter((turn) => turn.lower !== null).length > 1 && (
          <div key={variant}>
            <h3 className="sub">{t("over", { variant, control })}<Trust read={over.dataUpdatedAt} sql={sql} /></h3>
            <LiftChart policy={`${policy} · ${variant}`} turns={turns} height={210} names={[variant, control]} />
          </div>
        );
      })}
      {keeping && <Keep policy={policy} rows={rows} concluded={concluded} broken={broken} close={() => setKeeping(false)} />}
      {opening && <Reason title={`${t("reopen")} · ${policy}`} text={t("reopen.text")} go={t("reopen")} busy={reopen.isPending} error={reopen.error} close={() => setOpening(false)} done={(reason) => reopen.mutate(reason)} />}
    </Card>
  );
}
