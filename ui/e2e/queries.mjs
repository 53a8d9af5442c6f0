// What people and programs do with published queries: one is published from the SQL lab, called with a key, and taken back.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const SQL = "select country, count(*) as orders from {{ ref('orders') }} where country <> $besides and revenue >= $least group by country order by orders desc, country";

/** `base` is the server's address; the page is one of the owner's. */
export async function queries({ page, base, project, settled, accessible, say }) {
  await page.goto("/queries");
  await settled(page);
  // The shop's own one, of its template.
  await page.getByText("top_customers").first().waitFor();
  await accessible(page, "published queries");
  await publish({ page, project, settled, accessible, say });
  const key = await call({ page, settled, accessible, say });
  await program({ page, base, key, settled, say });
  await edit({ page, project, settled, accessible, say });
  await find({ page, settled, say });
  await unpublish({ page, project, settled, say });
}

async function write(page, sql) {
  await page.goto(`/sql?q=${encodeURIComponent(sql)}`);
  await page.locator(".cm-content").waitFor();
  await page.getByRole("button", { name: "Publish …" }).click();
  const window = page.locator(".ant-modal");
  await window.getByLabel("Name", { exact: true }).waitFor();
  return window;
}

async function publish({ page, project, settled, accessible, say }) {
  const window = await write(page, `${SQL} limit $limit`);
  await window.getByRole("button", { name: "Publish", exact: true }).click();
  await window.getByText("Give the query a name.").waitFor();
  await window.getByText("“limit” cannot be a parameter").waitFor();
  await window.getByLabel("Name", { exact: true }).fill("Top countries");
  assert.equal(await window.getByLabel("Name", { exact: true }).inputValue(), "top_countries");
  await window.getByLabel("Description", { exact: true }).fill("Countries by their orders.");
  // What is wrong with the SQL is known to the server only, and stands beside it.
  await window.getByLabel("SQL", { exact: true }).fill(SQL.replace("orders')", "no_such')"));
  await window.getByRole("group", { name: "$limit" }).waitFor({ state: "detached" });
  await window.getByRole("button", { name: "Publish", exact: true }).click();
  await window.locator("small.bad").getByText("no_such").waitFor();
  await accessible(page, "a query that is refused");
  await window.getByLabel("SQL", { exact: true }).fill(SQL);
  const least = window.getByRole("group", { name: "$least" });
  assert.equal(await least.getByLabel("Type of least").inputValue(), "float64", "the type is read from the column beside");
  await least.getByLabel("required").uncheck();
  await least.getByLabel("Default of least").fill("few");
  await window.getByRole("button", { name: "Publish", exact: true }).click();
  await least.getByText("The default is no value of the type float64").waitFor();
  await least.getByLabel("Default of least").fill("0");
  await window.getByLabel("Description of besides").fill("A country to leave out");
  await window.getByRole("button", { name: "Publish", exact: true }).click();
  await page.waitForURL("**/queries/top_countries");
  await settled(page);
  const file = readFileSync(join(project, "queries", "top_countries.yaml"), "utf8");
  assert.match(file, /name: besides/);
  assert.match(file, /default: 0/);
  await accessible(page, "a published query");
  say("a query is published from the SQL lab; what is wrong with it stands beside its field");
}

/** It is tried by hand, and a key is made for a program. */
async function call({ page, settled, accessible, say }) {
  const go = page.getByRole("button", { name: "Call", exact: true });
  await go.click();
  await page.getByText("Fill this in").waitFor();
  await page.getByLabel(/^besides/).fill("Germany");
  await page.getByLabel(/^least/).fill("many");
  await go.click();
  await page.getByText("This is no float64").waitFor();
  await page.getByLabel(/^least/).fill("1");
  await go.click();
  await page.locator(".rows-row").first().waitFor();
  assert(!(await page.getByRole("grid").innerText()).includes("Germany"), "a value that was given changes nothing");
  await page.locator(".code").getByText(/rows\?besides=Germany&least=1/).waitFor();
  await page.getByRole("button", { name: "JavaScript" }).click();
  await page.locator(".code").getByText(/await fetch\("http/).waitFor();
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "CSV", exact: true }).click()]);
  assert.equal(file.suggestedFilename(), "top_countries.csv");
  await accessible(page, "a query that was tried");
  await page.getByLabel("What it is for").fill("web-shop");
  await page.getByRole("button", { name: "7 days" }).click();
  await page.getByRole("button", { name: "Make a key" }).click();
  const key = await page.locator(".query-made pre").first().innerText();
  assert.match(key, /^fw/);
  await accessible(page, "a key of a query");
  await page.reload();
  await settled(page);
  assert(!(await page.content()).includes(key), "a key is shown twice");
  say("a query is tried by its fields, its call is ready to be copied, and a key is shown once");
  return key;
}

