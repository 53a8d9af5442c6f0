/** What a new policy does, and how that is measured and limited. */
import { Button } from "antd";
import { Link } from "react-router";
import { useWords } from "../../i18n";
import { Card, Choice, Rich } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import type { Part } from "./Audience";
import { blankBudget, blankOutcome, blankStock, CHOSEN, fresh, likelyOutcome, sentAt, sourceOf, unmeasured, type Budget, type Candidate, type Outcome, type Sent } from "./draft";
import { Columns, control, Labelled, Length, Said, Tables } from "./Fields";
import own from "./words";

export function Done({ draft, put, sources, faults, learners, actions }: Part & { learners: string[]; actions: { name: string; description: string | null }[] }) {
  const { t } = useWords(own);
  const change = (id: number, more: Partial<Candidate>) => put({ candidates: draft.candidates.map((one) => (one.id === id ? { ...one, ...more } : one)) });
  return (
    <Card title={`2 · ${t("step.done")}`} id="draft-done">
      <div className="field"><span>{t("way")}</span><Choice label={t("way")} value={draft.way} choose={(way) => put({ way })} of={(["candidates", "recommend"] as const).map((key) => ({ key, label: t(`way.${key}`) }))} /></div>
      {draft.way === "candidates" ? (
        <>
          <h3 className="sub">{t("candidates")}</h3>
          <p className="quiet small">{t("candidates.help")}</p>
          <ul className="draft-rows">
            {draft.candidates.map((one, at) => (
              <li key={one.id}>
                <input className="input" value={one.name} maxLength={100} placeholder="reminder" aria-label={t("candidate", { number: at + 1 })} onChange={(event) => change(one.id, { name: event.target.value })} {...control(`candidate-${one.id}`, faults)} />
                <label className="draft-weight" htmlFor={`draft-weight-${one.id}`}><span aria-hidden="true">{t("weight")}</span><input className="input" type="number" min={0} step="any" value={one.weight} aria-label={t("candidate.weight", { number: at + 1 })} onChange={(event) => change(one.id, { weight: event.target.value })} {...control(`weight-${one.id}`, faults)} /></label>
                <Button type="text" size="small" icon={<Icon name="remove" size={15} />} aria-label={t("candidate.remove", { number: at + 1 })} title={t("candidate.remove", { number: at + 1 })} disabled={draft.candidates.length === 1} onClick={() => put({ candidates: draft.candidates.filter((other) => other.id !== one.id) })} />
                <Said at={[`candidate-${one.id}`, `weight-${one.id}`]} faults={faults} />
                {draft.action && (
                  <details className="declared draft-adds" open={one.payload.length > 0}>
                    <summary>{t("adds")}</summary>
                    <p className="quiet small"><Rich text={t("adds.help")} /></p>
                    <Keys draft={draft} sources={sources} faults={faults} rows={one.payload} set={(payload) => change(one.id, { payload })} candidate={one} of={t("candidate", { number: at + 1 })} />
                  </details>
                )}
              </li>
            ))}
          </ul>
          <Button size="small" id="draft-candidates" icon={<Icon name="plus" size={14} />} onClick={() => put({ candidates: [...draft.candidates, { id: fresh(draft.candidates), name: "", weight: "1", payload: [] }] })}>{t("candidate.add")}</Button>
          <div className="field"><Said at={["candidates"]} faults={faults} /></div>
        </>
      ) : (
        <div className="draft-pair">
          <Labelled at="learner" label={t("learner")} help={learners.length ? undefined : t("learner.none")} faults={faults}>{(given) => (
            <select className="input" value={draft.learner} onChange={(event) => put({ learner: event.target.value })} {...given}><option value="">{t("learner.choose")}</option>{learners.map((one) => <option key={one} value={one}>{one}</option>)}</select>
          )}</Labelled>
          <Labelled at="slots" label={t("slots")} faults={faults}>{(given) => <input className="input" type="number" min={1} max={1000} step={1} value={draft.slots} onChange={(event) => put({ slots: event.target.value })} {...given} />}</Labelled>
          <Labelled at="explore" label={t("explore")} faults={faults}>{(given) => <input className="input" type="number" min={0} max={100} step="any" value={draft.explore} onChange={(event) => put({ explore: event.target.value })} {...given} />}</Labelled>
        </div>
      )}
      <Labelled at="action" label={t("leaves")} help={actions.find((one) => one.name === draft.action)?.description ?? undefined} faults={faults}>{(given) => (
        <select className="input" value={draft.action} onChange={(event) => put({ action: event.target.value })} {...given}><option value="">{t("leaves.none")}</option>{actions.map((one) => <option key={one.name} value={one.name}>{one.name}</option>)}</select>
      )}</Labelled>
      {draft.action && <Payload draft={draft} put={put} sources={sources} faults={faults} />}
    </Card>
  );
}

