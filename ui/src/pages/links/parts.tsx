/** What the list of links and the page of one have in common. */
import type { Task } from "../../api";
import { useWords } from "../../i18n";
import own from "./words";

export interface Sides { left: number; right: number }
/** What a run did, or would do; nothing is known of one that failed. */
export interface Did { planned?: boolean; linked?: number; matched?: number; created?: Sides; updated?: Sides; deleted?: Sides; archived?: Sides; cut?: number; questions?: Record<string, number>; beyond?: string[]; approval?: string | null }
export interface LinkOf {
  name: string; description: string | null; file: string; left: string; right: string; fields: string[];
  /** Questions that nobody answered, and those whose answer the next run carries out. */
  questions: number; answered: number; last: Task | null; plan: Task | null; recent?: Task[]; declared?: unknown;
}
interface Person { side: string; id: string; fields: Record<string, unknown> | null }
export interface Question {
  id: string; kind: string; record: string; asked_at: string; answer: unknown;
  detail: { field?: string; base?: unknown; left?: unknown; right?: unknown; reason?: string; a?: Person; b?: Person; why?: string; deleted_on?: string; changed_on?: string } | null;
}

export const didOf = (task: Task | null | undefined): Did => (task?.detail && typeof task.detail === "object" ? (task.detail as Did) : {});
export const both = (sides: Sides | undefined): number => (sides ? sides.left + sides.right : 0);
/** Records that a run wrote on both sides. */
export const written = (did: Did): number => both(did.created) + both(did.updated) + both(did.deleted) + both(did.archived);

/** The token of a plan beyond the limits, unless a run came after it. */
export function approvable(of: Pick<LinkOf, "last" | "plan">): string | null {
  const token = didOf(of.plan).approval ?? null;
  if (!token || !of.plan) return null;
  const later = of.last !== null && of.last.status === "succeeded" && of.last.started_at > of.plan.started_at;
  return later ? null : token;
}

/** The value that somebody typed: of a field of texts it is a text, else what JSON reads, if it does. */
export function valueOf(typed: string, detail: Question["detail"]): unknown {
  if ([detail?.left, detail?.right, detail?.base].some((value) => typeof value === "string")) return typed;
  try {
    return JSON.parse(typed) as unknown;
  } catch {
    return typed;
  }
}

/** A value of a record, as people read it. */
export const text = (value: unknown): string => (value === null || value === undefined ? "∅" : typeof value === "string" ? value : JSON.stringify(value));

/** Two numbers, of the left and the right side. */
export function Counts({ of }: { of: Sides | undefined }) {
  const { t, n } = useWords(own);
  if (!of) return <>–</>;
  return <span title={`${t("left")} ${n(of.left)} · ${t("right")} ${n(of.right)}`}>{n(of.left)} · {n(of.right)}</span>;
}
