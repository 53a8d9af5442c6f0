import { expect, it } from "vitest";
import { placed, type FlowNode } from "./Flow";
import { distances, reached } from "./graph";
import { better, measureCalled } from "./measures";
import { exact, order, widths } from "./rows";
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
  // What has parts is its JSON.
  expect([exact([1, null, "a"], "other"), exact({ a: { b: 2 } }, "other")]).toEqual(['[1,null,"a"]', '{"a":{"b":2}}']);
});

it("SQL keeps every letter when it is coloured, and a keyword within text or a name is none", () => {
  const text = "select \"from\", 'it''s from', a1 -- from here\nfrom {{ ref('t') }} where x > 1.5";
  const all = pieces(text);
  expect(all.map((piece) => piece.text).join("")).toBe(text);
  expect(all.filter((piece) => piece.kind === "keyword").map((piece) => piece.text)).toEqual(["select", "from", "where"]);
  expect(all.filter((piece) => piece.kind === "string").map((piece) => piece.text)).toEqual(["'it''s from'"]);
  expect(all.filter((piece) => piece.kind === "template").map((piece) => piece.text)).toEqual(["{{ ref('t') }}"]);
});

it("columns are as wide as their headings and their largest integers, Chinese ones too", () => {
  const wide = (name: string, cell: string) => widths({ columns: [{ name, type: "text" }], rows: [[cell]] })[0] ?? 0;
  // Digits of the widest fonts take 8.3 pixels at this size, Chinese characters 13, and a cell keeps 24 beside its text.
  expect(wide("n", "9223372036854775807")).toBeGreaterThan(19 * 8.3 + 24);
  expect(wide("最近三十天的客户平均成交额", "1")).toBeGreaterThan(13 * 13 + 24);
});

it("measures have Chinese names, and those that these pages do not know keep theirs", () => {
  expect(["brier, before learning", "ndcg@10 new items", "wape", "of a newer server, x"].map((one) => measureCalled(one, "zh"))).toEqual(["Brier 分数（学习前）", "ndcg@10（新商品）", "WAPE", "of a newer server（x）"]);
  expect(measureCalled("brier, before learning", "en")).toBe("brier, before learning");
  expect(better({ measure: "brier, before learning", value: 0.1, baseline: 0.2 })).toBe(true);
});
