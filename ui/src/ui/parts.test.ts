import { expect, it } from "vitest";
import { placed, type FlowNode } from "./Flow";
import { distances, reached } from "./graph";
import { exact, order } from "./rows";
import { pieces } from "./sqltext";

const edges = [{ from: "raw", to: "staging" }, { from: "staging", to: "mart" }, { from: "mart", to: "metric" }, { from: "other", to: "mart" }, { from: "mart", to: "staging" }];

it("what a change reaches is found in both directions, also where tables read one another", () => {
  expect([...reached(edges, ["staging"])].sort()).toEqual(["mart", "metric"]);
  expect([...reached(edges, ["metric"], true)].sort()).toEqual(["mart", "other", "raw", "staging"]);
  expect(Object.fromEntries(distances(edges, "mart"))).toMatchObject({ raw: -2, metric: 1 });
});

it("a graph is drawn from left to right, with no box upon another", () => {
  const nodes: FlowNode[] = ["raw", "staging", "mart", "metric", "other"].map((id) => ({ id, title: id, sub: "", icon: "model" }));
  const at = placed(nodes, edges.slice(0, 4));
  const x = (id: string) => at.get(id)?.x ?? Number.NaN;
  expect(x("raw")).toBeLessThan(x("staging"));
  expect(x("staging")).toBeLessThan(x("mart"));
  expect(new Set([...at.values()].map((spot) => `${spot.x} ${spot.y}`)).size).toBe(nodes.length);
});

it("a graph whose edges name nodes that are not drawn is drawn all the same", () => {
  expect([...placed([{ id: "a", title: "a", sub: "", icon: "model" }], [{ from: "a", to: "gone" }]).keys()]).toEqual(["a"]);
});

it("rows are sorted by size, integers beyond 2^53 exactly, what has no value last", () => {
  const rows = [["9007199254740993"], [null], ["9007199254740992"], ["12"]];
  expect(order(rows, 0, true, true).map((at) => rows[at]?.[0])).toEqual(["9007199254740993", "9007199254740992", "12", null]);
  expect(order(rows, 0, true, false).map((at) => rows[at]?.[0])).toEqual(["12", "9007199254740992", "9007199254740993", null]);
  expect(order([["b10"], ["b9"]], 0, false, false)).toEqual([1, 0]);
});

it("a value of a query is shown as it is", () => {
  expect([exact("2025-03-31T23:59:59Z", "moment"), exact(12345678, "integer"), exact(null, "text"), exact("", "text"), exact(false, "flag")]).toEqual(["2025-03-31 23:59:59", "12345678", "null", "", "false"]);
});

it("SQL keeps every letter when it is coloured, and a keyword within text or a name is none", () => {
  const text = "select \"from\", 'it''s from', a1 -- from here\nfrom {{ ref('t') }} where x > 1.5";
  const all = pieces(text);
  expect(all.map((piece) => piece.text).join("")).toBe(text);
  expect(all.filter((piece) => piece.kind === "keyword").map((piece) => piece.text)).toEqual(["select", "from", "where"]);
  expect(all.filter((piece) => piece.kind === "string").map((piece) => piece.text)).toEqual(["'it''s from'"]);
  expect(all.filter((piece) => piece.kind === "template").map((piece) => piece.text)).toEqual(["{{ ref('t') }}"]);
});
