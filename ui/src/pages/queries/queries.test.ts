import { expect, it } from "vitest";
import { complaints, curl, edited, example, fits, guess, kindOf, meant, placeOf, possible, put, rowsAt, scan, script, sent, slug, TYPES, wrong, type Parameter } from "./parameters";
import { gridOf, listOf, roleOf, stateOf, type Key } from "./query";

const names = (sql: string) => scan(sql).names;

it("parameters are found once each, in the order in which they stand", () => {
  expect(names("select * from t where country = $country and spent >= $least and other <> $country")).toEqual(["country", "least"]);
  expect(names("where 城市 = $城市 and a=$_a1 limit $n;")).toEqual(["城市", "_a1", "n"]);
  expect(names("select $a::date,$b")).toEqual(["a", "b"]);
});

it("what stands in texts, names in quotes and comments is no parameter", () => {
  expect(names("select '$a', 'it''s $b', \"$c\", $d")).toEqual(["d"]);
  expect(names("select 1 -- $a\n, $b /* $c /* $d */ $e */, $f {# $g #}")).toEqual(["b", "f"]);
  expect(names("select e'\\' $a', E'$b''', name like'$c\\' and x = $d")).toEqual(["d"]);
  expect(names("select * from {{ ref('orders') }} where day > {{ var('$x') }} and y = $y")).toEqual(["y"]);
});

it("text between dollars is no parameter, and a dollar within a name is none either", () => {
  expect(names("select $$ it's $a $$, $tag$ $b $$ $c $tag$, $d")).toEqual(["d"]);
  expect(names("select a$b, $1, costs$, $e")).toEqual(["e"]);
});

it("what has no end goes on to the end, and nothing is looked at for ever", () => {
  for (const open of ["'", '"', "/* /* */", "$$", "$t$", "{#", "--", "e'"]) expect(names(`select $a, ${open} $b`), open).toEqual(["a"]);
  expect(names("")).toEqual([]);
  expect(names("🙂 $a 𠮷$b $")).toEqual(["a"]);
});

it("the text without what stands for itself has every sign at its place", () => {
  const sql = "select '🙂$a' -- $b\n, $c /* x\n */ from t";
  const { plain } = scan(sql);
  expect([plain.length, plain.split("\n").length, plain.indexOf("$c")]).toEqual([sql.length, 3, sql.indexOf("$c")]);
});

const tables = [
  { name: "mart.orders", columns: [{ name: "country", type: "text" }, { name: "spent", type: "number" }, { name: "ordered_at", type: "moment" }, { name: "id", type: "integer" }, { name: "paid", type: "flag" }] },
  { name: "mart.days", columns: [{ name: "id", type: "text" }, { name: "day", type: "day" }] },
];

it("a type is read from a cast, from a limit, or from the column beside", () => {
  const of = (name: string, sql: string) => guess(name, scan(sql).plain, tables);
  expect([of("a", "where x = $a::date"), of("a", "where x > cast($a as bigint)"), of("a", "where x > $a::numeric(12, 2)"), of("a", "where x > $a::decimal")]).toEqual(["date", "int64", "decimal(12,2)", "decimal(18,2)"]);
  expect([of("n", "select 1 limit $n"), of("n", "offset $n")]).toEqual(["int64", "int64"]);
  expect([of("least", "where o.spent >= $least"), of("day", "where $day <= d.day"), of("p", "where paid=$p"), of("c", "where country not ilike $c")]).toEqual(["float64", "date", "bool", "text"]);
  expect([of("from", "where ordered_at between $from and $to"), of("to", "where ordered_at between $from and $to")]).toEqual(["timestamp", "timestamp"]);
  // A parameter whose name begins like another, a column that tables differ about, and one that stands in a comment only.
  expect([of("a", "where spent > $ab and country = $a"), of("i", "where id = $i"), of("s", "-- spent > $s\nwhere f($s)")]).toEqual(["text", "text", "text"]);
  expect(kindOf("SPENT", tables)).toBe("number");
});

