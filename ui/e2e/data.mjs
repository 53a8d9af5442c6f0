// What people do on the pages of data and administration, against a real server.
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The number in one of the figures of a page. */
const figure = async (page, label) => Number((await page.locator(".figures > div", { hasText: label }).locator("dd").first().innerText()).replaceAll(",", ""));

/** From a new connection to its first landed rows, by clicks alone. */
async function createSync({ page, project, settled, accessible, say }) {
  mkdirSync(join(project, "data", "visits"), { recursive: true });
  writeFileSync(join(project, "data", "visits", "visits.csv"), "visit_id,customer_id,page\n1,c-1,/home\n2,c-2,/sale\n");
  writeFileSync(join(project, "connections", "web.yaml"), "connection: web\ntype: csv\ndescription: Visits of the web shop.\noptions: {folder: data/visits}\n");
  await page.goto("/connections");
  await page.getByRole("button", { name: "Read the files anew" }).click();
  await page.getByRole("link", { name: "web", exact: true }).click();
  await page.getByRole("button", { name: "Test" }).click();
  await page.getByText(/It answers, with 1 streams/).waitFor();
  await page.getByRole("button", { name: "New sync" }).click();
  await page.getByRole("button", { name: /^Next/ }).click();
  await page.getByLabel("Name of the sync").fill("../web");
  await page.getByText("Letters, digits, _ and - only.").waitFor();
  await page.getByLabel("Name of the sync").fill("web");
  await page.getByRole("button", { name: "Everything, each time" }).click();
  await page.getByRole("button", { name: "Write the file" }).click();
  await page.getByText("connection: web").waitFor();
  await accessible(page, "the file of a new sync");
  await page.getByRole("button", { name: "Keep this file" }).click();
  await page.getByText("Kept as syncs/web.yaml.").waitFor();
  await page.getByRole("button", { name: "Run now" }).click();
  await page.waitForURL("**/syncs/web");
  await page.locator("h1").getByText("succeeded").waitFor();
  await settled(page);
  assert.equal(await figure(page, "Rows landed"), 2);
  say("a sync is made of a connection in five steps and lands its rows");
}

/** A row that was set aside is mended in its file and lands. */
async function mendRows({ page, project, settled, accessible, say }) {
  await page.goto("/syncs/orders?tab=aside");
  await settled(page);
  const before = await figure(page, "Rows set aside");
  assert(before > 0, "the shop has no bad row");
  await accessible(page, "rows set aside");
  const folder = join(project, "data", "orders");
  const bad = readdirSync(folder).map((name) => join(folder, name)).find((path) => readFileSync(path, "utf8").includes(",two,"));
  assert(bad, "no file has a quantity in words");
  writeFileSync(bad, readFileSync(bad, "utf8").replace(",two,", ",2,"));
  await page.getByRole("button", { name: "Replay" }).click();
  await page.waitForFunction((count) => [...document.querySelectorAll(".figures > div")].some((one) => one.textContent?.startsWith("Rows set aside") && Number(one.querySelector("dd")?.textContent?.replaceAll(",", "")) === count - 1), before);
  await page.getByRole("button", { name: "Landed later" }).click();
  await page.waitForFunction(() => document.querySelectorAll(".grid tbody tr").length === 1);
  say(`a row of ${before} that were set aside is mended and lands`);
}

/** Reads the files of the project anew, as somebody who has written one. */
async function anew(page) {
  await page.goto("/connections");
  await page.getByRole("button", { name: "Read the files anew", exact: true }).click();
  await page.getByText("The files were read anew").waitFor();
}

/** Waits until so many rows of a sync are set aside. */
const left = (page, count) => page.waitForFunction((count) => [...document.querySelectorAll(".figures > div")].some((one) => one.textContent?.startsWith("Rows set aside") && one.querySelector("dd")?.textContent === String(count)), count);

