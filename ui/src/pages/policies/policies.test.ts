import { describe, expect, it } from "vitest";
import { speaker } from "../../i18n";
import { audienceSql, blank, blankOutcome, builtSql, carried, compiled, condition, conditionFaults, countSql, dayOf, faultsOf, fresh, handFault, ident, isLength, likelyOutcome, likelyUnit, literal, micros, numeral, opsOf, outcomeSql, rowOf, scalar, sourcesOf, takes, unmeasured, wrong, yamlOf, type Condition, type Draft, type Field, type Source } from "./draft";
import { areUnshown, parsed } from "./parts";
import words from "./words";

const columns: Field[] = [
  { name: "customer_id", type: "text" }, { name: "country", type: "text" }, { name: "城市", type: "text" }, { name: "Order Count", type: "integer" }, { name: "revenue", type: "number" },
  { name: "consent", type: "flag" }, { name: "signed_up_on", type: "day" }, { name: "last_order_at", type: "moment" }, { name: "select", type: "text" }, { name: "tags", type: "other" },
];
const customers: Source = { relation: "mart.customers", kind: "model", refers: "{{ ref('customers') }}", columns };
const orders: Source = { relation: "mart.orders", kind: "model", refers: "{{ ref('orders') }}", columns: [{ name: "invoice_no", type: "text" }, { name: "customer_id", type: "text" }, { name: "day", type: "day" }, { name: "ordered_at", type: "moment" }, { name: "revenue", type: "number" }] };
const landed: Source = { relation: "raw.Order Lines", kind: "landed", refers: "{{ source('raw', 'Order Lines') }}", columns };
const sources = [customers, orders, landed];

const built = (more: Partial<Draft>): Draft => ({ ...blank(), table: "mart.customers", unit: "customer_id", ...more });
const where = (...all: (Partial<Condition> & Pick<Condition, "column" | "op">)[]) => all.map((one, at): Condition => ({ id: at + 1, value: "", to: "", values: [], ...one }));
/** What stands after `where`. */
const said = (one: Partial<Condition> & Pick<Condition, "column" | "op">) => builtSql(built({ conditions: where(one) }), sources).split("\nwhere ")[1];
const complete = (more: Partial<Draft> = {}): Draft => built({ name: "win_back", candidates: [{ id: 1, name: "reminder", weight: "1", payload: [] }], ...more });

describe("tables", () => {
  it("are named as a file names them: models by their own name, what was learned, and what landed", () => {
    const tables = ["system.runs", "raw.orders", "mart.customers", "learn.stage", "learn.stage_moves", "raw.it's", "raw.nobody_lands"].map((name) => ({ name, columns: [] }));
    const found = sourcesOf(tables, [{ name: "mart.customers", model: "dim_customers" }], ["stage"], ["raw.orders", "raw.it's"]);
    expect(found.map((one) => [one.relation, one.refers])).toEqual([
      ["mart.customers", "{{ ref('dim_customers') }}"], ["learn.stage", "{{ ref('stage') }}"], ["raw.it's", "{{ source('raw', 'it\\'s') }}"], ["raw.orders", "{{ source('raw', 'orders') }}"],
    ]);
    expect(sourcesOf([], [], [], [])).toEqual([]);
  });
  it("are guessed to be about a unit, and to tell of events", () => {
    expect(likelyUnit(columns)).toBe("customer_id");
    expect([likelyUnit([]), likelyUnit([{ name: "a", type: "text" }]), likelyUnit([{ name: "a", type: "text" }, { name: "order_no", type: "text" }])]).toEqual(["", "a", "order_no"]);
    expect(likelyOutcome(orders, "customer_id", blankOutcome())).toEqual({ table: "mart.orders", event: "invoice_no", unit: "customer_id", at: "ordered_at", value: "", window: "7d" });
    expect(likelyOutcome({ ...orders, columns: [] }, "x", blankOutcome())).toMatchObject({ event: "", unit: "", at: "" });
  });
});

