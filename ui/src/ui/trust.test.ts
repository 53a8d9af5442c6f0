import { expect, it } from "vitest";
import { age, judge, type Known, named } from "./trust";

const table = (name: string, more: Partial<Known> = {}): Known => ({ name, kind: "model", owner: null, certification: "draft", committed_at: null, age_s: null, fresh_limit_s: null, tests: 0, tests_status: null, passed: 0, warned: 0, failed: 0, held: null, ...more });
const keys = (tables: Known[], certification: string | null = null) => {
  const { tone, why } = judge([{ name: "revenue", tables: tables.map((one) => one.name), certification }], null, tables);
  return [tone, ...why.map((one) => one.key)];
};

it("a figure on a stale, held or failed table does not look like one on a good table", () => {
  expect(keys([table("mart.orders", { tests_status: "passed", age_s: 60, fresh_limit_s: 3600 })])).toEqual(["ok"]);
  expect(keys([table("mart.orders", { age_s: 7200, fresh_limit_s: 3600 })])).toEqual(["warn", "stale"]);
  expect(keys([table("mart.orders", { tests_status: "failed" })])).toEqual(["bad", "failed"]);
  expect(keys([table("mart.orders", { held: "orders are doubled" })])).toEqual(["bad", "held"]);
  expect(keys([table("mart.orders", { failed: 2 })])).toEqual(["bad", "promises"]);
  expect(keys([table("mart.orders", { tests_status: "warned", warned: 1 })])).toEqual(["warn", "warned", "doubted"]);
  expect(keys([table("mart.orders")], "deprecated")).toEqual(["warn", "deprecated"]);
});

it("the worst is said first, and of what is not known nothing is said to be well", () => {
  expect(keys([table("a.b", { age_s: 2, fresh_limit_s: 1 }), table("c.d", { tests_status: "failed" })])).toEqual(["bad", "failed", "stale"]);
  expect(keys([])).toEqual(["unknown"]);
  expect(judge([{ name: "revenue", tables: ["gone.orders"] }], null, [table("mart.orders")]).tone).toBe("unknown");
});

it("only tables that a query names are looked at, not those in its texts and remarks", () => {
  const known = ["mart.orders", "mart.orders_old", "raw.people", "mart.订单"].map((name) => table(name));
  expect(named('select * from "mart"."orders" o', known)).toEqual(["mart.orders"]);
  expect(named("select 'raw.people' from Mart . Orders_Old -- raw.people", known)).toEqual(["mart.orders_old"]);
  expect(named("select * from mart.订单", known)).toEqual(["mart.订单"]);
  expect(judge([], "select * from raw.people", [table("raw.people", { tests_status: "failed" })]).tone).toBe("bad");
});

it("an age is told in its largest whole unit", () => {
  expect([age(5, "en"), age(7300, "en"), age(200_000, "zh")]).toEqual(["5 seconds", "2 hours", "2天"]);
});
