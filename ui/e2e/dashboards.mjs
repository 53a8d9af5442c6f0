// What people do with dashboards: read and narrow one, build one by pointer and keyboard, share it, find its mistakes.
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** `tools` are the helpers of run.mjs. */
export async function dashboards(base, { project, visit, signIn, settled, accessible, say }) {
  const page = await visit(base, { expected: /40[0139]|Failed to load/ });
  await signIn(page);
  await read(page, { settled, accessible, say });
  await takeAlong(page, { settled, accessible, say });
  await build(page, { project, settled, accessible, say });
  await collide(page, { project, settled, say });
  const link = await share(page, { settled, accessible, say });
  await page.context().close();
  await guest(base, link, { visit, settled, accessible, say });
}

const now = (page, tile) => page.locator(`#tile-${tile} .board-now b`).first().innerText();
const changes = (page, tile, before) => page.waitForFunction(([id, text]) => {
  const found = document.querySelector(`#tile-${id} .board-now b`)?.textContent;
  return found && found !== text && !document.querySelector(`#tile-${id} .board-old`);
}, [tile, before]);

/** A gesture of the pointer, made once more if what it was aimed at moved: a tile that is drawn anew is at another place. */
async function gesture(make, done, times = 3) {
  for (let left = times; ; left -= 1) {
    await make();
    try {
      return await done({ timeout: left > 1 ? 10_000 : 60_000 });
    } catch (error) {
      if (left === 1) throw error;
    }
  }
}

/** On a screen of its own, and as a workbook. */
async function takeAlong(page, { settled, accessible, say }) {
  await page.goto("/dashboards/shop");
  await page.locator("#tile-revenue .board-now").waitFor();
  await settled(page);
  await page.getByRole("button", { name: "Full screen" }).click();
  const wall = page.locator(".wall");
  await wall.locator(".board-now").first().waitFor();
  await wall.locator("canvas").first().waitFor();
  await settled(page);
  await accessible(page, "a dashboard on a screen of its own");
  if (process.env.SHOTS) await page.screenshot({ path: join(process.env.SHOTS, "wall.png") });
  await page.getByRole("button", { name: "Leave the full screen" }).click();
  await wall.waitFor({ state: "detached" });
  const taken = page.waitForEvent("download");
  await page.getByRole("button", { name: "Excel" }).click();
  const file = await taken;
  assert.equal(file.suggestedFilename(), "shop.xlsx");
  const bytes = readFileSync(await file.path());
  assert.equal(bytes.subarray(0, 2).toString(), "PK", "a workbook is a zip archive");
  say(`a dashboard fills the screen, and is taken along as a workbook of ${bytes.length} bytes`);
}

async function read(page, { settled, accessible, say }) {
  await page.goto("/dashboards");
  await settled(page);
  await page.getByRole("link", { name: "Shop at a glance" }).click();
  await page.locator("#tile-revenue .board-now").waitFor();
  await page.locator("#tile-revenue_by_day canvas").first().waitFor();
  await settled(page);
  const whole = await now(page, "revenue");
  await page.locator("#tile-countries").getByRole("button", { name: /Germany/ }).click();
  await changes(page, "revenue", whole);
  assert.match(page.url(), /only=/);
  await page.locator("#tile-funnel").getByText("Not narrowed by: Country").waitFor({ state: "attached" });
  await accessible(page, "a dashboard that is narrowed");
  await page.getByRole("button", { name: /Remove Country Germany/ }).click();
  await page.waitForFunction((text) => document.querySelector("#tile-revenue .board-now b")?.textContent === text, whole);
  await page.getByRole("button", { name: "Country", exact: true }).click();
  await page.getByRole("textbox", { name: "Find a value" }).fill("fra");
  // On its name, as people do.
  await page.locator(".board-pick-list").getByText("France", { exact: true }).click();
  await changes(page, "revenue", whole);
  await accessible(page, "the values of a filter");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "7 days" }).click();
  await page.waitForURL(/from=\d{4}-\d\d-\d\d/);
  await settled(page);
  say("a dashboard is narrowed by a click, by a list and by time; what is not narrowed says so");
  await page.emulateMedia({ media: "print" });
  assert.equal(await page.locator(".side").isVisible(), false, "the menu is printed");
  assert(await page.locator("#tile-revenue").isVisible());
  await page.emulateMedia({ media: null });
}