function Payload({ draft, put, sources, faults }: Part) {
  const { t } = useWords(own);
  return (
    <>
      <h3 className="sub">{t("payload")}</h3>
      <p className="quiet small"><Rich text={t("payload.help")} /></p>
      <Keys draft={draft} sources={sources} faults={faults} rows={draft.payload} set={(payload) => put({ payload })} />
    </>
  );
}

const FROM = ["column", "text", "number"] as const;

/** Keys with what is sent under them, of the policy or of one of its candidates, which `of` names. */
function Keys({ draft, sources, faults, rows, set, candidate, of }: Omit<Part, "put"> & { rows: Sent[]; set: (rows: Sent[]) => void; candidate?: Candidate; of?: string }) {
  const { t } = useWords(own);
  const columns = sourceOf(sources, draft.table)?.columns ?? [];
  const change = (id: number, more: Partial<Sent>) => set(rows.map((one) => (one.id === id ? { ...one, ...more } : one)));
  const called = (text: string) => (of ? `${of} · ${text}` : text);
  const value = (one: Sent, number: number) => {
    const place = control(sentAt("sent", one, candidate), faults);
    if (one.from !== "column") return <input className="input" type={one.from === "number" ? "number" : "text"} step="any" value={one.value} maxLength={2000} aria-label={called(t(one.from === "number" ? "payload.number" : "payload.fixed", { number }))} onChange={(event) => change(one.id, { value: event.target.value })} {...place} />;
    const label = called(t("payload.column", { number }));
    // The columns of an audience that is written by hand are not known here.
    if (draft.hand !== null) return <input className="input" value={one.value} maxLength={200} spellCheck={false} aria-label={label} onChange={(event) => change(one.id, { value: event.target.value })} {...place} />;
    return (
      <select className="input" value={one.value} aria-label={label} onChange={(event) => change(one.id, { value: event.target.value, key: one.key || event.target.value })} {...place}>
        <option value="">{t("column.choose")}</option>
        <optgroup label={t("ofaudience")}>{columns.filter((column) => !CHOSEN[draft.way].includes(column.name)).map((column) => <option key={column.name} value={column.name}>{column.name}</option>)}</optgroup>
        <optgroup label={t("chosen")}>{CHOSEN[draft.way].map((name) => <option key={name} value={name}>{name}</option>)}</optgroup>
      </select>
    );
  };
  return (
    <>
      <ul className="draft-rows">
        {rows.map((one, at) => {
          const number = at + 1;
          const remove = called(t("payload.remove", { number }));
          return (
            <li key={one.id}>
              <input className="input" value={one.key} maxLength={200} spellCheck={false} placeholder={candidate ? "discount" : "email"} aria-label={called(t("payload.key", { number }))} onChange={(event) => change(one.id, { key: event.target.value })} {...control(sentAt("key", one, candidate), faults)} />
              <select className="input" value={one.from} aria-label={called(t("payload.from", { number }))} onChange={(event) => { const from = FROM.find((other) => other === event.target.value); if (from) change(one.id, { from, value: "" }); }}>{FROM.map((key) => <option key={key} value={key}>{t(`from.${key}`)}</option>)}</select>
              {value(one, number)}
              <Button type="text" size="small" icon={<Icon name="remove" size={15} />} aria-label={remove} title={remove} onClick={() => set(rows.filter((other) => other.id !== one.id))} />
              <Said at={[sentAt("key", one, candidate), sentAt("sent", one, candidate)]} faults={faults} />
            </li>
          );
        })}
      </ul>
      <Button size="small" icon={<Icon name="plus" size={14} />} aria-label={called(t("payload.add"))} onClick={() => set([...rows, { id: fresh(rows), key: "", from: candidate ? "text" : "column", value: "" }])}>{t("payload.add")}</Button>
    </>
  );
}

