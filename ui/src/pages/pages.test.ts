import { expect, it } from "vitest";
import { stageOf } from "../live";
import { arrow } from "./home/Ring";
import { byStage } from "./home/Home";
import { proposals } from "./inventory/Inventory";

it("tasks are put together by the stage of the wheel, in its order", () => {
  const task = (kind: string, rows_out: number | null, rows_rejected = 0) => ({ kind, status: "succeeded", rows_out, rows_rejected, duration_ms: 5 });
  const sums = byStage([task("decide", 3), task("sync", 10, 2), task("sync", 5), task("evaluate", null), task("odd", 1)]);
  expect(sums.map((sum) => [sum.stage, sum.tasks, sum.rows, sum.rejected, sum.ms])).toEqual([["land", 2, 15, 2, 10], ["learn", 1, null, 0, 5], ["decide", 1, 3, 0, 5]]);
});

it("every kind of task that the ring shows has a stage", () => {
  for (const kind of ["sync", "build", "evaluate", "learn", "canary", "decide", "act", "outcome"]) expect(stageOf(kind), kind).not.toBeNull();
});

it("an arrow of the ring is a closed outline without odd numbers", () => {
  const path = arrow(-20, 20);
  expect(path).toMatch(/^M.*Z$/);
  expect(path).not.toContain("NaN");
});

it("only proposals of the newest turn are shown, whatever their JSON holds", () => {
  const columns = ["unit_id", "turn", "decided_at", "items", "features"].map((name) => ({ name, type: "text" }));
  const rows = [
    ["p-1", 2, "2025-01-02T00:00:00Z", `[{"order_quantity":12,"cost":5.5,"stockout_risk":0.1,"reorder_point":30,"reason":"why"}]`, `{"on_hand":3,"on_order":"many"}`],
    ["p-2", 2, "2025-01-02T00:00:00Z", "no json", null],
    ["p-1", 1, "2025-01-01T00:00:00Z", "[]", "{}"],
  ];
  const found = proposals({ columns, rows });
  expect(found.map((one) => one.unit)).toEqual(["p-1", "p-2"]);
  expect(found[0]).toMatchObject({ quantity: 12, cost: 5.5, on_hand: 3, on_order: null, reason: "why" });
  expect(found[1]).toMatchObject({ quantity: null, risk: null, reason: "" });
});
