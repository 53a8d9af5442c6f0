/** The first page: the wheel, what needs a person, and what it all changed. */
import { Button } from "antd";
import { lazy, Suspense, type CSSProperties } from "react";
import { Link } from "react-router";
import { part, useDo, useGet, type Items, type Measure, type Run, type Status as State, type Task, type Turn, type Work } from "../../api";
import { useWords } from "../../i18n";
import { stageOf, underWay, useLive } from "../../live";
import { entries } from "../../pages";
import { useWho } from "../../session";
import { Ask, Card, Empty, Grid, Page, Rich, Status, Trouble, Trust } from "../../ui/basics";
import { HaltButton } from "../../ui/halt";
import { Icon, type IconName } from "../../ui/icons";
import { better, isNear, measureCalled } from "../../ui/measures";
import { LiftChart, LiftTable, liftSql, measured, verdict } from "../../ui/lift";
import { Ring } from "./Ring";
import own from "./words";

interface Learned { learner: string; measures: Measure[] }
type Whole = State & { learners: Learned[] };

// What extensions show comes after what everybody looks for.
const Panels = lazy(() => import("../extensions/Panels"));

/** Turns that are drawn in the strip. */
const TURNS = 40;
/** Policies whose lift is drawn here; the others are one click away. */
const POLICIES = 4;
const FINAL = ["succeeded", "failed", "blocked", "cancelled"];

export default function Home() {
  const { t } = useWords(own);
  const status = useGet<Whole>("/v1/status", 60_000);
  return (
    <Page title={t("title")} text={t("text")} actions={<HaltButton />}>
      <Ask of={status} lines={10}>{(data) => <Shown status={data} read={status.dataUpdatedAt} />}</Ask>
    </Page>
  );
}

function Shown({ status, read }: { status: Whole; read: number }) {
  const { t, word, n } = useWords(own);
  const live = useLive();
  const heard = underWay(live);
  // What the status says may be older than what was heard.
  const told = status.working && !FINAL.includes(live.work[status.working.work]?.status ?? "") ? status.working : null;
  const now = heard ?? told;
  const task = now && (live.tasks[now.work] ?? []).findLast((one) => one.phase === "started");
  const active = task ? stageOf(task.kind) : null;
  const lifted = status.policies.filter((policy) => measured(policy.turns).length > 0);
  const together = status.together ?? [];
  const as = status.turn?.at;
  return (
    <>
      <div className="home-top">
        <section className="card home-wheel" aria-label={t("title")}>
          <div className="home-trust"><Trust read={read} as={as} route="GET /v1/status" /></div>
          <Ring stages={status.ring} active={active} turning={now !== null}><Hub status={status} now={now} /></Ring>
        </section>
        <div className="home-side">
          <Attention status={status} />
          <Turns />
          <Did now={now} />
        </div>
      </div>
      <div className="section-head"><div><h2>{t("lift")}</h2><p><Rich text={t("lift.text")} /></p></div>{lifted.length > 0 && <Link to="/policies">{t("lift.all")}</Link>}</div>
      {lifted.length === 0 && <Card><Empty icon="outcome" text={t("lift.empty")} /></Card>}
      <div className="columns">
        {measured(together).length > 0 && (
          <Card title={t("together")} extra={<><Status of={verdict(together)} label={t(`lift.${verdict(together)}`)} /><Trust read={read} as={as} sql={liftSql("*")} /></>}>
            <Summary turns={together} />
            <LiftChart policy={t("together")} turns={together} height={220} names={[t("together.others"), t("together.held")]} />
            <LiftTable policy={t("together")} turns={together} />
          </Card>
        )}
        {lifted.slice(0, POLICIES).map((policy) => {
          const says = verdict(policy.turns);
          return (
            <Card key={policy.policy} title={<Link to={`/policies/${part(policy.policy)}`}>{policy.policy}</Link>} extra={<><Status of={says} label={t(`lift.${says}`)} />{policy.failed && <Status of="failed" />}{policy.paused !== null && <Status of="paused" />}<Trust read={read} as={as} sql={liftSql(policy.policy)} /></>}>
              <Summary turns={policy.turns} />
              <LiftChart policy={policy.policy} turns={policy.turns} height={220} />
              <LiftTable policy={policy.policy} turns={policy.turns} />
            </Card>
          );
        })}
      </div>
      <div className="columns">
        <Card title={t("learners")} extra={<Trust read={read} as={as} sql="select * from system.evaluations order by at desc" />}>
          <Foretold learners={status.learners} />
        </Card>
        <Card title={t("landed")} flush extra={<Trust read={read} as={as} sql="select * from system.tables order by name" />}>
          <Grid
            rows={status.landed} rowKey={(table) => table.name} label={t("landed")} page={8} empty={<Empty icon="land" text={t("landed.empty")} />}
            columns={[
              { key: "name", title: t("f.table"), cell: (table) => <AssetLink name={table.name} />, by: (table) => table.name },
              { key: "rows", title: t("f.rows"), number: true, cell: (table) => table.rows === null && table.waiting_changes ? t("landed.waits", { count: n(table.waiting_changes) }) : <Count value={table.rows} />, by: (table) => table.rows },
              { key: "version", title: t("f.version"), number: true, cell: (table) => <Count value={table.version} />, by: (table) => table.version },
            ]}
          />
        </Card>
      </div>
      <Suspense><Panels on="home" /></Suspense>
      <span className="unseen" aria-live="polite">{now ? t("work.running", { what: word("kind", now.kind) }) : ""}</span>
    </>
  );
}

