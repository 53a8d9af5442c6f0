import { expect, it } from "vitest";
import { columnsOf, lines } from "./plan";

const drawn = (before: string | null, after: string | null) => lines(before, after).map((line) => `${line.sign}${line.text}`);

it("of two queries only the lines that differ are told as changed", () => {
  expect(drawn("select a,\n  b\nfrom t", "select a,\n  b * 2 as b\nfrom t\nwhere a > 1")).toEqual([" select a,", "-  b", "+  b * 2 as b", " from t", "+where a > 1"]);
  expect(drawn("a\nb", "a\nb\n").every((line) => line.startsWith(" "))).toBe(true);
  expect(drawn("x\na\nb", "a\nb")).toEqual(["-x", " a", " b"]);
});

it("what was never built or goes is told whole, and what has no query is told as nothing", () => {
  expect(drawn(null, "select 1")).toEqual(["+select 1"]);
  expect(drawn("select 1", null)).toEqual(["-select 1"]);
  expect([drawn(null, null), drawn("", "\n")]).toEqual([[], []]);
  const long = Array.from({ length: 1_600 }, (_, at) => String(at)).join("\n");
  expect(lines(long, long)).toHaveLength(3_200);
});

it("columns carry the sign of what becomes of them", () => {
  expect(columnsOf({ columns_added: ["a"], columns_removed: ["b"], columns_changed: ["c", "d"] })).toEqual(["+a", "-b", "~c", "~d"]);
});
