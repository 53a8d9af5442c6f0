import { expect, test } from "vitest";
import { example } from "./Tokens";
import { whole } from "./Users";

test("an invitation is a whole address that can be sent", () => {
  expect(whole("/setup?token=fws_1", "http://shop.example:8700")).toBe("http://shop.example:8700/setup?token=fws_1");
});

test("the example of a token does what its scopes allow", () => {
  expect(example(["view", "ingest"], "fwt_1", "http://h")).toContain("/v1/events");
  expect(example(["query"], "fwt_1", "http://h")).toContain("/v1/sql");
  expect(example(["view"], "fwt_1", "http://h")).toContain("/v1/status");
  expect(example(["decide"], "fwt_1", "http://h")).toContain("/v1/me");
});
