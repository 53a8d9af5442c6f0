/** The way of one column through the whole loop: back to where it came from, and on to what is decided and sent. */

export interface ColumnEdge { from: string; fromColumn?: string; to: string; toColumn?: string; kind: string; how?: string }
/** A column, or what has none, as `GET /v1/column-lineage` answers it. */
export interface Found { id: string; kind: string; asset: string; column: string | null; steps: number; expression?: string }
export interface Leads { from: string; to: string; kind: string; direct: boolean }
export interface Told { of: string[]; nodes: Found[]; edges: Leads[]; cut: boolean; notes: string[] }

export interface Followed {
  /** What it is made of, itself first, then the nearest. */
  up: Found[];
  /** What is made of it, the nearest first. */
  down: Found[];
  edges: ColumnEdge[];
  /** What decides about the rows or values of each of `up`. */
  influences: Map<string, { of: Found; how: string }[]>;
  /** The kind of everything that holds a column. */
  kinds: Map<string, string>;
}

const KINDS = ["identity", "transform", "aggregate", "learn"];
/** A kind that a newer server names is drawn as something computed. */
export const kindOf = (kind: string) => (KINDS.includes(kind) ? kind : "transform");

/** What holds a column: a table by its name, anything else by its kind and name. */
export const holderOf = ({ kind, asset }: Pick<Found, "kind" | "asset">) => (isTable(kind) ? asset : `${kind}:${asset}`);
export const isTable = (kind: string) => kind === "source" || kind === "model" || kind === "learner";

/** Follows a column both ways by what flows; what only decides is beside it, where it is wanted. */
export function follow(told: Told, influences: boolean): Followed {
  const nodes = new Map(told.nodes.map((node) => [node.id, node]));
  const start = told.of.flatMap((id) => nodes.get(id) ?? []);
  const direct = told.edges.filter((edge) => edge.direct);
  const walk = (pick: (edge: Leads) => string, next: (edge: Leads) => string) => {
    const by = new Map<string, Leads[]>();
    for (const edge of direct) by.set(pick(edge), [...(by.get(pick(edge)) ?? []), edge]);
    const seen = new Set(start.map((node) => node.id));
    const found: Found[] = [];
    const edges: Leads[] = [];
    let open = [...seen];
    while (open.length) {
      const later: string[] = [];
      for (const id of open) {
        for (const edge of by.get(id) ?? []) {
          edges.push(edge);
          const to = nodes.get(next(edge));
          if (!to || seen.has(to.id)) continue;
          seen.add(to.id);
          found.push(to);
          later.push(to.id);
        }
      }
      open = later;
    }
    return { found, edges };
  };
  const back = walk((edge) => edge.to, (edge) => edge.from);
  const on = walk((edge) => edge.from, (edge) => edge.to);
  const up = [...start, ...back.found];
  const own = new Set(start.map((node) => node.id));
  const made = new Set(up.map((node) => node.id));
  const decides = told.edges.filter((edge) => !edge.direct && (made.has(edge.to) || own.has(edge.from)));
  const beside: Followed["influences"] = new Map();
  for (const edge of decides) {
    const of = nodes.get(edge.from);
    if (of && made.has(edge.to)) beside.set(edge.to, [...(beside.get(edge.to) ?? []), { of, how: edge.kind }]);
  }
  const drawn = (edge: Leads, kind: string): ColumnEdge[] => {
    const [from, to] = [nodes.get(edge.from), nodes.get(edge.to)];
    return from && to ? [{ from: holderOf(from), fromColumn: from.column ?? undefined, to: holderOf(to), toColumn: to.column ?? undefined, kind, ...(kind === "influence" ? { how: edge.kind } : {}) }] : [];
  };
  const edges = [...new Set([...back.edges, ...on.edges])].flatMap((edge) => drawn(edge, kindOf(edge.kind)));
  return { up, down: on.found, edges: [...edges, ...(influences ? decides.flatMap((edge) => drawn(edge, "influence")) : [])], influences: beside, kinds: new Map(told.nodes.map((node) => [holderOf(node), node.kind])) };
}

/** The columns that edges touch, by what holds them. */
export function touched(edges: ColumnEdge[]): Map<string, Set<string>> {
  const all = new Map<string, Set<string>>();
  const add = (holder: string, column: string | undefined) => {
    const known = all.get(holder) ?? new Set();
    if (column !== undefined) known.add(column);
    all.set(holder, known);
  };
  for (const edge of edges) {
    add(edge.from, edge.fromColumn);
    add(edge.to, edge.toColumn);
  }
  return all;
}
