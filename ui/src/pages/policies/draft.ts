/** A policy that is being made: what the form holds, the SQL and the YAML it stands for, and what is still wrong with it. */

export interface Field { name: string; type: string }
/** A table that an audience or an outcome can be read from. */
export interface Source {
  /** Its name in SQL: `mart.customers`. */
  relation: string;
  kind: "model" | "learner" | "landed";
  /** How a file names it: `{{ ref('customers') }}`. */
  refers: string;
  columns: Field[];
}

export type Op = "is" | "not" | "one" | "none" | "contains" | "more" | "less" | "between" | "within" | "beyond" | "yes" | "no" | "empty" | "filled";
export interface Condition { id: number; column: string; op: Op; value: string; to: string; values: string[] }
/** A value that is sent under a key. */
export interface Sent { id: number; key: string; from: "column" | "text" | "number"; value: string }
/** What can be chosen; its payload is what it adds to the one of the policy. */
export interface Candidate { id: number; name: string; weight: string; payload: Sent[] }
export interface Outcome { table: string; event: string; unit: string; at: string; value: string; window: string }
/** What may be spent; the cost is a number or a column of the audience, and the days are of a campaign. */
export interface Budget { amount: string; per: "day" | "week" | "campaign"; cost: string; pace: "even" | "asap"; zone: string; from: string; until: string }
/** A table of what there is to give, and its columns. */
export interface Stock { table: string; candidate: string; available: string; counted: string; expires: string }

export interface Draft {
  name: string;
  description: string;
  every: string;
  table: string;
  unit: string;
  joined: "all" | "any";
  conditions: Condition[];
  /** Columns that are logged with each decision, besides those that are sent. */
  along: string[];
  /** The audience as somebody wrote it; nothing where it is built. */
  hand: string | null;
  way: "candidates" | "recommend";
  candidates: Candidate[];
  learner: string;
  slots: string;
  explore: string;
  action: string;
  payload: Sent[];
  holdout: string;
  perUnit: string;
  perTurn: string;
  /** Hours in which nothing is delivered, as `21:00` and `08:00`; none where both are empty. */
  quietFrom: string;
  quietTo: string;
  /** A time zone, or `$` and a column of the audience. */
  quietZone: string;
  /** The column of the audience that says who has agreed; none if nobody is asked. */
  consent: string;
  harmful: boolean;
  minUnits: string;
  outcome: Outcome | null;
  budget: Budget | null;
  stock: Stock | null;
}

export const blank = (): Draft => ({
  name: "", description: "", every: "1d", table: "", unit: "", joined: "all", conditions: [], along: [], hand: null,
  way: "candidates", candidates: [{ id: 1, name: "", weight: "1", payload: [] }], learner: "", slots: "3", explore: "10", action: "", payload: [],
  holdout: "10", perUnit: "", perTurn: "", quietFrom: "", quietTo: "", quietZone: "", consent: "", harmful: true, minUnits: "200", outcome: null, budget: null, stock: null,
});

export const blankOutcome = (): Outcome => ({ table: "", event: "", unit: "", at: "", value: "", window: "7d" });

export const blankBudget = (): Budget => ({ amount: "", per: "day", cost: "", pace: "even", zone: "", from: "", until: "" });

export const blankStock = (): Stock => ({ table: "", candidate: "", available: "", counted: "", expires: "" });

/** A number that none of a list has yet. */
export const fresh = (all: { id: number }[]): number => all.reduce((most, one) => Math.max(most, one.id), 0) + 1;

// --- tables -----------------------------------------------------------------------------------------------------

/** A text between single quotes in a template expression. */
const word = (text: string) => `'${text.replace(/[\\']/g, "\\$&")}'`;

/** The tables of the project, in the order in which people look for them: models, what was learned, what landed. */
export function sourcesOf(tables: { name: string; columns: Field[] }[], models: { name: string; model: string }[], learners: string[], landed: string[]): Source[] {
  const model = new Map(models.map((one) => [one.name, one.model]));
  const learned = new Set(learners.map((one) => `learn.${one}`));
  const raw = new Set(landed);
  const all = tables.flatMap(({ name, columns }): Source[] => {
    const [schema = "", ...rest] = name.split(".");
    const table = rest.join(".");
    const own = model.get(name);
    if (own !== undefined) return [{ relation: name, kind: "model", refers: `{{ ref(${word(own)}) }}`, columns }];
    if (learned.has(name)) return [{ relation: name, kind: "learner", refers: `{{ ref(${word(table)}) }}`, columns }];
    return raw.has(name) && table ? [{ relation: name, kind: "landed", refers: `{{ source(${word(schema)}, ${word(table)}) }}`, columns }] : [];
  });
  const rank = { model: 0, learner: 1, landed: 2 };
  return all.sort((a, b) => rank[a.kind] - rank[b.kind] || a.relation.localeCompare(b.relation));
}