describe("names and values", () => {
  it("are quoted where SQL would read something else", () => {
    expect(["customer_id", "Order Count", "城市", "select", "date", 'a"b', "at", ""].map(ident)).toEqual(["customer_id", '"Order Count"', '"城市"', '"select"', '"date"', '"a""b"', "at", '""']);
    expect([literal("O'Neil"), literal("上海"), literal("")]).toEqual(["'O''Neil'", "'上海'", "''"]);
  });
  it("are numbers and days only if they are", () => {
    expect(["12", "0.5", "-3", "007", "0", "+4", "1,000", "", "x", ".", "e5", "-"].map(numeral)).toEqual(["12", "0.5", "-3", "7", "0", "4", null, null, null, null, null, null]);
    // As people and number fields write them, and as SQL and YAML both read them.
    expect([".5", "-.5", "5.", "1e1", "1E5", "1.25e1", "12.5e-3", "5e-1", ".05e2", "1e99", "00.10"].map(numeral)).toEqual(["0.5", "-0.5", "5", "10", "100000", "12.5", "0.0125", "0.5", "5", null, "0.10"]);
    expect(["2024-02-29", "2023-02-29", "2024-13-01", "24-01-01", ""].map(dayOf)).toEqual(["2024-02-29", null, null, null, null]);
    expect(["7d", "15m", "2w", "0d", "d", "7", "-1d", "1.5d", ""].map(isLength)).toEqual([true, true, true, false, false, false, false, false, false]);
    expect([micros("7d"), micros("15m"), micros("x")]).toEqual(["604800000000us", "900000000us", "0us"]);
  });
});

