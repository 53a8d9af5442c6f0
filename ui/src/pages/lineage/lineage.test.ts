import { expect, it } from "vitest";
import { follow, touched, type Found, type Told } from "./trace";

const node = (id: string, kind: string, asset: string, column: string | null, steps = 0): Found => ({ id, kind, asset, column, steps });
const flows = (from: string, to: string, kind = "identity") => ({ from, to, kind, direct: true });
const told: Told = {
  of: ["mart.orders.revenue"], cut: false, notes: [],
  nodes: [
    node("mart.orders.revenue", "model", "mart.orders", "revenue"), node("staging.lines.revenue", "model", "staging.lines", "revenue", 1), node("staging.lines.cancelled", "model", "staging.lines", "cancelled", 1),
    node("raw.lines.price", "source", "raw.lines", "price", 2), node("metric:revenue", "metric", "revenue", null, 1), node("learn.stages.value", "learner", "learn.stages", "value", 1),
    node("policy:winback.audience.stage", "policy", "winback", "audience.stage", 2), node("test:same", "test", "same", null, 1),
  ],
  edges: [
    flows("staging.lines.revenue", "mart.orders.revenue", "aggregate"), flows("raw.lines.price", "staging.lines.revenue", "something new"), flows("mart.orders.revenue", "metric:revenue"), flows("mart.orders.revenue", "learn.stages.value", "learn"),
    flows("learn.stages.value", "policy:winback.audience.stage"), flows("policy:winback.audience.stage", "learn.stages.value"),
    { from: "staging.lines.cancelled", to: "mart.orders.revenue", kind: "filter", direct: false }, { from: "mart.orders.revenue", to: "test:same", kind: "check", direct: false },
  ],
};

it("a column is followed back to where it came from and on to what is decided, once around the loop", () => {
  const found = follow(told, false);
  expect(found.up.map((one) => one.id)).toEqual(["mart.orders.revenue", "staging.lines.revenue", "raw.lines.price"]);
  expect(found.down.map((one) => one.id)).toEqual(["metric:revenue", "learn.stages.value", "policy:winback.audience.stage"]);
  expect(found.edges.find((edge) => edge.from === "raw.lines")?.kind).toBe("transform");
  expect([...touched(found.edges)].map(([holder, columns]) => [holder, [...columns]])).toContainEqual(["metric:revenue", []]);
  expect(found.edges.some((edge) => edge.kind === "influence")).toBe(false);
});

it("what decides about rows is told beside a column, and drawn where it is wanted", () => {
  const found = follow(told, true);
  expect(found.influences.get("mart.orders.revenue")?.map((one) => [one.of.column, one.how])).toEqual([["cancelled", "filter"]]);
  expect(found.edges.filter((edge) => edge.kind === "influence").map((edge) => [edge.fromColumn, edge.to, edge.how])).toEqual([["cancelled", "mart.orders", "filter"], ["revenue", "test:same", "check"]]);
});