export const sourceOf = (sources: Source[], relation: string): Source | undefined => sources.find((one) => one.relation === relation);

/** The column that most likely names what a row is about. */
export function likelyUnit(columns: Field[]): string {
  const named = (test: (name: string) => boolean) => columns.find((column) => test(column.name.toLowerCase()))?.name;
  return named((name) => name === "unit_id") ?? named((name) => name === "customer_id" || name === "user_id") ?? named((name) => /(^|_)(id|no|key)$/.test(name)) ?? columns[0]?.name ?? "";
}

/** An outcome of a table, with the columns that it most likely means. */
export function likelyOutcome(source: Source, unit: string, now: Outcome): Outcome {
  const { columns } = source;
  const has = (name: string) => columns.some((column) => column.name === name);
  const owner = unit && has(unit) ? unit : ["unit_id", "customer_id", "user_id"].find(has) ?? "";
  const event = columns.find((column) => column.name !== owner && /(^|_)(id|no|key)$/.test(column.name.toLowerCase()))?.name ?? "";
  const at = (columns.find((column) => column.type === "moment") ?? columns.find((column) => column.type === "day"))?.name ?? "";
  return { ...now, table: source.relation, event, unit: owner, at, value: "" };
}

// --- conditions -------------------------------------------------------------------------------------------------

const COUNTED: Op[] = ["is", "not", "more", "less", "between", "one", "none", "empty", "filled"];
const DATED: Op[] = ["within", "beyond", "is", "more", "less", "between", "empty", "filled"];
const FITTING: Record<string, Op[]> = {
  text: ["is", "not", "one", "none", "contains", "empty", "filled"],
  integer: COUNTED, number: COUNTED, day: DATED, moment: DATED,
  flag: ["yes", "no", "empty", "filled"],
};
/** What can be asked of a column of a type. */
export const opsOf = (type: string): Op[] => FITTING[type] ?? ["empty", "filled"];

/** What is typed beside a condition. */
export function takes(op: Op): "nothing" | "one" | "two" | "many" | "days" {
  if (["yes", "no", "empty", "filled"].includes(op)) return "nothing";
  if (op === "between") return "two";
  if (op === "one" || op === "none") return "many";
  return op === "within" || op === "beyond" ? "days" : "one";
}

export const condition = (id: number, column: Field): Condition => ({ id, column: column.name, op: opsOf(column.type)[0] ?? "filled", value: "", to: "", values: [] });

/** Words that mean something else in SQL than the column of that name. */
const RESERVED = new Set(("all analyze and any array as asc asymmetric between both by case cast check collate column connect constraint create cross current current_date current_time current_timestamp default delete desc distinct drop else end escape except exists explain false fetch filter following for foreign from full glob global grant group having ilike in inner insert intersect interval into is join lateral leading left like limit natural not null nulls of offset on only or order outer over partition preceding primary qualify range references right rlike rollup row rows sample select semi anti set similar some start symmetric table tablesample then to top trailing true unbounded union unique unnest unpivot pivot update user using values view when where window with within date time timestamp extract substring position trim").split(" "));

/** A name of a column or table as it stands in SQL. */
export const ident = (name: string): string => (/^[a-z_][a-z0-9_]*$/.test(name) && !RESERVED.has(name) ? name : `"${name.replaceAll('"', '""')}"`);
/** A text as it stands in SQL. */
export const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** The largest power of ten that is written out. */
const POWER_MAX = 30;