describe("an audience", () => {
  it("is nothing without a table or a unit, and everybody without a condition", () => {
    expect(builtSql(blank(), sources)).toBe("");
    expect(builtSql(built({ unit: "" }), sources)).toBe("");
    expect(builtSql(built({ table: "mart.gone" }), sources)).toBe("");
    expect(builtSql(built({}), sources)).toBe("select\n    customer_id as unit_id\nfrom {{ ref('customers') }}");
  });
  it("names a landed table by its source, and a unit that is called so already by nothing else", () => {
    expect(builtSql(built({ table: "raw.Order Lines", unit: "城市" }), sources)).toBe("select\n    \"城市\" as unit_id\nfrom {{ source('raw', 'Order Lines') }}");
    const own = { ...customers, columns: [{ name: "unit_id", type: "text" }] };
    expect(builtSql(built({ unit: "unit_id", along: ["unit_id"] }), [own])).toBe("select\n    unit_id\nfrom {{ ref('customers') }}");
  });
  it("asks of texts what people ask, with quotes doubled", () => {
    expect(said({ column: "country", op: "is", value: "Côte d'Ivoire" })).toBe("country = 'Côte d''Ivoire'");
    expect(said({ column: "城市", op: "is", value: "上海" })).toBe("\"城市\" = '上海'");
    expect(said({ column: "select", op: "is", value: "x" })).toBe("\"select\" = 'x'");
    expect(said({ column: "country", op: "not", value: "France" })).toBe("country is distinct from 'France'");
    expect(said({ column: "country", op: "one", values: ["France", "O'Land"] })).toBe("country in ('France', 'O''Land')");
    expect(said({ column: "country", op: "none", values: ["France"] })).toBe("country not in ('France') or country is null");
    expect(said({ column: "country", op: "contains", value: "100% Land_" })).toBe("strpos(lower(country), '100% land_') > 0");
    expect(said({ column: "country", op: "empty" })).toBe("(country is null or country = '')");
    expect(said({ column: "country", op: "filled" })).toBe("country <> ''");
  });
  it("asks of numbers and flags without casting them", () => {
    expect(said({ column: "Order Count", op: "more", value: "03" })).toBe('"Order Count" > 3');
    expect(said({ column: "revenue", op: "less", value: "-0.5" })).toBe("revenue < -0.5");
    expect(said({ column: "revenue", op: "between", value: "1", to: "20" })).toBe("revenue >= 1 and revenue <= 20");
    expect(said({ column: "revenue", op: "one", values: ["1", "2.5"] })).toBe("revenue in (1, 2.5)");
    expect(said({ column: "revenue", op: "empty" })).toBe("revenue is null");
    expect([said({ column: "consent", op: "yes" }), said({ column: "consent", op: "no" }), said({ column: "tags", op: "filled" })]).toEqual(["consent is true", "consent is false", "tags is not null"]);
  });
  it("means whole days of days and of moments", () => {
    expect(said({ column: "signed_up_on", op: "is", value: "2025-01-31" })).toBe("signed_up_on = date '2025-01-31'");
    expect(said({ column: "signed_up_on", op: "between", value: "2025-01-01", to: "2025-01-31" })).toBe("signed_up_on >= date '2025-01-01' and signed_up_on <= date '2025-01-31'");
    expect(said({ column: "last_order_at", op: "is", value: "2024-02-28" })).toBe("last_order_at >= date '2024-02-28' and last_order_at < date '2024-02-29'");
    expect(said({ column: "last_order_at", op: "between", value: "2025-01-01", to: "2025-01-31" })).toBe("last_order_at >= date '2025-01-01' and last_order_at < date '2025-02-01'");
    expect(said({ column: "last_order_at", op: "more", value: "2025-12-31" })).toBe("last_order_at >= date '2026-01-01'");
    expect(said({ column: "last_order_at", op: "less", value: "2025-12-31" })).toBe("last_order_at < date '2025-12-31'");
    expect(said({ column: "last_order_at", op: "within", value: "30" })).toBe("last_order_at >= now() - interval '30 days' and last_order_at <= now()");
    expect(said({ column: "signed_up_on", op: "within", value: "7" })).toBe("signed_up_on >= current_date - interval '7 days' and signed_up_on <= current_date");
    expect(said({ column: "signed_up_on", op: "beyond", value: "90" })).toBe("signed_up_on < current_date - interval '90 days'");
  });
  it("joins conditions by all or by any, with brackets where they are needed", () => {
    const conditions = where({ column: "country", op: "none", values: ["France"] }, { column: "revenue", op: "between", value: "1", to: "2" });
    expect(builtSql(built({ conditions }), sources)).toContain("where (country not in ('France') or country is null)\n    and revenue >= 1 and revenue <= 2");
    expect(builtSql(built({ conditions, joined: "any" }), sources)).toContain("where country not in ('France') or country is null\n    or (revenue >= 1 and revenue <= 2)");
  });
  it("leaves out conditions that are not finished", () => {
    const conditions = where({ column: "country", op: "is" }, { column: "gone", op: "is", value: "x" }, { column: "revenue", op: "more", value: "5" });
    expect(builtSql(built({ conditions }), sources)).toMatch(/from \{\{ ref\('customers'\) \}\}\nwhere revenue > 5$/);
  });
  it("carries what is sent and what is logged, each once", () => {
    const draft = built({ action: "mail", along: ["revenue", "country", "gone"], payload: [{ id: 1, key: "to", from: "column", value: "country" }, { id: 2, key: "who", from: "column", value: "unit_id" }, { id: 3, key: "text", from: "text", value: "revenue" }] });
    expect(carried(draft, customers)).toEqual(["country", "revenue"]);
    expect(builtSql(draft, sources)).toBe("select\n    customer_id as unit_id,\n    country,\n    revenue\nfrom {{ ref('customers') }}");
    // What is only sent is not carried where nothing leaves.
    expect(carried({ ...draft, action: "" }, customers)).toEqual(["revenue", "country"]);
    expect(carried(draft, undefined)).toEqual([]);
  });
  it("keeps what a template would take for its own, and comes back as it was when it is asked at once", () => {
    const conditions = where({ column: "country", op: "is", value: "{{ x }} {% y %} {#" });
    const sql = builtSql(built({ conditions }), sources);
    expect(sql).toContain("country = '{{ '{{' }} x }} {{ '{%' }} y %} {{ '{#' }}'");
    expect(compiled(sql, sources)).toBe("select\n    customer_id as unit_id\nfrom mart.customers\nwhere country = '{{ x }} {% y %} {#'");
  });
  it("is asked by the names of tables, unless the template says more", () => {
    expect(compiled('select 1 from {{ref("customers")}} join {{- source( "raw","Order Lines" ) -}} b', sources)).toBe('select 1 from mart.customers join raw."Order Lines" b');
    expect(compiled("select 1 as unit_id", sources)).toBe("select 1 as unit_id");
    for (const sql of ["select {{ var('days') }}", "{% if x %} select 1", "select 1 {# a #}", "select 1 from {{ ref('gone') }}", "select 1 from {{ ref('customers')"]) expect(compiled(sql, sources), sql).toBeNull();
    expect(countSql("select 1 as unit_id -- last")).toMatch(/-- last\n\) as audience$/);
  });
  it("is what somebody wrote where it is written by hand", () => {
    expect(audienceSql(built({ hand: "  select a as unit_id\r\nfrom x ;\n " }), sources)).toBe("select a as unit_id\nfrom x");
    expect(audienceSql(built({ hand: "select ';' as unit_id; -- note; more" }), sources)).toBe("select ';' as unit_id");
    expect(audienceSql(built({ hand: "select 1 as unit_id -- a; b\n;; /* c */" }), sources)).toBe("select 1 as unit_id -- a; b");
    expect(["select 1 as unit_id; select 2", "select ';' as unit_id -- a; b", "select 1", " ;", ""].map(handFault)).toEqual(["fault.hand.many", null, "fault.hand.unit", "fault.hand", "fault.hand"]);
  });
});

