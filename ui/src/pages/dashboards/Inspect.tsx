/** The fields beside a dashboard that is being made: what is added, a tile, the whole. */
import { Button } from "antd";
import { type ReactNode, useMemo, useState } from "react";
import type { Metric } from "../../api";
import { useWords } from "../../i18n";
import { Choice, Empty, Rich } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { called, dimensionCalled, dimensions } from "../metrics/question";
import { COLUMNS, COMPARES, ROWS_MAX, SHOWS, shownAs, sizeOf, whereOf, whereText, type Board, type Label, type Show, type Tile } from "./board";
import own from "./words";

const GRAINS = ["day", "week", "month", "quarter", "year"] as const;

function Head({ title, close }: { title: string; close?: () => void }) {
  const { t } = useWords(own);
  return <div className="board-side-head"><h2>{title}</h2>{close && <Button type="text" size="small" icon={<Icon name="close" size={15} />} aria-label={t("app.close")} onClick={close} />}</div>;
}

/** What can be added. */
export function Add({ metrics, add, close }: { metrics: Metric[]; add: (made: Partial<Tile> & { wanted: string }) => void; close: () => void }) {
  const { t, language } = useWords(own);
  const [looked, setLooked] = useState("");
  const shown = useMemo(() => {
    const word = looked.trim().toLowerCase();
    return word ? metrics.filter((metric) => [metric.name, metric.description ?? "", ...metric.synonyms, ...[metric.label ?? []].flat()].some((text) => text.toLowerCase().includes(word))) : metrics;
  }, [metrics, looked]);
  return (
    <>
      <Head title={t("addtile")} close={close} />
      <div className="board-kinds">
        <button type="button" onClick={() => add({ wanted: "query", sql: "select 1 as one", show: "table" })}><Icon name="sql" size={18} /><span><b>{t("add.sql")}</b><small>{t("add.sql.text")}</small></span></button>
        <button type="button" onClick={() => add({ wanted: "text", text: { [language]: t("add.words.first") } })}><Icon name="edit" size={18} /><span><b>{t("add.words")}</b><small>{t("add.words.text")}</small></span></button>
      </div>
      <h3 className="board-side-sub">{t("add.metric")}</h3>
      {metrics.length === 0 ? <Empty icon="measure" text={t("add.nometric")} /> : (
        <>
          <label className="find"><Icon name="search" size={14} /><input value={looked} autoFocus placeholder={t("add.find")} aria-label={t("add.find")} onChange={(event) => setLooked(event.target.value)} /></label>
          {!shown.length && <p className="quiet small board-pick-none">{t("add.none")}</p>}
          <ul className="board-metrics">{shown.map((metric) => (
            <li key={metric.name}><button type="button" onClick={() => add({ wanted: metric.name, metrics: [metric.name] })}><b>{called(metric, language)}</b><small>{metric.description ?? metric.name}</small><Icon name="plus" size={15} /></button></li>
          ))}</ul>
        </>
      )}
    </>
  );
}

function Field({ label, help, children }: { label: string; help?: string; children: ReactNode }) {
  return <label className="field"><span>{label}</span>{children}{help && <small><Rich text={help} /></small>}</label>;
}

const text = (value: string) => (value === "" ? null : value);

/** A text in both languages. */
function Both({ label, value, set, long }: { label: string; value: Label; set: (value: Label) => void; long?: boolean }) {
  const { t } = useWords(own);
  return (
    <fieldset className="board-both"><legend>{label}</legend>
      {(["zh", "en"] as const).map((key) => (
        <label key={key}><span>{t(`lang.${key}`)}</span>{long
          ? <textarea rows={5} value={value[key] ?? ""} aria-label={`${label} · ${t(`lang.${key}`)}`} onChange={(event) => set({ ...value, [key]: text(event.target.value) })} />
          : <input value={value[key] ?? ""} aria-label={`${label} · ${t(`lang.${key}`)}`} onChange={(event) => set({ ...value, [key]: text(event.target.value) })} />}</label>
      ))}
    </fieldset>
  );
}

/** Names with a way to take each away and to add one of those that are left. */
function Names({ label, help, all, chosen, name, set, most }: { label: string; help?: string; all: string[]; chosen: string[]; name?: (key: string) => string; set: (next: string[]) => void; most?: number }) {
  const { t } = useWords(own);
  const left = all.filter((one) => !chosen.includes(one));
  const write = (key: string) => name?.(key) ?? key;
  return (
    <div className="field" role="group" aria-label={label}><span>{label}</span>
      {chosen.length > 0 && <div className="row board-names">{chosen.map((one) => <button key={one} type="button" className="board-only" aria-label={t("filter.remove", { what: write(one) })} onClick={() => set(chosen.filter((other) => other !== one))}><b>{write(one)}</b><Icon name="close" size={13} /></button>)}</div>}
      {left.length > 0 && chosen.length < (most ?? 99) && <select value="" aria-label={t("names.add", { what: label })} onChange={(event) => event.target.value && set([...chosen, event.target.value])}><option value="">{t("names.choose")}</option>{left.map((one) => <option key={one} value={one}>{write(one)}</option>)}</select>}
      {help && <small><Rich text={help} /></small>}
    </div>
  );
}

