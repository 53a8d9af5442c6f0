/** What measures of learners mean: which way is better. */
import type { Measure } from "../api";

/** Measures are better when higher, but for errors. */
const LESS_IS_BETTER = /wape|mase|smape|mae|rmse|mse|brier|log.?loss|error|deviance|pinball/i;
/** A share of intervals that held is as good as it is near to what was promised. */
const NEAR_IS_BETTER = /^coverage$/i;

export const isNear = (measure: string) => NEAR_IS_BETTER.test(measure);
export const isLess = (measure: string) => LESS_IS_BETTER.test(measure);

/** Whether a value beats its baseline; `null` where that is not the question. */
export function better({ measure, value, baseline }: Pick<Measure, "measure" | "value" | "baseline">): boolean | null {
  if (value === null || baseline === null || isNear(measure)) return null;
  return isLess(measure) ? value < baseline : value > baseline;
}
