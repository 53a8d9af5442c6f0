/** Choices between few things: tabs over a panel, and buttons of which one is pressed. */
import { type KeyboardEvent, type ReactNode, useRef } from "react";
import "./parts.css";

export interface Tab<K extends string> { key: K; label: ReactNode }

/** Tabs. The panel is the caller's: give it `id` and `role="tabpanel"`. */
export function Tabs<K extends string>({ of, now, choose, label, panel }: { of: Tab<K>[]; now: K; choose: (key: K) => void; label: string; panel: string }) {
  const list = useRef<HTMLDivElement>(null);
  const press = (event: KeyboardEvent) => {
    const at = of.findIndex((tab) => tab.key === now);
    const to = event.key === "ArrowRight" ? at + 1 : event.key === "ArrowLeft" ? at - 1 : event.key === "Home" ? 0 : event.key === "End" ? of.length - 1 : null;
    if (to === null) return;
    event.preventDefault();
    const next = of[(to + of.length) % of.length];
    if (!next) return;
    choose(next.key);
    list.current?.querySelectorAll("button")[of.indexOf(next)]?.focus();
  };
  return (
    <div className="tabs" role="tablist" aria-label={label} ref={list} onKeyDown={press}>
      {of.map((tab) => (
        <button key={tab.key} type="button" role="tab" id={`${panel}-${tab.key}`} aria-selected={tab.key === now} aria-controls={tab.key === now ? panel : undefined} tabIndex={tab.key === now ? 0 : -1} onClick={() => choose(tab.key)}>{tab.label}</button>
      ))}
    </div>
  );
}

/** Buttons of which one is pressed. */
export function OneOf<K extends string>({ of, now, choose, label }: { of: Tab<K>[]; now: K | null; choose: (key: K) => void; label: string }) {
  return (
    <div className="tabs tabs-box" role="group" aria-label={label}>
      {of.map((tab) => <button key={tab.key} type="button" aria-pressed={tab.key === now} onClick={() => choose(tab.key)}>{tab.label}</button>)}
    </div>
  );
}

/** One of a list, as the browser shows lists: light, and known to every screen reader and phone. */
export function Pick<K extends string>({ label, of, now, choose, hidden }: { label: string; of: { key: K; label: string }[]; now: K; choose: (key: K) => void; hidden?: boolean }) {
  return (
    <label className="pick">
      <span className={hidden ? "unseen" : undefined}>{label}</span>
      <select value={now} onChange={(event) => choose(event.target.value as K)}>{of.map((one) => <option key={one.key} value={one.key}>{one.label}</option>)}</select>
    </label>
  );
}