const Count = ({ value }: { value: number | null }) => useWords().n(value);

function AssetLink({ name }: { name: string }) {
  const there = entries.some((entry) => entry.path === "catalogue/:name");
  return there ? <Link to={`/catalogue/${part(name)}`}><code>{name}</code></Link> : <code>{name}</code>;
}

function Summary({ turns }: { turns: Whole["policies"][number]["turns"] }) {
  const { t, points, percent, interval } = useWords(own);
  const last = measured(turns).at(-1);
  if (!last) return null;
  return (
    <p className="lift-now">
      <b>{points(last.lift)}</b>
      <span>{interval(last.lower, last.upper)}</span>
      <span className="lift-rates"><i className="key key-treated" />{t("lift.treated")} {percent(last.treated_rate)}<i className="key key-holdout" />{t("lift.holdout")} {percent(last.holdout_rate)}</span>
    </p>
  );
}

/** What the middle of the wheel says: where it stands, and the button that turns it. */
function Hub({ status, now }: { status: Whole; now: Work | null }) {
  const { t, n, day, ago } = useWords(own);
  const { can } = useWho();
  const ask = useDo<Work>(() => ["POST", "/v1/turns", {}]);
  const live = useLive();
  const waiting = Object.values(live.work).some((work) => work.kind === "turn" && work.status === "queued");
  const { turn } = status;
  return (
    <>
      <span className="hub-word">{t("f.turn")}</span>
      <b className="hub-turn" key={turn?.turn}>{turn ? n(turn.turn) : "0"}</b>
      <span className="hub-day">{turn ? day(turn.at) : t("turn.none")}</span>
      {now ? <Status of="running" label={now.kind === "turn" ? t("turn.running") : undefined} /> : turn && <Status of={turn.complete ? "complete" : "open"} label={turn.complete ? t("turn.complete") : t("turn.open")} />}
      {can("operate") && !now && <Button type="primary" size="small" icon={<Icon name="play" size={13} />} loading={ask.isPending || waiting} onClick={() => ask.mutate()}>{waiting ? t("run.queued") : t("run")}</Button>}
      {status.next_turn_at && !now && <span className="quiet small">{t("next", { when: ago(status.next_turn_at) })}</span>}
      {ask.error && <Trouble error={ask.error} />}
    </>
  );
}

