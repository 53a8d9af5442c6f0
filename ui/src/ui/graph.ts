/** What is asked of graphs, without drawing them. */

export interface Link { from: string; to: string }

/** All that can be reached from `start` along the edges, or against them; without `start` itself. */
export function reached(edges: Link[], start: string[], against = false): Set<string> {
  const next = new Map<string, string[]>();
  for (const edge of edges) {
    const [from, to] = against ? [edge.to, edge.from] : [edge.from, edge.to];
    next.set(from, [...(next.get(from) ?? []), to]);
  }
  const found = new Set<string>();
  const open = [...start];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    for (const to of next.get(at) ?? []) {
      if (found.has(to) || start.includes(to)) continue;
      found.add(to);
      open.push(to);
    }
  }
  return found;
}

/** How many steps each node lies from `start`: below 0 against the edges, above 0 along them; the shorter way counts. */
export function distances(edges: Link[], start: string): Map<string, number> {
  const all = new Map([[start, 0]]);
  for (const way of [1, -1]) {
    const seen = new Set([start]);
    let front = [start];
    for (let step = 1; front.length; step++) {
      const found: string[] = [];
      for (const edge of edges) {
        const [from, to] = way > 0 ? [edge.from, edge.to] : [edge.to, edge.from];
        if (!front.includes(from) || seen.has(to)) continue;
        seen.add(to);
        found.push(to);
        if (Math.abs(all.get(to) ?? Number.POSITIVE_INFINITY) > step) all.set(to, way * step);
      }
      front = found;
    }
  }
  return all;
}