/** Dimensions that all of these metrics have. */
export function common(metrics: Metric[]): { values: string[]; times: string[] } {
  const [first, ...rest] = metrics.map(dimensions);
  if (!first) return { values: [], times: [] };
  const everywhere = (of: "values" | "times") => first[of].filter((one) => rest.every((other) => other[of].includes(one)));
  return { values: everywhere("values"), times: everywhere("times") };
}

/** The ways of showing that fit a tile. */
export function fits(tile: Tile, timed: boolean, adds = true): Show[] {
  return SHOWS.filter((show) => {
    if (!tile.metrics.length) return tile.sql !== null;
    if (show === "number") return tile.by.length === 0;
    if (show === "line") return timed && tile.by.length <= 1 && (tile.by.length === 0 || tile.metrics.length === 1);
    if (show === "bar") return tile.by.length === 1;
    return show === "table" || (tile.by.length === 1 && tile.metrics.length === 1 && adds);
  });
}

export function TileFields({ tile, board, metrics, set, size, close }: { tile: Tile; board: Board; metrics: Metric[]; set: (make: (tile: Tile) => Tile) => void; size: (width: number, height: number) => void; close: () => void }) {
  const { t, language } = useWords(own);
  const name = (key: string) => { const metric = metrics.find((one) => one.name === key); return metric ? called(metric, language) : key; };
  const known = metrics.filter((metric) => tile.metrics.includes(metric.name));
  const { values, times } = common(known);
  // As it was when the tile was chosen, so that typing something and taking it back changes nothing.
  const [where] = useState(tile.where);
  const show = shownAs(tile);
  const now = sizeOf(tile, show);
  // Shares of averages and ratios make up no whole; the server refuses pies of them.
  const adds = known.every((metric) => metric.kind === "measure");
  const ways = fits(tile, times.includes("time"), adds);
  const put = (more: Partial<Tile>) => set((one) => {
    const next = { ...one, ...more };
    // A way of showing that no longer fits gives way to the one that does.
    return next.show && !fits(next, times.includes("time"), adds).includes(next.show) ? { ...next, show: null } : next;
  });
  const filters = [...(board.filters.time ? ["time"] : []), ...board.filters.dimensions];
  return (
    <>
      <Head title={t("tile.head", { tile: tile.tile })} close={close} />
      {tile.metrics.length > 0 && (
        <>
          <Names label={t("i.metrics")} all={metrics.map((one) => one.name)} chosen={tile.metrics} name={name} set={(next) => next.length > 0 && put({ metrics: next })} most={6} />
          <Names label={t("i.by")} all={values} chosen={tile.by} name={(key) => dimensionCalled(key, known, language)} set={(by) => put({ by })} most={3} />
        </>
      )}
      {show !== null && <div className="field"><span>{t("i.show")}</span><Choice label={t("i.show")} value={show} choose={(key) => put({ show: key })} of={ways.map((key) => ({ key, label: t(`show.${key}`) }))} />{show === "pie" && <small>{t("i.pie")}</small>}</div>}
      {tile.sql !== null && (
        <>
          <Field label={t("i.sql")} help={t("i.sql.help")}><textarea className="board-sql" rows={9} spellCheck={false} value={tile.sql} onChange={(event) => put({ sql: event.target.value })} /></Field>
          {filters.length > 0 && <fieldset className="board-both"><legend>{t("i.filters")}</legend><p className="quiet small"><Rich text={t("i.filters.help")} /></p>{filters.map((filter) => (
            <label key={filter}><span>{filter === "time" ? t("time") : filter}</span><input value={tile.filters[filter] ?? ""} placeholder={filter === "time" ? "ordered_at" : filter.split(".").at(-1)} onChange={(event) => set((one) => {
              const { [filter]: _, ...rest } = one.filters;
              return { ...one, filters: event.target.value ? { ...rest, [filter]: event.target.value } : rest };
            })} /></label>
          ))}</fieldset>}
        </>
      )}
      {show === null && <Both long label={t("i.text")} value={tile.text} set={(value) => put({ text: value })} />}
      <Both label={t("i.title")} value={tile.title} set={(title) => put({ title })} />
      <Field label={t("i.about")}><input value={tile.description ?? ""} onChange={(event) => put({ description: text(event.target.value) })} /></Field>
      {tile.metrics.length > 0 && (
        <div className="board-pair">
          {show === "line" && <Field label={t("i.grain")}><select value={tile.grain ?? ""} onChange={(event) => put({ grain: text(event.target.value) })}><option value="">{t("i.grain.auto")}</option>{GRAINS.map((key) => <option key={key} value={key}>{t(`grain.${key}`)}</option>)}</select></Field>}
          <Field label={t("compare")}><select value={tile.compare ?? ""} onChange={(event) => put({ compare: COMPARES.find((one) => one === event.target.value) ?? null })}><option value="">{t("i.compare.board")}</option>{COMPARES.map((key) => <option key={key} value={key}>{t(`compare.${key}`)}</option>)}</select></Field>
        </div>
      )}
      {tile.metrics.length > 0 && <Field label={t("i.where")} help={t("i.where.help")}><input value={whereText(tile.where)} placeholder="country <> 'France'" onChange={(event) => put({ where: whereOf(event.target.value, where) })} /></Field>}
      <div className="board-pair">
        <Field label={t("i.width")}><input type="number" min={1} max={COLUMNS} value={now.width} onChange={(event) => event.target.value && size(Number(event.target.value), now.height)} /></Field>
        <Field label={t("i.height")}><input type="number" min={1} max={ROWS_MAX} value={now.height} onChange={(event) => event.target.value && size(now.width, Number(event.target.value))} /></Field>
        {show !== null && show !== "number" && show !== "pie" && tile.sql === null && <Field label={t("i.limit")}><input type="number" min={1} max={1000} value={tile.limit ?? ""} placeholder={show === "line" ? "6" : show === "bar" ? "10" : "100"} onChange={(event) => put({ limit: event.target.value ? Math.max(1, Math.min(1000, Number(event.target.value))) : null })} /></Field>}
      </div>
    </>
  );
}