function Attention({ status }: { status: Whole }) {
  const { t, n, word } = useWords(own);
  const { may } = useWho();
  return (
    <Card title={t("attention")} extra={status.attention.length > 0 ? <span className="count">{n(status.attention.length)}</span> : undefined}>
      {status.attention.length === 0 ? (
        <p className="calm"><Icon name="check" />{t("calm")}</p>
      ) : (
        <ul className="attention">
          {status.attention.map((one, at) => {
            const key = `attention.${one.kind}`;
            const said = word("attention", one.kind) === one.kind ? one.text : t(key as "attention.quarantine", { count: n(one.count ?? 0), names: (one.names ?? []).join(", ") });
            const severe = ["halted", "blocked-models", "dead-letters", "failed-learners", "failed-policy", "unread-outcomes", "failed-follows", "failed-run", "lost-alerts", "failing-schedules"].includes(one.kind);
            const body = <><Icon name={severe ? "failed" : "alert"} /><span><b>{said}</b><small>{word("how", one.kind) === one.kind ? "" : word("how", one.kind)}</small></span></>;
            const first = one.target.split("/")[1] ?? "";
            const entry = entries.find((candidate) => candidate.path === first || candidate.path === `${first}/:name` || candidate.path === `${first}/:run`);
            return <li key={at} className={severe ? "tone-bad" : "tone-warn"}>{entry && may(entry) ? <Link to={one.target}>{body}<Icon name="next" size={14} /></Link> : <div>{body}</div>}</li>;
          })}
        </ul>
      )}
    </Card>
  );
}

function Turns() {
  const { t, n, day, duration, word } = useWords(own);
  const turns = useGet<Items<Turn>>(`/v1/turns?limit=${TURNS}`);
  return (
    <Card title={t("turns")} extra={<Link to="/turns">{t("turns.open")}</Link>}>
      <Ask of={turns} lines={2}>
        {({ items }) => {
          const all = [...items].reverse();
          const most = Math.max(1, ...all.map((turn) => turn.duration_ms ?? 0));
          if (!all.length) return <Empty icon="runs" text={t("turn.none.how")} />;
          return (
            <>
              <p className="quiet small">{t("turns.text")} · {duration(all.at(-1)?.duration_ms)}</p>
              <ol className="strip">
                {all.map((turn) => {
                  const label = t("turns.one", { turn: n(turn.turn), day: day(turn.at), status: word("status", turn.status ?? (turn.complete ? "complete" : "open")), duration: duration(turn.duration_ms) });
                  const bar = <i style={{ height: `${Math.max(6, ((turn.duration_ms ?? 0) / most) * 100)}%` }} className={`strip-${turn.status ?? "unknown"}`} />;
                  return <li key={turn.turn}>{turn.run_id ? <Link to={`/runs/${turn.run_id}`} aria-label={label} title={label}>{bar}</Link> : <span title={label}>{bar}</span>}</li>;
                })}
              </ol>
            </>
          );
        }}
      </Ask>
    </Card>
  );
}

interface Sum { stage: string; tasks: number; rows: number | null; rejected: number; ms: number; running: boolean; failed: number }

/** Tasks by the stage of the wheel that they belong to, in the order of the wheel. */
export function byStage(tasks: Pick<Task, "kind" | "status" | "rows_out" | "rows_rejected" | "duration_ms">[]): Sum[] {
  const all = new Map<string, Sum>();
  for (const task of tasks) {
    const stage = stageOf(task.kind);
    if (!stage) continue;
    const sum = all.get(stage) ?? { stage, tasks: 0, rows: null, rejected: 0, ms: 0, running: false, failed: 0 };
    all.set(stage, { ...sum, tasks: sum.tasks + 1, rows: task.rows_out === null || task.rows_out === undefined ? sum.rows : (sum.rows ?? 0) + task.rows_out, rejected: sum.rejected + (task.rows_rejected ?? 0), ms: sum.ms + (task.duration_ms ?? 0), failed: sum.failed + (task.status === "failed" ? 1 : 0), running: sum.running || task.status === "running" });
  }
  return ["land", "model", "measure", "learn", "decide", "act", "outcome"].flatMap((stage) => all.get(stage) ?? []);
}

