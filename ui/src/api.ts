/** Talks to the HTTP API (`/v1`) of the server that also serves these pages. */
import { keepPreviousData, QueryClient, useInfiniteQuery, useMutation, useQuery } from "@tanstack/react-query";

/** A refusal or failure, as the server states it (`application/problem+json`). */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly hint: string | null,
    readonly requestId: string | null,
    /** The permission that is missing and that can be asked for. */
    readonly ask: string | null = null,
    /** The part of what was sent that it is about, if the server names it. */
    readonly field: string | null = null,
  ) {
    super(detail);
  }
}

let csrf: string | null = null;
/** Keeps the word that every changing request must carry. */
export const setCsrf = (word: string | null) => {
  csrf = word;
};

let reader: string | null = null;
/** As whom everything is read from now on; as whoever is signed in, where it is nobody. */
export const readAs = (name: string | null) => {
  reader = name;
};

/** What is of whoever is signed in, whoever they look as. Of everything else the server refuses what is not read. */
const OWN = ["/v1/session", "/v1/me", "/v1/login", "/v1/logout", "/v1/setup", "/v1/access-requests"];

/** An address as it is asked by somebody who looks as somebody else. */
export function addressed(path: string, as: string | null): string {
  if (as === null || OWN.includes(path.split("?")[0] ?? "")) return path;
  return `${path}${path.includes("?") ? "&" : "?"}as=${encodeURIComponent(as)}`;
}

export async function problemOf(answer: Response): Promise<Problem> {
  const id = answer.headers.get("x-request-id");
  try {
    const body = (await answer.json()) as { code?: string; detail?: string; title?: string; hint?: string | null; ask?: string | null; field?: string | null };
    return new Problem(answer.status, body.code ?? "internal", body.detail ?? body.title ?? answer.statusText, body.hint ?? null, id, body.ask ?? null, body.field ?? null);
  } catch {
    // A proxy in between answers with a page of its own.
    return new Problem(answer.status, answer.status >= 502 ? "unavailable" : "internal", answer.statusText || `HTTP ${answer.status}`, null, id);
  }
}

async function send(method: string, path: string, body?: unknown, signal?: AbortSignal, language?: string, more: Record<string, string> = {}): Promise<Response> {
  const headers: Record<string, string> = { ...more };
  if (language) headers["accept-language"] = language;
  if (body !== undefined) headers["content-type"] = "application/json";
  if (method !== "GET" && csrf) headers["x-csrf-token"] = csrf;
  let answer: Response;
  try {
    answer = await fetch(addressed(path, reader), { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal, credentials: "same-origin" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, "unavailable", error instanceof Error ? error.message : String(error), null, null);
  }
  if (!answer.ok) {
    const problem = await problemOf(answer);
    if (problem.status === 401 && path !== "/v1/login") void client.invalidateQueries({ queryKey: ["/v1/session"] });
    throw problem;
  }
  return answer;
}

/** Sends a request and reads its JSON; an empty answer is `undefined`. */
export async function call<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const answer = await send(method, path, body, signal);
  const text = await answer.text();
  return (text ? JSON.parse(text) : undefined) as T;
}

/** What can be changed, with the mark of the version that was read. */
export interface Tagged<T> { value: T; tag: string | null }
export async function tagged<T>(path: string, signal?: AbortSignal): Promise<Tagged<T>> {
  const answer = await send("GET", path, undefined, signal);
  return { value: (await answer.json()) as T, tag: answer.headers.get("etag") };
}

/** Changes what nobody has changed since it was read, by its mark; `"new"` makes only what is not there yet. */
export async function change(method: "PUT" | "DELETE", path: string, tag: string | null, body?: unknown): Promise<void> {
  await send(method, path, body, undefined, undefined, tag === null ? {} : tag === "new" ? { "if-none-match": "*" } : { "if-match": tag });
}

/** Sends a request whose answer is a file. */
export const download = async (path: string, body: unknown) => (await send("POST", path, body)).blob();

/** Asks for a file that is written in a language. */
export const fetched = async (path: string, language: string) => (await send("GET", path, undefined, undefined, language)).blob();

/** Puts a file where the browser keeps what is taken along. */
export function save(file: Blob, name: string) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

export const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      refetchOnWindowFocus: true,
      retry: (count, error) => count < 2 && error instanceof Problem && (error.status === 0 || error.status === 503),
    },
  },
});

/** Whether an error says that what was read before is no longer to be seen, or no longer there. */
export const withdrawn = (error: unknown): boolean => error instanceof Problem && [401, 403, 404].includes(error.status);

/** What tells who is signed in; it is the same whoever they look as. */
const WHO = ["/v1/session", "/v1/me"];

