/** A new policy: who is decided for, what is done, how it is measured; looked at before it is saved, and saved as a file that is paused. */
import { useMutation } from "@tanstack/react-query";
import { App, Button, Modal } from "antd";
import { useEffect, useMemo, useState } from "react";
import { useNavigate } from "react-router";
import { call, part, useDo, useGet, type Items, type Learner, type Policy } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Code, Facts, Page, Rich, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { useLeaving } from "../dashboards/draft";
import { Audience } from "./Audience";
import { blank, faultsOf, micros, rowOf, sourceOf, sourcesOf, yamlOf, type Draft, type Fault, type Field, type Source } from "./draft";
import { Done, Measured } from "./Effects";
import { Previewed, SAMPLE, type Preview } from "./Preview";
import "./style.css";
import own from "./words";

interface Asset { name: string; description: string | null }
interface Saved { name: string; file: string; paused: string | null }

export default function New() {
  const { t } = useWords(own);
  const schema = useGet<{ tables: { name: string; columns: Field[] }[] }>("/v1/sql/schema");
  const models = useGet<Items<{ name: string; model: string }>>("/v1/models");
  const learners = useGet<Items<Learner>>("/v1/learners");
  const landed = useGet<Items<Asset>>("/v1/assets?kind=landed&limit=1000");
  const actions = useGet<Items<Asset>>("/v1/assets?kind=action&limit=1000");
  const policies = useGet<Items<Policy>>("/v1/policies");
  const sources = useMemo(() => sourcesOf(schema.data?.tables ?? [], models.data?.items ?? [], (learners.data?.items ?? []).map((one) => one.name), (landed.data?.items ?? []).map((one) => one.name)), [schema.data, models.data, learners.data, landed.data]);
  const taken = useMemo(() => (policies.data?.items ?? []).map((one) => one.policy), [policies.data]);
  return (
    <Page title={t("new")} text={t("new.text")} back={{ to: "/policies", label: t("title") }}>
      <Ask of={schema} lines={8}>{() => <Ask of={models}>{() => <Ask of={learners}>{(learned) => <Ask of={landed}>{() => <Ask of={actions}>{(ways) => (
        <Form sources={sources} taken={taken} learners={learned.items.filter((one) => one.kind === "recommend").map((one) => one.name)} actions={ways.items.map((one) => ({ ...one, name: one.name.replace(/^action:/, "") }))} />
      )}</Ask>}</Ask>}</Ask>}</Ask>}</Ask>
    </Page>
  );
}

function Form({ sources, taken, learners, actions }: { sources: Source[]; taken: string[]; learners: string[]; actions: Asset[] }) {
  const { t } = useWords(own);
  const { can } = useWho();
  const { message } = App.useApp();
  const go = useNavigate();
  const [draft, setDraft] = useState(blank);
  const [tried, setTried] = useState(false);
  const [saved, setSaved] = useState(false);
  const put = (more: Partial<Draft>) => setDraft((now) => ({ ...now, ...more }));
  const faults = useMemo(() => faultsOf(draft, { sources, taken }), [draft, sources, taken]);
  const yaml = useMemo(() => yamlOf(draft, sources), [draft, sources]);
  const dirty = !saved && JSON.stringify(draft) !== JSON.stringify(blank());
  const [leaving, stay] = useLeaving(dirty);
  useEffect(() => {
    if (!dirty) return;
    const ask = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener("beforeunload", ask);
    return () => removeEventListener("beforeunload", ask);
  }, [dirty]);
  const look = useMutation<Preview, Error, string>({ mutationFn: (text) => call<Preview>("POST", "/v1/policy-preview", { text, sample: SAMPLE }) });
  const save = useDo<Saved, string>((text) => ["POST", "/v1/policies", { text }], (made) => {
    setSaved(true);
    void message.success(t("save.done", { name: made.name }));
    void go(`/policies/${part(made.name)}`);
  });
  /** Does something with the file, if there is one already; else leads to what keeps it from being one. */
  const withFile = (act: (text: string) => void) => {
    const [first] = faults;
    setTried(true);
    if (!first) act(yaml);
    else lead(first);
  };
  const shown = { draft, put, sources, faults: tried ? faults : [] };
  const stale = look.data !== undefined && look.variables !== yaml;
  return (
    <div className="draft">
      <div className="draft-steps">
        <Audience {...shown} />
        <Done {...shown} learners={learners} actions={actions} />
        <Measured {...shown} />
        <Card title={`4 · ${t("step.dry")}`} extra={look.data && <Trust read={look.submittedAt} as={look.data.at} route="POST /v1/policy-preview" />}>
          <p className="quiet small">{t("dry.text")}</p>
          <div className="draft-line">
            {can("query") && <Button type={look.data && !stale ? "default" : "primary"} icon={<Icon name="search" size={14} />} loading={look.isPending} onClick={() => withFile((text) => look.mutate(text))}>{t("dry.go")}</Button>}
            <Button type={look.data && !stale ? "primary" : "default"} loading={save.isPending} onClick={() => withFile((text) => save.mutate(text))}>{t("save")}</Button>
          </div>
          <p className="quiet small"><Rich text={t("save.text", { name: draft.name || "NAME" })} /></p>
          {tried && faults.length > 0 && <p className="draft-note draft-note-warn" role="alert"><Icon name="alert" size={16} />{t("todo")}: {faults.length}</p>}
          {look.error && <div className="draft-trouble"><Trouble error={look.error} /></div>}
          {save.error && <div className="draft-trouble"><Trouble error={save.error} /></div>}
          <div aria-live="polite">
            {look.data && stale && <p className="draft-note draft-note-warn"><Icon name="alert" size={16} />{t("dry.stale")}</p>}
            {look.data && <Previewed of={look.data} />}
          </div>
        </Card>
      </div>
      <Summary draft={draft} sources={sources} faults={faults} yaml={yaml} />
      {leaving !== null && (
        <Modal open title={t("leave.title")} onCancel={stay} footer={<><Button danger onClick={() => { setSaved(true); stay(); void go(leaving); }}>{t("leave.go")}</Button><Button type="primary" onClick={stay}>{t("leave.stay")}</Button></>}>
          <p>{t("leave.text")}</p>
        </Modal>
      )}
    </div>
  );
}

