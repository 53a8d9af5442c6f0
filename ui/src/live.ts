/** What happens on the server as it happens: one stream of events for all pages. */
import { useEffect, useSyncExternalStore } from "react";
import { client, type LogLine, type Work } from "./api";

/** A task of work under way. */
export interface LiveTask { work: string; phase: "started" | "ended"; kind: string; name: string; status: string | null; duration_ms: number | null; rows_out: number | null; error: string | null }

interface Live {
  /** Whether the stream is open. `null` until it was open once. */
  open: boolean | null;
  /** Work of which something was heard, by its name. */
  work: Record<string, Work>;
  /** The newest task of each work, and those that ended. */
  tasks: Record<string, LiveTask[]>;
  log: Record<string, (LogLine & { work: string })[]>;
}

/** Lines and tasks kept of one work; the run's page has all of them. */
const KEPT_MAX = 2_000;
/** Works whose tasks and lines are kept. */
const WORKS_MAX = 20;

let live: Live = { open: null, work: {}, tasks: {}, log: {} };
const listeners = new Set<() => void>();
const set = (next: Partial<Live>) => {
  live = { ...live, ...next };
  for (const listener of listeners) listener();
};

/** Forgets what was heard, when somebody else signs in. */
export const forgetHeard = () => set({ work: {}, tasks: {}, log: {} });

const newest = <T,>(all: Record<string, T>, work: string, value: T): Record<string, T> => {
  const kept = { ...all, [work]: value };
  const names = Object.keys(kept);
  for (const name of names.slice(0, Math.max(0, names.length - WORKS_MAX))) delete kept[name];
  return kept;
};

/** What is asked anew when the server says that something changed. */
const CHANGED: Record<string, string[]> = {
  status: ["/v1/status", "/v1/halt"],
  runs: ["/v1/runs", "/v1/work", "/v1/quality", "/v1/links", "/v1/merges"],
  turns: ["/v1/turns"],
  syncs: ["/v1/syncs"],
  assets: ["/v1/assets", "/v1/models", "/v1/plan?", "/v1/environments", "/v1/syncs", "/v1/lineage", "/v1/learners", "/v1/connections", "/v1/quarantine", "/v1/metrics", "/v1/dashboards", "/v1/queries", "/v1/column-lineage", "/v1/trust"],
  dashboards: ["/v1/dashboards"],
  queries: ["/v1/queries"],
  access: ["/v1/access-requests", "/v1/me"],
  policies: ["/v1/policies", "/v1/experiments", "/v1/actions", "/v1/approvals", "/v1/learners"],
};

const again = (prefixes: string[]) =>
  void client.invalidateQueries({ predicate: (query) => prefixes.some((prefix) => String(query.queryKey[0]).startsWith(prefix)) });

/** What wants to hear of work that ended. */
export type Ended = (work: Work) => void;
const ended = new Set<Ended>();

const FINAL = ["succeeded", "failed", "blocked", "cancelled"];

/** How long it takes until a stream that was refused, not merely cut, is asked for again. */
const AGAIN_MS = 5_000;

function listen(): () => void {
  let lost = false;
  let stop = () => {};
  const begin = () => {
    const source = open();
    let timer: ReturnType<typeof setTimeout> | undefined;
    // Browsers mend a stream that is cut; one that is refused they give up.
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(begin, AGAIN_MS);
    });
    stop = () => {
      clearTimeout(timer);
      source.close();
    };
  };
  const open = () => {
    const source = new EventSource("/v1/live");
    source.onopen = () => {
      // What happened in between was not heard.
      if (lost) void client.invalidateQueries();
      lost = false;
      set({ open: true });
    };
    source.onerror = () => {
      lost = true;
      set({ open: false });
      // A session that ended would be asked for again and again.
      void client.invalidateQueries({ queryKey: ["/v1/session"] });
    };
    const on = <T,>(name: string, then: (data: T) => void) =>
      source.addEventListener(name, (event) => then(JSON.parse((event as MessageEvent<string>).data) as T));
    on<Work>("work", (work) => {
      const before = live.work[work.work]?.status;
      set({ work: newest(live.work, work.work, work) });
      again(["/v1/work"]);
      if (before !== work.status && FINAL.includes(work.status)) for (const then of ended) then(work);
    });
    on<LiveTask>("task", (task) => {
      const before = (live.tasks[task.work] ?? []).filter((one) => one.phase === "ended" || one.kind !== task.kind || one.name !== task.name);
      set({ tasks: newest(live.tasks, task.work, [...before, task].slice(-KEPT_MAX)) });
    });
    on<LogLine & { work: string }>("log", (line) => set({ log: newest(live.log, line.work, [...(live.log[line.work] ?? []), line].slice(-KEPT_MAX)) }));
    on<{ what: string[] }>("changed", ({ what }) => again(what.flatMap((word) => CHANGED[word] ?? [])));
    return source;
  };
  begin();
  return () => stop();
}

/** Listens as long as the caller is shown. */
export const useListening = (then: Ended) => {
  useEffect(listen, []);
  useEffect(() => {
    ended.add(then);
    return () => void ended.delete(then);
  }, [then]);
};

const subscribe = (listener: () => void) => {
  listeners.add(listener);
  return () => void listeners.delete(listener);
};

/** What was heard so far. */
export const useLive = (): Live => useSyncExternalStore(subscribe, () => live);

/** Work under way, as far as was heard. */
export const underWay = (heard: Live): Work | null => Object.values(heard.work).find((work) => work.status === "running") ?? null;

/** The stage of the wheel that a task belongs to. */
export const stageOf = (kind: string): string | null =>
  ({ sync: "land", build: "model", model: "model", test: "model", metric: "measure", evaluate: "learn", learn: "learn", canary: "learn", decide: "decide", act: "act", outcome: "outcome" })[kind] ?? null;
