/** What somebody ran in this browser, newest first, and what is being written; `whose` says of whom and of which project. */
export interface Ran { sql: string; at: string; ms: number | null; rows: number | null; end: "ok" | "failed" | "stopped" }

/** Entries kept, and characters of a query beyond which it is not kept. */
const KEPT_MAX = 100;
const SQL_MAX = 20_000;

const key = (whose: string, what: string) => `flywheel.sql.${what}.${whose}`;

export function history(whose: string): Ran[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(key(whose, "history")) ?? "[]");
    return Array.isArray(kept) ? kept.filter((one): one is Ran => typeof one === "object" && one !== null && typeof (one as Ran).sql === "string") : [];
  } catch {
    // Somebody else's writing; it is replaced with the next query.
    return [];
  }
}

/** The history with one more; the same query run again moves to the top. */
export function remembered(all: Ran[], ran: Ran): Ran[] {
  if (ran.sql.length > SQL_MAX) return all;
  return [ran, ...all.filter((one) => one.sql !== ran.sql)].slice(0, KEPT_MAX);
}

export function keep(whose: string, all: Ran[]) {
  try {
    localStorage.setItem(key(whose, "history"), JSON.stringify(all));
  } catch {
    // The browser's store is full or closed; the history then lives as long as the page.
  }
}

export const draft = (whose: string): string => localStorage.getItem(key(whose, "draft")) ?? "";

export function keepDraft(whose: string, sql: string) {
  try {
    localStorage.setItem(key(whose, "draft"), sql.slice(0, SQL_MAX));
  } catch {
    // As above: nothing is lost that is in the editor.
  }
}
