// What people do who ask: queries, metrics, models, and where columns come from.
import assert from "node:assert/strict";

/** `tools` are the helpers of run.mjs. */
export async function ask(base, { visit, signIn, settled, accessible, say }) {
  const page = await visit(base, { expected: /40[049]|Failed to load/ });
  await signIn(page);
  await sql(page, { settled, accessible, say });
  await metrics(page, { settled, accessible, say });
  await models(page, { settled, accessible, say });
  await lineage(page, { settled, accessible, say });
  await page.context().close();
}

const editor = (page) => page.locator(".cm-content");

async function write(page, text) {
  await editor(page).click();
  await page.keyboard.press("Control+a");
  await page.keyboard.press("Delete");
  await page.keyboard.insertText(text);
  // What is offered would take the keys that follow.
  await page.keyboard.press("Escape");
}

async function sql(page, { settled, accessible, say }) {
  await page.goto(`/sql?q=${encodeURIComponent("select country, count(*) as orders from mart.orders group by country order by orders desc")}`);
  await editor(page).waitFor();
  assert.match(await editor(page).innerText(), /group by country/);
  assert.equal(await page.locator(".rows").count(), 0, "a query from a link ran by itself");
  await editor(page).click();
  await page.keyboard.press("Control+Enter");
  await page.locator(".rows-row").first().waitFor();
  assert.match(await page.locator(".rows-row").first().innerText(), /United Kingdom/);
  await page.getByRole("button", { name: "Chart" }).click();
  await page.locator(".chart canvas").first().waitFor();
  await accessible(page, "a chart of a query");
  say("a query from a link is run by keyboard and drawn");

  await write(page, "select * from mart.ord");
  await page.keyboard.type("e");
  await page.locator(".cm-tooltip-autocomplete").getByText("orders", { exact: true }).waitFor();
  await write(page, "select  from mart.orders");
  await page.keyboard.press("Home");
  for (const _ of "select ") await page.keyboard.press("ArrowRight");
  await page.keyboard.type("rev");
  await page.locator(".cm-tooltip-autocomplete").getByText("number · mart.orders").click();
  assert.match(await editor(page).innerText(), /select revenue from mart\.orders/);
  say("tables and columns are completed");

  await page.getByRole("combobox", { name: "Rows" }).selectOption("10000");
  await write(page, "select value, value * 2 as twice from generate_series(1, 12000) order by value");
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await page.getByText("Only the first 10,000 rows are here").waitFor();
  const grid = page.getByRole("grid");
  assert.equal(await grid.getAttribute("aria-rowcount"), "10001");
  assert((await page.locator(".rows-row").count()) < 100, "all rows are drawn at once");
  await grid.focus();
  await page.keyboard.press("Control+End");
  await page.locator(".rows-on").getByText("20000", { exact: true }).waitFor();
  await page.getByRole("columnheader", { name: /^value/ }).getByRole("button").click();
  await page.getByRole("columnheader", { name: /^value/ }).getByRole("button").click();
  await accessible(page, "ten thousand rows");
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download CSV" }).click()]);
  assert.match(file.suggestedFilename(), /\.csv$/);
  say("ten thousand rows are walked through by keyboard, sorted and taken along");

  await write(page, "select nope from mart.orders");
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await page.locator(".trouble").getByText("Known: invoice_no").waitFor();
  await write(page, "select count(distinct value % 1000003) from generate_series(1, 20000000000)");
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByText("The query was stopped after").waitFor();
  await page.getByRole("button", { name: "Explain" }).click();
  await page.getByRole("heading", { name: "How it is computed" }).waitFor();
  await page.getByRole("button", { name: "History", exact: true }).click();
  await page.locator(".sql-history").getByText("group by country").waitFor();
  await accessible(page, "the history of queries");
  await page.locator(".sql-history button").filter({ hasText: "group by country" }).click();
  assert.match(await editor(page).innerText(), /group by country/);
  say("a wrong query is told what there is, a long one is stopped, an old one found again");
  await settled(page);
}

