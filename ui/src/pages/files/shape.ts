/** What a form shows of a JSON Schema: the few shapes that the files of a project are made of. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Fields = { [key: string]: Json };

export interface Schema {
  $ref?: string;
  $defs?: Record<string, Schema>;
  type?: string | string[];
  description?: string;
  title?: string;
  default?: Json;
  const?: Json;
  enum?: Json[];
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  items?: boolean | Schema;
  oneOf?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
  minimum?: number;
  maximum?: number;
  pattern?: string;
}

/** A schema with the one in whose `$defs` its references lie. */
export interface Spot { schema: Schema; root: Schema }

export interface Option { value: string | number | boolean; about?: string }

export type Shape =
  /** A text; one of several lines is a query. */
  | { kind: "text"; sql: boolean }
  /** A number, a truth value or a text, whichever it looks like. */
  | { kind: "scalar" }
  | { kind: "number"; whole: boolean; least?: number; most?: number }
  | { kind: "truth" }
  | { kind: "choice"; options: Option[] }
  | { kind: "fields"; named: Record<string, Schema>; required: string[]; rest: Schema | null }
  | { kind: "list"; of: Schema }
  | { kind: "either"; of: { label: string; schema: Schema }[] }
  /** Anything, as JSON or a text. */
  | { kind: "any" };

const STEPS_MAX = 16;

const isNull = (schema: Schema) => schema.type === "null" || schema.const === null;

/** The schema itself: references followed, and `null` left out, since what is absent is left out of a file. */
export function plain({ schema, root }: Spot): Schema {
  let now = schema;
  for (let step = 0; step < STEPS_MAX; step += 1) {
    const { $ref, allOf, ...rest } = now;
    const target = $ref ? root.$defs?.[$ref.replace("#/$defs/", "")] : allOf?.length === 1 ? allOf[0] : undefined;
    if (target) {
      now = { ...target, ...rest };
      continue;
    }
    const key = now.anyOf ? "anyOf" : now.oneOf ? "oneOf" : null;
    const some = key ? (now[key] ?? []).filter((one) => !isNull(one)) : [];
    if (key && some.length === 1 && some[0]) {
      const { [key]: _, ...others } = now;
      now = { ...some[0], ...others };
      continue;
    }
    break;
  }
  return now;
}

const typesOf = ({ type }: Schema): string[] => (type === undefined ? [] : Array.isArray(type) ? type : [type]).filter((one) => one !== "null");
const SCALARS = ["string", "number", "integer", "boolean"];
const isScalar = (schema: Schema) => typesOf(schema).length > 0 && typesOf(schema).every((type) => SCALARS.includes(type)) && !schema.properties;
const isPlainValue = (value: Json | undefined): value is string | number | boolean => ["string", "number", "boolean"].includes(typeof value);

/** Constants to choose from, if that is all there is. */
function constants(schema: Schema): Option[] | null {
  if (schema.enum) return schema.enum.filter(isPlainValue).map((value) => ({ value }));
  const branches = (schema.oneOf ?? schema.anyOf ?? []).filter((one) => !isNull(one));
  const options = branches.flatMap((one): Option[] => (isPlainValue(one.const) ? [{ value: one.const, about: one.description }] : (one.enum ?? []).filter(isPlainValue).map((value) => ({ value }))));
  return branches.length > 0 && branches.every((one) => one.const !== undefined || one.enum !== undefined) ? options : null;
}

/** Whether a text is SQL, as its description says it. */
const isSql = (name: string, { description = "" }: Schema) => name === "sql" || /\bSELECT\b|^A query|\ba query\b/.test(description);

/** What a variant of several is called: its one key, the constant that tells it, or what it is. */
function called(schema: Schema): string {
  const [key, ...more] = schema.required ?? [];
  if (key && !more.length && Object.keys(schema.properties ?? {}).length === 1) return key;
  for (const property of Object.values(schema.properties ?? {})) if (typeof property.const === "string") return property.const;
  const said = schema.title ?? schema.description?.split(/[.:;,]/)[0];
  return said ?? (typesOf(schema).join(", ") || "…");
}

