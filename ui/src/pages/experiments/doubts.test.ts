import { describe, expect, it } from "vitest";
import { breachedBy, evidenceOf, variantsOf } from "./doubts";
import type { Standing } from "./Experiments";

const row = (variant: string, lower: number | null, upper: number | null, more: Partial<Standing> = {}): Standing => ({
  turn: 1, at: "2026-01-01T00:00:00Z", policy: "p", metric: "outcome", variant, control: "a", units: 10, control_units: 10, rate: null, control_rate: null,
  difference: null, lower, upper, variance_saved: null, split_p: null, standing: "open", concluded: null, ...more,
});

describe("what speaks against keeping a variant", () => {
  const rows = [row("b", 0.1, 0.2), row("c", -0.1, 0.2), row("d", -0.2, -0.1), row("b", 0.1, 0.3, { metric: "returns", standing: "breached" })];
  const doubts = (keep: string) => evidenceOf(rows, keep).map((one) => [one.row.variant, one.doubt]);
  it("is an interval that includes 0, a worse variant, a breach", () => {
    expect(variantsOf(rows)).toEqual(["a", "b", "c", "d"]);
    expect(doubts("b")).toEqual([["b", null]]);
    expect(doubts("c")).toEqual([["c", "zero"]]);
    expect(doubts("d")).toEqual([["d", "worse"]]);
    expect(breachedBy(rows, "b")).toEqual(["returns"]);
    expect(breachedBy(rows, "a")).toEqual([]);
  });
  it("is every better one where the control is kept, and what is not measured", () => {
    expect(doubts("a")).toEqual([["b", "worse"], ["c", "zero"], ["d", null]]);
    expect(evidenceOf([row("b", null, null)], "b")[0]?.doubt).toBe("none");
  });
});
