import { expect, it } from "vitest";
import type { Known } from "../../ui/trust";
import { healthOf, own } from "./health";

const table = (name: string, more: Partial<Known> = {}): Known => ({
  name, kind: "model", owner: null, certification: "draft", committed_at: null, age_s: null, fresh_limit_s: null, tests: 0, tests_status: null, passed: 0, warned: 0, failed: 0, held: null, ...more,
});
const stale = { age_s: 20, fresh_limit_s: 10 };

it("the worst of tests, promises and freshness decides, and nothing known is no colour", () => {
  expect(own(undefined)).toBeNull();
  expect(own(table("a"))).toBeNull();
  expect(own(table("a", { age_s: 5, fresh_limit_s: 10 }))).toEqual({ tone: "ok", fault: null });
  expect(own(table("a", { tests_status: "passed", ...stale }))).toEqual({ tone: "warn", fault: "stale" });
  expect(own(table("a", { tests_status: "failed", ...stale }))).toEqual({ tone: "bad", fault: "failed" });
  expect(own(table("a", { failed: 1, tests_status: "passed" }))).toEqual({ tone: "bad", fault: "promises" });
  expect(own(table("a", { held: "why", warned: 1 }))).toEqual({ tone: "bad", fault: "held" });
});

it("a policy does as what it is made from, through what is not known, also around the loop", () => {
  const node = (id: string, kind = "policy") => ({ id, table: kind === "table" ? id : null });
  const nodes = [node("raw", "table"), node("orders", "table"), node("learner"), node("policy"), node("alone")];
  const edges = [["raw", "orders"], ["orders", "learner"], ["learner", "policy"], ["policy", "learner"]].map(([from = "", to = ""]) => ({ from, to }));
  const all = healthOf(nodes, edges, [table("raw", { failed: 1 }), table("orders", { tests_status: "warned" })]);
  expect(all.get("raw")?.tone).toBe("bad");
  // What stands between tells for itself.
  expect(all.get("policy")).toEqual({ tone: "warn", fault: "upstream" });
  expect(all.get("alone")).toEqual({ tone: "idle", fault: null });
});