it("values are judged by their type as far as pages can", () => {
  const good: [string, string][] = [["int64", "-12"], ["decimal(12,2)", "9.99"], ["float64", "1e-3"], ["bool", "true"], ["date", "2024-02-29"], ["timestamp", "2025-01-01T08:00:00Z"], ["timestamp", "2025-01-01 08:00"], ["timestamp", "2025-01-01"], ["text", ""], ["of-a-newer-server", "x"]];
  for (const [type, text] of good) expect(fits(type, text), `${type} ${text}`).toBe(true);
  const bad: [string, string][] = [["int64", "1.5"], ["int64", ""], ["decimal(12,2)", "1e3"], ["float64", "."], ["bool", "yes"], ["date", "2025-02-30"], ["date", "nonsense"], ["timestamp", "08:00"], ["json", "{a"]];
  for (const [type, text] of bad) expect(fits(type, text), `${type} ${text}`).toBe(false);
  for (const type of TYPES) expect(fits(type, example(type)), type).toBe(true);
  expect(["decimal(12,2)", "decimal(38, 0)", "decimal", "decimal(39,2)", "decimal(2,3)", "text"].map(possible)).toEqual([true, true, false, false, false, true]);
});

const parameter = (more: Partial<Parameter>): Parameter => ({ name: "a", type: "text", required: true, default: "", description: "", ...more });

it("a parameter is refused before it is sent where the server would refuse it", () => {
  expect([parameter({}), parameter({ name: "limit" }), parameter({ name: "城市" }), parameter({ name: "Country" }), parameter({ type: "decimal(x)" }), parameter({ type: "int64", required: false, default: "x" }), parameter({ type: "int64", default: "x" })].map(wrong)).toEqual([null, "reserved", "name", "name", "type", "default", null]);
});

it("defaults are sent as what they are, digit for digit, and come back", () => {
  const given = (type: string, text: string) => put(parameter({ type, required: false, default: text })).default;
  expect([given("int64", "10"), given("decimal(20,2)", "0.10"), given("int64", "9007199254740993"), given("float64", "1.5"), given("bool", "false"), given("text", " 1 "), given("date", "2025-01-31")]).toEqual([10, "0.10", "9007199254740993", 1.5, false, " 1 ", "2025-01-31"]);
  expect(put(parameter({ default: "left" }))).toEqual({ name: "a", type: "text" });
  const read = { name: "least", type: "decimal(12,2)", required: false, default: 0, description: null };
  expect(put(edited(read))).toEqual({ name: "least", type: "decimal(12,2)", default: 0 });
  expect(edited({ ...read, required: true, default: null }).default).toBe("");
});

it("an address says what was given, and neither a shell nor a script can be led astray by it", () => {
  const at = rowsAt("top", [["country", "D'E &$(x)+"], ["least", ""]], { limit: "10" });
  expect(at).toBe("/v1/queries/top/rows?country=D%27E%20%26%24%28x%29%2B&limit=10");
  expect(rowsAt("top", [])).toBe("/v1/queries/top/rows");
  expect(curl(`https://x.example${at}`, "fwt_1")).toBe(`curl -H 'authorization: Bearer fwt_1' \\\n  'https://x.example${at}'`);
  expect(script("https://x.example/a", "fwt_1")).toContain('fetch("https://x.example/a"');
  expect([sent("timestamp", "2025-01-01T08:00"), sent("timestamp", "2025-01-01T08:00:05"), sent("timestamp", "2025-01-01T08:00Z"), sent("date", "2025-01-01")]).toEqual(["2025-01-01T08:00:00Z", "2025-01-01T08:00:05Z", "2025-01-01T08:00Z", "2025-01-01"]);
  expect([slug("Top Customers!"), slug("2 top"), slug("ä")]).toEqual(["top_customers_", "top", ""]);
});