describe("faults", () => {
  it("stand at the value that they are about, with the number of their row", () => {
    const two = { column: "revenue", op: "between" as const };
    const conditions = where({ ...two, value: "3" }, { ...two, to: "3" }, { ...two, value: "5", to: "3" }, { ...two, value: "1e1", to: "20" });
    expect(conditionFaults(conditions, columns)).toEqual([{ at: "condition-1-to", word: "fault.value" }, { at: "condition-2", word: "fault.value" }, { at: "condition-3-to", word: "fault.order" }]);
    const draft = complete({ conditions: conditions.slice(1), payload: [{ id: 7, key: "", from: "text", value: "" }] });
    expect(["condition-3-to", "condition-2", "key-7", "weight-1", "condition-9", "name", "candidates"].map((at) => rowOf(draft, at))).toEqual([
      { kind: "condition", number: 2 }, { kind: "condition", number: 1 }, { kind: "row", number: 1 }, { kind: "row", number: 1 }, null, null, null,
    ]);
  });
});

describe("conditions", () => {
  const fault = (one: Partial<Condition> & Pick<Condition, "column" | "op">) => wrong(where(one)[0] as Condition, columns);
  it("ask what fits a type", () => {
    expect([opsOf("flag"), opsOf("other"), opsOf("of-a-newer-server")]).toEqual([["yes", "no", "empty", "filled"], ["empty", "filled"], ["empty", "filled"]]);
    expect(opsOf("text")).not.toContain("more");
    expect(["yes", "between", "one", "within", "is"].map((op) => takes(op as Condition["op"]))).toEqual(["nothing", "two", "many", "days", "one"]);
    for (const column of columns) expect(opsOf(column.type)).toContain(condition(1, column).op);
    expect([fresh([]), fresh([{ id: 4 }, { id: 2 }])]).toEqual([1, 5]);
  });
  it("are wrong in ways that are said", () => {
    expect(fault({ column: "gone", op: "is", value: "x" })).toBe("fault.column");
    expect(fault({ column: "country", op: "more", value: "x" })).toBe("fault.op");
    expect(fault({ column: "country", op: "is", value: " " })).toBe("fault.value");
    expect(fault({ column: "country", op: "one" })).toBe("fault.values");
    expect(fault({ column: "revenue", op: "is", value: "many" })).toBe("fault.number");
    expect(fault({ column: "revenue", op: "one", values: ["1", "x"] })).toBe("fault.number");
    expect(fault({ column: "revenue", op: "between", value: "20", to: "3" })).toBe("fault.order");
    expect(fault({ column: "revenue", op: "between", value: "3", to: "" })).toBe("fault.value");
    expect(fault({ column: "signed_up_on", op: "is", value: "2023-02-29" })).toBe("fault.day");
    expect(fault({ column: "signed_up_on", op: "between", value: "2025-02-01", to: "2025-01-01" })).toBe("fault.order");
    expect(["0", "-1", "1.5", "", "x"].map((value) => fault({ column: "last_order_at", op: "within", value }))).toEqual(Array(5).fill("fault.days"));
    expect(fault({ column: "revenue", op: "between", value: "3", to: "20" })).toBeNull();
  });
});

