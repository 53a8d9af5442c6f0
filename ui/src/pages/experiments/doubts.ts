/** What the results say of keeping a variant. */
import type { Standing } from "./Experiments";

export type Doubt = "zero" | "none" | "worse" | null;

export interface Evidence { row: Standing; doubt: Doubt }

/** The variants of an experiment, its control first. */
export const variantsOf = (rows: Standing[]) => [...new Set([...rows.map((row) => row.control), ...rows.map((row) => row.variant)])];

/** The comparisons that speak for or against `keep`: its own beside the control, or those of all others if it is the control. */
export function evidenceOf(rows: Standing[], keep: string): Evidence[] {
  const own = rows.filter((row) => row.metric === "outcome" && (row.variant === keep || row.control === keep));
  return own.map((row) => ({ row, doubt: doubtOf(row, row.control === keep) }));
}

function doubtOf({ lower, upper }: Standing, control: boolean): Doubt {
  if (lower === null || upper === null) return "none";
  if (lower <= 0 && upper >= 0) return "zero";
  return lower > 0 === control ? "worse" : null;
}

/** The guardrails that `keep` breaches. */
export const breachedBy = (rows: Standing[], keep: string) => rows.filter((row) => row.standing === "breached" && row.variant === keep).map((row) => row.metric);
