import { expect, it } from "vitest";
import { givenUp, type Counts } from "./counts";

const standing = { pending: 0, delivered: 2, dead: 0, discarded: 0 };

it("what was given up is told of every policy, however many others there are, and which cannot try it again", () => {
  const counts: Counts = { ...standing, dead: 1204, policies: [{ ...standing, policy: "fine" }, { ...standing, policy: "gone", dead: 3 }, { ...standing, policy: "old", dead: 1 }, { ...standing, policy: "cand", dead: 1200 }] };
  expect(givenUp(counts, ["cand", "fine", "old"])).toEqual([{ policy: "cand", dead: 1200, declared: true }, { policy: "gone", dead: 3, declared: false }, { policy: "old", dead: 1, declared: true }]);
  expect(givenUp(counts, undefined).every((one) => one.declared)).toBe(true);
});