describe("the file", () => {
  it("writes texts so that they are read as those texts", () => {
    expect(["reminder", "discount-10", "$email", "", "10", "true", "No", "上海", "a: b", "- x", "say \"hi\"", "a\nb", "0x1", "x\u0085"].map(scalar)).toEqual(["reminder", "discount-10", "$email", '""', '"10"', '"true"', '"No"', '"上海"', '"a: b"', '"- x"', '"say \\"hi\\""', '"a\\nb"', '"0x1"', '"x\\u0085"']);
  });
  it("says everything that the form says, in the order in which policies are written", () => {
    const draft = complete({
      description: "召回沉默客户", conditions: where({ column: "country", op: "is", value: "France" }), candidates: [{ id: 1, name: "reminder", weight: "1", payload: [] }, { id: 2, name: "折扣", weight: "0.5", payload: [] }], holdout: "12.5",
      perUnit: "14d", perTurn: "150", action: "crm_messages", payload: [{ id: 1, key: "country", from: "column", value: "country" }, { id: 2, key: "城市", from: "column", value: "城市" }, { id: 3, key: "text", from: "text", value: "$5 off" }, { id: 4, key: "code", from: "text", value: "007" }],
      outcome: { table: "mart.orders", event: "invoice_no", unit: "customer_id", at: "ordered_at", value: "revenue", window: "7d" },
    });
    expect(yamlOf(draft, sources)).toBe(`policy: win_back
description: "召回沉默客户"
every: 1d
audience: |
  select
      customer_id as unit_id,
      country,
      "城市"
  from {{ ref('customers') }}
  where country = 'France'
choose:
  candidates:
    - name: reminder
      weight: 1
    - name: "折扣"
      weight: 0.5
holdout: 12.5%
caps:
  per_unit_every: 14d
  per_turn: 150
guardrails:
  pause_when_harmful: true
  min_units: 200
action: crm_messages
payload:
  country: $country
  "城市": "$城市"
  text: "$$5 off"
  code: "007"
outcome:
  events: |
    select
        invoice_no as event_id,
        customer_id as unit_id,
        ordered_at as at,
        revenue as value
    from {{ ref('orders') }}
  window: 7d
`);
    expect(faultsOf(draft, { sources, taken: [] })).toEqual([]);
  });
  it("has what each candidate adds under the candidate, and its columns in the audience", () => {
    const adds = (id: number, key: string, from: "column" | "text" | "number", value: string) => ({ id, key, from, value });
    const draft = complete({ action: "mail", payload: [adds(1, "to", "column", "country")], candidates: [
      { id: 1, name: "reminder", weight: "1", payload: [] },
      { id: 2, name: "discount", weight: "1", payload: [adds(1, "percent", "number", "010"), adds(2, "says", "text", "$5"), adds(3, "worth", "column", "revenue")] },
    ] });
    expect(yamlOf(draft, sources)).toContain(`    - name: reminder
      weight: 1
    - name: discount
      weight: 1
      payload:
        percent: 10
        says: "$$5"
        worth: $revenue
`);
    expect(carried(draft, customers)).toEqual(["country", "revenue"]);
    expect(faultsOf(draft, { sources, taken: [] })).toEqual([]);
    // Where nothing leaves, nothing is sent.
    const kept = yamlOf({ ...draft, action: "" }, sources);
    expect(kept).not.toMatch(/payload|percent|revenue/);
    const wrong = { ...draft, candidates: draft.candidates.map((one) => ({ ...one, payload: [adds(7, "x", "number", "ten"), adds(8, "x", "column", "gone")] })) };
    const at = faultsOf(wrong, { sources, taken: [] });
    expect(at.slice(0, 3).map((fault) => `${fault.at} ${fault.word}`)).toEqual(["candidate-1-sent-7 fault.number", "candidate-1-key-8 fault.key.twice", "candidate-1-sent-8 fault.sent"]);
    expect(at.map((fault) => rowOf(wrong, fault.at)?.number)).toEqual([1, 1, 1, 2, 2, 2]);
  });
  it("limits what is spent and given, and has the cost in the audience", () => {
    const budget = { amount: "500", per: "day" as const, cost: "revenue", pace: "even" as const, zone: "Asia/Shanghai", from: "", until: "" };
    const draft = complete({ budget, stock: { table: "mart.orders", candidate: "invoice_no", available: "revenue", counted: "ordered_at", expires: "" } });
    const text = yamlOf(draft, sources);
    expect(text).toContain('budget:\n  amount: 500\n  per: day\n  cost: revenue\n  pacing: even\n  zone: "Asia/Shanghai"\n');
    expect(text).toContain("stock: |\n  select\n      invoice_no as candidate,\n      revenue as available,\n      ordered_at as as_of\n  from {{ ref('orders') }}\n");
    expect(carried(draft, customers)).toContain("revenue");
    expect(faultsOf(draft, { sources, taken: [] })).toEqual([]);
    const wrong = { ...draft, budget: { ...budget, amount: "-1", cost: "gone", per: "campaign" as const, from: "2026-11-02", until: "2026-11-01" }, stock: { table: "", candidate: "", available: "", counted: "", expires: "" } };
    expect(faultsOf(wrong, { sources, taken: [] }).map((fault) => fault.word)).toEqual(["fault.amount", "fault.cost", "fault.campaign", "fault.stock.table"]);
    const campaign = yamlOf({ ...draft, budget: { ...budget, per: "campaign", cost: "2.50", from: "2026-11-01", until: "2026-11-12" } }, sources);
    expect(campaign).toContain('  cost: 2.50\n  pacing: even\n  from: "2026-11-01"\n  until: "2026-11-12"\n');
  });
  it("asks a recommender, and sends what it chose", () => {
    const draft = complete({ way: "recommend", learner: "next_products", slots: "3", explore: "0", holdout: "", harmful: false, minUnits: "", action: "mail", payload: [{ id: 1, key: "items", from: "column", value: "items" }] });
    expect(yamlOf(draft, sources)).toContain("choose:\n  recommend:\n    learner: next_products\n    slots: 3\nguardrails:\n  pause_when_harmful: false\naction: mail\npayload:\n  items: $items\n");
    expect(yamlOf({ ...draft, explore: "10" }, sources)).toContain("    explore: 10%\n");
    expect(builtSql(draft, sources)).not.toContain("items");
    expect(faultsOf(draft, { sources, taken: [] })).toEqual([]);
  });
  it("of an empty form is a file that lacks what the form lacks", () => {
    const text = yamlOf(blank(), sources);
    expect(text).toMatch(/^policy: ""\nevery: 1d\naudience: ""\nchoose:\n {2}candidates:\n {4}- name: ""\n {6}weight: 1\n/);
    expect(text).not.toMatch(/outcome|action|payload|caps|description/);
    expect(yamlOf({ ...blank(), candidates: [] }, sources)).toContain("  candidates: []\n");
    expect(outcomeSql(blankOutcome(), sources)).toBe("");
  });
  it("keeps what is written by hand, line by line, and signs that a block cannot hold in quotes", () => {
    expect(yamlOf(complete({ hand: "select a as unit_id\n\n  from x -- y: z\n" }), sources)).toContain("audience: |\n  select a as unit_id\n\n    from x -- y: z\nchoose:");
    expect(yamlOf(complete({ hand: "select 'a\u0007' as unit_id" }), sources)).toContain('audience: "select \'a\\u0007\' as unit_id"\n');
  });
  it("writes quiet hours and consent, and carries the columns that they need", () => {
    const quiet = { action: "mail", quietFrom: "21:00", quietTo: "08:00", quietZone: "$country", consent: "城市" };
    const text = yamlOf(complete(quiet), sources);
    expect(text).toContain('quiet_hours:\n  from: "21:00"\n  to: "08:00"\n  zone: $country\nconsent:\n  column: "城市"\nguardrails:');
    expect(text).toContain("      country");
    expect(text).toContain('      "城市"');
    expect(yamlOf(complete({ ...quiet, action: "" }), sources)).not.toContain("quiet_hours");
  });
  it("writes no weight that a file would read as a text", () => {
    expect(yamlOf(complete({ candidates: [{ id: 1, name: "a", weight: "010", payload: [] }, { id: 2, name: "b", weight: "1e99", payload: [] }] }), sources)).toMatch(/weight: 10\n[\s\S]*weight: "1e99"\n/);
  });
});

