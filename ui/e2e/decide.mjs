// What people do who answer for decisions and runs: promote a challenger, take it back, find why a run failed.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Turns the wheel once, in front of the user. */
async function turn(page, settled) {
  await page.goto("/");
  await settled(page);
  await page.waitForFunction(() => Number(document.querySelector(".hub-turn")?.textContent) > 0);
  const before = Number(await page.locator(".hub-turn").innerText());
  await page.getByRole("button", { name: "Run a turn" }).click();
  await page.waitForFunction((number) => Number(document.querySelector(".hub-turn")?.textContent) === number + 1, before);
}

/** A challenger is promoted with a reason although the evidence is thin, and taken back. */
export async function promote({ page, project, settled, accessible, say }) {
  writeFileSync(join(project, "learners", "rival.yaml"), "learner: rival\nbandit:\n  policy: nudge\n  actions: [reminder, discount-10, silence]\n");
  // Decisions have to be closed before anything can be learned from them.
  for (let number = 0; number < 3; number += 1) await turn(page, settled);
  await page.goto("/policies/nudge");
  await settled(page);
  await page.getByRole("button", { name: "Weigh a challenger" }).click();
  const window = page.locator(".ant-modal");
  await window.locator("input").first().fill("rival");
  await window.getByRole("button", { name: "Weigh", exact: true }).click();
  await window.getByText("The evidence does not suffice").waitFor();
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
  say("a challenger is promoted with a reason, and taken back with another");
}

/** A run that fails is followed from its sync to the line of its log that says why. */
export async function fail({ page, project, settled, accessible, say }) {
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