async function build(page, { project, settled, accessible, say }) {
  await page.goto("/dashboards/new");
  await page.getByRole("textbox", { name: "Find a metric" }).fill("成交额");
  await page.getByRole("button", { name: /^Revenue/ }).first().click();
  await page.locator("#tile-revenue .board-now").waitFor();
  await page.getByRole("button", { name: "Add a tile" }).first().click();
  await page.getByRole("button", { name: /^Orders/ }).first().click();
  await page.getByRole("combobox", { name: "Add to: By" }).selectOption("country");
  await page.locator("#tile-orders .board-bars li").first().waitFor();
  await page.getByRole("button", { name: "Add a tile" }).first().click();
  await page.getByRole("button", { name: /^Query/ }).click();
  await page.getByRole("textbox", { name: "SQL" }).fill("select nope from {{ ref('orders') }}");
  await page.locator("#tile-query .trouble").getByText("Known: invoice_no").waitFor();
  await page.getByRole("textbox", { name: "SQL" }).fill("select invoice_no, revenue from {{ ref('orders') }} where {{ var('filters') }} order by revenue desc limit 5");
  await page.getByRole("textbox", { name: "Time", exact: true }).fill("ordered_at");
  await page.locator("#tile-query table tbody tr").nth(4).waitFor();
  await accessible(page, "the builder of a dashboard");
  say("a dashboard is built of metrics and a query, each shown at once with real figures");

  // By keyboard: the query to the first place, two columns wider.
  const handle = page.locator("#tile-query .board-handle");
  await handle.focus();
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowUp");
  await page.waitForFunction(() => document.querySelector(".board-grid > section")?.id === "tile-query");
  await page.keyboard.press("Shift+ArrowRight");
  await page.keyboard.press("Shift+ArrowRight");
  await page.getByText("query is 8 columns wide and 4 rows high").waitFor({ state: "attached" });
  // By pointer: the first tile behind the second, and a corner pulled.
  await gesture(async () => {
    await handle.hover();
    await page.mouse.down();
    const to = await page.locator("#tile-revenue").boundingBox();
    await page.mouse.move(to.x + to.width * 0.8, to.y + to.height * 0.6, { steps: 12 });
    await page.mouse.up();
  }, (wait) => page.waitForFunction(() => document.querySelector(".board-grid > section")?.id === "tile-revenue", undefined, wait));
  await gesture(async () => {
    const corner = await page.locator("#tile-revenue .board-corner").boundingBox();
    await page.mouse.move(corner.x + 10, corner.y + 10);
    await page.mouse.down();
    await page.mouse.move(corner.x + 10, corner.y + 110, { steps: 5 });
    await page.mouse.up();
  }, (wait) => page.getByText(/revenue is \d+ columns wide and [3-9] rows high/).waitFor({ state: "attached", ...wait }));
  say("tiles are moved and sized, by keyboard and by pointer");

  await page.locator(".board-side").getByRole("button", { name: "Close" }).click();
  await page.getByRole("textbox", { name: "Name" }).fill("Sales 2");
  await page.getByRole("textbox", { name: "Title · Chinese" }).fill("销售");
  await page.getByRole("combobox", { name: /Readers choose values of/ }).selectOption("country");
  await page.getByRole("link", { name: "All dashboards" }).click();
  await page.getByText("Leave without saving?").waitFor();
  await accessible(page, "leaving without saving");
  await page.getByRole("button", { name: "Keep them and leave" }).click();
  await page.waitForURL("**/dashboards");
  await page.goto("/dashboards/new");
  await page.getByRole("button", { name: "Go on with them" }).click();
  await page.locator("#tile-query").waitFor();
  await page.getByRole("button", { name: "Save" }).click();
  await page.waitForURL("**/dashboards/sales_2");
  await page.locator("#tile-query table tbody tr").nth(4).waitFor();
  await settled(page);
  const file = readFileSync(join(project, "dashboards", "sales_2.yaml"), "utf8");
  assert.match(file, /dimensions: \[country\]/);
  assert.match(file, /tile: query[\s\S]*ordered_at/);
  say("what is not saved is kept, found again, and saved as a file");
}

