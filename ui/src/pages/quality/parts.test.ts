import { expect, test } from "vitest";
import { samples } from "./File";
import { bounds } from "./parts";

test("limits are read from what a figure must be", () => {
  expect(bounds("> 100")).toEqual([100]);
  expect(bounds("between -1.5 and 20")).toEqual([-1.5, 20]);
  expect(bounds(null)).toEqual([]);
});

test("failing rows that cannot be read are none, not a broken page", () => {
  expect(samples('[{"a":1},null,3]')).toEqual([{ a: 1 }]);
  expect(samples("cut off [")).toEqual([]);
  expect(samples(null)).toEqual([]);
});
