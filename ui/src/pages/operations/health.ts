/** How databases do, and what of it somebody should look at. */
import { type Language, NOTHING } from "../../format";
import { bytes as sized } from "../catalogue/parts";

export interface Slot { name: string; active: boolean; kept_bytes: number | null; behind_bytes: number | null }
export interface Database {
  own: boolean; name: string; kind: string; reachable: boolean | null; took_ms: number | null; checked_at: string | null; tables: number | null; files: number | null; free_bytes: number | null;
  error: { kind: string; text: string; hint: string | null; at: string } | null;
  health: {
    version: string | null; connections: number | null; connections_max: number | null; size_bytes: number | null; slots: Slot[]; log_position: string | null; log_bytes: number | null;
    log_kept_s: number | null; active_queries: number | null; slow_queries: number | null;
  };
}
export type Trouble = { key: "away" | "full" | "slot" | "slow" | "disk"; name: string; amount: number };

const GIB = 2 ** 30;
/** A share of connections in use from which on a server may soon refuse more. */
const CONNECTIONS_SHARE = 0.8;
/** How much of its log a server keeps for a slot before it is said: soon, if nobody reads from it. */
const KEPT = { active: 10 * GIB, idle: GIB };
/** A share of the disk below which its room is said. */
const ROOM_SHARE = 0.1;

/** What is wrong, or soon will be, the most urgent first. */
export function troubles(all: Database[]): Trouble[] {
  const found: Trouble[] = [];
  for (const { name, reachable, health, free_bytes } of all) {
    if (reachable === false) { found.push({ key: "away", name, amount: 0 }); continue; }
    if (free_bytes !== null && health.size_bytes && free_bytes / health.size_bytes < ROOM_SHARE) found.push({ key: "disk", name, amount: free_bytes });
    const slot = health.slots[0];
    if (slot?.kept_bytes && slot.kept_bytes >= (slot.active ? KEPT.active : KEPT.idle)) found.push({ key: "slot", name: `${name} · ${slot.name}`, amount: slot.kept_bytes });
    if (health.connections !== null && health.connections_max && health.connections / health.connections_max >= CONNECTIONS_SHARE) found.push({ key: "full", name, amount: health.connections });
    if (health.slow_queries) found.push({ key: "slow", name, amount: health.slow_queries });
  }
  const order: Trouble["key"][] = ["away", "disk", "slot", "full", "slow"];
  return found.sort((a, b) => order.indexOf(a.key) - order.indexOf(b.key));
}

/** A size in bytes, where it is known. */
export const bytes = (count: number | null | undefined, language: Language): string => (count === null || count === undefined ? NOTHING : sized(count, language));
