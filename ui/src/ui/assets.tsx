/** What assets are called, drawn as, and where their pages are. */
import { Link } from "react-router";
import { part } from "../api";
import { entries } from "../pages";
import { useWords } from "../i18n";
import type { IconName } from "./icons";
import own from "./words";

const ICONS: Record<string, IconName> = {
  connection: "connect", sync: "syncs", source: "land", landed: "land", seed: "land", model: "model", snapshot: "model", semantic: "tag", metric: "measure", learner: "learn", policy: "policies", action: "act", test: "check", system: "admin",
};
export const iconOf = (kind: string): IconName => ICONS[kind] ?? "catalogue";

/** Where pages about a kind are, by the word before a name. */
const PAGES: Record<string, string> = { model: "models", metric: "metrics", policy: "policies", learner: "learners", sync: "syncs" };

/** The address of the best page about an asset, or nothing where these pages have none. */
export function pageOf(name: string, kind: string): string | null {
  const folder = PAGES[kind];
  const bare = name.replace(/^[a-z]+:/, "").replace(/^learn\./, kind === "learner" ? "" : "learn.");
  if (folder && entries.some((entry) => entry.path === `${folder}/:name`)) return `/${folder}/${part(bare)}`;
  return entries.some((entry) => entry.path === "catalogue/:name") ? `/catalogue/${part(name)}` : null;
}

/** The name of an asset, leading to its page. */
export function AssetLink({ name, kind }: { name: string; kind: string }) {
  const to = pageOf(name, kind);
  const shown = <code>{name.replace(/^[a-z]+:/, "")}</code>;
  return to ? <Link to={to}>{shown}</Link> : shown;
}

/** The word for a kind of asset. */
export function useKind() {
  const { word } = useWords(own);
  return (kind: string) => word("asset", kind);
}
