/** Who decides for a policy: weighing challengers, promoting one, taking it back. */
import { App, Button, Modal } from "antd";
import { useState } from "react";
import { useQuery } from "@tanstack/react-query";
import { call, part, useDo, type Policy, type Table } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Card, Facts, Grid, Rich, Status, Trouble, Trust } from "../../ui/basics";
import { Reason } from "../../ui/reason";
import own from "./words";

interface Estimate { estimate: number; low: number; high: number }
interface Judgement {
  against: string; reward: string; first: string | null; last: string | null;
  verdict: { refusals: { reason: string; low?: number; least?: number }[]; estimates: { rows: number; effective: number; earned: Estimate; dr: { value: Estimate; gain: Estimate } } };
}
interface Asked { against: string; since: string | null; gain: number }

/** Ways of choosing whose log can judge a challenger. */
const JUDGED = ["candidates", "bandit", "experiment"];

export function Champion({ policy, name, read }: { policy: Policy; name: string; read: number }) {
  const { t, n, moment } = useWords(own);
  const { can } = useWho();
  const { message } = App.useApp();
  const [weighing, setWeighing] = useState(false);
  const [taking, setTaking] = useState(false);
  const back = useDo<{ was: string; now: string }, string>((reason) => ["POST", `/v1/policies/${part(name)}/rollback`, { reason }], (made) => { setTaking(false); void message.success(t("rollback.done", made)); });
  const bandit = policy.choose === "bandit";
  const promotions = policy.promotions ?? [];
  // Nothing can be taken back before something was promoted or is on trial.
  const canaries = useCanaries(name, bandit && can("query"));
  const trial = ["started", "raised"].includes(String(canaries.data?.rows[0]?.[2]));
  const undone = new Set(promotions.map((one) => one.undoes));
  const promoted = promotions.some((one) => one.undoes === null && !undone.has(one.number));
  if (!JUDGED.includes(policy.choose ?? "")) return null;
  return (
    <Card
      title={t("champion")}
      extra={<>{can("promote") && bandit && (trial || promoted) && <Button size="small" onClick={() => setTaking(true)}>{t("rollback")}</Button>}{can("promote") && <Button size="small" type="primary" onClick={() => setWeighing(true)}>{t("weigh")}</Button>}<Trust read={read} sql={`select * from system.promotions where policy = '${name}' order by number`} /></>}
    >
      <p className="quiet small">{t("champion.text")}</p>
      {bandit && (
        <>
          <Facts of={[[t("champion.now"), policy.promoted ? String(policy.promoted) : t("champion.declared", { learner: policy.learner ?? "–" })]]} />
          <h3 className="sub">{t("promotions")}</h3>
          {promotions.length === 0 ? <p className="quiet small">{t("promotions.none")}</p> : (
            <Grid
              rows={promotions} rowKey={(one) => String(one.number)} label={t("promotions")} tight first={{ key: "number", down: true }}
              columns={[
                { key: "number", title: t("f.number"), number: true, cell: (one) => n(one.number), by: (one) => one.number },
                { key: "at", title: t("f.at"), cell: (one) => moment(one.at), by: (one) => one.at },
                { key: "learner", title: t("f.learner"), cell: (one) => (one.undoes !== null ? t("promotions.undoes", { number: one.undoes }) : <>{one.learner}{one.artifact && <> <code>{one.artifact.slice(0, 12)}</code></>}</>) },
                { key: "reason", title: t("f.reason"), wrap: true, cell: (one) => one.reason },
              ]}
            />
          )}
          {can("query") && <Canaries name={name} moves={canaries} />}
        </>
      )}
      {weighing && <Weigh name={name} bandit={bandit} close={() => setWeighing(false)} />}
      {taking && <Reason title={`${t("rollback")} · ${name}`} text={t("rollback.text")} go={t("rollback")} danger busy={back.isPending} error={back.error} close={() => setTaking(false)} done={(reason) => back.mutate(reason)} />}
    </Card>
  );
}

const canarySql = (name: string) => `select number, at, move, learner, share, reason from system.canaries where policy = '${name.replaceAll("'", "''")}' order by number desc`;

/** The moves of challengers on trial, newest first. */
const useCanaries = (name: string, enabled: boolean) =>
  useQuery<Table>({ queryKey: [`/v1/policies/${name}/canaries`], queryFn: ({ signal }) => call<Table>("POST", "/v1/sql", { sql: canarySql(name), limit: 100 }, signal), enabled });