/** Forgets what was answered to somebody else, and asks nothing: for pages that are made anew. */
export const drop = () => client.removeQueries({ predicate: (query) => !WHO.includes(String(query.queryKey[0])) });

/** Forgets what was answered to somebody else; what is shown is asked for anew. */
export const forget = () => void client.resetQueries({ predicate: (query) => query.queryKey[0] !== "/v1/session" });

/** What `GET path` answers; `null` asks nothing. */
export function useGet<T>(path: string | null, every?: number) {
  return useQuery<T, Error>({
    queryKey: [path],
    queryFn: ({ signal }) => call<T>("GET", path ?? "", undefined, signal),
    enabled: path !== null,
    refetchInterval: every,
    placeholderData: keepPreviousData,
  });
}

/** A long list, as many pieces of it as were asked for; `more` asks for the next one, if there is one. `path` has a `?`. */
export function usePieces<T>(path: string, every?: number) {
  const pieces = useInfiniteQuery<Items<T>, Error>({
    queryKey: [path, "pieces"],
    queryFn: ({ pageParam, signal }) => call<Items<T>>("GET", pageParam === null ? path : `${path}&cursor=${part(String(pageParam))}`, undefined, signal),
    initialPageParam: null,
    getNextPageParam: (last) => last.next,
    refetchInterval: every,
    placeholderData: keepPreviousData,
  });
  const items = pieces.data?.pages.flatMap((piece) => piece.items);
  return {
    data: items && { items }, error: pieces.error, isPending: pieces.isPending, refetch: pieces.refetch, dataUpdatedAt: pieces.dataUpdatedAt,
    more: pieces.hasNextPage ? () => void pieces.fetchNextPage() : undefined, loading: pieces.isFetchingNextPage,
  };
}

/** Does something, then asks anew for what is shown. */
export function useDo<T = unknown, V = void>(make: (value: V) => [string, string, unknown?], then?: (answer: T, value: V) => void) {
  return useMutation<T, Error, V>({
    mutationFn: (value) => {
      const [method, path, body] = make(value);
      return call<T>(method, path, body);
    },
    onSuccess: (answer, value) => {
      then?.(answer, value);
      void client.invalidateQueries({ predicate: (query) => query.queryKey[0] !== "/v1/session" });
    },
  });
}

export const part = encodeURIComponent;

// --- what the API answers -------------------------------------------------------------------------------------