/** A row gets another value in the page, is tried and lands; others are given up with a reason. */
async function mendByHand({ page, project, settled, accessible, say }) {
  mkdirSync(join(project, "data", "hits"), { recursive: true });
  writeFileSync(join(project, "data", "hits", "hits.csv"), "hit_id,pages\n1,3\n2,two\n3,many\n4,few\n");
  writeFileSync(join(project, "connections", "hits.yaml"), "connection: hits\ntype: csv\noptions: {folder: data/hits}\n");
  writeFileSync(join(project, "syncs", "hits.yaml"), "sync: hits\nconnection: hits\nstreams:\n  - {stream: hits, options: {path: hits.csv}, read: incremental, write: append, columns: [{name: hit_id, type: int64}, {name: pages, type: int64}]}\n");
  await anew(page);
  await page.goto("/syncs/hits?tab=aside");
  await page.getByRole("button", { name: "Run now", exact: true }).click();
  await left(page, 3);
  await settled(page);
  await page.getByRole("checkbox", { name: "Choose the row data/hits/hits.csv 3", exact: true }).check();
  await page.getByRole("button", { name: "Mend …", exact: true }).click();
  const window = page.locator(".ant-modal");
  const pages = window.getByRole("textbox", { name: /^pages/ });
  assert.equal(await pages.inputValue(), "two", "the window does not show what was read");
  await window.getByRole("button", { name: "Try", exact: true }).click();
  await window.getByText("0 of 1 would land").waitFor();
  await pages.fill("2");
  await window.getByRole("button", { name: "Try", exact: true }).click();
  await window.getByText("1 of 1 would land").waitFor();
  await accessible(page, "mending a row");
  await window.getByRole("button", { name: "Save and replay", exact: true }).click();
  await window.waitFor({ state: "detached" });
  await left(page, 2);
  await settled(page);
  await page.getByRole("checkbox", { name: "Choose all 2 that are shown", exact: true }).check();
  await page.getByRole("button", { name: "Dismiss …", exact: true }).click();
  await window.getByLabel("Reason").fill("test traffic");
  await window.getByRole("button", { name: "Dismiss …", exact: true }).click();
  await window.waitFor({ state: "detached" });
  await left(page, 0);
  await page.getByRole("group", { name: "Status", exact: true }).getByRole("button", { name: "Not wanted", exact: true }).click();
  await page.waitForFunction(() => document.querySelectorAll(".grid tbody tr").length === 2);
  say("a row is mended in the page, tried and landed, and two are given up with a reason");
}

/** A new model is seen in the plan and applied; the next change of it is seen line by line and row by row. */
async function plan({ page, project, settled, accessible, say }) {
  const file = join(project, "models", "mart", "tried.sql");
  const text = "{{ config(materialized='table') }}\nselect 1 as id, 10 as amount\nunion all\nselect 2, 20\n";
  mkdirSync(join(project, "models", "mart"), { recursive: true });
  writeFileSync(file, text);
  await anew(page);
  await page.goto("/models");
  await page.getByRole("link", { name: "Plan", exact: true }).click();
  await page.waitForURL("**/plan");
  await page.getByRole("row", { name: /mart\.tried new/ }).waitFor();
  await settled(page);
  await page.getByRole("button", { name: "Apply", exact: true }).click();
  await page.locator(".ant-modal-confirm").getByRole("button", { name: "Do it", exact: true }).click();
  await page.locator(".plan-work").getByText("succeeded", { exact: true }).waitFor();
  await page.getByRole("row", { name: /mart\.tried new/ }).waitFor({ state: "detached" });
  writeFileSync(file, text.replace("10 as amount", "11 as amount"));
  await anew(page);
  await page.goto("/plan");
  await page.getByRole("button", { name: "Look: mart.tried", exact: true }).click();
  await page.locator(".plan-come").getByText("11 as amount").waitFor();
  await page.locator(".plan-gone").getByText("10 as amount").waitFor();
  await page.getByRole("button", { name: "Compare rows", exact: true }).click();
  await page.getByRole("region", { name: "Some of the rows that differ", exact: true }).waitFor();
  await settled(page);
  assert.equal(await figure(page, "Would be"), 2);
  await accessible(page, "a plan with its differences");
  // What was tried is taken back, so that the next turn builds nothing of it.
  writeFileSync(file, text);
  await anew(page);
  say("a new model is applied from its plan, and the next change of it is seen in lines and rows");
}

/** A column is searched, its table found, profiled and looked into. */
async function search({ page, settled, accessible, say }) {
  await page.goto("/catalogue");
  await settled(page);
  await page.getByRole("searchbox").fill("country");
  await page.locator(".cat-column").first().waitFor();
  await page.locator(".cat-facets").getByRole("button", { name: /^Model/ }).click();
  await page.getByRole("link", { name: "mart.orders" }).click();
  await page.getByRole("tab", { name: /Columns/ }).click();
  await page.getByRole("button", { name: /^Profile/ }).click();
  await page.getByRole("columnheader", { name: "Filled" }).waitFor();
  await accessible(page, "a profile");
  await page.getByRole("tab", { name: "Sample" }).click();
  await page.locator(".cat-sample tbody tr").first().waitFor();
  say("a column is searched, its table found, profiled and looked into");
}

