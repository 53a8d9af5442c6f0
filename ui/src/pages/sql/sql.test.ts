import { afterEach, expect, it, vi } from "vitest";
import type { Table } from "../../api";
import { whose } from "../../session";
import { guess, POINTS_MAX, series } from "./drawing";
import { draft, history, keep, keepDraft, remembered, type Ran } from "./history";
import { forSheets, found, named, place, quoted } from "./known";

const known = [
  { name: "mart.orders", columns: [{ name: "revenue", type: "number" }, { name: "day", type: "day" }] },
  { name: "mart.orders_daily", columns: [{ name: "day", type: "day" }] },
  { name: "raw.客户", columns: [{ name: "城市", type: "text" }] },
];
const table = (columns: [string, string][], rows: Table["rows"]): Table => ({ columns: columns.map(([name, type]) => ({ name, type })), rows, row_count: rows.length, truncated: false, elapsed_ms: 1 });

it("columns are offered of the tables that the query names, and of no others", () => {
  expect(named(`select * from "mart"."orders" o`, known).map((one) => one.name)).toEqual(["mart.orders"]);
  expect(named("select * from raw.客户", known).map((one) => one.name)).toEqual(["raw.客户"]);
  expect(named("select 1", known)).toEqual([]);
});

it("a name that is not plain is put in quotes", () => {
  expect([quoted("mart.orders"), quoted("raw.Order Lines"), quoted('odd."x"')]).toEqual(["mart.orders", 'raw."Order Lines"', 'odd."""x"""']);
});

it("looking for a column shows only the columns meant, looking for a table all of its columns", () => {
  expect(found(known, "REV")).toEqual([{ table: known[0], columns: [{ name: "revenue", type: "number" }] }]);
  expect(found(known, "daily")[0]?.columns).toHaveLength(1);
  expect(found(known, " ")).toHaveLength(3);
});

it("the place of a fault is read out of the message", () => {
  expect(place("sql parser error: Expected: an SQL statement, found: selec at Line: 2, Column: 14")).toEqual({ line: 2, column: 14 });
  expect(place("unknown column")).toBeNull();
});

it("the history keeps a query once, newest first, and has an end", () => {
  const ran = (sql: string): Ran => ({ sql, at: "2025-01-01T00:00:00Z", ms: 1, rows: 1, end: "ok" });
  let all: Ran[] = [];
  for (let count = 0; count < 150; count++) all = remembered(all, ran(`select ${count}`));
  all = remembered(all, ran("select 100"));
  expect([all.length, all[0]?.sql, all[1]?.sql]).toEqual([100, "select 100", "select 149"]);
  expect(all.filter((one) => one.sql === "select 100")).toHaveLength(1);
  expect(remembered(all, ran("x".repeat(50_000)))).toBe(all);
});

it("rows along time become a line in the order of time, names become bars, two numbers points", () => {
  const timed = table([["day", "day"], ["revenue", "number"]], [["2025-01-02", 2], ["2025-01-01", 1], ["2025-01-03", null]]);
  expect(guess(timed)).toEqual({ kind: "line", along: 0, value: 1 });
  expect(series(timed, { kind: "line", along: 0, value: 1 })).toMatchObject({ along: ["2025-01-01", "2025-01-02", "2025-01-03"], series: [{ name: "revenue", values: [1, 2, null] }], cut: null });
  expect(guess(table([["n", "integer"], ["country", "text"]], [[1, "a"]]))).toEqual({ kind: "bar", along: 1, value: 0 });
  expect(guess(table([["x", "number"], ["y", "number"]], [[1, 2]]))?.kind).toBe("scatter");
  expect(guess(table([["x", "text"]], [["a"]]))).toBeNull();
});

it("a chart of more rows than can be drawn says how many it draws", () => {
  const rows = Array.from({ length: 500 }, (_, at) => [`c${at}`, at]);
  const drawn = series(table([["name", "text"], ["n", "integer"]], rows), { kind: "bar", along: 0, value: "all" });
  expect([drawn.cut, drawn.along.length]).toEqual([POINTS_MAX.bar, POINTS_MAX.bar]);
});

afterEach(() => vi.unstubAllGlobals());

it("what somebody wrote and ran is not shown to the next user of the browser", () => {
  const held = new Map<string, string>();
  vi.stubGlobal("localStorage", { getItem: (key: string) => held.get(key) ?? null, setItem: (key: string, text: string) => held.set(key, text) });
  const of = (name: string) => whose({ session: { project: "shop" }, me: { name } } as Parameters<typeof whose>[0]);
  keepDraft(of("ada"), "select secret");
  keep(of("ada"), [{ sql: "select 1", at: "2025-01-01T00:00:00Z", ms: 1, rows: 1, end: "ok" }]);
  expect([draft(of("ada")), history(of("ada")).length]).toEqual(["select secret", 1]);
  expect([draft(of("ben")), history(of("ben"))]).toEqual(["", []]);
});

it("a file for people says that it is UTF-8, and is otherwise as the API gave it", async () => {
  const file = forSheets(new Blob(["城市\n上海\n"], { type: "text/csv" }));
  const bytes = new Uint8Array(await file.arrayBuffer());
  expect([...bytes.slice(0, 3)]).toEqual([0xef, 0xbb, 0xbf]);
  expect([new TextDecoder().decode(bytes), file.type]).toEqual(["城市\n上海\n", "text/csv"]);
});