/** What a program gets: rows with the key, nothing else by it, and nothing at all once it is revoked. */
async function program({ page, base, key, settled, say }) {
  const ask = (path, word = key) => fetch(`${base}${path}`, { headers: word ? { authorization: `Bearer ${word}` } : {} });
  const rows = "/v1/queries/top_countries/rows";
  const answer = await ask(`${rows}?besides=Germany&limit=2`);
  assert.equal(answer.status, 200, await answer.clone().text());
  const { columns, rows: found, more } = await answer.json();
  assert.deepEqual(columns.map((column) => column.name), ["country", "orders"]);
  assert.equal(found.length, 2);
  assert.equal(more, true);
  assert(found.every(([country]) => country !== "Germany"));
  // A value is a value, whatever is written in it.
  const sly = await (await ask(`${rows}?besides=${encodeURIComponent("' or 1 = 1 --")}`)).json();
  assert(sly.rows.some(([country]) => country === "Germany"));
  const wrong = await ask(`${rows}?besides=Germany&least=many`);
  assert.equal(wrong.status, 422);
  assert.match((await wrong.json()).detail, /least/);
  assert.equal((await ask(rows)).status, 422, "a value that has to be given is missing");
  assert.equal((await ask(`${rows}?besides=Germany`, null)).status, 401);
  for (const path of ["/v1/status", "/v1/tokens", "/v1/sql/schema"]) assert.equal((await ask(path)).status, 403, path);
  await page.getByRole("button", { name: "Revoke: web-shop" }).click();
  await page.locator(".ant-modal-confirm").getByRole("button", { name: "Revoke" }).click();
  await page.getByText("revoked").waitFor();
  assert.equal((await ask(`${rows}?besides=Germany`)).status, 401);
  await page.goto("/queries");
  await settled(page);
  assert.doesNotMatch(await page.getByRole("row", { name: /top_countries/ }).innerText(), /never/, "calls are not counted");
  say("a program gets rows with the key, nothing else by it, and nothing once it is revoked");
}

async function edit({ page, project, settled, accessible, say }) {
  await page.getByRole("link", { name: "top_countries" }).click();
  await settled(page);
  await page.getByRole("button", { name: "Edit" }).click();
  const window = page.locator(".ant-modal");
  assert.equal(await window.getByLabel("Description of besides").inputValue(), "A country to leave out");
  await window.getByLabel("Rows at most").fill("500");
  await accessible(page, "the editing of a query");
  await window.getByRole("button", { name: "Save" }).click();
  await window.waitFor({ state: "detached" });
  await page.locator(".figures").getByText("500", { exact: true }).waitFor();
  assert.match(readFileSync(join(project, "queries", "top_countries.yaml"), "utf8"), /rows: 500/);
  say("a query is changed on its page");
}

async function find({ page, settled, say }) {
  await page.goto("/");
  await settled(page);
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox").fill("top_countries");
  await page.getByRole("option", { name: /top_countries/ }).first().click();
  await page.waitForURL("**/queries/top_countries");
  await settled(page);
  say("Ctrl-K finds a query and opens it");
}

async function unpublish({ page, project, settled, say }) {
  const window = await write(page, "select 1 as one");
  await window.getByLabel("Name", { exact: true }).fill("top_countries");
  await window.getByRole("button", { name: "Publish", exact: true }).click();
  await window.getByText("A query “top_countries” is published already").waitFor();
  await window.getByLabel("Name", { exact: true }).fill("one");
  await window.getByRole("button", { name: "Publish", exact: true }).click();
  await page.waitForURL("**/queries/one");
  await settled(page);
  await page.getByRole("button", { name: "Call", exact: true }).click();
  await page.locator(".rows-row").first().waitFor();
  await page.getByRole("button", { name: "Unpublish" }).click();
  await page.locator(".ant-modal-confirm").getByRole("button", { name: "Unpublish" }).click();
  await page.waitForURL("**/queries");
  await settled(page);
  await page.getByRole("link", { name: "top_countries" }).waitFor();
  assert.equal(await page.getByRole("link", { name: "one", exact: true }).count(), 0);
  assert(!existsSync(join(project, "queries", "one.yaml")));
  say("a name that is taken is said to be, and a query is unpublished");
}