/** What the last turn did, stage by stage; while one is under way, what it has done so far. */
function Did({ now }: { now: Work | null }) {
  const { t, n, duration, word } = useWords(own);
  const live = useLive();
  const turns = useGet<Items<Turn>>(`/v1/turns?limit=${TURNS}`);
  const last = turns.data?.items.find((turn) => turn.run_id);
  const run = useGet<Run>(last ? `/v1/runs/${last.run_id}` : null);
  const turning = now?.kind === "turn" ? (live.tasks[now.work] ?? []) : [];
  const tasks = turning.length ? turning.map((task) => ({ ...task, status: task.phase === "started" ? "running" : (task.status ?? "succeeded"), rows_rejected: null })) : (run.data?.tasks ?? []);
  const sums = byStage(tasks);
  if (!sums.length) return null;
  return (
    <Card title={turning.length ? t("did.now") : t("did", { turn: n(last?.turn) })} extra={last?.run_id && !turning.length ? <Link to={`/runs/${last.run_id}`}>{t("did.open")}</Link> : undefined}>
      <ul className="did">
        {sums.map((sum) => (
          <li key={sum.stage} className={sum.running ? "did-now" : undefined}>
            <Icon name={sum.stage as IconName} size={16} />
            <b>{word("stage", sum.stage)}</b>
            <span>{[t(sum.tasks === 1 ? "did.task" : "did.tasks", { count: n(sum.tasks) }), ...(sum.rows === null ? [] : [t("did.rows", { count: n(sum.rows) })]), ...(sum.rejected ? [t("did.rejected", { count: n(sum.rejected) })] : []), ...(sum.failed ? [t("did.failed", { count: n(sum.failed) })] : [])].join(" · ")}</span>
            <time>{sum.running ? <i className="dot dot-live" /> : duration(sum.ms)}</time>
          </li>
        ))}
      </ul>
    </Card>
  );
}

/** The length of a bar, for the style sheet. */
const share = (value: number) => ({ "--share": Math.max(0, Math.min(1, value)) }) as CSSProperties;

/** Of each learner one measure, by preference one against reality. */
function Foretold({ learners }: { learners: Learned[] }) {
  const { t, n, word, language } = useWords(own);
  const rows = learners.flatMap(({ learner, measures }) => {
    const useful = measures.filter((one) => one.value !== null && !isNear(one.measure));
    const chosen = useful.find((one) => one.against === "reality") ?? useful.find((one) => /ndcg|hit/i.test(one.measure)) ?? useful[0];
    return chosen ? [{ learner, ...chosen }] : [];
  });
  if (!rows.length) return <Empty icon="learn" text={t("learners.empty")} />;
  return (
    <ul className="foretold">
      {rows.map((row) => {
        const most = Math.max(row.value ?? 0, row.baseline ?? 0) || 1;
        const good = better(row);
        return (
          <li key={row.learner}>
            <Link to={`/learners/${part(row.learner)}`}>{row.learner}</Link>
            <span className="quiet small">{measureCalled(row.measure, language)} · {word("measured", row.against)}</span>
            <span className="bar"><i className={good === false ? "bar-bad" : "bar-ok"} style={share((row.value ?? 0) / most)} /><b>{n(row.value, 3)}</b></span>
            {row.baseline !== null && <span className="bar bar-base"><i style={share(row.baseline / most)} /><b>{t("f.baseline")} {n(row.baseline, 3)}</b></span>}
          </li>
        );
      })}
    </ul>
  );
}
