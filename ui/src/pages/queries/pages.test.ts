import { QueryClientProvider } from "@tanstack/react-query";
import { createElement, type ReactNode } from "react";
import { renderToStaticMarkup } from "react-dom/server";
import { MemoryRouter, Route, Routes } from "react-router";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { client, type Me, type Session } from "../../api";
import { LanguageContext } from "../../i18n";
import { who, WhoContext } from "../../session";
import Publish from "./Publish";
import Queries from "./Queries";
import OneQuery from "./Query";
import type { Query } from "./query";

// Windows are drawn beside the page, where nothing is drawn without a browser.
vi.mock("antd", async (original) => ({ ...(await original<typeof import("antd")>()), Modal: (props: { title: ReactNode; children: ReactNode; footer: ReactNode }) => createElement("section", null, props.title, props.children, props.footer) }));

const query: Query = {
  name: "top_customers", description: "Who spent most.", owner: null, sql: "select 1 where a = $country", rows: 1000, timeout_ms: 30_000, file: "queries/top_customers.yaml", problem: null,
  parameters: [{ name: "country", type: "text", required: true, default: null, description: "ISO code" }, { name: "least", type: "decimal(12,2)", required: false, default: 0, description: null }, { name: "since", type: "timestamp", required: false, default: "2025-01-01", description: null }],
  calls: { days: 7, count: 12, failed: 1, last_at: null },
};

beforeEach(() => vi.stubGlobal("location", { origin: "https://flywheel.example" }));
afterEach(() => { vi.unstubAllGlobals(); client.clear(); });

const nothing = () => undefined;

function shown(path: string, permissions: string[], language: "en" | "zh" = "en", window?: ReactNode) {
  const session = { project: "shop", user: null } as unknown as Session;
  const me: Me = { name: "ada", role: "analyst", permissions, features: ["queries", "sql", "access"] };
  const routes = createElement(Routes, null, createElement(Route, { path: "/queries", element: createElement(Queries) }), createElement(Route, { path: "/queries/:name", element: createElement(OneQuery) }), createElement(Route, { path: "/window", element: window }));
  const page = createElement(MemoryRouter, { initialEntries: [path] }, routes);
  return renderToStaticMarkup(createElement(QueryClientProvider, { client }, createElement(LanguageContext, { value: language }, createElement(WhoContext, { value: who(session, me) }, page))));
}

it("where nothing is published, the page says how to begin to whom can, and whom to ask to others", () => {
  client.setQueryData(["/v1/queries"], { queries: [] });
  expect(shown("/queries", ["view", "query", "author"])).toContain("Open the SQL lab");
  expect(shown("/queries", ["view"])).not.toContain("/sql");
  expect(shown("/queries", ["view"], "zh")).toContain("还没有发布的查询");
});

it("the list tells what a query asks for, how often it is called, and why it does not answer", () => {
  client.setQueryData(["/v1/queries"], { queries: [query, { ...query, name: "old", parameters: [], problem: "no table `orders`", calls: null }] });
  const page = shown("/queries", ["view"]);
  for (const said of ["/queries/top_customers", "Who spent most.", "country", "decimal(12,2)", "12", "1 failed", "does not answer", "no table <code>orders</code>"]) expect(page).toContain(said);
});

it("nobody sees a button that the API would refuse", () => {
  client.setQueryData(["/v1/queries/top_customers"], { value: query, tag: '"1"' });
  client.setQueryData(["/v1/queries/top_customers/keys"], { items: [] });
  const may = (...permissions: string[]) => {
    const page = shown("/queries/top_customers", permissions);
    return ["Try it", "From a program", "Make a key", "Unpublish", "Open in the SQL lab"].filter((what) => page.includes(what));
  };
  expect(may("view", "call")).toEqual(["Try it", "From a program"]);
  expect(may("view", "call", "query", "author")).toEqual(["Try it", "From a program", "Make a key", "Unpublish"]);
  client.setQueryData(["/v1/queries/top_customers"], { value: { ...query, sql: "select 1", parameters: [] }, tag: '"1"' });
  expect(may("view", "call", "query", "author")).toContain("Open in the SQL lab");
  const page = shown("/queries/top_customers", ["view", "query"]);
  expect(page).toContain("/access?what=call");
  expect(page).not.toContain("<form");
});

it("a query is tried by fields of its types, and its call is ready to be copied", () => {
  client.setQueryData(["/v1/queries/top_customers"], { value: query, tag: null });
  const page = shown("/queries/top_customers", ["view", "call"]);
  expect(page).toContain("https://flywheel.example/v1/queries/top_customers/rows?country=text");
  expect(page).toContain('type="datetime-local"');
  expect(page).toContain("if left out: 2025-01-01");
  expect(page).toContain("ISO code");
});

it("the window that publishes lists the parameters of the SQL with the types they seem to have", () => {
  client.setQueryData(["/v1/sql/schema"], { tables: [{ name: "mart.orders", columns: [{ name: "spent", type: "number" }] }] });
  const page = shown("/window", [], "zh", createElement(Publish, { sql: "select '$no' from {{ ref('orders') }} where spent > $least and at > $since::date", close: nothing, done: nothing }));
  expect([...page.matchAll(/role="group" aria-label="([^"]+)"/g)].map((found) => found[1])).toEqual(["$least", "$since"]);
  expect([...page.matchAll(/<option value="(\w+)" selected/g)].map((found) => found[1])).toEqual(["float64", "date"]);
  expect(page).toContain("发布查询");
});

it("a query that is edited keeps its name, what its parameters say, and those that a macro writes", () => {
  const page = shown("/window", [], "en", createElement(Publish, { sql: query.sql, of: query, tag: '"1"', close: nothing, done: nothing }));
  expect(page).not.toContain("top_customers\"");
  for (const said of ["ISO code", 'value="12,2"', 'aria-label="Default of least"', 'value="30"', 'value="1000"']) expect(page).toContain(said);
});
