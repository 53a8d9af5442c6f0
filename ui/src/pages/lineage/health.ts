/** How the assets of the graph do: their own freshness, tests and promises, or those of what they are made from. */
import { isStale, type Known } from "../../ui/trust";

export type Tone = "ok" | "warn" | "bad" | "idle";
export type Fault = "failed" | "held" | "promises" | "stale" | "warned" | "doubted" | "upstream";
export interface Shown { tone: Tone; fault: Fault | null }

export const TONES: Tone[] = ["ok", "warn", "bad", "idle"];
const WORSE: Record<Tone, number> = { idle: 0, ok: 1, warn: 2, bad: 3 };

/** What is known of a table itself, as the badges of figures judge it; null if nothing is. */
export function own(one: Known | undefined): Shown | null {
  if (!one) return null;
  const bad = (fault: Fault): Shown => ({ tone: "bad", fault });
  const warn = (fault: Fault): Shown => ({ tone: "warn", fault });
  if (one.tests_status === "failed") return bad("failed");
  if (one.held !== null) return bad("held");
  if (one.failed > 0) return bad("promises");
  if (isStale(one)) return warn("stale");
  if (one.tests_status === "warned") return warn("warned");
  if (one.warned > 0) return warn("doubted");
  const told = one.tests_status !== null || one.passed > 0 || (one.age_s !== null && one.fresh_limit_s !== null);
  return told ? { tone: "ok", fault: null } : null;
}

/** The health of every node, by its id. A node of which nothing is known itself does as the worst of what it is made from. */
export function healthOf(nodes: { id: string; table: string | null }[], edges: { from: string; to: string }[], tables: Known[]): Map<string, Shown> {
  const by = new Map(tables.map((one) => [one.name, one]));
  const known = new Map(nodes.map((node) => [node.id, node.table === null ? null : own(by.get(node.table))]));
  const made = new Map<string, string[]>();
  for (const { from, to } of edges) made.set(to, [...(made.get(to) ?? []), from]);
  return new Map(nodes.map(({ id }): [string, Shown] => {
    const itself = known.get(id);
    if (itself) return [id, itself];
    let worst: Tone = "idle";
    const seen = new Set([id]);
    const open = [id];
    // The wheel is a loop: what was looked at once is not looked at again.
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      for (const from of made.get(at) ?? []) {
        if (seen.has(from)) continue;
        seen.add(from);
        const one = known.get(from);
        if (!one) open.push(from);
        else if (WORSE[one.tone] > WORSE[worst]) worst = one.tone;
      }
    }
    return [id, { tone: worst, fault: worst === "warn" || worst === "bad" ? "upstream" : null }];
  }));
}
