/** Rows of a query: as many as the API answers, of which only those in sight are drawn. */
import { type KeyboardEvent, memo, useId, useMemo, useRef, useState } from "react";
import type { Cell, Column, Table, Value } from "../api";
import { useWords } from "../i18n";
import { Copy } from "./basics";
import "./parts.css";
import own from "./words";

const ROW = 30;
const HEAD = 44;
/** Rows drawn above and below what is in sight. */
const OVER = 12;
/** Rows looked at for the width of a column. */
const MEASURED = 200;

const NO_CELLS: Cell[] = [];

/** Whether a column holds what is compared by size. */
export const isNumber = (column: Column) => column.type === "integer" || column.type === "number";

/** A value as a query gave it: exact, without separators. */
export function exact(value: Value | undefined, type: string): string {
  if (value === null || value === undefined) return "null";
  if (type === "moment" && typeof value === "string") return value.replace("T", " ").replace("Z", "");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** The order of rows by a column; what has no value is last, whichever way. */
export function order(rows: Cell[][], at: number, number: boolean, down: boolean): number[] {
  const all = rows.map((_, index) => index);
  const collator = new Intl.Collator(undefined, { numeric: true });
  return all.sort((one, other) => {
    const [a, b] = [rows[one]?.[at] ?? null, rows[other]?.[at] ?? null];
    if (a === null || b === null) return a === b ? one - other : a === null ? 1 : -1;
    // Integers beyond 2^53 come as text; as numbers they are near enough to be ordered, and BigInt makes them exact.
    const size = number ? compared(a, b) : collator.compare(exact(a, ""), exact(b, ""));
    return size === 0 ? one - other : down ? -size : size;
  });
}

function compared(a: NonNullable<Cell>, b: NonNullable<Cell>): number {
  if (typeof a === "string" && typeof b === "string" && /^-?\d+$/.test(a) && /^-?\d+$/.test(b)) {
    const [one, other] = [BigInt(a), BigInt(b)];
    return one < other ? -1 : one > other ? 1 : 0;
  }
  return Number(a) - Number(b);
}

/** Pixels of a digit, and a little more: fonts differ. */
const DIGIT = 8.6;
/** Pixels of a cell beside its text. */
const BESIDE = 28;

/** How many digits are as wide as a text. A Chinese character is as wide as two Latin ones. */
function wideAs(text: string): number {
  let wide = 0;
  for (const letter of text.slice(0, 60)) wide += letter > "⺀" ? 2 : 1;
  return wide;
}

/** The width of each column in pixels, by what stands in it. */
export function widths(table: Pick<Table, "columns" | "rows">): number[] {
  return table.columns.map((column, at) => {
    // Beside a heading stands the mark of its order.
    let longest = Math.max(wideAs(column.name) + 2, wideAs(column.type));
    for (const row of table.rows.slice(0, MEASURED)) longest = Math.max(longest, wideAs(exact(row[at], column.type)));
    return Math.min(380, Math.max(76, Math.round(longest * DIGIT) + BESIDE));
  });
}

export function Rows({ table, label, height = 420 }: { table: Table; label: string; height?: number }) {
  const { t } = useWords(own);
  const outer = useRef<HTMLDivElement>(null);
  const id = useId();
  const [top, setTop] = useState(0);
  const [sort, setSort] = useState<{ at: number; down: boolean } | null>(null);
  const [active, setActive] = useState<Chosen | null>(null);
  const wide = useMemo(() => widths(table), [table]);
  const sorted = useMemo(() => {
    const column = sort && table.columns[sort.at];
    return sort && column ? order(table.rows, sort.at, isNumber(column), sort.down) : null;
  }, [table, sort]);
  const tall = Math.min(height, HEAD + table.rows.length * ROW + 16);
  const first = Math.max(0, Math.floor(top / ROW) - OVER);
  const last = Math.min(table.rows.length, Math.ceil((top + tall) / ROW) + OVER);
  const row = (at: number) => table.rows[sorted ? (sorted[at] ?? at) : at] ?? NO_CELLS;
  const chosen = active && table.columns[active.column];
  const value = active && chosen ? exact(row(active.row)[active.column], chosen.type) : null;
  const numbers = String(table.rows.length).length * 8 + 22;
  const go = (to: Chosen) => {
    const next = { row: Math.min(table.rows.length - 1, Math.max(0, to.row)), column: Math.min(table.columns.length - 1, Math.max(0, to.column)) };
    setActive(next);
    const box = outer.current;
    if (!box) return;
    const y = next.row * ROW;
    if (y < box.scrollTop) box.scrollTop = y;
    else if (y + ROW + HEAD > box.scrollTop + box.clientHeight) box.scrollTop = y + ROW + HEAD - box.clientHeight;
    const x = wide.slice(0, next.column).reduce((sum, one) => sum + one, 0);
    if (x < box.scrollLeft) box.scrollLeft = x;
    else if (x + (wide[next.column] ?? 0) + numbers > box.scrollLeft + box.clientWidth) box.scrollLeft = x + (wide[next.column] ?? 0) + numbers - box.clientWidth;
  };
  const press = (event: KeyboardEvent) => {
    if ((event.target as HTMLElement).tagName === "BUTTON") return;
    const now = active ?? { row: 0, column: 0 };
    const page = Math.max(1, Math.floor((tall - HEAD) / ROW) - 1);
    const far = event.ctrlKey || event.metaKey;
    const moves: Record<string, Chosen> = {
      ArrowDown: { row: far ? table.rows.length : now.row + (active ? 1 : 0), column: now.column }, ArrowUp: { row: far ? 0 : now.row - 1, column: now.column },
      ArrowRight: { row: now.row, column: now.column + 1 }, ArrowLeft: { row: now.row, column: now.column - 1 },
      PageDown: { row: now.row + page, column: now.column }, PageUp: { row: now.row - page, column: now.column },
      Home: { row: far ? 0 : now.row, column: 0 }, End: { row: far ? table.rows.length : now.row, column: table.columns.length },
    };
    const to = moves[event.key];
    if (to) {
      event.preventDefault();
      go(to);
    } else if (far && event.key.toLowerCase() === "c" && value !== null && !getSelection()?.toString()) {
      void navigator.clipboard?.writeText(value).catch(() => undefined);
    } else if (event.key === "Escape") setActive(null);
  };
  return (
    <>
      <div
        className="rows" ref={outer} style={{ height: tall, "--rows-number": `${numbers}px` } as React.CSSProperties} tabIndex={0} role="grid" aria-label={label} aria-rowcount={table.rows.length + 1} aria-colcount={table.columns.length}
        aria-activedescendant={active && active.row >= first && active.row < last ? `${id}-${active.row}-${active.column}` : undefined}
        onScroll={(event) => setTop(event.currentTarget.scrollTop)} onKeyDown={press}
      >
        <div className="rows-head" role="row" aria-rowindex={1}>
          <div className="rows-number" aria-hidden="true" />
          {table.columns.map((column, at) => {
            const on = sort?.at === at ? sort : null;
            return (
              <div key={at} role="columnheader" aria-colindex={at + 1} aria-sort={on ? (on.down ? "descending" : "ascending") : undefined} style={{ width: wide[at] }} className={isNumber(column) ? "right" : undefined}>
                <button type="button" title={t("sort.by", { what: column.name })} onClick={() => setSort(on ? (on.down === isNumber(column) ? { at, down: !on.down } : null) : { at, down: isNumber(column) })}>
                  <b>{column.name}{on && <span aria-hidden="true"> {on.down ? "↓" : "↑"}</span>}</b><i>{t(`type.${known(column.type)}`)}</i>
                </button>
              </div>
            );
          })}
        </div>
        <div className="rows-body" role="rowgroup" style={{ height: table.rows.length * ROW, width: wide.reduce((sum, one) => sum + one, numbers) }}>
          {Array.from({ length: Math.max(0, last - first) }, (_, step) => {
            const at = first + step;
            return <Line key={at} id={id} at={at} cells={row(at)} columns={table.columns} wide={wide} active={active?.row === at ? active.column : null} choose={setActive} />;
          })}
        </div>
      </div>
      {value !== null && chosen && <div className="rows-foot"><b>{chosen.name}</b><code title={value}>{value.slice(0, 2_000)}</code><Copy text={value} /></div>}
    </>
  );
}

interface Chosen { row: number; column: number }

/** One row. Scrolling draws those that come into sight, not the others again. */
const Line = memo(function Line({ id, at, cells, columns, wide, active, choose }: { id: string; at: number; cells: Cell[]; columns: Column[]; wide: number[]; active: number | null; choose: (cell: Chosen) => void }) {
  const { n } = useWords();
  return (
    <div className={`rows-row ${at % 2 ? "rows-odd" : ""}`} role="row" aria-rowindex={at + 2} style={{ top: at * ROW }}>
      <div className="rows-number" aria-hidden="true">{n(at + 1)}</div>
      {columns.map((column, index) => {
        const text = exact(cells[index], column.type);
        const on = active === index;
        return (
          <div key={index} id={on ? `${id}-${at}-${index}` : undefined} role="gridcell" aria-colindex={index + 1} aria-selected={on || undefined} style={{ width: wide[index] }} className={`rows-cell ${isNumber(column) ? "right" : ""} ${on ? "rows-on" : ""} ${cells[index] === null ? "rows-null" : ""}`} onClick={() => choose({ row: at, column: index })}>
            {text.length > 300 ? `${text.slice(0, 300)}…` : text}
          </div>
        );
      })}
    </div>
  );
});

const TYPES = ["text", "integer", "number", "flag", "day", "moment", "other"] as const;
const known = (type: string) => TYPES.find((one) => one === type) ?? "other";
