/** What a plan says, as the API answers it, and how the lines of two queries differ. */

export interface Changed {
  name: string; file: string | null; change: string; impact: string; selected: boolean; columns_added: string[]; columns_removed: string[]; columns_changed: string[];
  rows_changed: boolean; through: string[]; error: string | null; sql_before: string | null; sql_after: string | null;
}
export interface Touched { kind: string; name: string; file: string | null; reads: string[]; columns: string[]; breaks: string | null }
export interface Plan { environment: string; digest: string; unchanged: number; tasks: number; breaks: boolean; queries_withheld: boolean; models: Changed[]; dependents: Touched[] }
export interface Environment { name: string; made_from: string | null; created_at: string | null; models: number; differing: number }
export interface Sample { change: "added" | "removed" | "changed"; key: string[]; values: { column: string; before: string | null; after: string | null }[] }
export interface Diff {
  name: string; key: string[]; rows_before: number | null; rows_after: number | null; added: number; removed: number; changed: number;
  columns: { column: string; changed: number }[]; columns_added: string[]; columns_removed: string[]; samples: Sample[]; note: string | null;
}
export interface Differences { model: string; digest: string; withheld?: string; diff?: Diff | null }

/** The environment that everybody reads. */
export const PRODUCTION = "prod";

/** What changes of a model's columns, each with its sign: `+` comes, `-` goes, `~` may hold other values. */
export const columnsOf = (one: Pick<Changed, "columns_added" | "columns_removed" | "columns_changed">): string[] => [
  ...one.columns_added.map((name) => `+${name}`), ...one.columns_removed.map((name) => `-${name}`), ...one.columns_changed.map((name) => `~${name}`),
];

/** A line of two texts beside each other: only in the new one, only in the old one, or in both. */
export interface Line { sign: "+" | "-" | " "; text: string }

/** Lines of both texts that are compared line by line; longer texts are shown one after the other. */
const COMPARED_MAX = 1_500;

const linesOf = (text: string | null): string[] => {
  const trimmed = (text ?? "").trimEnd();
  return trimmed ? trimmed.split("\n") : [];
};

/** How one text becomes the other with as few lines changed as possible. */
export function lines(before: string | null, after: string | null): Line[] {
  const [a, b] = [linesOf(before), linesOf(after)];
  const gone = (text: string): Line => ({ sign: "-", text });
  const come = (text: string): Line => ({ sign: "+", text });
  if (a.length > COMPARED_MAX || b.length > COMPARED_MAX) return [...a.map(gone), ...b.map(come)];
  // How many lines both have in common from each place on.
  const common = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  const at = (i: number, j: number) => common[i]?.[j] ?? 0;
  for (let i = a.length - 1; i >= 0; i -= 1) {
    const row = common[i];
    for (let j = b.length - 1; row && j >= 0; j -= 1) row[j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
  }
  const all: Line[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    const [old, fresh] = [a[i], b[j]];
    if (old !== undefined && old === fresh) {
      all.push({ sign: " ", text: old });
      i += 1;
      j += 1;
    } else if (old !== undefined && (fresh === undefined || at(i + 1, j) >= at(i, j + 1))) {
      all.push(gone(old));
      i += 1;
    } else if (fresh !== undefined) {
      all.push(come(fresh));
      j += 1;
    }
  }
  return all;
}