/** Leads to the control that something is still to be done at. */
function lead(fault: Fault) {
  const found = document.getElementById(`draft-${fault.at}`);
  // What is folded away can neither be seen nor reached.
  found?.closest("details")?.setAttribute("open", "");
  found?.scrollIntoView({ block: "center" });
  found?.focus();
}

function Summary({ draft, sources, faults, yaml }: { draft: Draft; sources: Source[]; faults: Fault[]; yaml: string }) {
  const { t, n, span } = useWords(own);
  const table = sourceOf(sources, draft.table)?.relation;
  const time = (text: string) => (text ? span(micros(text)) : "–");
  const count = draft.conditions.length;
  const who = draft.hand !== null ? t("summary.hand") : !table ? t("summary.nobody") : count === 0 ? t("summary.all", { table }) : count === 1 ? t("summary.some.one", { table }) : t("summary.some", { table, count: n(count) });
  const named = draft.candidates.map((one) => one.name.trim()).filter(Boolean);
  const what = draft.way === "recommend" ? t("summary.items", { count: draft.slots || "–", learner: draft.learner || "–" }) : named.join(" / ") || "–";
  const limits = [...(draft.perUnit ? [t("summary.each", { time: time(draft.perUnit) })] : []), ...(draft.perTurn ? [t("summary.turn", { count: draft.perTurn })] : []), ...(draft.budget ? [t("rule.spend.of", { amount: draft.budget.amount || "–", time: t(`budget.per.${draft.budget.per}`), pace: t(`budget.pace.${draft.budget.pace}`) })] : []), ...(draft.stock ? [t("summary.stock", { table: draft.stock.table || "–" })] : [])];
  return (
    <aside className="card draft-side" aria-label={t("summary")}>
      <h2>{t("summary")}</h2>
      <Facts of={[
        [t("summary.who"), who],
        [t("summary.what"), what],
        [t("leaves"), draft.action || t("leaves.none")],
        [t("rule.every"), time(draft.every)],
        [t("heldout"), draft.holdout ? `${draft.holdout} %` : "–"],
        [t("summary.limits"), limits.join(", ") || t("nolimit")],
        [t("summary.success"), draft.outcome ? t("summary.success.of", { table: draft.outcome.table || "–", time: time(draft.outcome.window) }) : t("summary.nosuccess")],
      ]} />
      <h3 className="sub">{t("todo")}</h3>
      {faults.length === 0 ? <p className="draft-ready"><Icon name="check" size={15} />{t("todo.none")}</p> : (
        <ul className="draft-todo">{faults.map((fault) => {
          const row = rowOf(draft, fault.at);
          return <li key={fault.at + fault.word}><button type="button" onClick={() => lead(fault)}>{row && `${t(`todo.${row.kind}`, { number: row.number })}: `}<Rich text={t(fault.word)} /></button></li>;
        })}</ul>
      )}
      <h3 className="sub">{t("file")}</h3>
      <Code text={yaml} max={420} />
    </aside>
  );
}
