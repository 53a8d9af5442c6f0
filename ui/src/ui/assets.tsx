/** What assets are called, drawn as, and where their pages are. */
import { useCallback } from "react";
import { Link } from "react-router";
import { part } from "../api";
import { entries } from "../pages";
import { useWho } from "../session";
import type { IconName } from "./icons";

const ICONS: Record<string, IconName> = {
  connection: "connect", sync: "syncs", source: "land", landed: "land", seed: "land", model: "model", snapshot: "model", semantic: "tag", metric: "measure", learner: "learn", policy: "policies", action: "act", test: "check", system: "admin", dashboard: "board", query: "share", measure: "tag", dimension: "tag", outside: "connect", foreign: "connect",
};
export const iconOf = (kind: string): IconName => ICONS[kind] ?? "catalogue";

/** Where pages about a kind are, by the word before a name. */
const PAGES: Record<string, string> = { model: "models", metric: "metrics", policy: "policies", learner: "learners", sync: "syncs", dashboard: "dashboards", query: "queries" };

/** Answers the address of the best page about an asset; nothing where there is none, or where somebody may not open it. */
export function usePageOf(): (name: string, kind: string) => string | null {
  const { may } = useWho();
  return useCallback((name, kind) => {
    const there = (path: string) => entries.some((entry) => entry.path === path && may(entry));
    const folder = PAGES[kind];
    const bare = name.replace(/^[a-z]+:/, "").replace(/^learn\./, kind === "learner" ? "" : "learn.");
    if (folder && there(`${folder}/:name`)) return `/${folder}/${part(bare)}`;
    return there("catalogue/:name") ? `/catalogue/${part(name)}` : null;
  }, [may]);
}

/** The name of an asset of a kind, leading to the best page about it. */
export function NodeLink({ name, kind }: { name: string; kind: string }) {
  const to = usePageOf()(name, kind);
  const shown = <code>{name.replace(/^[a-z]+:/, "")}</code>;
  return to ? <Link to={to}>{shown}</Link> : shown;
}
