/// <reference types="node" />
/** The script for web pages that the server gives (`crates/server/src/snippet.js`), in a browser that is made up. */
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

const SOURCE = readFileSync(new URL("../../crates/server/src/snippet.js", import.meta.url), "utf8");

interface Sent { url: URL; body: string; events: Record<string, unknown>[]; by: "fetch" | "beacon" }
type Flywheel = ((event: unknown, properties?: unknown) => void) & { identify: (name: unknown) => void; consent: (given: unknown) => void; flush: () => Promise<void>; exposure: (decision: unknown, item?: unknown) => void; q?: unknown[] };
interface Options { data?: Record<string, string>; doNotTrack?: string; gpc?: boolean; storage?: boolean; answers?: (number | "fails")[]; retryAfter?: string; beacons?: boolean; early?: unknown[][] }

/** Runs the script in a page; what it sent, and what can be done there. */
function page(options: Options = {}) {
  const sent: Sent[] = [];
  const kept = new Map<string, string>();
  const heard: Record<string, (() => void)[]> = {};
  const warned: string[] = [];
  const answers = [...(options.answers ?? [])];
  const on = (name: string, then: () => void) => void (heard[name] ??= []).push(then);
  const note = (url: string, body: string, by: Sent["by"]) => sent.push({ url: new URL(url), body, events: JSON.parse(body) as Record<string, unknown>[], by });
  const location = { origin: "https://shop.example", pathname: "/start" };
  const history = { pushState: (_: unknown, __: string, path: string) => { location.pathname = path; }, replaceState: (_: unknown, __: string, path: string) => { location.pathname = path; } };
  const closed = () => { throw new Error("SecurityError"); };
  const window: { flywheel?: Flywheel } = options.early ? { flywheel: Object.assign(() => {}, { q: options.early }) as unknown as Flywheel } : {};
  const document = {
    currentScript: { src: "https://fw.example/v1/snippet.js", dataset: { key: "fwp_k", ...options.data } }, title: "Start", referrer: "https://search.example/?q=secret", visibilityState: "visible",
    addEventListener: on,
  };
  const beacon = async (url: string, blob: Blob) => note(url, await blob.text(), "beacon");
  const pending: Promise<unknown>[] = [];
  const globals = {
    window, document, location, history, addEventListener: on,
    navigator: { doNotTrack: options.doNotTrack ?? null, globalPrivacyControl: options.gpc, sendBeacon: (url: string, blob: Blob) => { if (options.beacons === false) return false; pending.push(beacon(url, blob)); return true; } },
    localStorage: options.storage === false ? { getItem: closed, setItem: closed, removeItem: closed } : { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => void kept.set(key, value), removeItem: (key: string) => void kept.delete(key) },
    fetch: async (url: string, request: { body: string }) => {
      note(url, request.body, "fetch");
      const answer = answers.shift() ?? 200;
      if (answer === "fails") throw new TypeError("network");
      return { status: answer, ok: answer < 300, headers: { get: (name: string) => (name === "retry-after" ? (options.retryAfter ?? null) : null) } };
    },
    console: { warn: (text: string) => void warned.push(text) },
  };
  // What the script sees of a browser is this, and nothing else.
  new Function(...Object.keys(globals), SOURCE)(...Object.values(globals));
  return {
    sent, kept, warned, history, document,
    flywheel: window.flywheel as Flywheel,
    fire: async (name: string) => { for (const then of heard[name] ?? []) then(); await Promise.all(pending); },
    wait: (ms: number) => vi.advanceTimersByTimeAsync(ms),
    names: () => sent.flatMap((one) => one.events.map((event) => event.event)),
  };
}

beforeEach(() => { vi.useFakeTimers({ now: Date.parse("2025-03-01T12:00:00Z") }); });
afterEach(() => { vi.useRealTimers(); });

