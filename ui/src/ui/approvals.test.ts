import { expect, it } from "vitest";
import { seen, together } from "./approvals";

it("what is decided about is named as it was seen, and sums count what is known", () => {
  const items = [{ key: "a", revision: 1, amount: 10.5, unit: "i1" }, { key: "b", revision: 0, amount: null, unit: "i2" }];
  expect(seen(items)).toEqual([{ key: "a", revision: 1 }, { key: "b", revision: 0 }]);
  expect(together(items)).toBe(10.5);
  expect(together([{ amount: null }, {}])).toBeNull();
});