export function Measured({ draft, put, sources, faults }: Part) {
  const { t } = useWords(own);
  const { outcome } = draft;
  const set = (more: Partial<Outcome>) => outcome && put({ outcome: { ...outcome, ...more } });
  const from = outcome ? sourceOf(sources, outcome.table) : undefined;
  const table = draft.hand === null ? sourceOf(sources, draft.table) : undefined;
  return (
    <Card title={`3 · ${t("step.measured")}`} id="draft-measured">
      <div className="draft-pair">
        <Labelled at="name" label={t("name")} help={t("name.help")} faults={faults}>{(given) => <input className="input" value={draft.name} maxLength={63} spellCheck={false} autoComplete="off" placeholder="win_back" onChange={(event) => put({ name: event.target.value })} {...given} />}</Labelled>
        <Length at="every" label={t("every")} value={draft.every} set={(every) => put({ every })} faults={faults} />
      </div>
      <Labelled at="description" label={t("about")} faults={faults}>{(given) => <input className="input" value={draft.description} maxLength={500} onChange={(event) => put({ description: event.target.value })} {...given} />}</Labelled>
      <div className="draft-pair">
        <Labelled at="holdout" label={t("holdout")} help={t("holdout.help")} faults={faults}>{(given) => <input className="input" type="number" min={0} max={99} step="any" value={draft.holdout} onChange={(event) => put({ holdout: event.target.value })} {...given} />}</Labelled>
        <Labelled at="minUnits" label={t("minunits")} faults={faults}>{(given) => <input className="input" type="number" min={0} step={1} value={draft.minUnits} onChange={(event) => put({ minUnits: event.target.value })} {...given} />}</Labelled>
        <Length at="perUnit" label={t("perunit")} value={draft.perUnit} set={(perUnit) => put({ perUnit })} faults={faults} none={t("nolimit")} />
        <Labelled at="perTurn" label={t("perturn")} faults={faults}>{(given) => <input className="input" type="number" min={1} step={1} value={draft.perTurn} placeholder={t("nolimit")} onChange={(event) => put({ perTurn: event.target.value })} {...given} />}</Labelled>
        <Labelled at="consent" label={t("consent")} help={t("consent.help")} faults={faults}>{(given) => (table
          ? <Columns columns={table.columns} value={draft.consent} choose={(consent) => put({ consent })} none={t("consent.none")} {...given} />
          : <input className="input" value={draft.consent} maxLength={200} spellCheck={false} placeholder={t("consent.none")} onChange={(event) => put({ consent: event.target.value })} {...given} />)}</Labelled>
        {draft.action && (
          <>
            <Labelled at="quietFrom" label={t("quiet.from")} help={t("quiet.help")} faults={faults}>{(given) => <input className="input" type="time" value={draft.quietFrom} onChange={(event) => put({ quietFrom: event.target.value })} {...given} />}</Labelled>
            <Labelled at="quietTo" label={t("quiet.to")} faults={faults}>{(given) => <input className="input" type="time" value={draft.quietTo} onChange={(event) => put({ quietTo: event.target.value })} {...given} />}</Labelled>
            <Labelled at="quietZone" label={t("quiet.zone")} help={t("quiet.zone.help")} faults={faults}>{(given) => <input className="input" value={draft.quietZone} maxLength={200} spellCheck={false} placeholder="Asia/Shanghai" onChange={(event) => put({ quietZone: event.target.value })} {...given} />}</Labelled>
          </>
        )}
      </div>
      <Given draft={draft} put={put} sources={sources} faults={faults} />
      <label className="draft-check"><input type="checkbox" checked={draft.harmful} onChange={(event) => put({ harmful: event.target.checked })} /><span>{t("harmful")}</span></label>
      <label className="draft-check"><input type="checkbox" checked={outcome !== null} onChange={(event) => put({ outcome: event.target.checked ? blankOutcome() : null })} /><span>{t("outcome")}</span></label>
      <p className="quiet small">{t("outcome.help")}</p>
      {unmeasured(draft) && <p className="draft-note draft-note-warn"><Icon name="alert" size={16} />{t("unmeasured")}</p>}
      {outcome && (
        <div className="draft-pair">
          <Labelled at="outcome-table" label={t("outcome.table")} faults={faults}>{(given) => <Tables sources={sources} value={outcome.table} {...given} choose={(table) => {
            const chosen = sourceOf(sources, table);
            put({ outcome: chosen ? likelyOutcome(chosen, draft.unit, outcome) : { ...outcome, table: "" } });
          }} />}</Labelled>
          {from && (["event", "unit", "at", "value"] as const).map((key) => (
            <Labelled key={key} at={`outcome-${key}`} label={t(`outcome.${key}`)} faults={faults}>{(given) => <Columns columns={from.columns} value={outcome[key]} choose={(name) => set({ [key]: name })} none={key === "value" ? t("outcome.value.none") : undefined} {...given} />}</Labelled>
          ))}
          <Length at="outcome-window" label={t("outcome.window")} value={outcome.window} set={(window) => set({ window })} faults={faults} />
        </div>
      )}
      {!sources.length && <p className="quiet small"><Link to="/syncs">{t("table.none")}</Link></p>}
    </Card>
  );
}

