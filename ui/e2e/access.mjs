// What people do about access: somebody asks for what they lack, whoever administers gives it, looks as that person at what
// they see now, and ends both.
import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Tables that two rules keep from all but the owner: one of them is given, the other is not. */
const RULES = { days: "mart.daily_sales", pieces: "mart.product_daily" };

const file = (project, rule) => join(project, "access", `${rule}.yaml`);

async function anew(page) {
  await page.goto("/connections");
  await page.getByRole("button", { name: "Read the files anew" }).click();
  await page.getByText("The files were read anew").waitFor();
}

/** Asks how many rows a table has, on the page for queries. */
async function count(page, table) {
  await page.goto(`/sql?q=${encodeURIComponent(`select count(*) as counted from ${table}`)}`);
  await page.locator(".cm-content").getByText(table).waitFor();
  await page.getByRole("button", { name: "Run", exact: true }).click();
}

async function counted(page, table) {
  await count(page, table);
  const row = page.locator(".rows-row").first();
  await row.waitFor();
  const text = await row.innerText();
  assert.match(text, /[1-9]/, `${table} has no row`);
  return text;
}

async function refused(page, table, rule) {
  await count(page, table);
  await page.locator(".trouble").getByText(new RegExp(`table ${table} is not for vera, by .*${rule}`)).waitFor();
  assert.equal(await page.locator(".rows-row").count(), 0, `rows of ${table} are shown beside the refusal`);
}

/** A viewer asks for a permission and for what a rule hides; the owner gives both, and sees as the viewer what was given and nothing else. */
export async function grant(base, { project, visit, signIn, settled, accessible, say }) {
  mkdirSync(join(project, "access"), { recursive: true });
  for (const [rule, table] of Object.entries(RULES)) {
    writeFileSync(file(project, rule), `rule: ${rule}\ndescription: Figures of the shop are for its owner.\ntables: [${table}]\nask: the owner of the shop\nreaders: [{roles: [owner]}]\n`);
  }
  const owner = await visit(base, { expected: /40[03]/ });
  await signIn(owner);
  await anew(owner);
  const viewer = await visit(base, { expected: /403/ });
  await signIn(viewer, "vera");
  await viewer.goto("/sql");
  await viewer.getByText("Your role, Viewer, may not see this page.").waitFor();
  await viewer.getByRole("link", { name: "Ask for access" }).click();
  await viewer.waitForURL("**/access?what=query");
  await settled(viewer);
  const what = viewer.getByRole("combobox", { name: "What" });
  assert.equal(await what.inputValue(), "permission:query", "what was missing is not what is asked for");
  await viewer.getByRole("textbox", { name: "Why" }).fill("The board meets on Monday");
  await accessible(viewer, "asking for access");
  await viewer.getByRole("button", { name: "Ask", exact: true }).click();
  await viewer.getByRole("row", { name: /permission query The board meets/ }).waitFor();
  await what.selectOption("rule:days");
  await viewer.getByRole("textbox", { name: "Why" }).fill("It asks for sales by day");
  await viewer.getByRole("button", { name: "Ask", exact: true }).click();
  await viewer.getByRole("row", { name: /rule days It asks for sales/ }).waitFor();
  say("a viewer asks for a permission from the page that lacks it, and for what a rule hides");

  await owner.goto("/access");
  await settled(owner);
  const window = owner.locator(".ant-modal");
  for (const [kind, name] of [["permission", "query"], ["rule", "days"]]) {
    await owner.getByRole("button", { name: `Approve: vera ${name}` }).click();
    await window.getByText(`Give vera the ${kind} ${name}?`).waitFor();
    await window.getByLabel("Something to say (optional)").fill("Until the board has met");
    if (kind === "rule") await accessible(owner, "giving access");
    await window.getByRole("button", { name: "Approve", exact: true }).click();
    await window.waitFor({ state: "detached" });
    await owner.getByRole("row", { name: new RegExp(`vera ${kind} ${name} .*given`) }).waitFor();
  }
  await owner.getByText("Nobody waits for a decision.").waitFor();
  say("the owner gives both for a week");

  await owner.getByRole("button", { name: /Signed in as ada/ }).click();
  await owner.getByRole("button", { name: "View as" }).click();
  await owner.getByLabel("Who do you want to look as?").selectOption("vera");
  await owner.getByRole("button", { name: "Look as this person" }).click();
  const banner = owner.getByText("You see the project as vera");
  await banner.waitFor();
  const days = await counted(owner, RULES.days);
  await banner.waitFor();
  await refused(owner, RULES.pieces, "pieces");
  await accessible(owner, "a refusal to whom somebody looks as");
  await owner.goto("/policies/winback");
  await owner.locator(".after-columns tbody tr").first().waitFor();
  for (const name of ["Pause", "Weigh a challenger"]) assert.equal(await owner.getByRole("button", { name }).count(), 0, `${name}: was not given`);
  await owner.goto("/catalogue/mart.daily_sales");
  await owner.getByRole("tab", { name: /Columns/ }).click();
  await settled(owner);
  assert.equal(await owner.getByRole("button", { name: /^Profile/ }).count(), 0, "something is made as somebody else");
  await owner.getByRole("button", { name: "End", exact: true }).click();
  await banner.waitFor({ state: "detached" });
  assert.equal(await counted(owner, RULES.days), days);
  await counted(owner, RULES.pieces);
  await owner.goto("/");
  await owner.getByRole("button", { name: "Run a turn" }).waitFor();
  assert.equal(await banner.count(), 0, "a view that was ended came back");
  say("looking as the viewer, the owner sees what was given and not the rest; afterwards all is back");

  await viewer.goto("/access");
  await viewer.getByText("You were given query").waitFor();
  assert.equal(await counted(viewer, RULES.days), days, "the viewer sees something else than who looks as they do");
  await owner.goto("/access");
  await owner.getByRole("button", { name: "End: vera query" }).click();
  await owner.locator(".ant-modal-confirm").getByRole("button", { name: "End", exact: true }).click();
  await owner.getByRole("row", { name: /vera permission query .*ended/ }).waitFor();
  await viewer.goto("/sql");
  await viewer.getByText("Your role, Viewer, may not see this page.").waitFor();
  await viewer.context().close();
  for (const rule of Object.keys(RULES)) rmSync(file(project, rule));
  await anew(owner);
  await owner.context().close();
  say("what was given is taken back, and is gone at once");
}
