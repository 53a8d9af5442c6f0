/** What narrows every tile of a dashboard: its time, what it is compared with, values of its dimensions. */
import { Button } from "antd";
import { useEffect, useId, useMemo, useRef, useState } from "react";
import type { Cell, Labels, Metric } from "../../api";
import { useWords } from "../../i18n";
import { Choice as Choices, Loading, Pick, Trouble } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { valueCalled, valueText } from "../metrics/Explore";
import { dimensionCalled, movedTo, plusDays, toggled, valueLabels } from "../metrics/question";
import { COMPARES, type Board, type Choice } from "./board";
import { useValues } from "./source";
import own from "./words";

const RANGES = [7, 28, 90, 365];
/** How wide a list of values is, with some room beside it, in pixels. */
const LIST_WIDTH = 300;

export function Filters({ board, metrics, asOf, choice, set }: { board: Board; metrics: Metric[]; asOf: string; choice: Choice; set: (next: Partial<Choice>) => void }) {
  const { t, language } = useWords(own);
  const { time, dimensions } = board.filters;
  const says = (dimension: string) => dimensionCalled(dimension, metrics, language);
  const saysValue = (dimension: string, value: Cell) => valueCalled(value, valueLabels(dimension, metrics), language, t);
  if (!time && !dimensions.length) return null;
  const end = plusDays(asOf.slice(0, 10), 1);
  const to = choice.to ?? end;
  const from = choice.from ?? plusDays(to, -(time?.days ?? 28));
  const ranges = [...new Set([...RANGES, time?.days ?? 28])].sort((a, b) => a - b);
  const days = to === end ? ranges.find((one) => plusDays(end, -one) === from) : undefined;
  const choose = (which: "first" | "last", day: string) => {
    const next = movedTo({ from, to }, which, day);
    set({ from: next.from, to: which === "first" && next.to === end ? null : next.to });
  };
  const picked = Object.entries(choice.only).flatMap(([dimension, values]) => values.map((value) => ({ dimension, value })));
  const narrow = (dimension: string, value: Cell) => set({ only: toggled(choice.only, dimension, value) });
  return (
    <div className="board-filters" role="group" aria-label={t("filters")}>
      <div className="filters">
        {time && (
          <>
            <Choices label={t("time")} value={choice.whole ? "whole" : days ? String(days) : ""} choose={(key) => (key === "whole" ? set({ whole: true, from: null, to: null }) : set({ whole: false, to: null, from: Number(key) === time.days ? null : plusDays(end, -Number(key)) }))} of={[...ranges.map((one) => ({ key: String(one), label: one === 365 ? t("year") : t("days", { count: one }) })), { key: "whole", label: t("whole") }]} />
            {!choice.whole && (
              <span className="board-dates">
                <label><span className="unseen">{t("from")}</span><input className="input" type="date" value={from} max={plusDays(to, -1)} onChange={(event) => event.target.value && choose("first", event.target.value)} /></label>
                <span className="quiet" aria-hidden="true">–</span>
                <label><span className="unseen">{t("to")}</span><input className="input" type="date" value={plusDays(to, -1)} min={from} onChange={(event) => event.target.value && choose("last", event.target.value)} /></label>
              </span>
            )}
            {!choice.whole && <Pick label={t("compare")} value={choice.compare ?? time.compare} choose={(key) => set({ compare: key === time.compare ? null : (COMPARES.find((one) => one === key) ?? null) })} of={COMPARES.map((key) => ({ key, label: t(`compare.${key}`) }))} />}
          </>
        )}
        {dimensions.map((dimension) => <Values key={dimension} board={board.dashboard} dimension={dimension} name={says(dimension)} labels={valueLabels(dimension, metrics)} chosen={choice.only[dimension] ?? []} toggle={(value) => narrow(dimension, value)} />)}
      </div>
      {picked.length > 0 && (
        <div className="filters" role="group" aria-label={t("filters.chosen")}>
          <span className="quiet">{t("filters.only")}</span>
          {picked.map(({ dimension, value }) => <button type="button" key={`${dimension} ${String(value)}`} className="board-only" aria-label={t("filter.remove", { what: `${says(dimension)} ${saysValue(dimension, value)}` })} onClick={() => narrow(dimension, value)}><span>{says(dimension)}</span>{" "}<b>{saysValue(dimension, value)}</b><Icon name="close" size={13} /></button>)}
          <Button type="text" size="small" onClick={() => set({ only: {} })}>{t("filter.clear")}</Button>
        </div>
      )}
    </div>
  );
}

/** The values of one dimension, in a list that opens below its button. */
function Values({ board, dimension, name, labels, chosen, toggle }: { board: string; dimension: string; name: string; labels: Labels | undefined; chosen: Cell[]; toggle: (value: Cell) => void }) {
  const { t, language } = useWords(own);
  const [open, setOpen] = useState(false);
  const [looked, setLooked] = useState("");
  const [right, setRight] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const id = useId();
  const values = useValues(board, dimension, open);
  useEffect(() => {
    if (!open) return;
    const away = (event: Event) => {
      const at = event.target as Node;
      // A press on what cannot have the focus gives it to what the list lies in; that leads nobody away.
      if (event.type === "focusin" && at.contains(box.current)) return;
      if (!box.current?.contains(at)) setOpen(false);
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("focusin", away);
    return () => { document.removeEventListener("pointerdown", away); document.removeEventListener("focusin", away); };
  }, [open]);
  const shown = useMemo(() => {
    const all = [...new Set([...chosen, ...(values.data?.items ?? [])])];
    const word = looked.trim().toLowerCase();
    // Who knows the value itself finds it by that as well.
    return word ? all.filter((value) => [valueText(value, t), valueCalled(value, labels, language, t)].some((text) => text.toLowerCase().includes(word))) : all;
  }, [values.data, chosen, looked, labels, language, t]);
  return (
    <div className="board-pick" ref={box} onKeyDown={(event) => { if (event.key === "Escape" && open) { event.stopPropagation(); setOpen(false); button.current?.focus(); } }}>
      <button type="button" ref={button} className={`board-pick-button ${chosen.length ? "board-pick-on" : ""}`} aria-expanded={open} aria-controls={id} onClick={(event) => { setRight(event.currentTarget.getBoundingClientRect().left + LIST_WIDTH > innerWidth); setOpen(!open); }}>
        <Icon name="filter" size={14} />{name}{chosen.length > 0 && <span className="board-count">{chosen.length}</span>}
      </button>
      {open && (
        <div className={`board-pick-list ${right ? "board-pick-right" : ""}`} id={id} role="group" aria-label={t("values", { dimension: name })}>
          <label className="find"><Icon name="search" size={14} /><input value={looked} autoFocus placeholder={t("values.find")} aria-label={t("values.find")} onChange={(event) => setLooked(event.target.value)} /></label>
          {values.error ? <Trouble error={values.error} retry={() => void values.refetch()} /> : !values.data ? <Loading lines={4} /> : !shown.length ? <p className="quiet small board-pick-none">{t("values.none")}</p> : (
            <ul>{shown.map((value) => <li key={String(value)}><label><input type="checkbox" checked={chosen.includes(value)} onChange={() => toggle(value)} /><span>{valueCalled(value, labels, language, t)}</span></label></li>)}</ul>
          )}
        </div>
      )}
    </div>
  );
}