/** The dashboard as a whole. */
export function BoardFields({ fresh, board, metrics, set }: { fresh: boolean; board: Board; metrics: Metric[]; set: (make: (now: Board) => Board) => void }) {
  const { t, language } = useWords(own);
  const put = (more: Partial<Board>) => set((now) => ({ ...now, ...more }));
  const used = metrics.filter((metric) => board.tiles.some((tile) => tile.metrics.includes(metric.name)));
  const known = [...new Set(used.flatMap((metric) => dimensions(metric).values))].filter((one) => used.some((metric) => dimensions(metric).values.includes(one)));
  const mapped = board.tiles.flatMap((tile) => Object.keys(tile.filters)).filter((one) => one !== "time");
  const { time } = board.filters;
  return (
    <>
      <Head title={t("board.head")} />
      {fresh && <Field label={t("f.name")} help={t("i.name.help")}><input value={board.dashboard} maxLength={64} spellCheck={false} placeholder="sales" aria-label={t("f.name")} onChange={(event) => put({ dashboard: event.target.value.toLowerCase().replace(/[^a-z0-9_]+/g, "_").replace(/^[^a-z]+/, "") })} /></Field>}
      <Both label={t("i.title")} value={board.title} set={(title) => put({ title })} />
      <Field label={t("i.about")}><input value={board.description ?? ""} onChange={(event) => put({ description: text(event.target.value) })} /></Field>
      <Field label={t("i.owner")}><input value={board.owner ?? ""} onChange={(event) => put({ owner: text(event.target.value) })} /></Field>
      <label className="board-check"><input type="checkbox" checked={time !== null} onChange={(event) => put({ filters: { ...board.filters, time: event.target.checked ? { days: 28, compare: "previous" } : null } })} /><span>{t("i.time")}</span></label>
      {time && <div className="board-pair">
        <Field label={t("i.days")}><input type="number" min={1} max={3660} value={time.days} onChange={(event) => event.target.value && put({ filters: { ...board.filters, time: { ...time, days: Math.max(1, Math.min(3660, Number(event.target.value))) } } })} /></Field>
        <Field label={t("compare")}><select value={time.compare} onChange={(event) => put({ filters: { ...board.filters, time: { ...time, compare: COMPARES.find((one) => one === event.target.value) ?? "previous" } } })}>{COMPARES.map((key) => <option key={key} value={key}>{t(`compare.${key}`)}</option>)}</select></Field>
      </div>}
      <Names label={t("i.dimensions")} help={known.length ? undefined : t("i.dimensions.none")} all={[...new Set([...known, ...mapped])]} chosen={board.filters.dimensions} name={(key) => dimensionCalled(key, used, language)} set={(list) => put({ filters: { ...board.filters, dimensions: list } })} most={12} />
      <div className="field"><span>{t("i.readers")}</span><Choice label={t("i.readers")} value={board.readers} choose={(readers) => put({ readers })} of={(["query", "view"] as const).map((key) => ({ key, label: t(`readers.${key}`) }))} /><small>{t(`readers.${board.readers}.text`)}</small></div>
    </>
  );
}
