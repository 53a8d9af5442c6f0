import { afterEach, expect, it, vi } from "vitest";
import type { Metric } from "../../api";
import { sitesOf } from "../../sites";
import { asked, blankTile, choiceOf, freshName, moved, scoped, shownAs, sizeOf, slices, spans, titled, whereOf, whereText, type Tile } from "./board";
import { dropDraft, keptDraft } from "./draft";
import { fits } from "./Inspect";
import { blocks } from "./Markdown";

const tile = (more: Partial<Tile>): Tile => ({ ...blankTile("t"), ...more });

it("a tile shows what the server would show it as", () => {
  expect([tile({ metrics: ["a"] }), tile({ metrics: ["a"], by: ["b"] }), tile({ sql: "select 1" }), tile({}), tile({ metrics: ["a"], show: "line" })].map(shownAs)).toEqual(["number", "bar", "table", null, "line"]);
  expect(sizeOf(tile({ width: 99 }), "line")).toEqual({ width: 12, height: 4 });
});

it("what a link is for is read from its scopes, and sites from what somebody types", () => {
  expect(scoped(["dashboard:sales"])).toEqual({ tile: null, role: null, sites: [] });
  expect(scoped(["dashboard:sales", "tile:revenue", "as:viewer", "site:https://a.example", "site:http://localhost:3000"])).toEqual({ tile: "revenue", role: "viewer", sites: ["https://a.example", "http://localhost:3000"] });
  expect(sitesOf(" https://A.example/path?x, https://a.example\n\nb.example；http://localhost:3000/ ")).toEqual(["https://a.example", "b.example", "http://localhost:3000"]);
  expect(sitesOf("  ")).toEqual([]);
});

it("tiles fill the rows of narrow grids", () => {
  expect([3, 4, 8, 12].map((width) => spans(width)["--w6"])).toEqual([3, 3, 6, 6]);
  expect([3, 4].map((width) => spans(width)["--w2"])).toEqual([1, 2]);
});

it("a tile is moved to a place, and not beyond the ends", () => {
  expect([moved(["a", "b", "c"], 0, 2), moved(["a", "b", "c"], 2, -5), moved(["a", "b", "c"], 1, 99)]).toEqual([["b", "c", "a"], ["c", "a", "b"], ["a", "c", "b"]]);
});

it("what is chosen is the same in the address and in the question", () => {
  const choice = choiceOf(new URLSearchParams(`from=2025-03-01&compare=year&only=${encodeURIComponent('{"country":["France",null]}')}`));
  expect(choice).toEqual({ from: "2025-03-01", to: null, whole: false, compare: "year", only: { country: ["France", null] } });
  expect(new URLSearchParams(asked(choice)).get("only")).toBe('{"country":["France",null]}');
  expect(choiceOf(new URLSearchParams("from=nonsense&only={cut&compare=odd")).only).toEqual({});
  expect(asked(choiceOf(new URLSearchParams("whole=1&from=2025-03-01")))).toBe("?whole=true");
});

it("a new tile has a name that no other has", () => {
  expect([freshName("revenue", []), freshName("revenue", [tile({ tile: "revenue" })]), freshName("成交额", []), freshName("2nd", [])]).toEqual(["revenue", "revenue_2", "tile", "t_2nd"]);
});

it("a tile is titled by its metrics in the language, unless it has a title", () => {
  const metrics = [{ name: "revenue", label: ["Revenue", "成交额"], dimension_labels: { city: { zh: "城市" } } }] as unknown as Metric[];
  const by = (what: string, dimension: string) => `${what}/${dimension}`;
  expect(titled(tile({ metrics: ["revenue"], by: ["country"] }), metrics, "zh", by)).toBe("成交额/country");
  expect(titled(tile({ metrics: ["revenue"], by: ["city"] }), metrics, "zh", by)).toBe("成交额/城市");
  expect(titled(tile({ metrics: ["gone"] }), metrics, "en", by)).toBe("gone");
  expect(titled(tile({ title: { zh: "标题" }, metrics: ["revenue"] }), metrics, "en", by)).toBe("标题");
});

it("what is beyond the slices of a pie is one of its own", () => {
  expect(slices([["a", 5], ["b", 3], ["c", 2], ["d", 1], ["e", 0]], 3)).toEqual([{ key: "a", value: 5 }, { key: "b", value: 3 }, { key: null, value: 3, rest: 2 }]);
});

it("only ways of showing that fit are offered", () => {
  expect(fits(tile({ metrics: ["a"] }), true)).toEqual(["number", "line", "table"]);
  expect(fits(tile({ metrics: ["a"], by: ["b"] }), true)).toEqual(["line", "bar", "table", "pie"]);
  expect(fits(tile({ metrics: ["a", "c"], by: ["b"] }), false)).toEqual(["bar", "table"]);
  expect(fits(tile({ sql: "select 1" }), false)).toEqual(["number", "line", "bar", "table", "pie"]);
});

it("texts are read in blocks", () => {
  expect(blocks("# Title\nfirst\nsecond\n\n- one\n- two\nlast")).toEqual([{ kind: "h", lines: ["Title"] }, { kind: "p", lines: ["first", "second"] }, { kind: "ul", lines: ["one", "two"] }, { kind: "p", lines: ["last"] }]);
});

it("conditions keep their meaning as one text, and stay a list as long as the text says the same", () => {
  const read = ["country = 'France' or country = 'Spain'", "revenue > 0"];
  const text = whereText(read);
  expect(text).toBe("(country = 'France' or country = 'Spain') and (revenue > 0)");
  expect([whereText([]), whereText(["a or b"])]).toEqual(["", "a or b"]);
  expect(whereOf(text, read)).toBe(read);
  expect([whereOf(`${text} and x`, read), whereOf("", read), whereOf("", [])]).toEqual([[`${text} and x`], [], []]);
});

afterEach(() => vi.unstubAllGlobals());

it("what somebody has not saved is nobody else's, and of no other project", () => {
  const held = new Map([["flywheel.dashboard.shop.ada.sales", JSON.stringify({ version: "1", board: { tiles: [] }, at: "2025-01-01T00:00:00Z" })]]);
  vi.stubGlobal("localStorage", { getItem: (key: string) => held.get(key) ?? null, removeItem: (key: string) => held.delete(key) });
  expect(keptDraft("shop.ada", "sales")?.version).toBe("1");
  expect([keptDraft("shop.ben", "sales"), keptDraft("store.ada", "sales")]).toEqual([null, null]);
  dropDraft("shop.ada", "sales");
  expect(held.size).toBe(0);
});
