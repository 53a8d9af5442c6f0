// What people do with what runs by itself: look when it is due, run it now, let it rest, make up for days of the past.
import assert from "node:assert/strict";

export async function schedules({ page, settled, accessible, say }) {
  await page.goto("/schedules");
  await settled(page);
  await page.getByRole("button", { name: "Pause nightly" }).click();
  await page.getByRole("button", { name: "Resume nightly" }).click();
  await page.getByRole("button", { name: "Pause nightly" }).waitFor();
  await page.getByRole("tab", { name: "Alerts" }).click();
  await page.getByText("No alert has left.").waitFor();
  await page.getByRole("tab", { name: "Schedules" }).click();
  await page.getByRole("link", { name: "nightly" }).click();
  await page.waitForURL("**/schedules/nightly");
  await settled(page);
  assert.match(await page.locator(".facts").innerText(), /02:30 \+08:00/, "the next moments stand on the schedule's own clock");
  await page.getByRole("button", { name: "Run now: nightly" }).click();
  const runs = page.getByRole("region", { name: "Runs" });
  await runs.getByText("a person").waitFor();
  await runs.getByText("succeeded").first().waitFor();
  const days = page.locator("form input[type=date]");
  await days.first().fill("2025-01-01");
  await days.last().fill("2025-01-02");
  await page.getByRole("button", { name: "Run them" }).click();
  await page.getByText("2 runs were asked for").waitFor();
  await runs.getByText("a backfill").first().waitFor();
  await accessible(page, "a schedule");
  say("a schedule is paused, resumed, run now and for two days of the past");
}
