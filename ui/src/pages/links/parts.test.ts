import { expect, test } from "vitest";
import type { Task } from "../../api";
import { approvable, didOf, text, valueOf, written } from "./parts";

const task = (over: Partial<Task>): Task => ({ run_id: "r1", position: 0, kind: "link", name: "people", status: "succeeded", started_at: "2024-05-01T00:00:02Z", duration_ms: 10, rows_in: 3, rows_out: 2, rows_rejected: 0, error: null, ...over });
const plan = task({ kind: "link plan", started_at: "2024-05-01T00:00:03Z", detail: { approval: "abc", beyond: ["27 deletions"] } });

test("what a run wrote is summed up over both sides, and nothing is known of one that failed", () => {
  expect(written(didOf(task({ detail: { created: { left: 1, right: 2 }, updated: { left: 0, right: 3 }, deleted: { left: 1, right: 0 } } })))).toBe(7);
  expect(written(didOf(task({ status: "failed", detail: null })))).toBe(0);
  expect(written(didOf(null))).toBe(0);
});

test("a plan beyond the limits can be approved until a run came after it", () => {
  expect(approvable({ last: null, plan })).toBe("abc");
  expect(approvable({ last: task({}), plan })).toBe("abc");
  expect(approvable({ last: task({ started_at: "2024-05-01T00:00:04Z" }), plan })).toBeNull();
  expect(approvable({ last: task({ status: "failed", started_at: "2024-05-01T00:00:04Z" }), plan })).toBe("abc");
  expect(approvable({ last: null, plan: null })).toBeNull();
});

test("what is typed is a text where texts stand, and a number where numbers do", () => {
  expect(valueOf("138", { left: "137", right: null })).toBe("138");
  expect(valueOf("138", { left: 137, right: 139 })).toBe(138);
  expect(valueOf("not json", { left: 137 })).toBe("not json");
});

test("what is missing is told apart from an empty text", () => {
  expect([text(null), text(""), text(["a"]), text(5)]).toEqual(["∅", "", '["a"]', "5"]);
});
