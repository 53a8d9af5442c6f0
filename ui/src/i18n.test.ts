/// <reference types="node" />
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { dictionary, shared, speaker, type Words } from "./i18n";
import { entries } from "./pages";
import shell from "./shell/words";
import { words as kinds } from "./ui/kinds";
import parts from "./ui/words";

const pages = import.meta.glob<{ default: Words<string> }>("./pages/*/words.ts", { eager: true });
const all: [string, Words<string>][] = [["shared", shared], ["kinds of assets", kinds], ["parts", parts], ["the shell", shell], ...Object.entries(pages).map(([path, module]): [string, Words<string>] => [path, module.default])];
const holes = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((hole) => hole[1]).sort();
const ticks = (text: string) => [...text.matchAll(/`[^`]*`/g)].map((code) => code[0]).sort();

describe.each(all)("the words of %s", (_, words) => {
  it("are the same in both languages", () => expect(Object.keys(words.zh).sort()).toEqual(Object.keys(words.en).sort()));
  it("say the same values and the same code", () => {
    for (const key of Object.keys(words.en)) {
      expect(holes(words.zh[key] ?? ""), key).toEqual(holes(words.en[key] ?? ""));
      expect(ticks(words.zh[key] ?? ""), key).toEqual(ticks(words.en[key] ?? ""));
    }
  });
  it("are all there, in Chinese in Chinese", () => {
    for (const [key, text] of Object.entries(words.en)) expect(text.trim(), key).not.toBe("");
    // The name of the other language is written in that language.
    for (const [key, text] of Object.entries(words.zh)) if (key !== "app.language") expect(text.replace(/\{\w+\}|`[^`]*`/g, ""), key).toMatch(/[\u4e00-\u9fff]|^[^a-z]*$/i);
  });
});

describe("kinds", () => {
  it("of everything in a project have a word", () => {
    const graph = readFileSync(new URL("../../crates/project/src/graph.rs", import.meta.url), "utf8");
    const nodes = [...graph.matchAll(/Self::\w+ => "(\w+)"/g)].map((found) => found[1] ?? "");
    expect(nodes).toContain("quality");
    for (const kind of nodes) expect(speaker("zh", kinds).word("asset", kind), kind).not.toBe(kind);
  });
  it("of work, of runs and of their tasks have a word", () => {
    const runs = ["turn", "sync", "build", "learn", "quarantine", "mend", "discard", "promote", "rollback", "quality", "schedule", "tasks", "task", "dashboard", "send", "link", "link plan", "split", "merge", "merge plan", "migrate", "compare", "reconcile", "evaluate", "canary", "decide", "act", "outcome", "credit", "attribution", "experiment", "lift"];
    for (const kind of runs) expect(speaker("zh").word("kind", kind), kind).not.toBe(kind);
  });
});

describe("pages", () => {
  it("have words of their own", () => expect(all.length).toBeGreaterThan(7));
  it("have a title in both languages and an address of their own", () => {
    for (const entry of entries) {
      expect(entry.title.en, entry.path).not.toBe("");
      expect(entry.title.zh, entry.path).toMatch(/[\u4e00-\u9fff]/);
    }
    expect(new Set(entries.map((entry) => entry.path)).size).toBe(entries.length);
  });
  it("of the menu stand in an order", () => {
    const places = entries.filter((entry) => entry.menu).map((entry) => `${entry.menu?.group} ${entry.menu?.order}`);
    expect(new Set(places).size, places.join(", ")).toBe(places.length);
  });
});

describe("a speaker", () => {
  const own = dictionary({ hello: "Hello {name}, {name}", "status.odd": "odd" }, { hello: "你好 {name}，{name}", "status.odd": "奇" });
  it("fills in values, all of them, and leaves what it is not given", () => {
    expect(speaker("en", own).t("hello", { name: "Ada" })).toBe("Hello Ada, Ada");
    expect(speaker("zh", own).t("hello")).toBe("你好 {name}，{name}");
  });
  it("knows shared words beside a page's own", () => expect(speaker("zh", own).t("f.name")).toBe("名称"));
  it("shows a word that it does not know as it came", () => {
    expect(speaker("en", own).word("status", "odd")).toBe("odd");
    expect(speaker("zh").word("status", "of-a-newer-server")).toBe("of-a-newer-server");
  });
});
