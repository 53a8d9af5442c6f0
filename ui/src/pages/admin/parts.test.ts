import { expect, test } from "vitest";
import { mebibytes } from "./Quotas";
import { example } from "./Tokens";
import { whole } from "./Users";
import { decided, entries } from "./Rules";
import { named, places, reference } from "./Secrets";

test("an invitation is a whole address that can be sent", () => {
  expect(whole("/setup?token=fws_1", "http://shop.example:8700")).toBe("http://shop.example:8700/setup?token=fws_1");
});

test("the example of a token does what its scopes allow", () => {
  expect(example(["view", "ingest"], "fwt_1", "http://h")).toContain("/v1/events");
  expect(example(["query"], "fwt_1", "http://h")).toContain("/v1/sql");
  expect(example(["view"], "fwt_1", "http://h")).toContain("/v1/status");
  expect(example(["decide"], "fwt_1", "http://h")).toContain("/v1/me");
});

test("an entry of a rule names the users for whom it decides, and those whom none names see nothing", () => {
  const rule = { rule: "r", description: null, ask: "a", file: "access/r.yaml", line: 1, tables: [], cleared: [], refused: [], readers: [{ roles: ["owner"] }, { groups: ["north"], rows: "x" }], users: [["ada", 1], ["kim", 2], ["eve", null]] as [string, number | null][], lifted: [] as string[] };
  expect(entries([rule]).map(decided)).toEqual([["ada"], ["kim"], ["eve"]]);
  expect(entries([{ ...rule, readers: [{ everybody: true }], users: [["ada", 1]] }]).map(decided)).toEqual([["ada"]]);
  expect(entries([{ ...rule, lifted: ["lin"] }]).map(decided)).toEqual([["ada"], ["kim"], ["eve"], ["lin"]]);
});

test("a secret is referred to as files write it, and each file that does is named once", () => {
  expect(reference("crm")).toBe("${secret:crm}");
  expect(["crm", "_a.b-c", "0"].every(named)).toBe(true);
  expect(["", "a b", "-a", ".a", "a}", "密", "n".repeat(101)].some(named)).toBe(false);
  expect(places([{ file: "a.yaml", line: 2 }, { file: "b.yaml", line: 1 }, { file: "a.yaml", line: 9 }])).toEqual(["a.yaml:2,9", "b.yaml:1"]);
});

test("memory of a quota is said as files say it", () => {
  expect([8 << 20, 512 << 20, 1_500_000].map(mebibytes)).toEqual([8, 512, 1.4]);
});