/** A promise that is broken is judged, told with its rows, and named on the page of its table. */
async function judge({ page, project, settled, accessible, say }) {
  mkdirSync(join(project, "quality"), { recursive: true });
  writeFileSync(join(project, "quality", "customers.yaml"), "quality: customers\ntable: source('raw', 'customers')\nowner: crm\nhidden: [email]\nchecks:\n  - {metric: invalidValues, column: country, arguments: {validValues: [France]}, mustBe: 0, severity: warn}\n  - {metric: duplicateValues, column: customer_id, mustBe: 0}\n");
  await page.goto("/connections");
  await page.getByRole("button", { name: "Read the files anew" }).click();
  await page.getByText("The files were read anew").waitFor();
  await page.goto("/quality");
  await settled(page);
  await page.getByRole("button", { name: "Judge now" }).click();
  await page.getByRole("link", { name: "invalid_values_country" }).click();
  await page.getByText("warned").first().waitFor();
  // As somebody opens it who is sent the address once it was judged.
  await page.reload();
  await settled(page);
  await page.locator(".quality-rows tbody tr").first().waitFor();
  await accessible(page, "a quality file");
  assert.match(await page.locator(".quality-rows").innerText(), /hidden/);
  await page.goto("/catalogue/raw.customers");
  await page.getByText("quality_customers_invalid_values_country").waitFor();
  say("a broken promise is told with rows that broke it, without what is hidden");
}

/** Somebody is invited, a token is made, shown once and revoked, a secret is stored, and the log of it all is proved. */
async function administer({ page, settled, accessible, say }) {
  await page.goto("/admin");
  await settled(page);
  await page.getByRole("button", { name: "Invite" }).click();
  const window = page.locator(".ant-modal");
  await window.getByLabel("Name").fill("grace");
  await window.getByRole("radio", { name: /Analyst/ }).check();
  await accessible(page, "an invitation");
  await window.getByRole("button", { name: "Invite" }).click();
  await page.getByText(/\/setup\?token=fws_/).waitFor();
  await page.getByRole("button", { name: "Close" }).last().click();
  await page.getByRole("row").filter({ hasText: "grace" }).getByText("invited", { exact: true }).waitFor();
  await page.getByRole("tab", { name: "Tokens" }).click();
  await page.getByRole("button", { name: "New token" }).first().click();
  await window.getByLabel("What it is for").fill("web-shop");
  await window.getByRole("checkbox", { name: /ingest/ }).check();
  await window.getByRole("button", { name: "Make the token" }).click();
  const secret = await page.locator(".ant-modal pre").first().innerText();
  assert.match(secret, /^fwt_/);
  await page.getByRole("button", { name: "I have copied it" }).click();
  await page.reload();
  await settled(page);
  assert(!(await page.content()).includes(secret), "the token is shown twice");
  await page.getByRole("button", { name: "Revoke: web-shop" }).click();
  await page.locator(".ant-modal-confirm").getByRole("button", { name: "Revoke" }).click();
  await page.getByRole("row").filter({ hasText: "web-shop" }).getByText("revoked", { exact: true }).waitFor();
  await page.getByRole("tab", { name: "Secrets" }).click();
  await page.getByRole("button", { name: "New secret" }).first().click();
  await window.getByLabel("Name").fill("crm");
  await window.getByLabel("Value").fill("c4nary-Zq7wXv");
  await accessible(page, "a new secret");
  await window.getByRole("button", { name: "Store" }).click();
  await page.getByText("stored", { exact: true }).waitFor();
  await page.reload();
  await settled(page);
  assert(!(await page.content()).includes("c4nary-Zq7wXv"), "a secret is shown");
  await page.getByRole("tab", { name: "Audit" }).click();
  await page.getByRole("button", { name: "Verify" }).click();
  await page.getByText(/entries are as they were written/).waitFor();
  await accessible(page, "the audit log");
  say("an invitation, a token shown once and revoked, a secret stored and not shown, and the proof of the log");
}

export const journeys = { createSync, mendRows, mendByHand, search, judge, administer, plan };

/** All of it, by the owner. */
export async function data(given) {
  for (const journey of Object.values(journeys)) await journey(given);
}
