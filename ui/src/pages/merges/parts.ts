/** What the list of merges and the page of one have in common. */
import type { Task } from "../../api";

export interface Rule { rule: string; pairs: number }
export interface SourceRows { source: string; rows: number; aside: number }
export interface ChildRows { table: string; rows: number; repointed: number; dangling: number }
export interface Written { table: string; rows: number; stood: boolean }
/** What a run did, or would do; nothing is known of one that failed. */
export interface Did { planned?: boolean; balance?: string; merged?: number; groups?: number; largest?: number; questions?: number; answered?: number; undone?: number; rules?: Rule[]; conflicts?: Record<string, number>; sources?: SourceRows[]; children?: ChildRows[]; tables?: Written[] }
export interface MergeOf {
  name: string; description: string | null; file: string; target: string; key: string; sources: { name: string; table: string }[]; fields: string[]; children: string[];
  crosswalk: string; review: string; history: string; last: Task | null; plan: Task | null; recent?: Task[]; declared?: unknown;
}
export type Fields = Record<string, unknown> | null;
/** Two records that may be the same. */
export interface Pair { pair_id: string; a_source: string; a_key: string; b_source: string; b_key: string; score: number; why: string; a: Fields; b: Fields; asked_at: string; answer: string | null }

export const didOf = (task: Task | null | undefined): Did => (task?.detail && typeof task.detail === "object" ? (task.detail as Did) : {});

/** Pairs that wait for a person, as the newest run or plan found. */
export function waiting(of: Pick<MergeOf, "last" | "plan">): number {
  const newer = of.plan && (!of.last || of.plan.started_at > of.last.started_at) ? of.plan : of.last;
  return didOf(newer).questions ?? didOf(of.last).questions ?? 0;
}

/** The fields of both records, those that differ first. */
export function compared(pair: Pick<Pair, "a" | "b">): { field: string; a: string; b: string; differs: boolean }[] {
  const names = [...new Set([...Object.keys(pair.a ?? {}), ...Object.keys(pair.b ?? {})])];
  const rows = names.map((field) => {
    const [a, b] = [text(pair.a?.[field]), text(pair.b?.[field])];
    return { field, a, b, differs: a !== b };
  });
  return rows.sort((x, y) => Number(y.differs) - Number(x.differs));
}

/** A value of a record, as people read it. */
export const text = (value: unknown): string => (value === null || value === undefined ? "∅" : typeof value === "string" ? value : JSON.stringify(value));