it("a refusal stands beside what it is about", () => {
  const of = (detail: string, more: { code?: string; field?: string } = {}) => placeOf({ code: "invalid", detail, ...more }, ["country", "least"]);
  expect([of("", { field: "sql" }), of("", { field: "parameters.least" }), of("", { field: "/parameters/0/default" }), of("", { field: "parameters[1].type" }), of("", { field: "timeout_ms" }), of("", { field: "country" })]).toEqual(["sql", "$least", "$country", "$least", "time", "$country"]);
  expect([of('the parameter "least" takes a decimal(12,2)'), of("$country is declared and not used"), of("parameter `country` is missing")]).toEqual(["$least", "$country", "$country"]);
  expect([of("the SQL takes $least, which is no parameter"), of("ref('order') names no model or learner"), of('query "top" cannot have this timeout'), of('the default of parameter "least": the text is no int64')]).toEqual(["$least", "sql", "time", "$least"]);
  expect([of("queries/top.yaml:4: no table \"orders\""), of("timeout_ms is too long"), of("rows: 0 is not between 1 and 100000")]).toEqual(["sql", "time", "rows"]);
  // As the server says them.
  expect([of("sql: no column is called \"nope\""), of('the parameter "country", which is text, is missing'), of('"x" is no parameter of the query "top"'), of("a key lasts 1 to 365 days"), of("\"Top\" is not a good name for a query: it does not start with a lower-case letter")]).toEqual(["sql", "$country", null, null, "name"]);
  expect([of("$countryside is not declared"), of("no such permission", { code: "denied" }), of("the file was changed since it was read", { code: "conflict" })]).toEqual([null, null, null]);
});

it("each mistake of the file stands beside what it is about, without the lines of the file", () => {
  const detail = `the query was not kept, because the project cannot be read with it
  caused by: the project has 3 errors

error: ref('order') names no model or learner
  --> queries/top.yaml:3:9
   |
 3 |   select $least from {{ ref('order') }}
   |                              ^^^^^
   = hint: Did you mean "orders"?

warning: nobody uses this
  --> queries/top.yaml:1:1

error: parameter "least" cannot have the type "txt"
  --> queries/top.yaml:7:25
   |
 7 |   - {name: least, type: txt}
   |                         ^^^
   = hint: Did you mean "text"?

error: metric "a" is declared twice
  --> metrics/a.yaml:2:1`;
  const found = complaints({ code: "invalid", detail, hint: "Mend the files and run \`flywheel check\`." }, "queries/top.yaml");
  expect(found.map((one) => [placeOf(one, ["country", "least"]), one.detail, one.hint])).toEqual([
    ["sql", "ref('order') names no model or learner", 'Did you mean "orders"?'],
    ["$least", 'parameter "least" cannot have the type "txt"', 'Did you mean "text"?'],
    [null, 'metrics/a.yaml: metric "a" is declared twice', null],
  ]);
  const plain = { code: "denied", detail: "an error: not yours", hint: null };
  expect(complaints(plain, "queries/top.yaml")).toEqual([plain]);
});

it("columns are looked for in the tables that the SQL reads", () => {
  const names = (sql: string) => meant(sql, tables).map((table) => table.name);
  expect([names("from {{ ref('orders') }}"), names('from {{ ref("days") }}'), names("from mart.days"), names("from {{ source('mart', 'orders') }}"), names("from orders")]).toEqual([["mart.orders"], ["mart.days"], ["mart.days"], ["mart.orders"], ["mart.orders", "mart.days"]]);
});

it("lists, keys and rows are read as the server gives them", () => {
  expect([listOf({ queries: [1] }, "queries"), listOf({ items: [2] }, "keys"), listOf(undefined, "keys"), listOf({ keys: null }, "keys")]).toEqual([[1], [2], [], []]);
  const key: Key = { id: "k", owner: "ada", created_at: "2025-01-01T00:00:00Z", expires_at: "2025-02-01T00:00:00Z", last_used_at: null, revoked: false, scopes: ["query:top", "as:viewer"] };
  expect([roleOf(key), roleOf({ ...key, scopes: ["query:top"] }), roleOf({ ...key, scopes: undefined, role: "analyst" })]).toEqual(["viewer", null, "analyst"]);
  const now = Date.parse("2025-01-15T00:00:00Z");
  expect([stateOf(key, now), stateOf({ ...key, revoked: true }, now), stateOf(key, now + 1e10)]).toEqual(["active", "revoked", "expired"]);
  expect(gridOf({ columns: [{ name: "a", type: "text" }], rows: [["x"]], limit: 1, offset: 0, more: true }, 3)).toMatchObject({ row_count: 1, truncated: true, elapsed_ms: 3 });
});
