/** Which chart fits the rows of a query. */
import type { Table } from "../../api";
import { exact, isNumber } from "../../ui/rows";

export type Kind = "line" | "bar" | "scatter";
export interface Choice { kind: Kind; along: number; value: number | "all" }

/** Points that a chart draws at most; beyond it the first rows are drawn. */
export const POINTS_MAX: Record<Kind, number> = { line: 10_000, bar: 100, scatter: 10_000 };
/** Lines drawn at once where all numbers are. */
const LINES_MAX = 6;

export const numbers = (table: Table): number[] => table.columns.flatMap((column, at) => (isNumber(column) ? [at] : []));

/** The chart to begin with; nothing where there is no number. */
export function guess(table: Table): Choice | null {
  const values = numbers(table);
  if (!values.length) return null;
  const time = table.columns.findIndex((column) => column.type === "day" || column.type === "moment");
  const text = table.columns.findIndex((column) => !isNumber(column));
  const along = time >= 0 ? time : text >= 0 ? text : 0;
  const rest = values.filter((at) => at !== along);
  const value = rest[0] ?? along;
  if (time < 0 && text < 0 && rest.length) return { kind: "scatter", along, value };
  return { kind: time >= 0 ? "line" : "bar", along, value };
}

/** The series that a choice asks for. Integers beyond 2^53 are near enough for a drawing. */
export function series(table: Table, choice: Choice) {
  const rows = table.rows.slice(0, POINTS_MAX[choice.kind]);
  const ordered = ["day", "moment"].includes(table.columns[choice.along]?.type ?? "") ? [...rows].sort((a, b) => String(a[choice.along]).localeCompare(String(b[choice.along]))) : rows;
  const values = choice.value === "all" ? numbers(table).filter((at) => at !== choice.along).slice(0, LINES_MAX) : [choice.value];
  const type = table.columns[choice.along]?.type ?? "text";
  return {
    along: ordered.map((row) => (choice.kind === "scatter" ? Number(row[choice.along] ?? Number.NaN) : exact(row[choice.along], type))),
    series: values.map((at) => ({ name: table.columns[at]?.name ?? "", values: ordered.map((row) => (row[at] === null || row[at] === undefined ? null : Number(row[at]))) })),
    cut: table.rows.length > rows.length ? rows.length : null,
  };
}
