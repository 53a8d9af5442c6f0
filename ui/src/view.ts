/** Looking at the project as somebody else would see it: for as long as a tab is open, and by whoever may administer. */
import { useSyncExternalStore } from "react";
import { drop, forget, readAs } from "./api";
import { forgetHeard } from "./live";

export interface View {
  /** The user, or the role, through whose eyes everything is read. */
  as: string;
  /** Who looks, and in which project: nobody else who signs in here goes on with it. */
  by: string;
  /** Whether that person may query; else rows are not asked for. */
  query: boolean;
}

const KEPT = "flywheel.view";

/** The view that this tab was loaded anew with; nothing of what cannot be one. */
export function viewOf(text: string | null): View | null {
  try {
    const { as, by, query } = JSON.parse(text ?? "null") as Partial<View>;
    return typeof as === "string" && as !== "" && typeof by === "string" && typeof query === "boolean" ? { as, by, query } : null;
  } catch {
    return null;
  }
}

let view: View | null = typeof sessionStorage === "undefined" ? null : viewOf(sessionStorage.getItem(KEPT));
const listeners = new Set<() => void>();

function keep(next: View | null) {
  view = next;
  if (next) sessionStorage.setItem(KEPT, JSON.stringify(next));
  else sessionStorage.removeItem(KEPT);
  readAs(next?.as ?? null);
}

/**
 * Begins a view, puts another in its place, or ends it. Nothing stays of what was answered before, and nothing of it is
 * asked for anew: the pages are made anew for whoever looks now, and what they ask is theirs. What the former pages had
 * asked, such as who there is to look as, is not read through the eyes of somebody else.
 */
export function look(next: View | null) {
  keep(next);
  drop();
  forgetHeard();
  for (const listener of listeners) listener();
}

/** Ends a view that whoever is signed in did not begin: the pages that are shown are theirs already. */
export function leave() {
  keep(null);
  forget();
  forgetHeard();
  for (const listener of listeners) listener();
}

const subscribe = (listener: () => void) => {
  listeners.add(listener);
  return () => void listeners.delete(listener);
};

/** The view of this tab, whoever is signed in. */
export const useView = (): View | null => useSyncExternalStore(subscribe, () => view);
