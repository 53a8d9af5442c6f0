import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { addressed, call, client, readAs, type Me, type Session } from "./api";
import { who } from "./session";

const kept = new Map<string, string>();
let asked: string[] = [];

beforeEach(() => {
  asked = [];
  vi.stubGlobal("sessionStorage", { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => kept.set(key, value), removeItem: (key: string) => kept.delete(key) });
  vi.stubGlobal("fetch", async (path: string) => {
    asked.push(path);
    return new Response("{}");
  });
});
afterEach(() => {
  vi.unstubAllGlobals();
  readAs(null);
  kept.clear();
  client.clear();
});

it("everything is read as somebody else, but who is signed in and the way out", () => {
  expect(addressed("/v1/status", null)).toBe("/v1/status");
  expect(addressed("/v1/status", "anna")).toBe("/v1/status?as=anna");
  expect(addressed("/v1/turns?limit=40", "o\u2019 n&a/viewer")).toBe("/v1/turns?limit=40&as=o%E2%80%99%20n%26a%2Fviewer");
  expect(["/v1/session", "/v1/me", "/v1/logout"].map((path) => addressed(path, "anna"))).toEqual(["/v1/session", "/v1/me", "/v1/logout"]);
  // What is not read is refused by the server, as it is not left out there.
  expect(addressed("/v1/me/password", "anna")).toBe("/v1/me/password?as=anna");
});

it("a view begins and ends with nothing left of what was answered before, and lasts no longer than its tab", async () => {
  const { look, viewOf } = await import("./view");
  const view = { as: "anna", by: "shop.ada", query: false };
  client.setQueryData(["/v1/status"], { rows: 9 });
  look(view);
  expect(client.getQueryData(["/v1/status"])).toBeUndefined();
  expect([...kept.values()].map(viewOf)).toEqual([view]);
  await call("GET", "/v1/status");
  client.setQueryData(["/v1/status"], { rows: 2 });
  look(null);
  expect([client.getQueryData(["/v1/status"]), kept.size]).toEqual([undefined, 0]);
  await call("GET", "/v1/status");
  expect(asked).toEqual(["/v1/status?as=anna", "/v1/status"]);
  for (const text of [null, "", "{", "[]", "null", '{"as":"","by":"x","query":true}', '{"as":"anna","by":"x"}', '{"as":1,"by":"x","query":true}']) expect(viewOf(text), String(text)).toBeNull();
});

it("what pages had asked before is not asked through the eyes of somebody else", async () => {
  const { QueryObserver } = await import("@tanstack/react-query");
  const { look } = await import("./view");
  const users = new QueryObserver(client, { queryKey: ["/v1/users"], queryFn: () => call("GET", "/v1/users") });
  const stop = users.subscribe(() => {});
  await vi.waitFor(() => expect(asked).toEqual(["/v1/users"]));
  client.setQueryData(["/v1/me"], { name: "ada" });
  look({ as: "anna", by: "shop.ada", query: false });
  await new Promise((done) => setTimeout(done, 0));
  expect([asked, client.getQueryData(["/v1/users"])]).toEqual([["/v1/users"], undefined]);
  expect(client.getQueryData(["/v1/me"]), "who is signed in stays").toEqual({ name: "ada" });
  stop();
  look(null);
});

it("who looks as somebody else can read as they can, and nothing more", () => {
  const me: Me = { name: "ada", role: "owner", permissions: ["view", "query", "operate", "author", "administer"], features: ["sql", "access", "extensions", "tokens"] };
  const session = { project: "shop" } as Session;
  const seen = (query: boolean) => who(session, me, { as: "anna", by: "shop.ada", query });
  expect([seen(true).me.permissions, seen(false).me.permissions, seen(true).me.features]).toEqual([["view", "query"], ["view"], ["sql"]]);
  expect([seen(true).can("administer"), seen(true).me.name, who(session, me).can("administer")]).toEqual([false, "ada", true]);
});
