import type { Sync } from "../../api";

/** The newest run of the syncs that read a connection. */
export function lastRead(connection: string, syncs: Sync[]): { status: string; started_at: string } | null {
  const runs = syncs.flatMap(({ from, last }) => (from === connection && last?.started_at && last.status ? [{ status: last.status, started_at: last.started_at }] : []));
  return runs.reduce<{ status: string; started_at: string } | null>((newest, one) => (newest && newest.started_at >= one.started_at ? newest : one), null);
}