export function shapeOf(spot: Spot, name = ""): Shape {
  const schema = plain(spot);
  if (schema.properties) {
    const rest = schema.additionalProperties;
    return { kind: "fields", named: schema.properties, required: schema.required ?? [], rest: rest === undefined || rest === false ? null : rest === true ? {} : rest };
  }
  const options = constants(schema);
  if (options) return { kind: "choice", options };
  const branches = (schema.oneOf ?? schema.anyOf ?? []).filter((one) => !isNull(one)).map((one) => plain({ schema: one, root: spot.root }));
  if (branches.length > 0) {
    const list = branches.find((one) => typesOf(one).includes("array") && typeof one.items === "object");
    if (list && typeof list.items === "object" && branches.every((one) => one === list || isScalar(one) || constants(one))) return { kind: "list", of: list.items };
    if (branches.every(isScalar)) return { kind: "scalar" };
    return { kind: "either", of: branches.map((one) => ({ label: called(one), schema: one })) };
  }
  const types = typesOf(schema);
  const [type] = types;
  if (types.length > 1) return types.every((one) => SCALARS.includes(one)) ? { kind: "scalar" } : { kind: "any" };
  if (type === "array") return { kind: "list", of: typeof schema.items === "object" ? schema.items : {} };
  if (type === "object") return { kind: "fields", named: {}, required: [], rest: typeof schema.additionalProperties === "object" ? schema.additionalProperties : {} };
  if (type === "string") return { kind: "text", sql: isSql(name, schema) };
  if (type === "integer" || type === "number") return { kind: "number", whole: type === "integer", least: schema.minimum, most: schema.maximum };
  if (type === "boolean") return { kind: "truth" };
  return { kind: "any" };
}

export const isFields = (value: Json | undefined): value is Fields => typeof value === "object" && value !== null && !Array.isArray(value);

/** What is there when something is added. */
export function emptyOf(spot: Spot): Json {
  const shape = shapeOf(spot);
  switch (shape.kind) {
    case "fields": return {};
    case "list": return [];
    case "number": return shape.least ?? 0;
    case "truth": return true;
    case "choice": return shape.options[0]?.value ?? "";
    case "either": return shape.of[0] ? emptyOf({ schema: shape.of[0].schema, root: spot.root }) : "";
    default: return "";
  }
}

/** Which variant a value is: the first of its type that has all its keys. */
export function variantOf(value: Json | undefined, of: { schema: Schema }[]): number {
  const fits = ({ schema }: { schema: Schema }) => {
    const types = typesOf(schema);
    if (isFields(value)) return (schema.properties !== undefined || types.includes("object")) && (schema.required ?? []).every((key) => key in value);
    if (Array.isArray(value)) return types.includes("array");
    if (typeof value === "number") return types.includes("number") || types.includes("integer");
    return types.includes(typeof value) || isPlainValue(schema.const);
  };
  return Math.max(0, of.findIndex(fits));
}

/** The fields with one changed; nothing takes it away. Keys keep their order. */
export function put(fields: Fields, key: string, value: Json | undefined): Fields {
  if (value !== undefined) return { ...fields, [key]: value };
  const { [key]: _, ...rest } = fields;
  return rest;
}

/** What somebody typed, as a number or truth value if it looks like one. */
export function typed(text: string): Json {
  if (text === "true" || text === "false") return text === "true";
  return /^-?(0|[1-9]\d*)(\.\d+)?$/.test(text) ? Number(text) : text;
}

/** What somebody typed for anything: JSON, else a text. */
export function anything(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}

/** Whether a field of this name holds a secret, as the server knows them. */
export function isSecret(name: string): boolean {
  const word = name.toLowerCase().replaceAll("-", "_");
  const last = word.split("_").at(-1) ?? word;
  return ["password", "passwd", "token", "secret", "apikey", "authorization"].includes(last) || ["api_key", "access_key", "private_key", "secret_key", "account_key"].some((known) => word.endsWith(known));
}

/** What a default says in a field that is empty. */
export function shownDefault({ default: value }: Schema): string | undefined {
  if (value === undefined || value === null || value === "" || (Array.isArray(value) && !value.length) || isFields(value)) return undefined;
  return typeof value === "string" ? span(value) : JSON.stringify(value);
}

/** A length of time as people write it; the program's own are in microseconds. */
function span(text: string): string {
  const found = /^(\d+)us$/.exec(text);
  if (!found) return text;
  const us = Number(found[1]);
  for (const [unit, size] of [["d", 86_400e6], ["h", 3_600e6], ["m", 60e6], ["s", 1e6], ["ms", 1e3]] as const) if (us >= size && us % size === 0) return `${us / size}${unit}`;
  return text;
}
