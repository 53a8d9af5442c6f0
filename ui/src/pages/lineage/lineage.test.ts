import { expect, it } from "vitest";
import { back, on, touched, type MadeOf, type Step } from "./trace";

const steps: Step[] = [
  { node: "mart.orders", column: "revenue", expression: "sum(x)", upstream: [{ from: { table: "staging.lines", column: "revenue" }, transform: "aggregate" }], influences: [{ table: "staging.lines", column: "cancelled", how: "filter" }] },
  { node: "staging.lines", column: "revenue", expression: null, upstream: [{ from: { table: "raw.lines", column: "price" }, transform: "something new" }] },
];
const models: MadeOf[] = [
  { name: "mart.orders", columns: [{ column: "revenue", expression: null, origins: [{ table: "staging.lines", column: "revenue", transform: "aggregate" }] }] },
  { name: "mart.customers", columns: [{ column: "spent", expression: null, origins: [{ table: "mart.orders", column: "revenue", transform: "aggregate" }] }, { column: "name", expression: null, origins: [{ table: "raw.customers", column: "name", transform: "identity" }] }] },
  { name: "mart.loop", columns: [{ column: "again", expression: null, origins: [{ table: "mart.customers", column: "spent", transform: "identity" }, { table: "mart.loop", column: "again", transform: "identity" }] }] },
  { name: "mart.unbuilt" },
];

it("a column is followed back by what it is made of, and by what decides its rows where that is wanted", () => {
  expect(back(steps, false).map((edge) => [edge.from, edge.fromColumn, edge.kind])).toEqual([["staging.lines", "revenue", "aggregate"], ["raw.lines", "price", "transform"]]);
  expect(back(steps, true).filter((edge) => edge.kind === "influence")).toEqual([{ from: "staging.lines", fromColumn: "cancelled", to: "mart.orders", toColumn: "revenue", kind: "influence", how: "filter" }]);
});

it("a column is followed on through all models, once each, also where one reads itself", () => {
  const found = on(models, "mart.orders", "revenue");
  expect([...touched(found)].map(([table, columns]) => [table, [...columns]])).toEqual([["mart.orders", ["revenue"]], ["mart.customers", ["spent"]], ["mart.loop", ["again"]]]);
  expect(on(models, "raw.nothing", "x")).toEqual([]);
});
