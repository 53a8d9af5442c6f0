/// <reference types="node" />
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { isKind, KINDS, mayDeclare, shownAt } from "./kinds";
import { anything, emptyOf, isSecret, plain, put, shapeOf, shownDefault, typed, variantOf, type Json, type Schema } from "./shape";

const root: Schema = {
  $defs: {
    Duration: { type: "string", description: "A whole number and a unit.", pattern: "^[0-9]+" },
    Retry: { type: "object", properties: { attempts: { type: "integer", minimum: 1, default: 3 }, wait: { $ref: "#/$defs/Duration", default: "30000000us" } }, additionalProperties: false },
    Runs: { oneOf: [{ const: "turn", type: "string", description: "The whole wheel." }, { const: "sync", type: "string" }] },
    Round: { $ref: "#/$defs/Round" },
  },
};
const of = (schema: Schema) => shapeOf({ schema, root });

it("a schema becomes what a form can show", () => {
  expect(of({ type: ["string", "null"], default: null })).toEqual({ kind: "text", sql: false });
  expect(of({ type: "string", description: "A SELECT of its rows." })).toEqual({ kind: "text", sql: true });
  expect(of({ anyOf: [{ $ref: "#/$defs/Duration" }, { type: "null" }] })).toEqual({ kind: "text", sql: false });
  expect(of({ type: ["integer", "null"], minimum: 1 })).toEqual({ kind: "number", whole: true, least: 1, most: undefined });
  expect(of({ anyOf: [{ $ref: "#/$defs/Runs" }, { type: "null" }] })).toEqual({ kind: "choice", options: [{ value: "turn", about: "The whole wheel." }, { value: "sync", about: undefined }] });
  expect(of({ anyOf: [{ type: "string" }, { type: "array", items: { type: "string" } }] })).toEqual({ kind: "list", of: { type: "string" } });
  expect(of({ anyOf: [{ type: "number" }, { type: "string" }] })).toEqual({ kind: "scalar" });
  expect(of({ type: "object", additionalProperties: { type: "integer" } })).toEqual({ kind: "fields", named: {}, required: [], rest: { type: "integer" } });
  expect(of({ type: "object", additionalProperties: true })).toMatchObject({ rest: {} });
  expect(of({ $ref: "#/$defs/Retry" })).toMatchObject({ kind: "fields", required: [], rest: null });
  expect(of({})).toEqual({ kind: "any" });
  expect(of({ $ref: "#/$defs/Round" }).kind).toBe("any");
});

it("what a reference is said to be beside it wins over what it says of itself", () => {
  expect(plain({ schema: { $ref: "#/$defs/Duration", description: "How long." }, root }).description).toBe("How long.");
});

it("a value is shown as the variant it is", () => {
  const shape = of({ oneOf: [{ type: "object", required: ["bandit"], properties: { bandit: { $ref: "#/$defs/Retry" } } }, { type: "object", required: ["recommend"], properties: { recommend: {} } }, { type: "string" }] });
  if (shape.kind !== "either") throw new Error(shape.kind);
  expect(shape.of.map((one) => one.label)).toEqual(["bandit", "recommend", "string"]);
  const values: (Json | undefined)[] = [{ recommend: 1 }, { bandit: {} }, "x", undefined];
  expect(values.map((value) => variantOf(value, shape.of))).toEqual([1, 0, 2, 0]);
  expect(emptyOf({ schema: { $ref: "#/$defs/Runs" }, root })).toBe("turn");
});

it("what is typed is what it looks like, and what is emptied is left out", () => {
  expect(["5", "0.2", "20%", "007", "true", ""].map(typed)).toEqual([5, 0.2, "20%", "007", true, ""]);
  expect(['{"a": 1}', "a: 1", "[1"].map(anything)).toEqual([{ a: 1 }, "a: 1", "[1"]);
  expect(put({ a: 1, b: 2 }, "a", undefined)).toEqual({ b: 2 });
  expect(Object.keys(put({ a: 1, b: 2 }, "a", 3))).toEqual(["a", "b"]);
  expect([{ default: "30000000us" }, { default: "at-least-once" }, { default: null }, { default: [] }, { default: 8 }].map(shownDefault)).toEqual(["30s", "at-least-once", undefined, undefined, "8"]);
});

it("secrets are known by their names, as by the server", () => {
  expect(["password", "db_password", "API-Key", "client_secret"].every(isSecret)).toBe(true);
  expect(["token_url", "key", "path"].some(isSecret)).toBe(false);
});

it("the kinds are those of the server", () => {
  const resources = readFileSync(new URL("../../../../crates/project/src/resource.rs", import.meta.url), "utf8");
  const names = [...resources.matchAll(/^ {8}name: "(\w+)"/gm)].map((found) => found[1]);
  expect([...KINDS]).toEqual(names.filter((name) => !["project", "models", "extension"].includes(name ?? "")));
});

it("each kind is changed by who may, and is shown where it belongs", () => {
  const can = (...all: string[]) => (permission: string) => all.includes(permission);
  const engineer = can("view", "query", "author", "operate");
  expect(KINDS.filter((kind) => !mayDeclare(engineer, kind))).toEqual(["connection", "action", "rule", "grant"]);
  expect(KINDS.filter((kind) => mayDeclare(can("view", "query", "author"), kind))).toEqual(["dictionary", "semantic", "dashboard", "query"]);
  expect(KINDS.some((kind) => mayDeclare(can("view", "operate", "administer"), kind))).toBe(false);
  expect([shownAt("schedule", "a b"), shownAt("schedule", null), shownAt("topic", "x")]).toEqual(["/schedules/a%20b", "/schedules", "/files"]);
  expect([isKind("link"), isKind("models")]).toEqual([true, false]);
});
