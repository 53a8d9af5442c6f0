// Walks through all pages of a real server in Chromium, in both languages and both colours, and does what people do.
//
//   FLYWHEEL_BINARY=target/release/flywheel npm run e2e
//
// CHROMIUM names another browser than /usr/bin/chromium; SHOTS a folder for a picture of each page.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { chromium } from "playwright-core";
import { grant } from "./access.mjs";
import { ask } from "./ask.mjs";
import { dashboards } from "./dashboards.mjs";
import { data } from "./data.mjs";
import { fail, make, promote } from "./decide.mjs";
import { experiment, guard } from "./experiments.mjs";
import { files } from "./files.mjs";
import { report } from "./report.mjs";
import { queries } from "./queries.mjs";
import { schedules } from "./schedules.mjs";

const binary = resolve(process.env.FLYWHEEL_BINARY ?? "../target/release/flywheel");
assert(existsSync(binary), `no ${binary}: build it first (cargo build --release), or name it in FLYWHEEL_BINARY`);
const browserPath = process.env.CHROMIUM ?? "/usr/bin/chromium";
assert(existsSync(browserPath), `no ${browserPath}: install Chromium, or name it in CHROMIUM`);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const shots = process.env.SHOTS;
if (shots) mkdirSync(shots, { recursive: true });

const folder = mkdtempSync(join(tmpdir(), "flywheel-pages-"));
const project = join(folder, "shop");
const password = "correct horse battery";
let server;
let browser;
const problems = [];
let step = 0;
const say = (text) => console.log(`${String(++step).padStart(3)}  ${text}`);

/** Makes the simulated shop, serves it, and answers the address that is printed. No day goes by but those that are asked for. */
async function serve() {
  server = spawn(binary, ["demo", "--seed", "7", "--days", "12", "--dir", project, "--listen", "127.0.0.1:0", "--pace", "12h"], { stdio: ["ignore", "pipe", "pipe"] });
  const link = await new Promise((done, failed) => {
    let said = "";
    const hear = (data) => {
      said += data;
      const found = /http:\/\/\S+/.exec(said);
      if (found) done(found[0]);
    };
    server.stdout.on("data", hear);
    server.stderr.on("data", hear);
    server.on("exit", (code) => failed(new Error(`the server ended with ${code}: ${said}`)));
  });
  return new URL(link);
}

/** A page of a new visitor; what its console complains of is a problem, but for the refusals that a step expects. */
async function visit(base, { language = "en", theme = "light", width = 1440, expected = /^$/ } = {}) {
  const context = await browser.newContext({ baseURL: base, viewport: { width, height: 950 }, colorScheme: theme, reducedMotion: "reduce" });
  await context.addInitScript(([lang, colours]) => {
    // What the visitor chooses later stays.
    localStorage["flywheel.language"] ??= lang;
    localStorage["flywheel.theme"] ??= colours;
  }, [language, theme]);
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  const note = (what) => !expected.test(what) && problems.push(`${language} ${theme} ${new URL(page.url()).pathname}: ${what}`);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && note(message.text()));
  page.on("pageerror", (error) => note(error.message));
  page.on("request", (request) => !request.url().startsWith(base) && !/^(data|blob):/.test(request.url()) && note(`asks a stranger: ${request.url()}`));
  return page;
}

/** Waits until nothing is being loaded. */
const settled = async (page) => {
  await page.waitForFunction(() => document.querySelector("main, .gate-card") && !document.querySelector(".loading"));
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
};

/** Finds what keeps people from using the page as it is now. */
async function accessible(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const one of violations.filter(({ impact }) => ["serious", "critical"].includes(impact))) {
    problems.push(`${what}: ${one.impact} ${one.id}: ${one.nodes.slice(0, 3).map((node) => `${node.target.join(" ")} (${node.failureSummary?.split("\n")[1]?.trim()})`).join("; ")}`);
  }
}

