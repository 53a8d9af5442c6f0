/** Fields of the form for a policy. Each control is called `draft-` and its place, so that what is still to do can lead to it. */
import { type ReactNode, useState } from "react";
import { Button } from "antd";
import { useWords } from "../../i18n";
import { Rich } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import type { Fault, Field as Column, Source } from "./draft";
import own from "./words";

/** What every control is told: its name in the document, and whether what it holds is wrong. */
export interface Control { id: string; "aria-invalid"?: true; "aria-describedby"?: string }

/** What a control at a place is told; faults are shown once somebody wanted to go on. */
export function control(at: string, faults: Fault[]): Control {
  const wrong = faults.some((fault) => fault.at === at);
  return wrong ? { id: `draft-${at}`, "aria-invalid": true, "aria-describedby": `draft-${at}-fault` } : { id: `draft-${at}` };
}

/** What is wrong at these places. */
export function Said({ at, faults }: { at: string[]; faults: Fault[] }) {
  const { t } = useWords(own);
  return <>{faults.filter((fault) => at.includes(fault.at)).map((fault) => <small key={fault.at + fault.word} id={`draft-${fault.at}-fault`} className="bad draft-fault"><Rich text={t(fault.word)} /></small>)}</>;
}

export function Labelled({ at, label, help, faults, children }: { at: string; label: string; help?: string; faults: Fault[]; children: (control: Control) => ReactNode }) {
  return (
    <div className="field">
      <label htmlFor={`draft-${at}`}><span>{label}</span></label>
      {children(control(at, faults))}
      {help && <small><Rich text={help} /></small>}
      <Said at={[at]} faults={faults} />
    </div>
  );
}

/** One of the tables, by what they are. */
export function Tables({ sources, value, choose, ...control }: { sources: Source[]; value: string; choose: (relation: string) => void } & Control) {
  const { t } = useWords(own);
  return (
    <select className="input" value={value} onChange={(event) => choose(event.target.value)} {...control}>
      <option value="">{t("table.choose")}</option>
      {(["model", "learner", "landed"] as const).map((kind) => {
        const these = sources.filter((one) => one.kind === kind);
        return these.length > 0 && <optgroup key={kind} label={t(`tables.${kind}`)}>{these.map((one) => <option key={one.relation} value={one.relation}>{one.relation}</option>)}</optgroup>;
      })}
    </select>
  );
}

/** One of the columns of a table. */
export function Columns({ columns, value, choose, none, ...control }: { columns: Column[]; value: string; choose: (name: string) => void; none?: string } & Control) {
  const { t } = useWords(own);
  return (
    <select className="input" value={value} onChange={(event) => choose(event.target.value)} {...control}>
      <option value="">{none ?? t("column.choose")}</option>
      {columns.map((one) => <option key={one.name} value={one.name}>{one.name}</option>)}
    </select>
  );
}

const UNITS = ["m", "h", "d", "w"] as const;
type Unit = (typeof UNITS)[number];

/** A length of time: how many, and of what. Without a number there is none. */
export function Length({ at, label, value, set, faults, none }: { at: string; label: string; value: string; set: (value: string) => void; faults: Fault[]; none?: string }) {
  const { t } = useWords(own);
  const [number = "", written] = [/^\d+/.exec(value)?.[0], UNITS.find((unit) => value.endsWith(unit))];
  const [unit, setUnit] = useState<Unit>(written ?? "d");
  return (
    <div className="field">
      <label htmlFor={`draft-${at}`}><span>{label}</span></label>
      <div className="draft-length">
        <input className="input" type="number" min={1} step={1} value={number} placeholder={none} onChange={(event) => set(/^\d+$/.test(event.target.value) ? `${event.target.value}${unit}` : "")} {...control(at, faults)} />
        <select className="input" value={unit} aria-label={t("length.unit", { what: label })} onChange={(event) => {
          const next = UNITS.find((one) => one === event.target.value) ?? "d";
          setUnit(next);
          if (number) set(`${number}${next}`);
        }}>{UNITS.map((one) => <option key={one} value={one}>{t(`length.${one}`)}</option>)}</select>
      </div>
      <Said at={[at]} faults={faults} />
    </div>
  );
}

/** Several values, each of which can be taken away. */
export function Values({ values, set, type, list, label, ...control }: { values: string[]; set: (values: string[]) => void; type: "text" | "number"; list?: string; label: string } & Control) {
  const { t } = useWords(own);
  const [typed, setTyped] = useState("");
  const add = () => {
    if (typed.trim() && !values.includes(typed)) set([...values, typed]);
    setTyped("");
  };
  return (
    <div className="draft-values">
      {values.map((one) => <button key={one} type="button" className="draft-chip" aria-label={t("values.remove", { value: one })} onClick={() => set(values.filter((other) => other !== one))}>{one}<Icon name="close" size={12} /></button>)}
      <input
        className="input" type={type} step="any" list={list} value={typed} aria-label={label} onChange={(event) => setTyped(event.target.value)} onBlur={add} {...control}
        onKeyDown={(event) => {
          // A key that ends the writing of Chinese is not meant for the form.
          if (event.key !== "Enter" || event.nativeEvent.isComposing) return;
          event.preventDefault();
          add();
        }}
      />
      <Button size="small" type="text" icon={<Icon name="plus" size={14} />} aria-label={t("values.add")} title={t("values.add")} onClick={add} />
    </div>
  );
}
