import { describe, expect, it } from "vitest";
import { labelIn, linksOf, type Extension } from "../../extensions";
import { answerTo, renewIn } from "./pass";

const at = Date.parse("2025-03-01T12:00:00Z");
const later = (minutes: number) => new Date(at + minutes * 60_000).toISOString();

describe("what an extension says", () => {
  const state = { now: at, asked: at - 60_000, expires: later(15), fixed: false };
  it("is nothing unless it is one of three wishes", () => {
    for (const data of [null, undefined, 5, "ready", [], {}, { kind: "ready" }, { flywheel: "1", kind: "ready" }, { flywheel: 1 }, { flywheel: 1, kind: "csrf" }, { flywheel: 1, kind: "height", pixels: "9" }, { flywheel: 1, kind: "height", pixels: Number.NaN }]) expect(answerTo(data, state)).toEqual({});
    expect(answerTo({ flywheel: 1, kind: "ready" }, state)).toEqual({ ready: true });
    expect(answerTo({ flywheel: 1, kind: "token" }, state)).toEqual({ token: true, renew: true });
  });
  it("makes no more than one token in a while", () => {
    expect(answerTo({ flywheel: 1, kind: "token" }, { ...state, asked: at - 100 })).toEqual({ token: true });
    expect(answerTo({ flywheel: 1, kind: "ready" }, { ...state, expires: later(1), asked: at - 100 })).toEqual({ ready: true });
  });
  it("sets the height of a panel within limits, and none of a page", () => {
    expect(answerTo({ flywheel: 1, kind: "height", pixels: 412.4 }, state)).toEqual({ height: 412 });
    expect(answerTo({ flywheel: 1, kind: "height", pixels: 1e9 }, state)).toEqual({ height: 2000 });
    expect(answerTo({ flywheel: 1, kind: "height", pixels: -1 }, state)).toEqual({ height: 60 });
    expect(answerTo({ flywheel: 1, kind: "height", pixels: 400 }, { ...state, fixed: true })).toEqual({});
  });
});

it("a token is renewed before it expires, and one that nobody understands at once", () => {
  expect(renewIn(later(15), at)).toBe(12 * 60_000);
  expect(renewIn(later(2), at)).toBe(0);
  for (const odd of [null, "soon"]) expect(renewIn(odd, at)).toBe(0);
});

it("titles are in the language, else in the other one, else the name", () => {
  expect(labelIn("zh", [{ en: "Stock" }, { zh: "库存" }], "stock")).toBe("Stock");
  expect(labelIn("zh", [{}, { zh: "库存" }], "stock")).toBe("库存");
  expect(labelIn("en", [{}, {}], "stock")).toBe("stock");
  const one: Extension = { name: "stock", title: { en: "Stock", zh: "库存" }, description: null, owner: null, declared_in: "x", scopes: [], granted: [], panels: [], pages: [{ page: "map", title: { en: "Map" }, file: "index.html" }, { page: "list", title: {}, file: "l.html" }] };
  expect(linksOf("zh", [one])).toEqual([{ to: "/extensions/stock/map", title: "Map" }, { to: "/extensions/stock/list", title: "库存" }]);
});
