/** Access that is asked for and given. */
import { useGet } from "./api";
import { useWho } from "./session";

export interface Request {
  id: string; user: string; kind: "permission" | "rule" | "grant"; what: string; reason: string; days: number | null; asked_at: string;
  status: "open" | "approved" | "refused" | "withdrawn" | "ended" | "expired"; decided_by: string | null; decided_at: string | null;
  answer: string | null; until: string | null; seen: boolean;
}
export interface Requests { items: Request[]; askable: { permissions: string[]; rules: { rule: string; description: string | null; tables: string[]; ask: string }[]; grants: { grant: string; description: string | null; ask: string }[] } }

/** How often a page that hears nothing asks anew, in milliseconds. */
const EVERY_MS = 300_000;

export function useRequests() {
  const { has } = useWho();
  return useGet<Requests>(has("access") ? "/v1/access-requests" : null, EVERY_MS);
}

/** What waits for this person: requests of others to decide about, and decisions about their own that they have not seen. */
export function waiting(items: Request[], me: { name: string; permissions: string[] }): { decide: Request[]; news: Request[] } {
  const decides = me.permissions.includes("administer");
  return {
    decide: decides ? items.filter((one) => one.status === "open" && one.user !== me.name) : [],
    news: items.filter((one) => one.user === me.name && !one.seen && one.status !== "open" && one.status !== "withdrawn"),
  };
}