/** A number as it is typed, as it stands in SQL and YAML, with powers of ten written out; nothing where it is none. */
export function numeral(text: string): string | null {
  const found = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/.exec(text.trim());
  const [, sign = "", whole = "", part = "", power = ""] = found ?? [];
  const shift = Number(power);
  if (!found || whole + part === "" || Math.abs(shift) > POWER_MAX) return null;
  const point = whole.length + shift;
  const digits = (point < 0 ? "0".repeat(-point) : "") + (whole + part).padEnd(point, "0");
  const before = digits.slice(0, Math.max(point, 0)).replace(/^0+(?=\d)/, "") || "0";
  const after = digits.slice(Math.max(point, 0));
  return `${sign === "-" ? "-" : ""}${before}${after && `.${after}`}`;
}

/** A day as it is typed; nothing where the calendar has none like it. */
export function dayOf(text: string): string | null {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text)) return null;
  const at = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(at.getTime()) && at.toISOString().slice(0, 10) === text ? text : null;
}
const date = (day: string) => `date '${day}'`;
/** The day after one, so that the whole of that one is meant. */
const next = (day: string) => new Date(Date.parse(`${day}T00:00:00Z`) + 86_400_000).toISOString().slice(0, 10);

/** A condition in SQL, and whether it needs brackets beside others. It is right where `wrong` finds nothing. */
function said({ column, op, value, to, values }: Condition, type: string): { sql: string; loose?: "and" | "or" } {
  const name = ident(column);
  const [dated, moment] = [type === "day" || type === "moment", type === "moment"];
  const now = moment ? "now()" : "current_date";
  const one = (text: string) => (dated ? date(text) : type === "integer" || type === "number" ? (numeral(text) ?? text) : literal(text));
  // Of a moment the whole day is meant: before its first and after its last.
  const day = (from: string, until: string) => ({ sql: `${name} >= ${date(from)} and ${name} < ${date(next(until))}`, loose: "and" as const });
  switch (op) {
    case "yes": return { sql: `${name} is true` };
    case "no": return { sql: `${name} is false` };
    case "empty": return type === "text" ? { sql: `(${name} is null or ${name} = '')` } : { sql: `${name} is null` };
    // What is missing is not unequal in SQL either.
    case "filled": return type === "text" ? { sql: `${name} <> ''` } : { sql: `${name} is not null` };
    case "contains": return { sql: `strpos(lower(${name}), ${literal(value.toLowerCase())}) > 0` };
    case "one": return { sql: `${name} in (${values.map(one).join(", ")})` };
    // For people, what has no value is none of the values.
    case "none": return { sql: `${name} not in (${values.map(one).join(", ")}) or ${name} is null`, loose: "or" };
    case "not": return { sql: `${name} is distinct from ${one(value)}` };
    case "is": return moment ? day(value, value) : { sql: `${name} = ${one(value)}` };
    case "more": return moment ? { sql: `${name} >= ${date(next(value))}` } : { sql: `${name} > ${one(value)}` };
    case "less": return { sql: `${name} < ${one(value)}` };
    case "between": return moment ? day(value, to) : { sql: `${name} >= ${one(value)} and ${name} <= ${one(to)}`, loose: "and" };
    // What is still to come is not within the last days.
    case "within": return { sql: `${name} >= ${now} - interval '${numeral(value) ?? value} days' and ${name} <= ${now}`, loose: "and" };
    case "beyond": return { sql: `${name} < ${now} - interval '${numeral(value) ?? value} days'` };
  }
}

/** What is wrong with a condition, as a word of the dictionary. */
export function wrong({ column, op, value, to, values }: Condition, columns: Field[]): FaultWord | null {
  const found = columns.find((one) => one.name === column);
  if (!found) return "fault.column";
  if (!opsOf(found.type).includes(op)) return "fault.op";
  const counted = found.type === "integer" || found.type === "number";
  const dated = found.type === "day" || found.type === "moment";
  const bad = (text: string): FaultWord | null => {
    if (text.trim() === "") return "fault.value";
    if (counted && numeral(text) === null) return "fault.number";
    return dated && dayOf(text) === null ? "fault.day" : null;
  };
  switch (takes(op)) {
    case "nothing": return null;
    case "days": return /^[1-9]\d{0,4}$/.test(value.trim()) ? null : "fault.days";
    case "many": return values.length ? (values.map(bad).find(Boolean) ?? null) : "fault.values";
    case "two": return bad(value) ?? bad(to) ?? ((dated ? value > to : Number(value) > Number(to)) ? "fault.order" : null);
    case "one": return bad(value);
  }
}

