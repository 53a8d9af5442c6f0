/** What a published query is, as the API answers it. */
import type { Cell, Column, Table } from "../../api";
import type { Declared } from "./parameters";

export interface Query {
  name: string; description: string | null; owner: string | null; sql: string; parameters: Declared[]; rows: number; timeout_ms: number; file: string | null;
  /** Why it does not answer at present. */
  problem: string | null;
  calls: { days: number; count: number; failed: number; last_at: string | null } | null;
  /** The version, where it is part of the answer. */
  version?: string;
  /** Lines of comments that are lost when the file is written anew. */
  comments?: number;
}

/** A key to one query, without the secret. */
export interface Key { id: string; name?: string | null; label?: string | null; owner: string; scopes?: string[]; role?: string | null; created_at: string; expires_at: string; last_used_at: string | null; revoked: boolean }
export interface MadeKey { id: string; key: string; expires_at: string; url?: string }

export interface Answer { columns: Column[]; rows: Cell[][]; limit: number; offset: number; more: boolean }

/** The list in an answer, by its own word or by that of other lists. */
export const listOf = <T>(answer: unknown, word: string): T[] => {
  const object = (answer ?? {}) as Record<string, unknown>;
  const found = object[word] ?? object.items;
  return Array.isArray(found) ? (found as T[]) : [];
};

/** The role that a key reads as; nobody's but its maker's if none. */
export const roleOf = (key: Key): string | null => key.role ?? key.scopes?.find((scope) => scope.startsWith("as:"))?.slice(3) ?? null;

export type State = "active" | "expired" | "revoked";
export const stateOf = (key: Pick<Key, "revoked" | "expires_at">, now = Date.now()): State => (key.revoked ? "revoked" : new Date(key.expires_at).getTime() < now ? "expired" : "active");

/** Rows of an answer as the grid takes them. */
export const gridOf = (answer: Answer, ms: number): Table => ({ columns: answer.columns, rows: answer.rows, row_count: answer.rows.length, truncated: answer.more, elapsed_ms: ms });