async function signIn(page, name = "ada") {
  await page.goto("/");
  await page.locator("input#name").fill(name);
  await page.locator("input#password").fill(password);
  await page.locator("button[type=submit]").click();
  await page.locator(".shell").waitFor();
  await settled(page);
}

/** The addresses of the menu, and of each list in it the first thing that it leads to. */
async function addresses(page) {
  const own = (selector) => page.locator(selector).evaluateAll((links) => links.map((link) => link.getAttribute("href")));
  const all = await own("nav.menu a");
  const below = [];
  for (const address of all) {
    await page.goto(address);
    await settled(page);
    const found = (await own("#content a")).filter((one) => one && /^\/[a-z]+\/[^/?#]+/.test(one) && one.startsWith(`${address.split("?")[0]}/`));
    const [first] = address === "/turns" ? (await own("#content a")).filter((one) => one?.startsWith("/runs/")) : found;
    if (first) below.push(first);
    if (address === "/dashboards") below.push("/dashboards/shop", "/dashboards/shop/edit");
    if (address === "/models") below.push("/plan");
    if (address === "/policies") below.push("/policies/new");
    if (address === "/files") below.push("/files/schedule");
    if (address === "/queries") assert(first, "no published query is walked through");
    const bandit = found.find((one) => one.endsWith("/nudge"));
    if (bandit) below.push(bandit);
  }
  return [...all, ...below];
}

async function everyPage(base) {
  let list;
  for (const [language, theme] of [["en", "light"], ["zh", "dark"], ["zh", "light"], ["en", "dark"]]) {
    const page = await visit(base, { language, theme });
    await signIn(page);
    list ??= await addresses(page);
    for (const address of list) {
      await page.goto(address);
      await settled(page);
      const what = `${language} ${theme} ${address}`;
      assert((await page.locator("h1").count()) === 1, `${what} has no title`);
      assert((await page.locator(".trouble").count()) === 0, `${what} shows trouble: ${await page.locator(".trouble").allInnerTexts()}`);
      assert.equal(await page.locator("html").getAttribute("lang"), language === "zh" ? "zh-CN" : "en");
      await accessible(page, what);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth + 1);
      if (wide) problems.push(`${what}: the page is wider than the window`);
      // Only the content scrolls: whatever is placed beside it must not make the window longer.
      const long = await page.evaluate(() => document.documentElement.scrollHeight > innerHeight + 1);
      if (long) problems.push(`${what}: the window scrolls beside the page`);
      if (shots) {
        const height = await page.evaluate(() => (document.getElementById("content")?.scrollHeight ?? 0) + 57);
        await page.setViewportSize({ width: 1440, height: Math.min(2600, Math.max(900, height)) });
        await page.screenshot({ path: join(shots, `${address.replace(/[^a-z0-9]+/gi, "_")}-${language}-${theme}.png`) });
        await page.setViewportSize({ width: 1440, height: 950 });
      }
    }
    await page.context().close();
    say(`${list.length} pages in ${language}, ${theme}`);
  }
  const narrow = await visit(base, { width: 390 });
  await signIn(narrow);
  for (const address of list) {
    await narrow.goto(address);
    await settled(narrow);
    if (await narrow.evaluate(() => document.documentElement.scrollWidth > innerWidth + 1)) problems.push(`${address} is wider than a telephone`);
    if (shots) await narrow.screenshot({ path: join(shots, `${address.replace(/[^a-z0-9]+/gi, "_")}-narrow.png`) });
  }
  await narrow.context().close();
  say("the same on a telephone");
}

async function setUp(link) {
  const page = await visit(link.origin, { expected: /40[13]/ });
  await page.goto("/policies");
  await page.getByText("This server has no user yet").waitFor();
  await page.goto(link.pathname + link.search);
  await accessible(page, "set-up");
  await page.locator("input#name").fill("ada");
  await page.locator("input#password").fill("short");
  await page.locator("button[type=submit]").click();
  await page.locator("#password-says.bad").waitFor();
  await page.locator("input#password").fill(password);
  await page.locator("button[type=submit]").click();
  await page.locator("nav.menu").waitFor();
  assert.equal(new URL(page.url()).search, "", "the token stays in the address");
  say("set up by the printed link");
  await page.getByRole("button", { name: /Signed in as ada/ }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.locator("input#name").fill("ada");
  await page.locator("input#password").fill("not the password");
  await page.locator("button[type=submit]").click();
  await page.locator(".trouble").getByText("unauthenticated").waitFor();
  await page.locator(".trouble").getByText("Wrong user name or password").waitFor();
  await page.locator("input#password").fill(password);
  await page.locator("button[type=submit]").click();
  await page.locator("nav.menu").waitFor();
  say("sign out, a wrong password in words and with its code, sign in");
  await page.goto(link.pathname + link.search);
  await page.locator("input#name").fill("eve");
  await page.locator("input#password").fill(password);
  await page.locator("button[type=submit]").click();
  await page.locator(".trouble").getByText("denied").waitFor();
  say("a used link is refused, with a hint");
  await page.context().close();
}

async function home(base) {
  const page = await visit(base);
  await signIn(page);
  assert.equal(await page.locator(".wheel-stage").count(), 8);
  assert((await page.locator(".lift svg").count()) >= 2, "Home shows no lift");
  const before = Number(await page.locator(".hub-turn").innerText());
  await page.getByRole("button", { name: "Run a turn" }).click();
  // The number changes by what the server tells, not by loading the page anew.
  await page.waitForFunction((turn) => Number(document.querySelector(".hub-turn")?.textContent) === turn + 1, before);
  say(`the wheel turns from ${before} to ${before + 1} in front of the user`);
  await page.locator(".home-wheel .trust-mark").click();
  await page.getByText("GET /v1/status").waitFor();
  await page.locator(".lift svg").first().focus();
  await page.keyboard.press("ArrowLeft");
  await page.locator(".tip").waitFor();
  await page.keyboard.press("Escape");
  say("where a figure comes from; the lift of a turn by keyboard");
  await page.goto("/turns");
  await settled(page);
  await page.getByRole("link", { name: "Tasks and log" }).first().click();
  await page.locator(".runs-log li").first().waitFor();
  await page.getByRole("searchbox").fill("no line has this");
  await page.getByText("No line like that.").waitFor();
  await page.getByText(/of \d+ tests passed/).first().click();
  say("from a turn to its tasks, tests and log");
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox").fill("next_offer");
  await page.getByRole("option", { name: /next_offer/ }).first().waitFor();
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/(policies|catalogue)\//);
  await accessible(page, "after the search");
  say("Ctrl-K finds a policy and opens it");
  await page.getByRole("button", { name: "中文" }).click();
  await page.locator("nav.menu").getByText("首页").waitFor();
  await page.getByRole("button", { name: "深色" }).click();
  assert.equal(await page.locator("html").getAttribute("data-theme"), "dark");
  await page.reload();
  await page.locator("nav.menu").getByText("首页").waitFor();
  assert.equal(await page.locator("html").getAttribute("data-theme"), "dark", "colours are forgotten");
  say("language and colours are kept");
  await page.context().close();
}

async function policies(base) {
  const page = await visit(base, { expected: /40[04]/ });
  await signIn(page);
  await page.goto("/policies/winback");
  await settled(page);
  await page.getByRole("button", { name: "Pause" }).click();
  await page.locator("textarea").fill("Too many mails this week");
  await accessible(page, "the reason of a pause");
  await page.locator(".ant-modal").getByRole("button", { name: "Pause" }).click();
  await page.getByText("Paused: Too many mails this week").waitFor();
  await page.goto("/");
  await page.getByText("winback is paused").waitFor();
  await page.getByRole("link", { name: /winback is paused/ }).click();
  await page.getByRole("button", { name: "Resume" }).click();
  await page.getByRole("button", { name: "Pause" }).waitFor();
  say("a policy is paused with a reason, seen on Home, and resumed");
  await page.getByRole("button", { name: "Weigh a challenger" }).click();
  const window = page.locator(".ant-modal");
  await window.getByRole("button", { name: "Weigh", exact: true }).click();
  await window.getByText("The evidence does not suffice").waitFor();
  await accessible(page, "evidence");
  await window.locator("input").first().fill("nobody");
  await window.getByRole("button", { name: "Weigh", exact: true }).click();
  await window.locator(".trouble").waitFor();
  await window.getByRole("button", { name: "Cancel" }).click();
  say("a challenger is weighed; one that is not there is named");
  await page.getByRole("button", { name: "held out", exact: true }).click();
  await page.waitForFunction(() => [...document.querySelectorAll(".grid tbody tr .key")].every((key) => key.classList.contains("key-holdout")));
  say("decisions are filtered by arm");
  await page.goto("/policies/nobody");
  await page.locator(".trouble").getByText("not-found").waitFor();
  await page.goto("/no/such/page");
  await page.getByText("There is no such page").first().waitFor();
  say("what is not there is said to be missing");
  await page.context().close();
}

/** A viewer sees no button that the API would refuse, and no page of rows. */
async function viewer(base) {
  const owner = await visit(base);
  await signIn(owner);
  const link = await owner.evaluate(async () => {
    const { csrf } = await (await fetch("/v1/session")).json();
    const made = await fetch("/v1/users", { method: "POST", headers: { "content-type": "application/json", "x-csrf-token": csrf }, body: JSON.stringify({ name: "vera", role: "viewer" }) });
    return (await made.json()).setup_link;
  });
  await owner.context().close();
  const page = await visit(base);
  await page.goto(link);
  await page.locator("input#name").fill("vera");
  await page.locator("input#password").fill(password);
  await page.locator("button[type=submit]").click();
  await page.locator("nav.menu").waitFor();
  await settled(page);
  assert.equal(await page.getByRole("button", { name: "Run a turn" }).count(), 0);
  assert.equal(await page.locator('nav.menu a[href="/inventory"]').count(), 0);
  await page.goto("/policies/winback");
  await settled(page);
  for (const name of ["Pause", "Resume", "Weigh a challenger"]) assert.equal(await page.getByRole("button", { name }).count(), 0, name);
  await page.getByText("your role may not query them").waitFor();
  await page.goto("/inventory");
  await page.getByText("Your role, Viewer, may not see this page.").waitFor();
  await page.context().close();
  say("a viewer gets no dead button and no rows");
  const looking = await visit(base, { expected: /403/ });
  await signIn(looking);
  await looking.getByRole("button", { name: /Signed in as ada/ }).click();
  await looking.getByRole("button", { name: "View as" }).click();
  await looking.getByLabel("Who do you want to look as?").selectOption("vera");
  await accessible(looking, "choosing whom to look as");
  await looking.getByRole("button", { name: "Look as this person" }).click();
  const banner = looking.getByText("You see the project as vera");
  await banner.waitFor();
  await settled(looking);
  assert.equal(await looking.getByRole("button", { name: "Run a turn" }).count(), 0, "something can be done as somebody else");
  await accessible(looking, "looking as a viewer");
  await looking.goto("/policies/winback");
  await banner.waitFor();
  await looking.getByText("your role may not query them").waitFor();
  await looking.goto("/admin");
  await looking.getByText("vera may not see this page").waitFor();
  await looking.goto("/");
  await looking.getByRole("button", { name: "End", exact: true }).click();
  await banner.waitFor({ state: "detached" });
  await looking.getByRole("button", { name: "Run a turn" }).waitFor();
  await looking.reload();
  await looking.getByRole("button", { name: "Run a turn" }).waitFor();
  assert.equal(await banner.count(), 0, "a view that was ended came back");
  await looking.context().close();
  say("an owner looks as the viewer, sees what they see, and ends it");
}

/** A server that goes away is said to be away, and the page goes on when it is back. */
async function away(base) {
  const page = await visit(base, { expected: /ERR_|50\d|Failed to load/ });
  await signIn(page);
  server.removeAllListeners("exit");
  const gone = new Promise((done) => server.on("exit", done));
  server.kill("SIGKILL");
  await gone;
  await page.getByText("Live updates are interrupted").waitFor();
  await page.context().close();
  say("a server that is killed is said to be away");
}

try {
  say(`a shop of twelve days in ${project}`);
  const link = await serve();
  // A policy with a bandit from the next turn on, so that what only such a one has is shown too.
  writeFileSync(join(project, "learners", "nudger.yaml"), "learner: nudger\nbandit:\n  policy: nudge\n  actions: [reminder, discount-10, silence]\n");
  writeFileSync(join(project, "policies", "nudge.yaml"), `policy: nudge
description: Which of three nudges earns most, learned from what came of them.
audience: select customer_id as unit_id, email from {{ ref('customers') }} where consent
choose:
  bandit: {learner: nudger}
holdout: 10%
caps: {per_turn: 50}
action: crm_messages
payload: {message: nudge, email: $email}
outcome:
  events: select invoice_no as event_id, customer_id as unit_id, ordered_at as at from {{ ref('orders') }}
  window: 1d
`);
  guard(project);
  mkdirSync(join(project, "schedules"), { recursive: true });
  writeFileSync(join(project, "schedules", "nightly.yaml"), "schedule: nightly\ndescription: Models are built once a night.\nrun: build\nwhen: {cron: \"30 2 * * *\", zone: Asia/Shanghai}\n");
  browser = await chromium.launch({ executablePath: browserPath, args: ["--no-sandbox"] });
  await report({ project, visit, say, shots });
  await setUp(link);
  await home(link.origin);
  await policies(link.origin);
  await ask(link.origin, { visit, signIn, settled, accessible, say });
  await viewer(link.origin);
  await grant(link.origin, { project, visit, signIn, settled, accessible, say });
  await dashboards(link.origin, { project, visit, signIn, settled, accessible, say });
  const owner = await visit(link.origin);
  await signIn(owner);
  await data({ page: owner, project, settled, accessible, say });
  await schedules({ page: owner, settled, accessible, say });
  await files({ page: owner, project, settled, accessible, say });
  // Some of it is refused, as it should be.
  const author = await visit(link.origin, { expected: /4(?:00|04|09|12|22)|Failed to load/ });
  await signIn(author);
  await queries({ page: author, base: link.origin, project, settled, accessible, say });
  await author.context().close();
  await experiment({ page: owner, settled, accessible, say });
  await promote({ page: owner, project, settled, accessible, say });
  await make({ page: owner, base: link.origin, project, visit, password, settled, accessible, say });
  await owner.context().close();
  await everyPage(link.origin);
  const last = await visit(link.origin);
  await signIn(last);
  await fail({ page: last, project, settled, accessible, say });
  await last.context().close();
  await away(link.origin);
  assert.deepEqual([...new Set(problems)], []);
  console.log("All pages pass.");
} catch (error) {
  if (problems.length) console.error([...new Set(problems)].join("\n"));
  console.error(error);
  // One line that says it all: a run of everything repeats it at its end.
  const [what] = String(error.message).split("\n");
  const where = /e2e\/\w+\.mjs:\d+/.exec(String(error.stack))?.[0] ?? "";
  console.log(`failed after step ${step}: ${what} (${where})`);
  process.exitCode = 1;
} finally {
  await browser?.close();
  server?.removeAllListeners("exit");
  server?.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}