/** What is wrong with the conditions, each at the value that it is about. */
export function conditionFaults(conditions: Condition[], columns: Field[]): Fault[] {
  return conditions.flatMap((one) => {
    const word = wrong(one, columns);
    // Where the first of two values is right by itself, the second one is not.
    const second = word !== null && takes(one.op) === "two" && wrong({ ...one, to: one.value }, columns) === null;
    return word ? [{ at: `condition-${one.id}${second ? "-to" : ""}`, word }] : [];
  });
}

// --- SQL --------------------------------------------------------------------------------------------------------

/** What a template would read as its own, kept as it is. */
const kept = (sql: string) => sql.replace(/\{[{%#]/g, (sign) => `{{ '${sign}' }}`);

/** Names that a payload may use without the audience having them. */
export const CHOSEN: Record<Draft["way"], string[]> = { candidates: ["unit_id", "action", "decision_id"], recommend: ["items", "reason", "unit_id", "action", "decision_id"] };

/** Everything that is sent: by the policy, then by each candidate; nothing where nothing leaves. */
const allSent = (draft: Draft): Sent[] => (draft.action ? [...draft.payload, ...(draft.way === "candidates" ? draft.candidates.flatMap((one) => one.payload) : [])] : []);

/** Whether deliveries wait in some hours. */
const isQuiet = (draft: Draft): boolean => draft.action !== "" && (draft.quietFrom !== "" || draft.quietTo !== "");

/** The columns that the audience carries besides the unit: what is sent, then what constraints need, then what is logged. */
export function carried(draft: Draft, source: Source | undefined): string[] {
  const chosen = CHOSEN[draft.way];
  const sent = allSent(draft).filter((one) => one.from === "column" && !chosen.includes(one.value)).map((one) => one.value);
  const known = source?.columns.map((column) => column.name) ?? [];
  const asked = [draft.consent, ...(draft.budget ? [draft.budget.cost.trim()] : []), ...(isQuiet(draft) && draft.quietZone.startsWith("$") ? [draft.quietZone.slice(1)] : [])];
  return [...new Set([...sent, ...asked, ...draft.along])].filter((name) => known.includes(name) && name !== "unit_id");
}

/** The audience that the form describes, as it stands in the file; empty without a table and the column of its unit. */
export function builtSql(draft: Draft, sources: Source[]): string {
  const source = sourceOf(sources, draft.table);
  if (!source || !draft.unit) return "";
  const whole = draft.conditions.filter((one) => wrong(one, source.columns) === null);
  const parts = whole.map((one) => said(one, source.columns.find((column) => column.name === one.column)?.type ?? "other"));
  const join = draft.joined === "all" ? "and" : "or";
  const where = parts.map((part) => (part.loose && part.loose !== join && parts.length > 1 ? `(${part.sql})` : part.sql));
  const unit = draft.unit === "unit_id" ? "unit_id" : `${ident(draft.unit)} as unit_id`;
  const columns = [unit, ...carried(draft, source).map(ident)];
  const select = `select\n${columns.map((column) => `    ${kept(column)}`).join(",\n")}`;
  return [select, `from ${source.refers}`, ...(where.length ? [`where ${where.map(kept).join(`\n    ${join} `)}`] : [])].join("\n");
}

/** The signs of SQL that are looked at one by one: texts, quoted names and comments are one each. */
const SIGNS = /'[^']*'|"[^"]*"|--[^\n]*|\/\*[\s\S]*?\*\/|\{#[\s\S]*?#\}|\S/g;

/** SQL as somebody wrote it: without the sign of its end and comments after it, and whether another statement follows. */
function statement(text: string): { sql: string; more: boolean } {
  const sql = text.replace(/\r\n?/g, "\n").trim();
  let end: number | null = null;
  for (const { 0: sign, index } of sql.matchAll(SIGNS)) {
    if (/^(--|\/\*|\{#)/.test(sign)) continue;
    if (sign === ";") end ??= index;
    else if (end !== null) return { sql, more: true };
  }
  return { sql: end === null ? sql : sql.slice(0, end).trimEnd(), more: false };
}

const handSql = (text: string) => statement(text).sql;

/** What is wrong with SQL that somebody wrote. */
export function handFault(text: string): FaultWord | null {
  const { sql, more } = statement(text);
  if (sql === "") return "fault.hand";
  if (more) return "fault.hand.many";
  return /\bunit_id\b/i.test(sql) ? null : "fault.hand.unit";
}

export const audienceSql = (draft: Draft, sources: Source[]): string => (draft.hand === null ? builtSql(draft, sources) : handSql(draft.hand));

/** The events that count as success. */
export function outcomeSql(outcome: Outcome, sources: Source[]): string {
  const source = sourceOf(sources, outcome.table);
  if (!source) return "";
  const as = (column: string, name: string) => (column === name ? name : `${ident(column)} as ${name}`);
  const columns = [as(outcome.event, "event_id"), as(outcome.unit, "unit_id"), as(outcome.at, "at"), ...(outcome.value ? [as(outcome.value, "value")] : [])];
  return `select\n${columns.map((column) => `    ${kept(column)}`).join(",\n")}\nfrom ${source.refers}`;
}

/** What there is to give. */
export function stockSql(stock: Stock, sources: Source[]): string {
  const source = sourceOf(sources, stock.table);
  if (!source) return "";
  const all = [[stock.candidate, "candidate"], [stock.available, "available"], [stock.counted, "as_of"], [stock.expires, "expires_at"]] as const;
  const columns = all.filter(([column]) => column !== "").map(([column, name]) => (column === name ? name : `${ident(column)} as ${name}`));
  return columns.length ? `select\n${columns.map((column) => `    ${kept(column)}`).join(",\n")}\nfrom ${source.refers}` : "";
}

/** SQL of a file as it can be asked at once: tables by their names. Nothing where a template says more than that. */
export function compiled(sql: string, sources: Source[]): string | null {
  const names = new Map(sources.map((source) => [source.refers, source.relation]));
  let plain = "";
  let done = 0;
  for (const found of sql.matchAll(/\{\{-?\s*([\s\S]*?)\s*-?\}\}/g)) {
    const inner = (found[1] ?? "").replace(/"((?:[^"\\])*)"/g, (_, text: string) => word(text)).replace(/\(\s+/g, "(").replace(/\s+\)/g, ")").replace(/'\s*,\s*'/g, "', '");
    const sign = /^'(\{[{%#])'$/.exec(inner)?.[1];
    const relation = names.get(`{{ ${inner} }}`);
    const stands = sign ?? (relation === undefined ? undefined : relation.split(".").map(ident).join("."));
    const before = sql.slice(done, found.index);
    if (stands === undefined || /\{[{%#]/.test(before)) return null;
    plain += before + stands;
    done = found.index + found[0].length;
  }
  const rest = sql.slice(done);
  return /\{[{%#]/.test(rest) ? null : plain + rest;
}

/** The query that counts an audience; a comment at its end closes no bracket. */
export const countSql = (plain: string): string => `select count(distinct unit_id) as units, count(*) as all_rows, count(*) - count(unit_id) as no_unit\nfrom (\n${plain}\n) as audience`;

// --- YAML -------------------------------------------------------------------------------------------------------

/** A text as a scalar of YAML that is read as that text again, whatever it looks like. */
export function scalar(text: string): string {
  const plain = /^[$A-Za-z_][A-Za-z0-9_-]*$/.test(text) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(text);
  // JSON leaves some signs as they are that YAML does not print.
  return plain ? text : JSON.stringify(text).replace(/[\u007f-\u009f\u2028\u2029\ufeff]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A text of several lines under a key; one that a block cannot hold is a scalar. */
function block(key: string, text: string, depth: number): string[] {
  const pad = "  ".repeat(depth);
  // Signs that cannot stand in a block.
  if (text === "" || /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\ufeff]/.test(text)) return [`${pad}${key}: ${scalar(text)}`];
  return [`${pad}${key}: |`, ...text.split("\n").map((line) => (line === "" ? "" : `${pad}  ${line}`))];
}

/** A share as it is typed, in per cent. */
const share = (text: string): number | null => {
  const value = numeral(text);
  return value === null || Number(value) < 0 || Number(value) > 100 ? null : Number(value);
};
const LENGTH = /^0*(\d+)(us|ms|s|m|min|h|d|w)$/;
/** A length of time, which must not be none. */
export const isLength = (text: string): boolean => Number(LENGTH.exec(text.trim())?.[1] ?? 0) > 0;

/** What is sent, under its key; nothing where there is none. */
function payloadOf(payload: Sent[], depth: number): string[] {
  if (!payload.length) return [];
  const pad = "  ".repeat(depth);
  // A fixed text that begins with $ is written with two.
  const text = (one: Sent) => (one.from === "column" || one.value.startsWith("$") ? `$${one.value}` : one.value);
  const value = (one: Sent) => (one.from === "number" ? numeral(one.value) : null) ?? scalar(text(one));
  return [`${pad}payload:`, ...payload.map((one) => `${pad}  ${scalar(one.key.trim())}: ${value(one)}`)];
}

/** The file that the form stands for. What is not said yet is left out, but for what a policy cannot be without. */
export function yamlOf(draft: Draft, sources: Source[]): string {
  const lines = [`policy: ${scalar(draft.name)}`];
  if (draft.description.trim()) lines.push(`description: ${scalar(draft.description.trim())}`);
  if (draft.every.trim()) lines.push(`every: ${draft.every.trim()}`);
  lines.push(...block("audience", audienceSql(draft, sources), 0), "choose:");
  if (draft.way === "recommend") {
    lines.push("  recommend:", `    learner: ${scalar(draft.learner)}`);
    if (numeral(draft.slots)) lines.push(`    slots: ${numeral(draft.slots)}`);
    if (share(draft.explore)) lines.push(`    explore: ${numeral(draft.explore)}%`);
  } else if (draft.candidates.length) {
    lines.push("  candidates:");
    for (const one of draft.candidates) {
      lines.push(`    - name: ${scalar(one.name.trim())}`, `      weight: ${numeral(one.weight) ?? scalar(one.weight)}`);
      if (draft.action) lines.push(...payloadOf(one.payload, 3));
    }
  } else {
    lines.push("  candidates: []");
  }
  if (draft.holdout.trim()) lines.push(`holdout: ${numeral(draft.holdout) ?? draft.holdout.trim()}%`);
  if (draft.perUnit.trim() || draft.perTurn.trim()) {
    lines.push("caps:");
    if (draft.perUnit.trim()) lines.push(`  per_unit_every: ${draft.perUnit.trim()}`);
    if (draft.perTurn.trim()) lines.push(`  per_turn: ${numeral(draft.perTurn) ?? scalar(draft.perTurn)}`);
  }
  if (draft.budget) {
    const { amount, per, cost, pace, zone, from, until } = draft.budget;
    lines.push("budget:", `  amount: ${numeral(amount) ?? scalar(amount)}`, `  per: ${per}`, `  cost: ${numeral(cost) ?? scalar(cost.trim())}`, `  pacing: ${pace}`);
    if (per !== "campaign" && zone.trim()) lines.push(`  zone: ${scalar(zone.trim())}`);
    if (per === "campaign" && from) lines.push(`  from: ${scalar(from)}`);
    if (per === "campaign" && until) lines.push(`  until: ${scalar(until)}`);
  }
  if (draft.stock) lines.push(...block("stock", stockSql(draft.stock, sources), 0));
  if (isQuiet(draft)) lines.push("quiet_hours:", `  from: ${scalar(draft.quietFrom)}`, `  to: ${scalar(draft.quietTo)}`, `  zone: ${scalar(draft.quietZone.trim())}`);
  if (draft.consent.trim()) lines.push("consent:", `  column: ${scalar(draft.consent.trim())}`);
  lines.push("guardrails:", `  pause_when_harmful: ${draft.harmful}`);
  if (draft.minUnits.trim()) lines.push(`  min_units: ${numeral(draft.minUnits) ?? scalar(draft.minUnits)}`);
  if (draft.action) {
    lines.push(`action: ${scalar(draft.action)}`);
    lines.push(...payloadOf(draft.payload, 0));
  }
  if (draft.outcome) {
    lines.push("outcome:", ...block("events", outcomeSql(draft.outcome, sources), 1));
    if (draft.outcome.window.trim()) lines.push(`  window: ${draft.outcome.window.trim()}`);
  }
  return `${lines.join("\n")}\n`;
}

// --- what is wrong ----------------------------------------------------------------------------------------------

export type FaultWord =
  | "fault.table" | "fault.unit" | "fault.hand" | "fault.hand.many" | "fault.hand.unit" | "fault.column" | "fault.op" | "fault.value" | "fault.values" | "fault.number" | "fault.day" | "fault.days" | "fault.order"
  | "fault.candidates" | "fault.candidate" | "fault.candidate.none" | "fault.candidate.twice" | "fault.weight" | "fault.weights" | "fault.learner" | "fault.slots" | "fault.share"
  | "fault.key" | "fault.key.twice" | "fault.sent" | "fault.name" | "fault.name.bad" | "fault.name.taken" | "fault.name.new" | "fault.every" | "fault.holdout" | "fault.length" | "fault.turn" | "fault.units"
  | "fault.outcome.table" | "fault.outcome.column" | "fault.amount" | "fault.cost" | "fault.campaign" | "fault.stock.table" | "fault.stock.column" | "fault.hours" | "fault.zone" | "fault.zone.column";
/** `at` is the place of the form, whose element is called `draft-` and that. */
export interface Fault { at: string; word: FaultWord }

const whole = (text: string, least: number, most = Number.MAX_SAFE_INTEGER) => /^\d+$/.test(text.trim()) && Number(text) >= least && Number(text) <= most;

const TIME = /^([01]\d|2[0-3]):[0-5]\d$/;

/** Whether there is a time zone of this name. */
function isZone(name: string): boolean {
  try {
    return name !== "" && new Intl.DateTimeFormat("en", { timeZone: name }).resolvedOptions().timeZone !== "";
  } catch {
    return false;
  }
}

/** The place of a key that is sent, or of its value: of the policy, or of one of its candidates. */
export const sentAt = (part: "key" | "sent", one: Sent, candidate?: Candidate): string => (candidate ? `candidate-${candidate.id}-${part}-${one.id}` : `${part}-${one.id}`);

/** Everything that keeps the form from being a policy, in the order of the form. */
export function faultsOf(draft: Draft, { sources, taken }: { sources: Source[]; taken: string[] }): Fault[] {
  const all: Fault[] = [];
  const add = (at: string, word: FaultWord | null | false) => word && all.push({ at, word });
  const source = sourceOf(sources, draft.table);
  const payloadFaults = (payload: Sent[], candidate?: Candidate) => {
    const keys = new Set<string>();
    for (const one of payload) {
      const key = one.key.trim();
      add(sentAt("key", one, candidate), key === "" ? "fault.key" : keys.has(key) && "fault.key.twice");
      keys.add(key);
      const known = CHOSEN[draft.way].includes(one.value) || draft.hand !== null || source?.columns.some((column) => column.name === one.value);
      add(sentAt("sent", one, candidate), one.from === "column" ? (!one.value.trim() || !known) && "fault.sent" : one.from === "number" && numeral(one.value) === null && "fault.number");
    }
  };
  if (draft.hand === null) {
    add("table", !source && "fault.table");
    add("unit", source && !source.columns.some((column) => column.name === draft.unit) ? "fault.unit" : null);
    if (source) all.push(...conditionFaults(draft.conditions, source.columns));
  } else {
    add("hand", handFault(draft.hand));
  }
  if (draft.way === "candidates") {
    add("candidates", draft.candidates.length === 0 && "fault.candidates");
    const seen = new Set<string>();
    for (const one of draft.candidates) {
      const name = one.name.trim();
      add(`candidate-${one.id}`, name === "" ? "fault.candidate" : name === "none" ? "fault.candidate.none" : seen.has(name) && "fault.candidate.twice");
      seen.add(name);
      const weight = numeral(one.weight);
      add(`weight-${one.id}`, (weight === null || Number(weight) < 0) && "fault.weight");
      if (draft.action) payloadFaults(one.payload, one);
    }
    add("candidates", draft.candidates.length > 0 && draft.candidates.every((one) => Number(numeral(one.weight) ?? 1) === 0) && "fault.weights");
  } else {
    add("learner", !draft.learner && "fault.learner");
    add("slots", !whole(draft.slots, 1, 1000) && "fault.slots");
    add("explore", draft.explore.trim() !== "" && share(draft.explore) === null && "fault.share");
  }
  if (draft.action) payloadFaults(draft.payload);
  add("name", !draft.name ? "fault.name" : !/^[a-z][a-z0-9_]{0,62}$/.test(draft.name) ? "fault.name.bad" : draft.name === "new" ? "fault.name.new" : taken.includes(draft.name) && "fault.name.taken");
  add("every", !isLength(draft.every) && "fault.every");
  const held = share(draft.holdout);
  add("holdout", draft.holdout.trim() !== "" && (held === null || held >= 100) && "fault.holdout");
  add("perUnit", draft.perUnit.trim() !== "" && !isLength(draft.perUnit) && "fault.length");
  add("perTurn", draft.perTurn.trim() !== "" && !whole(draft.perTurn, 1) && "fault.turn");
  const carries = (column: string) => draft.hand !== null || source?.columns.some((one) => one.name === column);
  if (draft.budget) {
    const { amount, per, cost, pace, zone, from, until } = draft.budget;
    const least = (text: string) => Number(numeral(text) ?? -1) >= 0;
    add("budget-amount", !least(amount) && "fault.amount");
    add("budget-cost", (numeral(cost) === null ? !cost.trim() || !carries(cost.trim()) : !least(cost)) && "fault.cost");
    add("budget-zone", per !== "campaign" && zone.trim() !== "" && !isZone(zone.trim()) && "fault.zone");
    const [begins, ends] = [dayOf(from), dayOf(until)];
    const lasts = begins !== null && ends !== null ? begins < ends : pace === "asap" && (begins !== null || from === "") && (ends !== null || until === "");
    add("budget-from", per === "campaign" && !lasts && "fault.campaign");
  }
  if (draft.stock) {
    const { stock } = draft;
    const given = sourceOf(sources, stock.table);
    add("stock-table", !given && "fault.stock.table");
    const has = (column: string) => given?.columns.some((one) => one.name === column);
    if (given) for (const key of ["candidate", "available"] as const) add(`stock-${key}`, !has(stock[key]) && "fault.stock.column");
    if (given) for (const key of ["counted", "expires"] as const) add(`stock-${key}`, stock[key] !== "" && !has(stock[key]) && "fault.stock.column");
  }
  if (isQuiet(draft)) {
    add("quietFrom", !(TIME.test(draft.quietFrom) && TIME.test(draft.quietTo) && draft.quietFrom !== draft.quietTo) && "fault.hours");
    const zone = draft.quietZone.trim();
    add("quietZone", zone.startsWith("$") ? !carries(zone.slice(1)) && "fault.zone.column" : !isZone(zone) && "fault.zone");
  }
  add("consent", draft.consent.trim() !== "" && !carries(draft.consent.trim()) && "fault.column");
  add("minUnits", draft.minUnits.trim() !== "" && !whole(draft.minUnits, 0) && "fault.units");
  if (draft.outcome) {
    const { outcome } = draft;
    const from = sourceOf(sources, outcome.table);
    add("outcome-table", !from && "fault.outcome.table");
    const has = (column: string) => from?.columns.some((one) => one.name === column);
    if (from) for (const key of ["event", "unit", "at"] as const) add(`outcome-${key}`, !has(outcome[key]) && "fault.outcome.column");
    if (from) add("outcome-value", outcome.value !== "" && !has(outcome.value) && "fault.outcome.column");
    add("outcome-window", !isLength(outcome.window) && "fault.length");
  }
  return all;
}

/** Which row of the form a fault is at, and of what; nothing for what there is once. */
export function rowOf(draft: Draft, at: string): { kind: "condition" | "row"; number: number } | null {
  const [, kind, id] = /^(condition|candidate|weight|key|sent)-(\d+)(?:-to|-(?:key|sent)-\d+)?$/.exec(at) ?? [];
  if (kind === undefined) return null;
  const rows = kind === "condition" ? draft.conditions : kind === "key" || kind === "sent" ? draft.payload : draft.candidates;
  const place = rows.findIndex((one) => one.id === Number(id));
  return place < 0 ? null : { kind: kind === "condition" ? "condition" : "row", number: place + 1 };
}

/** Whether units are held out with nothing to compare them by. */
export const unmeasured = (draft: Draft): boolean => draft.outcome === null && (share(draft.holdout) ?? 0) > 0;

/** A length of time as the API writes it, for what speaks of it: `604800000000us` of `7d`. */
export function micros(text: string): string {
  const [, number = "0", unit = ""] = LENGTH.exec(text.trim()) ?? [];
  const factor: Record<string, number> = { us: 1, ms: 1e3, s: 1e6, m: 6e7, min: 6e7, h: 3.6e9, d: 8.64e10, w: 6.048e11 };
  return `${Number(number) * (factor[unit] ?? 0)}us`;
}
