/** The way of one column through the tables: back to where it landed, and on to what is made of it. */

export interface ColumnEdge { from: string; fromColumn: string; to: string; toColumn: string; kind: string; how?: string }
export interface Step { node: string; column: string; expression: string | null; transform?: string; upstream: { from: { table: string; column: string }; transform: string }[]; influences?: { table: string; column: string; how: string }[] }
export interface MadeOf { name: string; columns?: { column: string; expression: string | null; origins?: { table: string; column: string; transform: string }[] }[] }

const KINDS = ["identity", "transform", "aggregate"];
/** A kind that a newer server names is drawn as something computed. */
export const kindOf = (transform: string) => (KINDS.includes(transform) ? transform : transform === "aggregated" ? "aggregate" : "transform");

/** What a column is made of, step by step back; `influences` too, where they are wanted. */
export function back(steps: Step[], influences: boolean): ColumnEdge[] {
  return steps.flatMap((step) => [
    ...step.upstream.map((one) => ({ from: one.from.table, fromColumn: one.from.column, to: step.node, toColumn: step.column, kind: kindOf(one.transform) })),
    ...(influences ? (step.influences ?? []).map((one) => ({ from: one.table, fromColumn: one.column, to: step.node, toColumn: step.column, kind: "influence", how: one.how })) : []),
  ]);
}

/** What is made of a column, through all models that were read. */
export function on(models: MadeOf[], table: string, column: string): ColumnEdge[] {
  const uses = new Map<string, ColumnEdge[]>();
  for (const model of models) {
    for (const made of model.columns ?? []) {
      for (const origin of made.origins ?? []) {
        const key = `${origin.table}\n${origin.column}`;
        const edge = { from: origin.table, fromColumn: origin.column, to: model.name, toColumn: made.column, kind: kindOf(origin.transform) };
        uses.set(key, [...(uses.get(key) ?? []), edge]);
      }
    }
  }
  const found: ColumnEdge[] = [];
  const seen = new Set<string>();
  const open = [`${table}\n${column}`];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    if (seen.has(at)) continue;
    seen.add(at);
    for (const edge of uses.get(at) ?? []) {
      found.push(edge);
      open.push(`${edge.to}\n${edge.toColumn}`);
    }
  }
  return found;
}

/** The columns that edges touch, by table. */
export function touched(edges: ColumnEdge[]): Map<string, Set<string>> {
  const all = new Map<string, Set<string>>();
  const add = (table: string, column: string) => all.set(table, (all.get(table) ?? new Set()).add(column));
  for (const edge of edges) {
    add(edge.from, edge.fromColumn);
    add(edge.to, edge.toColumn);
  }
  return all;
}
