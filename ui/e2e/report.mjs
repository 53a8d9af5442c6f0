// Opens the report that a demo writes: one file that needs nothing else, in both languages and both colours.
import assert from "node:assert/strict";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/** Where a report of a demo has drawings, each with the marks that stand for what was measured. */
const DRAWN = [
  [".hero svg.ring", ".station"],
  ["#lift svg.chart", "polyline.line"],
  ["#segments svg.chart", "polygon"],
  ["#forecast svg.chart", "polyline.past"],
];

export async function report({ project, visit, say, shots }) {
  const address = pathToFileURL(join(project, "report.html")).href;
  for (const language of ["en", "zh"]) {
    for (const theme of ["light", "dark"]) {
      const page = await visit(address, { language, theme });
      await page.goto(`${address}#lang=${language}&theme=${theme}`);
      const what = `the report in ${language}, ${theme}`;
      const root = page.locator("html");
      assert.equal(await root.getAttribute("lang"), language === "zh" ? "zh-CN" : "en", what);
      assert.equal(await root.getAttribute("data-theme"), theme, what);
      for (const heading of await page.locator("h1, h2").all()) {
        const text = await heading.innerText();
        assert(text.trim() && /\p{Script=Han}/u.test(text) === (language === "zh"), `${what} has the title "${text}"`);
      }
      for (const [drawing, mark] of DRAWN) {
        const drawings = await page.locator(drawing).all();
        assert(drawings.length > 0, `${what} has no ${drawing}`);
        for (const one of drawings) {
          const box = await one.boundingBox();
          assert(box && box.width > 100 && box.height > 50, `${what}: ${drawing} cannot be seen`);
          assert((await one.locator(mark).count()) > 0, `${what}: ${drawing} is empty`);
        }
      }
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth + 1);
      assert(!wide, `${what} is wider than the window`);
      if (shots) await page.screenshot({ path: join(shots, `report-${language}-${theme}.png`), fullPage: true });
      // Whoever reads it changes both by its own buttons.
      await page.locator("#lang").click();
      assert.equal(await root.getAttribute("lang"), language === "zh" ? "en" : "zh-CN", `${what}: its language cannot be changed`);
      await page.locator("#theme").click();
      assert.notEqual(await root.getAttribute("data-theme"), theme, `${what}: its colours cannot be changed`);
      await page.context().close();
    }
  }
  say("the report by itself, in both languages and both colours");
}
