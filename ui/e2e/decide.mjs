// What people do who answer for decisions and runs: promote a challenger, take it back, make a policy and let it go, find
// why a run failed.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { facts, number } from "./experiments.mjs";

/** Turns the wheel once, in front of the user. */
async function turn(page, settled) {
  await page.goto("/");
  await settled(page);
  await page.waitForFunction(() => Number(document.querySelector(".hub-turn")?.textContent) > 0);
  const before = Number(await page.locator(".hub-turn").innerText());
  await page.getByRole("button", { name: "Run a turn" }).click();
  await page.waitForFunction((number) => Number(document.querySelector(".hub-turn")?.textContent) === number + 1, before);
}

/** A challenger is promoted with a reason although the evidence, which is read first, is thin, and taken back. */
export async function promote({ page, project, settled, accessible, say }) {
  writeFileSync(join(project, "learners", "rival.yaml"), "learner: rival\nbandit:\n  policy: nudge\n  actions: [reminder, discount-10, silence]\n");
  // Decisions have to be closed before anything can be learned from them.
  for (let number = 0; number < 3; number += 1) await turn(page, settled);
  await page.goto("/policies/nudge");
  await settled(page);
  await page.getByRole("button", { name: "Weigh a challenger" }).click();
  const window = page.locator(".ant-modal");
  await window.locator("input").first().fill("rival");
  const [judged] = await Promise.all([
    page.waitForResponse((one) => one.url().endsWith("/v1/policies/nudge/evaluate")),
    window.getByRole("button", { name: "Weigh", exact: true }).click(),
  ]);
  const { against, verdict } = await judged.json();
  await window.getByText("The evidence does not suffice").waitFor();
  // Nobody promotes what they have not read: what it earned, what it would have earned, and how sure that is.
  const evidence = await facts(window);
  const { earned, dr, rows } = verdict.estimates;
  const between = ({ estimate, low, high }) => `${number(estimate, 4)} ${number(low, 4)} … ${number(high, 4)}`;
  assert.deepEqual(evidence, { "Earned a decision": between(earned), [`${against} would have earned`]: between(dr.value), "Difference": between(dr.gain) });
  await window.getByText(`${number(rows)} decisions from`).waitFor();
  await window.getByLabel("Promote without sufficient evidence, because").fill("The rival is tried for a week");
  await accessible(page, "a promotion");
  await window.getByRole("button", { name: "Let it decide" }).click();
  await page.getByText(/rival.*decides from the next turn on/).waitFor();
  await page.getByRole("region", { name: "Promotions" }).getByText("rival").first().waitFor();
  await page.getByRole("button", { name: "Take back" }).click();
  await page.locator(".ant-modal textarea").fill("It earned less");
  await page.locator(".ant-modal").getByRole("button", { name: "Take back" }).click();
  await page.getByText(/decides again, not .*rival/).waitFor();
  await page.getByRole("region", { name: "Promotions" }).getByText("It earned less").waitFor();
  say("the evidence for a challenger is read, it is promoted with a reason, and taken back with another");
}

/** Somebody of a role, invited by the owner and signed in; `tools` are the helpers of run.mjs. */
async function somebody(owner, base, name, role, { visit, password, settled }) {
  const link = await owner.evaluate(async ([name, role]) => {
    const { csrf } = await (await fetch("/v1/session")).json();
    const made = await fetch("/v1/users", { method: "POST", headers: { "content-type": "application/json", "x-csrf-token": csrf }, body: JSON.stringify({ name, role }) });
    return (await made.json()).setup_link;
  }, [name, role]);
  const page = await visit(base);
  await page.goto(link);
  await page.locator("input#name").fill(name);
  await page.locator("input#password").fill(password);
  await page.locator("button[type=submit]").click();
  await page.locator("nav.menu").waitFor();
  await settled(page);
  return page;
}