async function metrics(page, { settled, accessible, say }) {
  await page.goto("/metrics");
  await settled(page);
  await page.getByRole("link", { name: "Revenue", exact: true }).click();
  await page.locator(".chart canvas").first().waitFor();
  await settled(page);
  const total = async () => (await page.locator(".figures dd").first().innerText()).trim();
  const whole = await total();
  await page.getByRole("list", { name: "Revenue by country", exact: false }).first().getByRole("button", { name: /Germany/ }).click();
  await page.waitForFunction((before) => document.querySelector(".figures dd")?.textContent?.trim() !== before, whole);
  assert.match(page.url(), /only=/);
  await accessible(page, "a metric that is narrowed");
  await page.getByRole("button", { name: /Remove .*Germany/ }).click();
  await page.waitForFunction((before) => document.querySelector(".figures dd")?.textContent?.trim() === before, whole);
  say("a metric is narrowed by a click, and opened again");
  const canvas = page.locator(".chart canvas").first();
  const box = await canvas.boundingBox();
  await page.mouse.move(box.x + box.width * 0.4, box.y + box.height / 2);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.7, box.y + box.height / 2, { steps: 8 });
  await page.mouse.up();
  await page.waitForURL(/from=\d{4}-\d\d-\d\d/);
  await page.getByRole("combobox", { name: "Split by" }).selectOption("country");
  await page.getByText("Show as table").click();
  await page.getByRole("region", { name: "Revenue", exact: true }).getByText("Germany").first().waitFor();
  await page.getByText("SQL behind it").click();
  await page.locator(".sqltext").getByText("SELECT").first().waitFor();
  say("drawing across the chart looks closer; split, as a table, with its SQL");
  await page.goto("/metrics/no_such");
  await page.getByText('No metric is called "no_such"').waitFor();
}

async function models(page, { settled, accessible, say }) {
  await page.goto("/models");
  await settled(page);
  await page.getByRole("row", { name: /mart\.orders/ }).getByText("passed").waitFor();
  await page.getByRole("button", { name: "Graph" }).click();
  await page.locator(".flow-node").getByText("mart.orders").waitFor();
  await accessible(page, "the graph of models");
  await page.locator(".flow-node-head", { hasText: "mart.orders" }).click();
  await page.getByRole("heading", { name: /mart\.orders/ }).waitFor();
  await settled(page);
  await page.getByText("unique_orders_invoice_no").waitFor();
  await page.getByRole("button", { name: "As run" }).click();
  await page.locator(".sqltext").getByText("ref(").waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Build", exact: true }).click();
  await page.getByText("The build is in the queue").waitFor();
  say("a model with its tests is found in the graph, read as it runs, and built");
}

async function lineage(page, { settled, accessible, say }) {
  await page.goto("/lineage?table=mart.orders");
  await settled(page);
  await page.locator(".lineage-columns").getByRole("button", { name: "revenue" }).click();
  await page.locator(".lineage-steps").getByRole("button", { name: "raw.order_lines.unit_price" }).waitFor();
  await page.locator(".lineage-steps").getByRole("button", { name: "mart.customers.revenue" }).waitFor();
  await page.locator(".flow-node").getByRole("button", { name: "unit_price" }).waitFor();
  await accessible(page, "the way of a column");
  await page.getByRole("checkbox", { name: "Show what decides which rows" }).check();
  await page.locator(".flow-node").getByRole("button", { name: "cancelled" }).waitFor();
  await page.locator("summary", { hasText: "As a list" }).click();
  await page.getByRole("region", { name: "As a list" }).getByText("decides which rows").first().waitFor();
  await page.goto("/lineage?table=metric%3Arevenue");
  await page.locator(".flow-node-chosen").getByText("revenue").waitFor();
  await page.goto("/lineage?table=nobody");
  await page.getByText('Nothing is called "nobody"').waitFor();
  say("a column is followed back to where it landed, and on to what is made of it");
}
