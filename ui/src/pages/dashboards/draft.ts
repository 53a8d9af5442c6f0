/** A dashboard that is being changed, kept in this browser until it is saved, so that nothing is lost by leaving; `whose` says who changes it, and in which project. */
import { useEffect, useState } from "react";
import type { Board } from "./board";

interface Kept { version: string | null; board: Board; at: string }
const key = (whose: string, name: string) => `flywheel.dashboard.${whose}.${name || "(new)"}`;

export function keptDraft(whose: string, name: string): Kept | null {
  try {
    const value = JSON.parse(localStorage.getItem(key(whose, name)) ?? "null") as Kept | null;
    return value && Array.isArray(value.board?.tiles) ? value : null;
  } catch {
    return null;
  }
}
export const dropDraft = (whose: string, name: string) => localStorage.removeItem(key(whose, name));

/** Keeps what is not saved, and asks before the window is closed. */
export function useKept(whose: string, name: string, version: string | null, board: Board, dirty: boolean) {
  useEffect(() => {
    if (!dirty) return;
    try {
      localStorage.setItem(key(whose, name), JSON.stringify({ version, board, at: new Date().toISOString() }));
    } catch {
      // A browser that keeps nothing still asks before the window is closed.
    }
    const ask = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener("beforeunload", ask);
    return () => removeEventListener("beforeunload", ask);
  }, [whose, name, version, board, dirty]);
}

/** Where somebody wanted to go by a link while something is not saved; until that is settled nothing is followed. */
export function useLeaving(dirty: boolean): [string | null, () => void] {
  const [to, setTo] = useState<string | null>(null);
  useEffect(() => {
    if (!dirty) return;
    const click = (event: MouseEvent) => {
      const link = (event.target as HTMLElement).closest?.("a[href]");
      if (!(link instanceof HTMLAnchorElement) || link.target || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0 || link.origin !== location.origin) return;
      if (link.pathname === location.pathname) return;
      event.preventDefault();
      event.stopPropagation();
      setTo(link.pathname + link.search + link.hash);
    };
    // Before React hears of it.
    document.addEventListener("click", click, true);
    return () => document.removeEventListener("click", click, true);
  }, [dirty]);
  return [to, () => setTo(null)];
}