/** An engineer makes a policy by the builder, looks at what it would do and saves it; an operator lets it go. */
export async function make({ page: owner, base, project, visit, password, settled, accessible, say }) {
  const page = await somebody(owner, base, "emil", "engineer", { visit, password, settled });
  await page.goto("/policies");
  await settled(page);
  await page.getByRole("button", { name: "New policy" }).click();
  await page.waitForURL("**/policies/new");
  await settled(page);
  // What is missing is led to, by keyboard as well.
  await page.getByRole("button", { name: "Dry run", exact: true }).press("Enter");
  await page.waitForFunction(() => document.activeElement?.id === "draft-table");
  await page.locator("#draft-table-fault").getByText("Choose the table of the audience.").waitFor();
  await accessible(page, "a new policy with nothing in it");
  await page.getByLabel("Table", { exact: true }).selectOption("mart.customers");
  assert.equal(await page.getByLabel("Column that names the unit").inputValue(), "customer_id");
  await page.getByRole("button", { name: "Add a condition" }).click();
  await page.getByLabel("Condition 1: column").selectOption("consent");
  await page.getByLabel("Condition 1: how").selectOption("yes");
  await page.getByRole("button", { name: "Add a condition" }).click();
  await page.getByLabel("Condition 2: column").selectOption("orders");
  await page.getByLabel("Condition 2: how").selectOption("more");
  await page.getByLabel("Condition 2: value").fill("0");
  await page.getByRole("button", { name: "Add a condition" }).click();
  await page.getByLabel("Condition 3: column").selectOption("country");
  await page.getByLabel("Condition 3: how").selectOption("none");
  await page.getByLabel("Condition 3: value").fill("L'Île");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Remove L'Île" }).waitFor();
  await page.getByRole("button", { name: "Count", exact: true }).click();
  await page.getByText(/units? match(es)? now/).waitFor();
  await page.getByLabel("Candidate 1", { exact: true }).fill("letter");
  await page.getByRole("button", { name: "Add a candidate" }).click();
  await page.getByLabel("Candidate 2", { exact: true }).fill("call");
  await page.getByLabel("Weight of candidate 2").fill("2");
  await page.getByLabel("Leaves by").selectOption("crm_messages");
  await page.getByRole("button", { name: "Add a key", exact: true }).click();
  await page.getByLabel("Key 1: column").selectOption("email");
  assert.equal(await page.getByLabel("Key 1", { exact: true }).inputValue(), "email", "a key is called as its column unless somebody says otherwise");
  await page.getByLabel("Name of the policy").fill("winback");
  await page.getByText("There is a policy of this name.").first().waitFor();
  await page.getByLabel("Name of the policy").fill("thanks");
  await page.getByLabel("Decisions of a turn at most").fill("40");
  await page.getByLabel("Measure success").check();
  await page.getByLabel("Table of the events").selectOption("mart.orders");
  assert.equal(await page.getByLabel("Column with its time").inputValue(), "ordered_at");
  const file = await page.locator(".draft-side pre").innerText();
  assert.match(file, /where consent is true\n\s+and orders > 0\n\s+and \(country not in \('L''Île'\) or country is null\)/);
  assert.match(file, /\{\{ ref\('customers'\) \}\}/);
  await page.getByText("Everything needed is there.").waitFor();
  await page.getByRole("button", { name: "Dry run", exact: true }).click();
  await page.getByRole("region", { name: "Some of the decisions" }).locator("tbody tr").first().waitFor();
  await page.getByRole("region", { name: "What is chosen" }).getByText("call", { exact: true }).waitFor();
  assert(!existsSync(join(project, "policies", "thanks.yaml")), "a dry run wrote a file");
  await accessible(page, "a dry run of a new policy");
  await page.getByLabel("Held out (%)").fill("25");
  await page.getByText("The form has changed since; look again.").waitFor();
  // Nothing that is filled in is lost by a click beside it.
  await page.locator('nav.menu a[href="/learners"]').click();
  await page.getByText("This policy is not saved").waitFor();
  await page.getByRole("button", { name: "Stay here" }).click();
  await page.getByRole("button", { name: "Save, paused" }).click();
  await page.waitForURL("**/policies/thanks");
  await settled(page);
  await page.getByText(/^Paused: /).waitFor();
  await page.getByText(/To resume it is to approve it/).waitFor();
  assert.equal(readFileSync(join(project, "policies", "thanks.yaml"), "utf8").trim(), file.replace("holdout: 10%", "holdout: 25%").trim());
  await page.getByRole("region", { name: "Next decisions (dry run)" }).getByRole("button", { name: "Dry run" }).click();
  await page.getByRole("region", { name: "Some of the decisions" }).locator("tbody tr").first().waitFor();
  await accessible(page, "a dry run of a policy");
  await page.context().close();
  say("a policy is made by the builder, counted, looked at, and saved paused");
  const operator = await somebody(owner, base, "olga", "operator", { visit, password, settled });
  await operator.goto("/policies");
  await settled(operator);
  assert.equal(await operator.getByRole("button", { name: "New policy" }).count(), 0, "an operator may write files");
  await operator.goto("/policies/thanks");
  await settled(operator);
  await operator.getByRole("button", { name: "Resume" }).click();
  await operator.getByRole("button", { name: "Pause" }).waitFor();
  await operator.context().close();
  say("an operator approves it by letting it go on");
}

/** A policy that cannot decide is found on Home, and its page says why; a run that fails is followed from its sync to the line of its log that says why. */
export async function fail({ page, project, settled, accessible, say }) {
  const odd = join(project, "policies", "odd.yaml");
  writeFileSync(odd, "policy: odd\naudience: select customer_id as unit_id, cast(country as int) as n from {{ ref('customers') }}\nchoose: {candidates: [{name: letter}]}\nholdout: 0%\n");
  await turn(page, settled);
  await page.locator(".wheel-label.wheel-failed").getByText("Decide").waitFor();
  await page.getByRole("link", { name: "odd could not decide" }).click();
  await page.waitForURL("**/policies/odd");
  await page.locator(".trouble").getByText("It could not decide when it was asked last").waitFor();
  await settled(page);
  await accessible(page, "a policy that could not decide");
  rmSync(odd);
  say("a policy that cannot decide is seen in the wheel and explained on its page");
  mkdirSync(join(project, "data", "gone"), { recursive: true });
  writeFileSync(join(project, "connections", "gone.yaml"), "connection: gone\ntype: csv\noptions: {folder: data/gone}\n");
  writeFileSync(join(project, "syncs", "gone.yaml"), "sync: gone\nconnection: gone\nstreams: [{stream: parcels, options: {path: parcels.csv}}]\n");
  await page.goto("/connections");
  await page.getByRole("button", { name: "Read the files anew" }).click();
  await page.getByText("The files were read anew").waitFor();
  await page.goto("/syncs/gone");
  await settled(page);
  await page.getByRole("button", { name: "Run now" }).click();
  await page.locator("h1").getByText("failed").waitFor();
  await page.goto("/turns?tab=runs");
  await page.getByRole("button", { name: "Failed only" }).click();
  await page.getByRole("row", { name: /parcels\.csv/ }).getByRole("link").first().click();
  await page.locator(".trouble").getByText("parcels.csv").waitFor();
  await page.locator("tr.runs-error").getByText("parcels.csv").waitFor();
  await page.getByRole("button", { name: /^Error/ }).click();
  await page.getByRole("searchbox").fill("parcels.csv");
  await page.locator(".runs-log .runs-error mark, .runs-log li mark").first().waitFor();
  await accessible(page, "the log of a run that failed");
  say("a run that failed is followed to the line of its log that says why");
}
