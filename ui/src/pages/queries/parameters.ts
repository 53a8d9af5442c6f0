/** What a published query asks of its callers: found in its SQL, checked, and written into an address. */
import { named, type KnownTable } from "../sql/known";

/** A parameter as the API answers it. */
export interface Declared { name: string; type: string; required: boolean; default: unknown; description: string | null }
/** A parameter as it is being made: what is typed is kept as it is typed. */
export interface Parameter { name: string; type: string; required: boolean; default: string; description: string }

export const TYPES = ["text", "int64", "int32", "float64", "decimal", "bool", "date", "timestamp", "json"] as const;
/** Names that say how the answer is written, and so cannot be parameters. */
export const RESERVED = ["limit", "offset", "format", "as"];

/** What in SQL stands for itself: comments, texts, names in quotes and texts between dollars. What has no end goes on to the end. */
const QUOTED = /--[^\n]*|e'(?:\\[\s\S]|''|[^'\\])*(?:'|$)|'(?:''|[^'])*(?:'|$)|"(?:""|[^"])*(?:"|$)|\{#[\s\S]*?(?:#\}|$)|\$([\p{L}_][\p{L}\p{N}_]*)?\$[\s\S]*?(?:\$\1\$|$)/iuy;
const PARAMETER = /\$([\p{L}_][\p{L}\p{N}_]*)/uy;
/** A dollar within a name is part of it. */
const WORD = /[\p{L}\p{N}_][\p{L}\p{N}_$]*/uy;

/** Where a comment that begins at a place ends; comments may hold comments. */
function endOfComment(sql: string, from: number): number {
  let depth = 0;
  for (const mark of sql.slice(from).matchAll(/\/\*|\*\//g)) {
    depth += mark[0] === "/*" ? 1 : -1;
    if (depth === 0) return from + mark.index + 2;
  }
  return sql.length;
}

/** The parameters of a query in the order in which they first stand, and its text with blanks in place of what stands for itself. */
export function scan(sql: string): { names: string[]; plain: string } {
  const names = new Set<string>();
  let plain = "";
  let at = 0;
  const here = (what: RegExp) => {
    what.lastIndex = at;
    return what.exec(sql);
  };
  while (at < sql.length) {
    const quoted = sql.startsWith("/*", at) ? sql.slice(at, endOfComment(sql, at)) : here(QUOTED)?.[0];
    if (quoted) {
      plain += quoted.replace(/[^\n]/g, " ");
      at += quoted.length;
      continue;
    }
    const parameter = here(PARAMETER);
    if (parameter?.[1]) names.add(parameter[1]);
    const piece = parameter?.[0] ?? here(WORD)?.[0] ?? String.fromCodePoint(sql.codePointAt(at) ?? 0);
    plain += piece;
    at += piece.length;
  }
  return { names: [...names], plain };
}

/** The types of parameters by the simple names that columns have in the API. */
const KINDS: Record<string, string> = { text: "text", integer: "int64", number: "float64", flag: "bool", day: "date", moment: "timestamp" };
/** The same by the words of a cast. */
const CASTS: Record<string, string> = {
  int: "int64", integer: "int64", bigint: "int64", smallint: "int64", double: "float64", float: "float64", real: "float64",
  bool: "bool", boolean: "bool", date: "date", timestamp: "timestamp", timestamptz: "timestamp", text: "text", varchar: "text",
};

/** What a column is, by its name alone; nothing where tables differ about it. */
export function kindOf(column: string, tables: KnownTable[]): string | null {
  const kinds = new Set(tables.flatMap((table) => table.columns).filter((one) => one.name.toLowerCase() === column.toLowerCase()).map((one) => one.type));
  const [kind] = kinds;
  return kinds.size === 1 && kind ? kind : null;
}

/** The tables that SQL reads: those that it names, and those that it refers to. */
export function meant(sql: string, tables: KnownTable[]): KnownTable[] {
  const refs = [...sql.matchAll(/\bref\s*\(\s*(?:'([^']+)'|"([^"]+)")/gi)].map((found) => found[1] ?? found[2] ?? "");
  const sources = [...sql.matchAll(/\bsource\s*\(\s*['"]([^'"]+)['"]\s*,\s*['"]([^'"]+)['"]/gi)].map((found) => `${found[1]}.${found[2]}`);
  const told = [...named(sql, tables), ...tables.filter((table) => refs.includes(table.name.replace(/^.*\./, "")) || sources.includes(table.name))];
  return told.length ? told : tables;
}

/** The type that a parameter seems to have, by what it is cast to or compared with in a text of [`scan`]. */
export function guess(name: string, plain: string, tables: KnownTable[]): string {
  const mark = `\\$${name}(?![\\p{L}\\p{N}_])`;
  const column = "([\\p{L}_][\\p{L}\\p{N}_]*)";
  const compared = "(?:=|<>|!=|<=|>=|<|>|(?:not\\s+)?i?like\\b|(?:not\\s+)?between\\b)";
  const found = (pattern: string) => new RegExp(pattern, "iu").exec(plain);
  const word = "([a-z]+)(\\s*\\(\\s*\\d+\\s*,\\s*\\d+\\s*\\))?";
  const cast = found(`${mark}\\s*::\\s*${word}`) ?? found(`cast\\s*\\(\\s*${mark}\\s+as\\s+${word}`);
  if (cast?.[1]) {
    const to = cast[1].toLowerCase();
    if (to === "decimal" || to === "numeric") return `decimal${(cast[2] ?? "(18,2)").replace(/\s/g, "")}`;
    if (CASTS[to]) return CASTS[to];
  }
  if (found(`\\b(?:limit|offset)\\s+${mark}`)) return "int64";
  const beside = found(`${column}\\s*${compared}\\s*${mark}`) ?? found(`${column}\\s+(?:not\\s+)?between\\s+\\S+\\s+and\\s+${mark}`) ?? found(`${mark}\\s*${compared}\\s*(?:[\\p{L}_][\\p{L}\\p{N}_]*\\.)*${column}`);
  const kind = beside?.[1] ? kindOf(beside[1], tables) : null;
  return (kind && KINDS[kind]) || "text";
}

/** The word of a type without its digits. */
export const family = (type: string): string => (type.startsWith("decimal") ? "decimal" : type);

/** Whether a type is one that can be declared. */
export function possible(type: string): boolean {
  if (family(type) !== "decimal") return true;
  const digits = /^decimal\(\s*(\d{1,2})\s*,\s*(\d{1,2})\s*\)$/.exec(type);
  const [all, after] = [Number(digits?.[1]), Number(digits?.[2])];
  return digits !== null && all >= 1 && all <= 38 && after <= all;
}

/** Whether a text is a day that there is. */
function isDay(text: string): boolean {
  const at = new Date(`${text}T00:00:00Z`);
  return /^\d{4}-\d\d-\d\d$/.test(text) && !Number.isNaN(at.getTime()) && at.toISOString().startsWith(text);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Whether a text can be a value of a type. What the pages do not know, the server judges. */
export function fits(type: string, text: string): boolean {
  switch (family(type)) {
    case "int64":
    case "int32":
      return /^[+-]?\d{1,19}$/.test(text);
    case "decimal":
      return /^[+-]?(?:\d+\.?\d*|\.\d+)$/.test(text);
    case "float64":
      return /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(text);
    case "bool":
      return text === "true" || text === "false";
    case "json":
      return isJson(text);
    case "date":
      return isDay(text);
    case "timestamp":
      return isDay(text.slice(0, 10)) && /^(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?$/.test(text.slice(10));
    default:
      return true;
  }
}

/** A value of a type, where a caller needs one to begin with. */
export function example(type: string): string {
  return { int64: "10", int32: "10", decimal: "9.99", float64: "9.99", bool: "true", date: "2025-01-31", timestamp: "2025-01-31T08:00:00Z", json: '{"a":1}' }[family(type)] ?? "text";
}

/** What is wrong with a parameter, before the server is asked. */
export function wrong(parameter: Parameter): "name" | "reserved" | "type" | "default" | null {
  if (!/^[a-z][a-z0-9_]{0,62}$/.test(parameter.name)) return "name";
  if (RESERVED.includes(parameter.name)) return "reserved";
  if (!possible(parameter.type)) return "type";
  return parameter.required || fits(parameter.type, parameter.default.trim()) ? null : "default";
}

/** A default as JSON: numbers as numbers where none of their digits is lost, all else as it was typed. */
function value(type: string, text: string): string | number | boolean {
  const kind = family(type);
  if (kind === "text") return text;
  const bare = text.trim();
  if (kind === "bool") return bare === "true";
  const number = Number(bare);
  return ["int64", "int32", "float64", "decimal"].includes(kind) && String(number) === bare ? number : bare;
}

export const edited = ({ name, type, required, default: given, description }: Declared): Parameter => ({ name, type, required, default: given === null || given === undefined ? "" : String(given), description: description ?? "" });

/** A parameter as the API takes it. */
export const put = ({ name, type, required, default: given, description }: Parameter) => ({ name, type, ...(required ? {} : { default: value(type, given) }), ...(description.trim() ? { description: description.trim() } : {}) });

/** A value as it stands in an address: a moment that is chosen in a page is one of UTC. */
export const sent = (type: string, text: string): string => (type !== "timestamp" || !/T\d\d:\d\d(:\d\d(\.\d+)?)?$/.test(text) ? text : /T\d\d:\d\d$/.test(text) ? `${text}:00Z` : `${text}Z`);

/** Where the rows of a query are, for some values; what is left empty is not said. */
export function rowsAt(name: string, values: [string, string][], more: Record<string, string> = {}): string {
  const search = new URLSearchParams([...values.filter(([, text]) => text !== ""), ...Object.entries(more)]).toString().replaceAll("+", "%20");
  return `/v1/queries/${encodeURIComponent(name)}/rows${search && `?${search}`}`;
}

/** A command that asks for an address; nothing in it means anything to a shell. */
export const curl = (address: string, key: string): string => `curl -H 'authorization: Bearer ${key}' \\\n  '${address.replaceAll("'", "%27")}'`;

export const script = (address: string, key: string): string => `const answer = await fetch(${JSON.stringify(address)}, {
  headers: { authorization: ${JSON.stringify(`Bearer ${key}`)} },
});
if (!answer.ok) throw new Error((await answer.json()).detail);
const { columns, rows, more } = await answer.json();`;

/** A name for a query, from what somebody types. */
export const slug = (text: string): string => text.toLowerCase().replace(/[^a-z0-9_]+/g, "_").replace(/^[^a-z]+/, "");

interface Refusal { code: string; detail: string; hint: string | null; field?: string | null }

/** What a refusal says: each mistake of the file by itself, without the lines that show where it stands there. */
export function complaints(refusal: Refusal, file: string): Refusal[] {
  const [, ...pieces] = refusal.detail.split(/^[ \t]*(error|warning): /m);
  const found: Refusal[] = [];
  for (let at = 0; at + 1 < pieces.length; at += 2) {
    const text = pieces[at + 1] ?? "";
    const place = /^\s*--> (.+?):\d+/m.exec(text)?.[1];
    if (pieces[at] !== "error") continue;
    const said = text.split("\n").filter((line) => line.trim() && !/^\s*(?:\d+\s*)?\|/.test(line) && !/^\s*(?:-->|=|…)/.test(line)).map((line) => line.trim()).join(" ");
    const hint = [...text.matchAll(/^\s*= hint: (.*)$/gm)].map((line) => line[1]).join(" ");
    // Another file of the project may be the one that cannot be read.
    found.push({ code: refusal.code, detail: place === undefined || place === file ? said : `${place}: ${said}`, hint: hint || null, field: place === undefined || place === file ? null : "elsewhere" });
  }
  return found.length ? found : [refusal];
}

/** The place in the form that a refusal is about: `sql`, `name`, `rows`, `time`, or a parameter's name after a `$`. */
export function placeOf(problem: Pick<Refusal, "code" | "detail" | "field">, names: string[]): string | null {
  const { field } = problem;
  if (field) {
    const [first = "", second = ""] = field.replace(/^\//, "").split(/[./[\]]+/);
    if (first === "parameters" || first === "parameter") {
      const name = names.includes(second) ? second : names[Number(second || Number.NaN)];
      return name ? `$${name}` : "sql";
    }
    if (names.includes(first)) return `$${first}`;
    const known: Record<string, string> = { sql: "sql", name: "name", query: "name", rows: "rows", timeout: "time", timeout_ms: "time" };
    if (known[first]) return known[first];
    if (field === "elsewhere") return null;
  }
  if (problem.code !== "invalid" && problem.code !== "conflict" && problem.code !== "not-found") return null;
  const said = problem.detail;
  const parameter = names.find((name) => said.includes(`$${name}`) && !new RegExp(`\\$${name}[\\p{L}\\p{N}_]`, "u").test(said)) ?? names.find((name) => new RegExp(`parameters?\\b.{0,20}["\`]${name}["\`]`, "iu").test(said));
  if (parameter) return `$${parameter}`;
  if (/\btimeout(?:_ms)?\b/i.test(said)) return "time";
  if (/(?:^|["`\s])rows["`]?\s*(?::|(?:has|have|must|cannot|is|are)\b)/i.test(said) && !/\bline\b/i.test(said)) return "rows";
  if (/\bgood name for a query\b/i.test(said)) return "name";
  return problem.code !== "conflict" && /\b(?:sql|select|line|column|table|function|syntax|parser|template|ref|source)\b/i.test(said) ? "sql" : null;
}