describe("the script for pages", () => {
  it("is at most 3 kB packed", () => expect(gzipSync(SOURCE, { level: 9 }).length).toBeLessThanOrEqual(3_000));

  it("tells the first page and what follows, together, with the key and a name for the batch", async () => {
    const at = page();
    at.flywheel.identify("c-17");
    at.flywheel("cart", { item: "p-3" });
    await at.wait(2_000);
    expect(at.sent.length).toBe(1);
    const [one] = at.sent;
    expect(one?.url.href.split("?")[0]).toBe("https://fw.example/v1/events");
    expect(one?.url.searchParams.get("key")).toBe("fwp_k");
    expect(one?.url.searchParams.get("once")).toMatch(/^[0-9a-f]{24}$/);
    expect(one?.events).toMatchObject([
      { event: "page", url: "https://shop.example/start", at: "2025-03-01T12:00:00.000Z", properties: { title: "Start", referrer: "https://search.example" } },
      { event: "cart", user: "c-17", properties: { item: "p-3" } },
    ]);
    expect(new Set(one?.events.map((event) => event.event_id)).size).toBe(2);
    expect(one?.events[0]?.visitor).toBe(at.kept.get("flywheel.visitor"));
    // What stands after the ? of addresses, here or before, is told to nobody.
    expect(one?.body).not.toContain("secret");
  });

  it("tells which decisions were seen at an address of their own, and nothing of what is none", async () => {
    const at = page();
    at.flywheel.exposure("d41d8cd98f00b204", "p-3");
    at.flywheel.exposure("0123456789abcdef");
    for (const wrong of [undefined, null, 5, "", {}]) at.flywheel.exposure(wrong);
    at.flywheel("cart");
    await at.wait(10_000);
    const paths = at.sent.map((one) => one.url.pathname);
    expect(paths).toEqual(["/v1/events", "/v1/exposures", "/v1/events"]);
    expect(at.sent[1]?.url.searchParams.get("key")).toBe("fwp_k");
    expect(at.sent[1]?.events).toMatchObject([
      { decision_id: "d41d8cd98f00b204", item: "p-3", at: "2025-03-01T12:00:00.000Z" },
      { decision_id: "0123456789abcdef" },
    ]);
    expect(new Set(at.sent.map((one) => one.url.searchParams.get("once"))).size).toBe(3);
    const never = page({ doNotTrack: "1" });
    never.flywheel.exposure("d41d8cd98f00b204");
    await never.wait(10_000);
    expect(never.sent).toEqual([]);
  });

  it("sends again what was not taken, under the same name and later each time", async () => {
    const at = page({ answers: ["fails", 503, 200] });
    await at.wait(2_000);
    at.flywheel("more");
    await at.wait(60_000);
    const names = at.sent.map((one) => one.url.searchParams.get("once"));
    expect(names.length).toBe(4);
    expect(new Set(names.slice(0, 3)).size).toBe(1);
    expect(at.names()).toEqual(["page", "page", "page", "more"]);
  });

  it("gives up after six tries, and at once what is refused for good", async () => {
    const never = page({ answers: Array<"fails">(20).fill("fails") });
    await never.wait(600_000);
    expect(never.sent.length).toBe(6);
    const refused = page({ answers: [403] });
    await refused.wait(60_000);
    expect(refused.sent.length).toBe(1);
    expect(refused.warned.join()).toContain("403");
  });

  it("waits as long as the server says", async () => {
    const at = page({ answers: [429, 200], retryAfter: "40" });
    await at.wait(35_000);
    expect(at.sent.length).toBe(1);
    await at.wait(10_000);
    expect(at.sent.length).toBe(2);
  });

  it("hands over what is left when the page is left, what is under way under its old name", async () => {
    const at = page({ answers: ["fails"] });
    await at.wait(2_000);
    at.flywheel("bye");
    at.document.visibilityState = "hidden";
    await at.fire("visibilitychange");
    await at.fire("pagehide");
    expect(at.sent.map((one) => one.by)).toEqual(["fetch", "beacon", "beacon"]);
    expect(at.sent[1]?.url.searchParams.get("once")).toBe(at.sent[0]?.url.searchParams.get("once"));
    expect(at.names()).toEqual(["page", "page", "bye"]);
    await at.wait(60_000);
    expect(at.sent.length).toBe(3);
  });

  it("keeps what the browser does not take at leave, for a page that stays", async () => {
    const at = page({ beacons: false });
    at.flywheel("bye");
    await at.fire("pagehide");
    await at.wait(10_000);
    expect(at.names()).toEqual(["page", "bye"]);
  });

  it("sends and keeps nothing where the browser says so", async () => {
    for (const how of [{ doNotTrack: "1" }, { gpc: true }]) {
      const at = page(how);
      at.flywheel("cart");
      at.flywheel.consent(true);
      await at.wait(60_000);
      await at.fire("pagehide");
      expect(at.sent).toEqual([]);
      expect(at.kept.size).toBe(0);
    }
  });

  it("waits for consent where it has to, and forgets when it is taken back", async () => {
    const at = page({ data: { consent: "required" } });
    at.flywheel("cart");
    await at.wait(60_000);
    await at.fire("pagehide");
    expect([at.sent.length, at.kept.size]).toEqual([0, 0]);
    at.flywheel.consent(true);
    await at.wait(1);
    expect(at.names()).toEqual(["page", "cart"]);
    expect(at.kept.size).toBe(1);
    at.flywheel("more");
    at.flywheel.consent(false);
    await at.wait(60_000);
    await at.fire("pagehide");
    expect(at.names()).toEqual(["page", "cart"]);
    expect(at.kept.size).toBe(0);
  });

  it("tells pages that are changed by script once each, unless told not to", async () => {
    const at = page();
    at.history.pushState(null, "", "/cart");
    await at.wait(1);
    at.history.replaceState(null, "", "/cart");
    await at.wait(3_000);
    expect(at.sent.flatMap((one) => one.events).map((event) => event.url)).toEqual(["https://shop.example/start", "https://shop.example/cart"]);
    const off = page({ data: { pages: "off" } });
    off.history.pushState(null, "", "/cart");
    await off.wait(5_000);
    expect(off.sent).toEqual([]);
  });

  it("takes what was asked for before it was there, and breaks no page by what it is given", async () => {
    const at = page({ early: [["early", { a: 1 }]], storage: false });
    const circle: Record<string, unknown> = {};
    circle.circle = circle;
    for (const wrong of [undefined, null, 5, "", {}]) at.flywheel(wrong);
    at.flywheel("circle", circle);
    at.flywheel("large", { text: "大".repeat(3_000) });
    at.flywheel("text", "5");
    await at.wait(3_000);
    expect(at.names()).toEqual(["early", "page", "text"]);
    expect(at.warned.length).toBe(2);
    expect(at.sent[0]?.events[0]?.visitor).toMatch(/^[0-9a-f]{24}$/);
  });

  it("sends no batch that the server would not take, and counts what there was no room for", async () => {
    const at = page({ data: { consent: "required", pages: "off" } });
    for (let n = 0; n < 510; n++) at.flywheel("e", { n, text: "x".repeat(n < 500 ? 1_500 : 10) });
    at.flywheel.consent(true);
    await at.wait(60_000);
    for (const one of at.sent) {
      expect(new Blob([one.body]).size).toBeLessThan(64 << 10);
      expect(one.events.length).toBeLessThanOrEqual(50);
    }
    expect(at.names().length).toBe(500);
    expect(at.sent[0]?.events[0]?.dropped).toBe(10);
  });
});

it("a page without a key is told so, and nothing breaks", () => {
  const at = page({ data: { key: "" } });
  expect(at.warned).toEqual(["flywheel: the script has no data-key"]);
});
