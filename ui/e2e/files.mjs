// What people do with declarations: make a connection and a schedule in a form, look at the YAML beside it, change them, and remove them.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const good = (page) => page.getByText("No mistake is known.", { exact: true }).waitFor();
const remove = async (page, address) => {
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.locator(".ant-modal-confirm").getByRole("button", { name: "Delete", exact: true }).click();
  await page.waitForURL(address);
};

export async function files({ page, project, settled, accessible, say }) {
  mkdirSync(join(project, "samples"), { recursive: true });
  writeFileSync(join(project, "samples", "orders.csv"), "id,amount\n1,2\n");
  await connection({ page, project, settled, accessible, say });
  await schedule({ page, project, settled, accessible, say });
  await page.goto("/files");
  await settled(page);
  await page.getByRole("link", { name: "samples", exact: true }).click();
  await page.waitForURL("**/files/connection/samples");
  await page.getByLabel("connection needed", { exact: true }).waitFor();
  await remove(page, "**/connections");
  assert(!existsSync(join(project, "connections", "samples.yaml")));
  say("a connection is found among the files, and deleted");
}

async function connection({ page, project, settled, accessible, say }) {
  const file = join(project, "connections", "samples.yaml");
  await page.goto("/connections");
  await settled(page);
  await page.getByRole("button", { name: "New connection", exact: true }).click();
  await page.waitForURL("**/files/connection");
  const name = page.getByLabel("connection needed", { exact: true });
  await name.fill("Samples");
  await page.getByLabel("type needed", { exact: true }).selectOption("csv");
  await page.getByText(/not a good name/).first().waitFor();
  assert(await page.getByRole("button", { name: "Save", exact: true }).isDisabled(), "what has mistakes can be saved");
  await name.fill("samples");
  await page.getByRole("button", { name: "Add options", exact: true }).click();
  await page.getByLabel(/^folder/).fill("samples");
  await good(page);
  await accessible(page, "a connection in a form");
  await page.getByRole("button", { name: "Test connection", exact: true }).click();
  await page.getByText("It answers, with 1 streams.").waitFor();
  assert(!existsSync(file), "a test writes a file");
  say("a connection is filled in by the form of its type, its mistakes stand under their fields, and it is tested before it is saved");
  await page.getByRole("tab", { name: "YAML", exact: true }).click();
  const text = page.getByLabel("The text of the file", { exact: true });
  const written = await text.inputValue();
  assert.match(written, /connection: samples\ntype: csv\noptions:\n {2}folder: samples\n/);
  await text.fill(`# Made in the pages.\n${written}description: A sample of orders\n`);
  await good(page);
  await accessible(page, "a connection as YAML");
  await page.getByRole("tab", { name: "Form", exact: true }).click();
  assert.equal(await page.getByLabel("description", { exact: true }).inputValue(), "A sample of orders");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.waitForURL("**/connections/samples");
  await page.getByRole("button", { name: "Edit: samples", exact: true }).waitFor();
  assert.match(readFileSync(file, "utf8"), /^# Made in the pages\.\nconnection: samples\n/);
  say("form and YAML show one draft, and what is saved is the file");
}

async function schedule({ page, project, settled, accessible, say }) {
  const file = join(project, "schedules", "weekly.yaml");
  await page.goto("/schedules");
  await settled(page);
  await page.getByRole("button", { name: "New schedule", exact: true }).click();
  await page.waitForURL("**/files/schedule");
  await page.getByLabel("schedule needed", { exact: true }).fill("weekly");
  await page.getByLabel("run", { exact: true }).selectOption("build");
  await page.getByRole("button", { name: "Add when", exact: true }).click();
  const every = page.getByLabel("every", { exact: true });
  await every.fill("often");
  await page.getByText(/"every" cannot be "often"/).first().waitFor();
  await every.fill("7d");
  await good(page);
  await accessible(page, "a schedule in a form");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.waitForURL("**/schedules/weekly");
  await page.getByRole("button", { name: "Edit: weekly", exact: true }).waitFor();
  const made = readFileSync(file, "utf8");
  assert.match(made, /schedule: weekly\nrun: build\nwhen:\n {2}every: "7d"\n/);
  // Somebody else looks after it by hand, too.
  writeFileSync(file, `# Ask Ada first.\n${made.replace("run: build", "run: build # once a week")}`);
  await page.getByRole("button", { name: "Edit: weekly", exact: true }).click();
  await page.waitForURL("**/files/schedule/weekly");
  await page.getByLabel("description", { exact: true }).fill("Models once a week");
  await good(page);
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.waitForURL("**/schedules/weekly");
  await page.getByText("Models once a week").first().waitFor();
  const changed = readFileSync(file, "utf8");
  assert.match(changed, /^# Ask Ada first\.\nschedule: weekly\nrun: build # once a week\n/);
  assert.match(changed, /description: "Models once a week"/);
  say("a schedule is made, seen, and changed without a loss of what others wrote into its file");
  await page.getByRole("button", { name: "Edit: weekly", exact: true }).click();
  await page.waitForURL("**/files/schedule/weekly");
  await page.getByLabel("schedule needed", { exact: true }).waitFor();
  await remove(page, "**/schedules");
  await page.getByRole("link", { name: "nightly" }).waitFor();
  assert(!existsSync(file));
  say("a schedule is deleted after a question");
}
