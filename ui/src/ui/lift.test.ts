import { describe, expect, it } from "vitest";
import type { Lift } from "../api";
import { liftSql, measured, range, ticks, verdict } from "./lift";
import { better } from "./measures";

const turn = (number: number, lift: number | null, half = 0.02): Lift => ({ turn: number, decisions: 1, measured: 10, treated_rate: null, holdout_rate: null, lift, lower: lift === null ? null : lift - half, upper: lift === null ? null : lift + half });

describe("a verdict", () => {
  it("is that of the newest measured turn", () => {
    expect(verdict([turn(1, -0.1), turn(2, 0.05), turn(3, null)])).toBe("works");
    expect(verdict([turn(1, 0.1), turn(2, -0.05)])).toBe("harms");
    expect(verdict([turn(1, 0.01)])).toBe("unclear");
  });
  it("is none of works and harms where the split into arms is broken", () => {
    const split = (p: number | null): Lift => ({ ...turn(2, 0.05), split_p: p });
    expect(verdict([turn(1, 0.05), split(0.0002)])).toBe("broken");
    expect(verdict([split(0.0002), { ...turn(3, -0.1), split_p: 0.4 }])).toBe("harms");
    expect(verdict([split(0.001)])).toBe("works");
    expect(verdict([split(null)])).toBe("works");
  });
  it("is none before anything was measured", () => {
    expect(verdict([])).toBe("none");
    expect(verdict([turn(1, null)])).toBe("none");
    expect(measured([turn(1, null), turn(2, 0.1)])).toHaveLength(1);
  });
});

describe("an axis", () => {
  it("has round steps and names 0 as 0", () => {
    expect(ticks(-0.06, 0.08, 5).map((value) => Math.round(value * 1000))).toEqual([-50, 0, 50]);
    expect(ticks(-1, 1, 4)).toContain(0);
    expect(Object.is(ticks(-0.3, 0.3, 3).find((value) => value === 0), -0)).toBe(false);
  });
  it("survives a single value", () => expect(ticks(3, 3, 4).length).toBeGreaterThan(0));
  it("is not stretched by the first, wide intervals", () => {
    const points = measured([turn(1, 0.01, 5), ...Array.from({ length: 11 }, (_, at) => turn(at + 2, 0.03))]);
    const [low, high] = range(points);
    expect(low).toBeGreaterThan(-0.1);
    expect(high).toBeLessThan(0.1);
  });
  it("always shows 0", () => {
    const [low, high] = range(measured([turn(1, 0.5, 0.1), turn(2, 0.5, 0.1)]));
    expect(low).toBeLessThanOrEqual(0);
    expect(high).toBeGreaterThan(0.6);
  });
});

describe("a measure", () => {
  it("of error is better when lower, others when higher", () => {
    expect(better({ measure: "wape", value: 0.5, baseline: 0.7 })).toBe(true);
    expect(better({ measure: "brier, before learning", value: 0.2, baseline: 0.1 })).toBe(false);
    expect(better({ measure: "ndcg@10 new items", value: 0.2, baseline: 0.1 })).toBe(true);
  });
  it("of coverage or without a baseline beats nothing", () => {
    expect(better({ measure: "coverage", value: 0.95, baseline: 0.9 })).toBeNull();
    expect(better({ measure: "wape", value: 0.5, baseline: null })).toBeNull();
  });
});

it("a name with a quote stays a name in a query", () => expect(liftSql("o'hare")).toContain("policy = 'o''hare'"));