/** Somebody else changed the file meanwhile: nothing is overwritten. */
async function collide(page, { project, settled, say }) {
  const path = join(project, "dashboards", "sales_2.yaml");
  await page.goto("/dashboards/sales_2/edit");
  await page.locator("#tile-query").waitFor();
  await settled(page);
  const theirs = `${readFileSync(path, "utf8")}# theirs\n`;
  writeFileSync(path, theirs);
  await page.getByRole("textbox", { name: "Title · English" }).fill("Sales");
  await page.getByRole("button", { name: "Save" }).click();
  await page.locator(".trouble").getByText("was changed since it was read").waitFor();
  assert.equal(readFileSync(path, "utf8"), theirs);
  await page.getByRole("button", { name: "Delete" }).click();
  await page.locator(".ant-modal-confirm").getByRole("button", { name: "Delete" }).click();
  await page.locator(".trouble").getByText("nothing was removed").first().waitFor();
  assert(existsSync(path));
  await page.reload();
  await page.getByText("replaces what was saved meanwhile").waitFor();
  await page.getByRole("button", { name: "Go on with them" }).click();
  assert.equal(await page.getByRole("textbox", { name: "Title · English" }).inputValue(), "Sales");
  await page.evaluate(() => localStorage.clear());
  say("a file that somebody else changed is neither overwritten nor removed, and the changes are offered again");
}

async function share(page, { settled, accessible, say }) {
  await page.goto("/dashboards/shop");
  await settled(page);
  await page.getByRole("button", { name: "Share" }).click();
  await page.getByRole("textbox", { name: "For whom" }).fill("board-meeting");
  await page.getByRole("button", { name: "Make a link" }).click();
  const link = await page.locator(".board-made pre").first().innerText();
  assert.match(link, /\/embed\/shop#fwt_/);
  await accessible(page, "a link to a dashboard");
  say("a link to a dashboard is made and shown once");
  return link;
}

/** Whoever has a link sees the dashboard and nothing else; taken back, nothing at all. */
async function guest(base, link, { visit, settled, accessible, say }) {
  const page = await visit(base, { language: "zh", theme: "dark", expected: /40[13]|Failed to load/ });
  await page.goto(link);
  await page.locator("#tile-revenue .board-now").waitFor();
  await page.locator("#tile-revenue_by_day canvas").first().waitFor();
  await settled(page);
  assert.equal(await page.locator("nav.menu").count(), 0);
  await accessible(page, "a dashboard behind a link");
  const whole = await now(page, "revenue");
  await page.locator("#tile-countries").getByRole("button", { name: /Germany/ }).click();
  await changes(page, "revenue", whole);
  assert.match(page.url(), /#fwt_/, "a reload would lose the link");
  const other = await page.evaluate(async () => {
    const headers = { authorization: `Bearer ${location.hash.slice(1)}` };
    const ask = async (path) => (await fetch(path, { headers })).status;
    const one = await (await fetch("/v1/dashboards/shop", { headers })).json();
    return { codes: [await ask("/v1/metrics"), await ask("/v1/tokens"), await ask("/v1/dashboards"), await ask("/v1/dashboards/sales_2")], sql: JSON.stringify(one).includes("select") };
  });
  assert.deepEqual(other, { codes: [403, 403, 403, 403], sql: false });
  const owner = await visit(base);
  await owner.goto("/");
  await owner.locator("input#name").fill("ada");
  await owner.locator("input#password").fill("correct horse battery");
  await owner.locator("button[type=submit]").click();
  await owner.locator(".shell").waitFor();
  await owner.goto("/dashboards/shop");
  await settled(owner);
  await owner.getByRole("button", { name: "Share" }).click();
  await owner.getByRole("button", { name: "Take back: board-meeting" }).click();
  await owner.locator(".ant-modal-confirm").getByRole("button", { name: "Take back" }).click();
  await owner.getByText("revoked").waitFor();
  await owner.context().close();
  await page.reload();
  await page.locator(".trouble").getByText("unauthenticated").waitFor();
  await page.getByText("未登录").waitFor();
  await page.context().close();
  say("whoever has the link sees that dashboard alone, and nothing once it is taken back");
}
