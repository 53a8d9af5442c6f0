import { expect, it } from "vitest";
import type { Table } from "../../api";
import { builds } from "./Model";

it("a build's record says of one model whether it was built, unchanged, held back or failed", () => {
  const row = (run: string, status: string, detail: unknown, error: string | null = null) => [run, "2025-01-01T00:00:00Z", status, error, typeof detail === "string" ? detail : JSON.stringify(detail)];
  const rows = [
    row("r5", "failed", { model_ms: {}, good: ["mart.other"], blocked: [] }, "it broke"),
    row("r4", "succeeded", { model_ms: { "mart.orders": 43 }, good: ["mart.orders"], blocked: ["mart.orders"] }),
    row("r3", "succeeded", { model_ms: { "mart.orders": 43 }, good: ["mart.orders"] }),
    row("r2", "succeeded", { good: ["mart.orders"] }),
    row("r1", "succeeded", { good: ["mart.other"] }),
    row("r0", "succeeded", "no JSON"),
  ];
  const found = builds({ columns: [], rows, row_count: rows.length, truncated: false, elapsed_ms: 1 } satisfies Table, "mart.orders");
  expect(found.map((one) => [one.run_id, one.did, one.ms])).toEqual([["r5", "failed", null], ["r4", "blocked", 43], ["r3", "built", 43], ["r2", "unchanged", null]]);
});
