import { expect, test } from "vitest";
import type { Task } from "../../api";
import { rowsOf } from "./Aside";
import { differs } from "./Compare";
import { command, plain } from "./NewSync";
import { byRun, scale } from "./parts";

const task = (over: Partial<Task>): Task => ({ run_id: "r1", position: 0, kind: "sync", name: "shop.a", status: "succeeded", started_at: "2024-05-01T00:00:02Z", duration_ms: 10, rows_in: 3, rows_out: 2, rows_rejected: 1, error: null, ...over });

test("tasks of one run are one run, and one failed stream makes it a failed one", () => {
  const [run, ...more] = byRun([task({}), task({ name: "shop.b", status: "failed", error: "no answer", rows_out: null, started_at: "2024-05-01T00:00:01Z" })]);
  expect(more).toEqual([]);
  expect(run).toEqual({ run: "r1", at: "2024-05-01T00:00:01Z", status: "failed", landed: 2, aside: 2, read: 6, ms: 20, error: "no answer" });
});

test("a first load that is out of proportion does not flatten the runs after it", () => {
  expect(scale([22_000, 500, 400])).toBeCloseTo(650);
  expect(scale([900, 500, 400])).toBe(900);
  expect(scale([])).toBe(1);
  expect(scale([0, 0])).toBe(1);
});

test("what differs is counted in keys and ranges, and is unknown where a comparison failed", () => {
  expect(differs(task({ kind: "reconcile", detail: { keys: 3, ranges: 1, mended: 0 } }))).toBe(4);
  expect(differs(task({ kind: "reconcile", detail: { keys: 0, ranges: 0 } }))).toBe(0);
  expect(differs(task({ kind: "reconcile", status: "failed", detail: null }))).toBeNull();
  expect(differs(null)).toBeNull();
});

test("rows set aside are read by the names of columns, whatever their order", () => {
  const columns = ["line", "raw", "quarantine_id", "code", "reason", "file", "stream", "column", "first_at"].map((name) => ({ name, type: "text" }));
  expect(rowsOf({ columns, rows: [[7, "a,b", "q1", "ragged-row", "short", "x.csv", "orders", null, null]] })[0]).toEqual({ id: "q1", stream: "orders", file: "x.csv", line: 7, column: null, code: "ragged-row", reason: "short", raw: "a,b", at: null });
});

test("the command says what the page does, and quotes what a shell would read", () => {
  expect(command("shop_db", "shop", [], "best", "1h")).toBe("flywheel discover shop_db --name shop --read best --every 1h --save");
  expect(command("shop_db", "shop", ["public.a", "it's"], "full", "1d")).toBe(`flywheel discover shop_db --name shop --tables 'public.a,it'\\''s' --read full --save`);
});

test("names that are no file names are refused before they are sent", () => {
  expect(["shop", "shop-2", "a_b"].every(plain)).toBe(true);
  expect(["", "../x", "a b", "订单", "a.yaml"].some(plain)).toBe(false);
});
