/** What is told of a merge. */
import { expect, test } from "vitest";
import type { Task } from "../../api";
import { compared, waiting } from "./parts";

const task = (started_at: string, questions?: number) => ({ started_at, detail: questions === undefined ? null : { questions } }) as unknown as Task;

test("the newest run or plan says how many pairs wait", () => {
  expect(waiting({ last: task("2024-01-02", 3), plan: task("2024-01-01", 7) })).toBe(3);
  expect(waiting({ last: task("2024-01-02", 3), plan: task("2024-01-03", 7) })).toBe(7);
  expect(waiting({ last: task("2024-01-02", 3), plan: task("2024-01-03") })).toBe(3);
  expect(waiting({ last: null, plan: null })).toBe(0);
});

test("what differs between two records comes first", () => {
  const rows = compared({ a: { name: "Ann", city: "Rome" }, b: { name: "Ann", city: "Milan", tags: ["x"] } });
  expect(rows.map((row) => [row.field, row.differs])).toEqual([["city", true], ["tags", true], ["name", false]]);
  expect(rows[1]).toEqual({ field: "tags", a: "∅", b: "[\"x\"]", differs: true });
});