function Canaries({ name, moves }: { name: string; moves: ReturnType<typeof useCanaries> }) {
  const { t, percent, moment, word } = useWords(own);
  return (
    <>
      <h3 className="sub">{t("canary")}{moves.data && <Trust read={moves.dataUpdatedAt} sql={canarySql(name)} />}</h3>
      {moves.error && <Trouble error={moves.error} />}
      {moves.data && (moves.data.rows.length === 0 ? <p className="quiet small">{t("canary.none")}</p> : (
        <Grid
          rows={moves.data.rows} rowKey={(row) => String(row[0])} label={t("canary")} tight page={10}
          columns={[
            { key: "at", title: t("f.at"), cell: (row) => moment(String(row[1])) },
            { key: "move", title: t("move"), cell: (row) => word("move", String(row[2])) },
            { key: "learner", title: t("f.learner"), cell: (row) => String(row[3] ?? "–") },
            { key: "share", title: t("share"), number: true, cell: (row) => percent(row[4] === null ? null : Number(row[4])) },
            { key: "reason", title: t("f.reason"), wrap: true, cell: (row) => String(row[5] ?? "") },
          ]}
        />
      ))}
    </>
  );
}

/** An estimate with its interval. */
const Between = ({ of }: { of: Estimate }) => {
  const { n } = useWords();
  return <><b>{n(of.estimate, 4)}</b> <span className="quiet">{n(of.low, 4)} … {n(of.high, 4)}</span></>;
};

function Weigh({ name, bandit, close }: { name: string; bandit: boolean; close: () => void }) {
  const { t, n, day } = useWords(own);
  const { message } = App.useApp();
  const [asked, setAsked] = useState<Asked>({ against: "even", since: null, gain: 0 });
  const [despite, setDespite] = useState("");
  const judge = useDo<Judgement, Asked>((value) => ["POST", `/v1/policies/${part(name)}/evaluate`, value]);
  const promote = useDo<{ now: string }, Asked>((value) => ["POST", `/v1/policies/${part(name)}/promote`, { ...value, despite: despite.trim() || null }], ({ now }) => { void message.success(t("promote.done", { now })); close(); });
  const found = judge.data;
  const enough = found && found.verdict.refusals.length === 0;
  const set = (next: Partial<Asked>) => {
    setAsked({ ...asked, ...next });
    judge.reset();
    promote.reset();
  };
  const may = bandit && asked.against !== "even" && found !== undefined;
  return (
    <Modal open title={`${t("weigh")} · ${name}`} onCancel={close} width={620} footer={
      <>
        <Button onClick={close}>{t("f.cancel")}</Button>
        <Button type={found ? "default" : "primary"} loading={judge.isPending} disabled={!asked.against.trim()} onClick={() => judge.mutate(asked)}>{t("weigh.go")}</Button>
        {may && <Button type="primary" danger={!enough} loading={promote.isPending} disabled={!enough && !despite.trim()} onClick={() => promote.mutate(asked)}>{t("promote")}</Button>}
      </>
    }>
      <p className="quiet">{t("weigh.text")}</p>
      <label className="field"><span>{t("weigh.against")}</span><input value={asked.against} maxLength={200} autoFocus onChange={(event) => set({ against: event.target.value })} onKeyDown={(event) => event.key === "Enter" && judge.mutate(asked)} /><small><Rich text={t("weigh.hint")} /></small></label>
      <div className="row">
        <label className="field"><span>{t("weigh.since")}</span><input type="date" value={asked.since ?? ""} onChange={(event) => set({ since: event.target.value || null })} /></label>
        <label className="field"><span>{t("weigh.gain")}</span><input type="number" step="0.001" value={asked.gain} onChange={(event) => set({ gain: Number(event.target.value) || 0 })} /></label>
      </div>
      {judge.error && <Trouble error={judge.error} />}
      {found && (
        <>
          <p><Status of={enough ? "works" : "attention"} label={enough ? t("weigh.enough", { least: n(asked.gain, 4) }) : t("weigh.refused")} /></p>
          {found.verdict.refusals.map((one, at) => <p key={at}>{one.reason === "no-gain" ? t("refusal.no-gain", { low: n(one.low, 5), least: n(one.least, 4) }) : <code>{one.reason}</code>}</p>)}
          <Facts of={[
            [t("weigh.earned"), <Between key="e" of={found.verdict.estimates.earned} />],
            [t("weigh.would", { against: found.against }), <Between key="w" of={found.verdict.estimates.dr.value} />],
            [t("weigh.difference"), <Between key="d" of={found.verdict.estimates.dr.gain} />],
          ]} />
          <p className="quiet small">{t("weigh.rows", { count: n(found.verdict.estimates.rows), first: day(found.first), last: day(found.last), effective: n(found.verdict.estimates.effective, 0) })}</p>
          {may && <p className="quiet small">{t("promote.text", { against: found.against, name })}</p>}
          {may && !enough && <label className="field"><span>{t("promote.despite")}</span><input value={despite} maxLength={1000} onChange={(event) => setDespite(event.target.value)} /></label>}
        </>
      )}
      {promote.error && <Trouble error={promote.error} />}
    </Modal>
  );
}
