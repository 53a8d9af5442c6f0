// What people do who have to answer what an experiment showed: read how its variants stand, and whether that is to be
// believed, against what the server answers.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

// Numbers as the pages write them in English.
const shown = (options) => {
  const format = new Intl.NumberFormat("en-GB", options);
  return (value) => (value === null || value === undefined ? "–" : format.format(value));
};
export const number = (value, digits = 2) => shown({ maximumFractionDigits: digits })(value);
const percent = shown({ style: "percent", maximumFractionDigits: 1 });
const signed = shown({ minimumFractionDigits: 1, maximumFractionDigits: 1, signDisplay: "exceptZero" });
const points = (share) => (share == null ? "–" : `${signed(share * 100)} pp`);
const interval = (lower, upper) => (lower == null || upper == null ? "–" : `${signed(lower * 100)} … ${signed(upper * 100)} pp`);

/** Text as it is read, whatever breaks its lines. */
const plain = (text) => text.replace(/\s+/g, " ").trim();
/** The cells of a row of a table. */
export const cells = async (row) => (await row.locator("td").allInnerTexts()).map(plain);
/** Names and values of a list of facts. */
export const facts = async (of) => Object.fromEntries(await of.locator(".facts > div").evaluateAll((all) => all.map((one) => [one.querySelector("dt")?.textContent, one.querySelector("dd")?.textContent])));

const answer = (page, path) => page.evaluate(async (address) => {
  const answered = await fetch(address);
  if (!answered.ok) throw new Error(`${address}: ${answered.status} ${await answered.text()}`);
  return answered.json();
}, path);

/** Lets the experiment of the shop watch that its discount does not make people send more back. */
export function guard(project) {
  const path = join(project, "policies", "winback.yaml");
  const before = readFileSync(path, "utf8");
  const line = "    smallest_effect: 0.05\n";
  assert(before.includes(line), "the experiment of the shop is declared otherwise");
  const events = "select invoice_no as event_id, customer_id as unit_id, min(invoiced_at) as at from {{ ref('stg_order_lines') }} where cancelled and customer_id is not null group by invoice_no, customer_id";
  // So much harm is not sure after a few days; a breach would pause the policy.
  writeFileSync(path, before.replace(line, `${line}    guardrails:\n      - name: cancellations\n        better: lower\n        harm_max: 100%\n        events: ${events}\n`));
}

const STANDINGS = { open: "not known yet", better: "better", worse: "worse", safe: "safe", breached: "breached", "split-broken": "assignment broken", balanced: "alike", biased: "differed before" };
const METRICS = { outcome: "share with an outcome", value: "value a decision", "outcome-before": "share with an outcome, before the first decision", "value-before": "value a unit, before the first decision" };

/** How a variant stands beside its control, as its row of the table says it. */
function standing(row) {
  const share = !["value", "ratio", "quantile"].includes(row.kind) && row.metric !== "value-before";
  const rate = (value) => (share ? percent(value) : number(value));
  const difference = share ? `${points(row.difference)} ${interval(row.lower, row.upper)}` : `${number(row.difference)} ${number(row.lower)} … ${number(row.upper)}`;
  return [METRICS[row.metric] ?? row.metric, `${row.variant} / ${row.control}`, `${number(row.units)} / ${number(row.control_units)}`, rate(row.rate), rate(row.control_rate), difference, STANDINGS[row.standing]];
}

/** An experiment is read: variants beside their control, guardrail, split; then the lift of its policy, arm by arm, and the rules by which it stops. */
export async function experiment({ page, settled, accessible, say }) {
  await page.goto("/experiments");
  await settled(page);
  const { items } = await answer(page, "/v1/experiments");
  const rows = items.filter((one) => one.policy === "winback");
  for (const metric of ["outcome", "cancellations"]) assert(rows.some((row) => row.metric === metric && row.variant === "discount-10" && row.control === "reminder"), `${metric} is not measured: ${JSON.stringify(items)}`);
  const [first] = rows;
  assert(first.units > 0 && first.control_units > 0 && first.lower !== null, `nothing is measured yet: ${JSON.stringify(first)}`);
  assert(first.split_p >= 0.001, `the split of the simulated shop is broken: p = ${first.split_p}`);
  const card = page.locator("section.card").filter({ has: page.getByRole("heading", { name: "winback", exact: true }) });
  await card.getByText(`Units are divided as declared (p = ${number(first.split_p, 3)}).`).waitFor();
  const lines = card.locator("tbody tr");
  assert.equal(await lines.count(), rows.length, "a metric of the experiment has no line");
  for (const [at, row] of rows.entries()) {
    const read = await cells(lines.nth(at));
    // The interval is drawn as well, in a cell without words.
    assert.deepEqual(read.toSpliced(6, 1), standing(row).map(plain), `the page tells ${row.metric} otherwise than the server`);
  }
  await card.getByRole("img", { name: /^Lift of winback · discount-10: / }).waitFor();
  await accessible(page, "an experiment");
  say("an experiment is read: units and shares of both variants, the difference with its interval, guardrail and split");

  await card.getByRole("heading", { name: "winback", exact: true }).getByRole("link").click();
  await page.waitForURL("**/policies/winback");
  // The page before stays until this one is loaded.
  await page.getByRole("region", { name: "Lift per turn", exact: true }).waitFor();
  await settled(page);
  const policy = await answer(page, "/v1/policies/winback");
  const last = policy.turns.filter((turn) => turn.lift !== null && turn.lower !== null && turn.upper !== null).at(-1);
  assert(last, "no lift is measured yet");
  const figure = async (label) => (await page.locator(".figures > div").filter({ has: page.getByText(label, { exact: true }) }).locator("dd").allInnerTexts()).map(plain);
  assert.deepEqual(await figure("Lift"), [points(last.lift), interval(last.lower, last.upper)]);
  assert.deepEqual(await figure("Decisions"), [number(policy.decisions)]);
  assert.deepEqual(await figure("Held out"), [number(policy.held_out), `${percent(policy.held_out / policy.decisions)} of decisions`]);
  const lift = page.getByRole("region", { name: "Lift per turn", exact: true });
  await lift.getByText("Show as table").click();
  const newest = policy.turns.at(-1);
  const told = [number(newest.turn), number(newest.decisions), number(newest.measured), percent(newest.treated_rate), percent(newest.holdout_rate), points(newest.lift), interval(newest.lower, newest.upper)];
  assert.deepEqual((await cells(lift.locator("tbody tr").first())).slice(0, told.length), told.map(plain), "the table of the lift tells the newest turn otherwise than the server");
  assert(last.split_p == null || last.split_p >= 0.001, `treatment and holdout are split unevenly: p = ${last.split_p}`);
  await lift.getByText(last.lower > 0 ? "works" : last.upper < 0 ? "harms" : "not clear yet", { exact: true }).waitFor();
  assert.equal(await page.getByText("The split into treatment and holdout is broken").count(), 0, "a split that works is called broken");
  const rules = await facts(page.getByRole("region", { name: "Rules", exact: true }));
  assert.equal(rules["Stops by itself when harmful"], policy.declared.guardrails.pause_when_harmful ? "yes" : "no");
  assert.equal(rules["Least units for that"], number(policy.declared.guardrails.min_units));
  await accessible(page, "the lift of an experiment, as a table");
  say("the lift of its policy is what the server measured, arm by arm, and so are the rules by which it stops");
}