describe("what is still to do", () => {
  const at = (draft: Draft, taken: string[] = []) => faultsOf(draft, { sources, taken }).map((fault) => `${fault.at} ${fault.word}`);
  it("of an empty form is what a policy cannot be without, in the order of the form", () => {
    expect(at(blank())).toEqual(["table fault.table", "candidate-1 fault.candidate", "name fault.name"]);
    expect(at(complete())).toEqual([]);
  });
  it("names each part that is wrong", () => {
    expect(at(complete({ unit: "gone" }))).toEqual(["unit fault.unit"]);
    expect(at(complete({ conditions: where({ column: "country", op: "is" }) }))).toEqual(["condition-1 fault.value"]);
    expect(at(complete({ hand: "" }))).toEqual(["hand fault.hand"]);
    expect(at(complete({ hand: "select 1 as unit" }))).toEqual(["hand fault.hand.unit"]);
    expect(at(complete({ hand: "select 1 as UNIT_ID", table: "" }))).toEqual([]);
    expect(at(complete({ candidates: [] }))).toEqual(["candidates fault.candidates"]);
    expect(at(complete({ candidates: [{ id: 1, name: "a", weight: "0", payload: [] }, { id: 2, name: "none", weight: "0", payload: [] }, { id: 3, name: "a", weight: "-1", payload: [] }] }))).toEqual(["candidate-2 fault.candidate.none", "candidate-3 fault.candidate.twice", "weight-3 fault.weight"]);
    expect(at(complete({ candidates: [{ id: 1, name: "a", weight: "0", payload: [] }] }))).toEqual(["candidates fault.weights"]);
    expect(at(complete({ way: "recommend", slots: "0", explore: "101" }))).toEqual(["learner fault.learner", "slots fault.slots", "explore fault.share"]);
    expect(at(complete({ action: "mail", payload: [{ id: 1, key: "a", from: "column", value: "" }, { id: 2, key: "a", from: "text", value: "" }, { id: 3, key: " ", from: "column", value: "items" }] }))).toEqual(["sent-1 fault.sent", "key-2 fault.key.twice", "key-3 fault.key", "sent-3 fault.sent"]);
    expect(["Win", "9a", "a-b", "策略", "a".repeat(64), "new", "winback"].map((name) => at(complete({ name }), ["winback"])[0])).toEqual([...Array(5).fill("name fault.name.bad"), "name fault.name.new", "name fault.name.taken"]);
    expect(at(complete({ every: "", holdout: "100", perUnit: "0d", perTurn: "0", minUnits: "-1" }))).toEqual(["every fault.every", "holdout fault.holdout", "perUnit fault.length", "perTurn fault.turn", "minUnits fault.units"]);
    const night = { action: "mail", quietFrom: "21:00", quietTo: "08:00" };
    expect(at(complete({ ...night, quietZone: "Asia/Shanghai" }))).toEqual([]);
    expect(at(complete({ ...night, quietTo: "21:00", quietZone: "nowhere", consent: "gone" }))).toEqual(["quietFrom fault.hours", "quietZone fault.zone", "consent fault.column"]);
    expect(at(complete({ ...night, quietZone: "$gone" }))).toEqual(["quietZone fault.zone.column"]);
    expect(at(complete({ outcome: blankOutcome() }))).toEqual(["outcome-table fault.outcome.table"]);
    expect(at(complete({ outcome: { ...blankOutcome(), table: "mart.orders", at: "gone", value: "gone", window: "" } }))).toEqual(["outcome-event fault.outcome.column", "outcome-unit fault.outcome.column", "outcome-at fault.outcome.column", "outcome-value fault.outcome.column", "outcome-window fault.length"]);
  });
  it("is said in both languages", () => {
    const all = faultsOf({ ...blank(), every: "", conditions: [] }, { sources, taken: [] });
    for (const { word } of all) expect(speaker("zh", words).t(word), word).not.toBe(speaker("en", words).t(word));
    for (const op of [...new Set(["text", "integer", "flag", "day", "moment", "other"].flatMap(opsOf))]) expect(speaker("zh", words).word("op", op), op).not.toBe(op);
  });
  it("warns of a holdout that nothing is compared by", () => {
    expect([unmeasured(complete()), unmeasured(complete({ holdout: "0" })), unmeasured(complete({ outcome: blankOutcome() }))]).toEqual([true, false, false]);
  });
});

it("a cell that holds JSON is read as what it says, and another as it is", () => {
  expect([parsed('[{"item_id":"a"}]'), parsed("{broken"), parsed(null), parsed(undefined), parsed({ a: 1 })]).toEqual([[{ item_id: "a" }], "{broken", null, null, { a: 1 }]);
});

it("an empty list hides decisions where there are some and nothing was looked for", () => {
  expect([areUnshown(244), areUnshown(244, "", ""), areUnshown(244, "holdout", ""), areUnshown(244, "", "u1"), areUnshown(0), areUnshown(0, "", "")]).toEqual([true, true, false, false, false, false]);
});