const PERIODS = ["day", "week", "campaign"] as const;
const PACES = ["even", "asap"] as const;

/** What the policy may spend, and what there is to give. */
function Given({ draft, put, sources, faults }: Part) {
  const { t } = useWords(own);
  const { budget, stock } = draft;
  const spend = (more: Partial<Budget>) => budget && put({ budget: { ...budget, ...more } });
  const of = stock ? sourceOf(sources, stock.table) : undefined;
  const columns = draft.hand === null ? (sourceOf(sources, draft.table)?.columns ?? []) : [];
  return (
    <>
      <label className="draft-check"><input type="checkbox" checked={budget !== null} onChange={(event) => put({ budget: event.target.checked ? blankBudget() : null })} /><span>{t("budget")}</span></label>
      {budget && (
        <div className="draft-pair">
          <Labelled at="budget-amount" label={t("budget.amount")} help={t("budget.help")} faults={faults}>{(given) => <input className="input" type="number" min={0} step="any" value={budget.amount} onChange={(event) => spend({ amount: event.target.value })} {...given} />}</Labelled>
          <Labelled at="budget-per" label={t("budget.per")} faults={faults}>{(given) => <select className="input" value={budget.per} onChange={(event) => spend({ per: PERIODS.find((one) => one === event.target.value) ?? "day" })} {...given}>{PERIODS.map((one) => <option key={one} value={one}>{t(`budget.per.${one}`)}</option>)}</select>}</Labelled>
          <Labelled at="budget-cost" label={t("budget.cost")} help={t("budget.cost.help")} faults={faults}>{(given) => (
            <>
              <input className="input" value={budget.cost} maxLength={200} spellCheck={false} list="draft-budget-columns" onChange={(event) => spend({ cost: event.target.value })} {...given} />
              <datalist id="draft-budget-columns">{columns.filter((one) => one.type === "integer" || one.type === "number").map((one) => <option key={one.name} value={one.name} />)}</datalist>
            </>
          )}</Labelled>
          <Labelled at="budget-pace" label={t("budget.pace")} faults={faults}>{(given) => <select className="input" value={budget.pace} onChange={(event) => spend({ pace: PACES.find((one) => one === event.target.value) ?? "even" })} {...given}>{PACES.map((one) => <option key={one} value={one}>{t(`budget.pace.${one}`)}</option>)}</select>}</Labelled>
          {budget.per === "campaign" ? (
            <>
              <Labelled at="budget-from" label={t("budget.from")} faults={faults}>{(given) => <input className="input" type="date" value={budget.from} onChange={(event) => spend({ from: event.target.value })} {...given} />}</Labelled>
              <Labelled at="budget-until" label={t("budget.until")} faults={faults}>{(given) => <input className="input" type="date" value={budget.until} onChange={(event) => spend({ until: event.target.value })} {...given} />}</Labelled>
            </>
          ) : (
            <Labelled at="budget-zone" label={t("budget.zone")} faults={faults}>{(given) => <input className="input" value={budget.zone} maxLength={200} spellCheck={false} placeholder="UTC" onChange={(event) => spend({ zone: event.target.value })} {...given} />}</Labelled>
          )}
        </div>
      )}
      <label className="draft-check"><input type="checkbox" checked={stock !== null} onChange={(event) => put({ stock: event.target.checked ? blankStock() : null })} /><span>{t("stock")}</span></label>
      {stock && (
        <>
          <p className="quiet small">{t("stock.help")}</p>
          <div className="draft-pair">
            <Labelled at="stock-table" label={t("stock.table")} faults={faults}>{(given) => <Tables sources={sources} value={stock.table} choose={(table) => put({ stock: { ...blankStock(), table } })} {...given} />}</Labelled>
            {of && (["candidate", "available", "counted", "expires"] as const).map((key) => (
              <Labelled key={key} at={`stock-${key}`} label={t(`stock.${key}`)} faults={faults}>{(given) => <Columns columns={of.columns} value={stock[key]} choose={(name) => put({ stock: { ...stock, [key]: name } })} none={key === "counted" || key === "expires" ? t("stock.none") : undefined} {...given} />}</Labelled>
            ))}
          </div>
        </>
      )}
    </>
  );
}
