import { expect, test } from "vitest";
import { first, lines, said } from "./Grants";
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

test("a grant says deed by deed what it gives, and a user has a line for each kind that is closed to them", () => {
  expect(said({ read: { tables: ["marts.*"], metrics: [] }, act: { policies: ["welcome"] } })).toEqual([{ deed: "read", kind: "tables", patterns: ["marts.*"] }, { deed: "act", kind: "policies", patterns: ["welcome"] }]);
  const kind = (name: "tables" | "metrics", closed: boolean, hidden = 0) => ({ kind: name, closed, read: [], change: [], act: [], hidden });
  const user = { who: "anna", role: "analyst", grants: [], given: [], everything: false, kinds: [kind("tables", true, 2), kind("metrics", false)], lacking: [] };
  expect(lines([user]).map(({ kind: one, place }) => [one?.kind, place])).toEqual([["tables", 1]]);
  expect(lines([{ ...user, everything: true }]).map((one) => one.kind)).toEqual([null]);
  expect(first(Array.from({ length: 11 }, (_, index) => `t${index}`)).more).toBe(3);
});