export type Cell = string | number | boolean | null;
/** What a list, a struct or a map holds; `exact` makes text of it. */
export type Parts = Value[] | { [name: string]: Value };
export type Value = Cell | Parts;
export interface Column { name: string; type: string; nullable?: boolean; description?: string | null }
/** What people call values, by the value. */
export type Labels = Record<string, { en?: string | null; zh?: string | null }>;
export interface Table { columns: Column[]; rows: Cell[][]; row_count: number; truncated: boolean; elapsed_ms: number; sql?: string | null; query_id?: string; notes?: string[]; labels?: Record<string, Labels> }
export interface Items<T> { items: T[]; next?: string | number | null }
export interface User { name: string; role: string; permissions: string[] }
export interface SignIn { name: string; address: string; local: "yes" | "owner-only" }
export interface Session { sign_in: SignIn | null; project: string; version: string; simulated: boolean; setup_needed: boolean; demo: boolean; user: User | null; csrf: string | null }
export interface Me extends User { features: string[] }
export interface Measure { against: string; measure: string; value: number | null; baseline: number | null; count: number | null; turn?: number; at?: string }
export interface Lift { turn: number; decisions: number; measured: number; treated_rate: number | null; holdout_rate: number | null; lift: number | null; lower: number | null; upper: number | null; split_p?: number | null; artifact?: string | null }
export interface Policy {
  policy: string; paused: unknown; failed?: string | null; unread?: string | null; unread_since?: string | null; without_forecast?: number | null; split_broken?: string | null; promoted: unknown; decisions: number; held_out: number; actions: number; outcomes: number; turns: Lift[];
  file?: string; choose?: string; learner?: string | null; action?: unknown; holdout?: number | null; description?: string | null;
  contact?: { per_unit: number; every: string; actions: string[] | null } | null; global_holdout?: { share: number } | null; left_out?: { turn: number; reason: string; units: number }[];
  declared?: unknown; promotions?: { number: number; at: string; learner: string | null; artifact: string | null; undoes: number | null; reason: string | null; evidence: unknown }[];
}
export type Health = "ok" | "attention" | "failed" | "idle";
export interface Stage { stage: string; count: number; unit: string; health: Health; note: string | null }
export interface Work { work: string; kind: string; what: string; status: string; asked_by: string; asked_at: string; started_at: string | null; ended_at: string | null; run_id: string | null; error: string | null; hint: string | null; log: LogLine[] }
export interface LogLine { at: string; level: string; text: string }
export interface Status {
  project: string; simulated: boolean; turn: { turn: number; at: string; complete: boolean } | null; landed: { name: string; rows: number | null; waiting_changes: number | null; version: number }[];
  quarantined: number; models: number; blocked: string[]; policies: Policy[]; ring: Stage[];
  /** What all policies bring together against the holdout of all of them; empty without one. */
  together?: Lift[];
  attention: { kind: string; text: string; target: string; count?: number; names?: string[] }[]; working: Work | null; next_turn_at: string | null;
}
export interface Task { run_id?: string; position: number; kind: string; name: string; status: string; started_at: string; duration_ms: number | null; rows_in: number | null; rows_out: number | null; rows_rejected: number | null; error: string | null; detail?: unknown }
export interface Run { run_id: string; kind: string; turn: number | null; logical_at: string | null; status: string; started_at: string; ended_at: string | null; duration_ms: number | null; error: string | null; tasks?: Task[]; log?: LogLine[] }
export interface Turn { turn: number; at: string; complete: boolean; run_id: string | null; started_at: string | null; duration_ms: number | null; status: string | null; error: string | null }
export interface Asset {
  name: string; kind: string; title?: string | null; description: string | null; tags?: string[]; file?: string | null; columns: Column[]; rows: number | null; version: number | null;
  updated_at: string | null; tests: { name: string; status: string | null; failures?: number }[]; freshness: { newest: string; status: string } | null; upstream: string[]; downstream: string[]; sql: string | null;
}
/** How a sync is doing that the server follows. */
export interface Following {
  state: "stopped" | "starting" | "following" | "failing" | "partial" | "waiting" | "paused" | "failed"; since: string | null; run_id: string | null; committed_at: string | null; reached: string | null; behind_s: number | null;
  rows: number; rows_per_second: number; attempt: number | null; next_at: string | null; reason: string | null; by: string | null; error: string | null;
  streams: { name: string; reached: string | null; behind_s: number | null; rows: number; error: string | null; aside: boolean }[];
}
export interface Sync {
  name: string; from: string; to: string | null; file: string; description?: string | null; destinations?: string[]; streams: { stream: string; read: string; write: string; key?: string[]; table: string | null }[];
  last: Partial<Task> | null; quarantined: number; recent?: Task[]; declared?: unknown; following?: Following | null;
  /** Whether each stream can be compared with its source, and what the last comparison found. */
  compared?: { stream: string; why_not: string | null; last: Task | null }[];
}
export interface Connection { name: string; type: string; description?: string | null; file: string; role: string; syncs: string[]; settings: Record<string, unknown> }
export interface Model {
  name: string; file: string | null; materialized: string; description: string | null; tags: string[]; status: string; built_at: string | null; rows: number | null;
  tests: { passed?: number; failed?: number; declared?: number }; sql?: string; compiled?: string | null; upstream?: string[]; downstream?: string[]; columns?: { column: string; expression: string | null }[];
}
export interface Metric { name: string; label: string | string[] | null; synonyms: string[]; description: string | null; view: string; dimensions: string[]; dimension_labels?: Labels; value_labels?: Record<string, Labels>; kind: string; unit?: string | null; owner?: string | null; file?: string; made_of?: string[]; filter?: string | null; tables?: string[]; direction?: string | null; certification?: string | null }
/** A measure of a learner that got worse, and what was done about it. */
export interface Drift { at: string; measure: string; since: string; before: number; after: number; readings: number; detector: string; answer: string; reason: string }
/** A fit of a learner; the champion is served. */
export interface Fit { digest: string; version: number; turn: number; fitted_at: string; champion?: boolean; pinned?: boolean; detail?: unknown }
export interface Learner { name: string; kind: string; file: string; description?: string | null; artifact: string | null; fitted_at: string | null; pinned?: string | null; drift?: string | null; drifts?: Drift[]; measures: Measure[]; artifacts?: Fit[]; evaluations?: Measure[]; declared?: unknown }
export interface Graph { nodes: { id: string; kind: string; name: string; table: string | null; asset?: string | null }[]; edges: { from: string; to: string }[] }
export interface Steps { steps: { node: string; column: string; expression: string | null; transform?: string; upstream: { from: { table: string; column: string }; transform: string }[] }[] }
export interface Action { key: string; policy: string; turn: number; action: string; status: string; attempts: number; due_at: string | null; ended_at: string | null; error: string | null }
