/**
 * Which pages there are. A page is a folder of `pages/` with a `page.ts` that exports its entries; nothing else needs
 * to name it. Its component and words are loaded when it is opened for the first time.
 */
import type { ComponentType } from "react";
import type { Language } from "./format";
import type { IconName } from "./ui/icons";

export interface Entry {
  /** The address below `/`, in the words of the router: `policies`, `policies/:name`. */
  path: string;
  title: Record<Language, string>;
  /** What must be permitted; the API refuses it as well. */
  permission?: string;
  /** What the server must be able to do (`GET /v1/me`, `features`). */
  feature?: string;
  /** Where it stands in the menu; without it, it is reached from other pages only. */
  menu?: { group: "see" | "data" | "loop" | "run"; order: number; icon: IconName };
  load: () => Promise<{ default: ComponentType }>;
}

const found = import.meta.glob<{ default: Entry[] }>("./pages/*/page.ts", { eager: true });

export const entries: Entry[] = Object.values(found).flatMap((module) => module.default);
export const GROUPS = ["see", "data", "loop", "run"] as const;

/** The entries of the menu that somebody with these permissions may open, in order. */
export const menu = (may: (entry: Entry) => boolean) =>
  entries.filter((entry) => entry.menu && may(entry)).sort((a, b) => (a.menu?.order ?? 0) - (b.menu?.order ?? 0));
