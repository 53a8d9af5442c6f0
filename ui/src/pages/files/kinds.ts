/** Kinds of files, what it takes to change them, and where what they declare is shown. */

/** As the server has them, in the order of the wheel. */
export const KINDS = ["connection", "sync", "topic", "link", "split", "merge", "dictionary", "quality", "semantic", "dashboard", "query", "learner", "policy", "action", "schedule", "alert", "rule", "grant"] as const;
export type Kind = (typeof KINDS)[number];

export const isKind = (word: string): word is Kind => (KINDS as readonly string[]).includes(word);

const OUTSIDE: readonly Kind[] = ["connection", "action", "rule", "grant"];
const OF_READERS: readonly Kind[] = ["dictionary", "semantic", "dashboard", "query"];

/** Whether files of a kind may be changed; the server refuses it as well, and has the last word about rules. */
export function mayDeclare(can: (permission: string) => boolean, kind: Kind): boolean {
  const more = OUTSIDE.includes(kind) ? "administer" : OF_READERS.includes(kind) ? "query" : "operate";
  return can("author") && can("query") && can(more);
}

const LISTS: Partial<Record<Kind, string>> = { action: "/actions", alert: "/schedules?tab=alerts", semantic: "/metrics" };
const PAGES: Partial<Record<Kind, string>> = { connection: "connections", sync: "syncs", link: "links", merge: "merges", quality: "quality", dashboard: "dashboards", query: "queries", learner: "learners", policy: "policies", schedule: "schedules" };

/** The page of what is declared; the list where it would stand once it is gone. */
export function shownAt(kind: Kind, name: string | null): string {
  const page = PAGES[kind];
  if (!page) return LISTS[kind] ?? "/files";
  return name === null ? `/${page}` : `/${page}/${encodeURIComponent(name)}`;
}
