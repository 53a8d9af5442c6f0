import { expect, it } from "vitest";
import { bytes, type Database, type Slot, troubles } from "./health";

const GIB = 2 ** 30;
const database = (name: string, health: Partial<Database["health"]> = {}, more: Partial<Database> = {}): Database => ({
  own: false, name, kind: "postgres", reachable: true, took_ms: 1, checked_at: null, tables: null, files: null, free_bytes: null, error: null, ...more,
  health: { version: null, connections: null, connections_max: null, size_bytes: null, slots: [], log_position: null, log_bytes: null, log_kept_s: null, active_queries: null, slow_queries: null, ...health },
});
const slot = (kept: number, active: boolean): Slot => ({ name: "s", active, kept_bytes: kept, behind_bytes: kept });

it("what is away is said before what is nearly full", () => {
  const all = [database("busy", { connections: 90, connections_max: 100, slow_queries: 2 }), database("gone", {}, { reachable: false }), database("disk", { size_bytes: 100 }, { free_bytes: 5, own: true })];
  expect(troubles(all).map((one) => `${one.key} ${one.name}`)).toEqual(["away gone", "disk disk", "full busy", "slow busy"]);
});

it("a slot that nobody reads is said sooner than one that is read", () => {
  expect(troubles([database("a", { slots: [slot(2 * GIB, true)] })])).toEqual([]);
  expect(troubles([database("a", { slots: [slot(2 * GIB, false)] })])).toMatchObject([{ key: "slot", name: "a · s", amount: 2 * GIB }]);
  expect(troubles([database("a", { slots: [slot(80 * GIB, true)] })])).toHaveLength(1);
});

it("what a database does not tell is no trouble", () => expect(troubles([database("a"), database("b", {}, { reachable: null })])).toEqual([]));

it("sizes are told in steps of 1024", () => expect([bytes(null, "en"), bytes(0, "en"), bytes(1023, "en"), bytes(1536, "en"), bytes(80 * GIB, "zh")]).toEqual(["–", "0 B", "1,023 B", "1.5 KiB", "80 GiB"]));
