import { expect, it } from "vitest";
import type { Metric } from "../../api";
import { called, compared, conditions, dimensions, fitting, floor, over, plus, snapped, toggled } from "./question";

const metric = { name: "revenue", label: ["Revenue", "成交额"], dimensions: ["time:<grain>", "country", "customer.first_order_at:<grain>"], kind: "measure" } as unknown as Metric;

it("a time is widened to whole periods, so that it is compared with as many before", () => {
  expect(snapped("2025-03-05", "2025-04-02", "day")).toEqual({ from: "2025-03-05", to: "2025-04-02", periods: 28 });
  expect(snapped("2025-03-05", "2025-04-02", "week")).toEqual({ from: "2025-03-03", to: "2025-04-07", periods: 5 });
  expect(snapped("2024-12-31", "2025-02-01", "month")).toEqual({ from: "2024-12-01", to: "2025-02-01", periods: 2 });
  expect(snapped("2024-11-30", "2025-01-01", "quarter")).toEqual({ from: "2024-10-01", to: "2025-01-01", periods: 1 });
  expect(snapped("2024-02-29", "2024-03-01", "year")).toEqual({ from: "2024-01-01", to: "2025-01-01", periods: 1 });
});

it("weeks begin on Monday, also across the end of a year", () => {
  expect([floor("2025-01-01", "week"), floor("2024-12-30", "week"), floor("2025-01-05", "week")]).toEqual(["2024-12-30", "2024-12-30", "2024-12-30"]);
  expect([plus("2024-02-29", "day", 1), plus("2024-12-30", "week", 1), plus("2024-10-01", "quarter", 1)]).toEqual(["2024-03-01", "2025-01-06", "2025-01-01"]);
});

it("a period that is not over is told from one that is", () => {
  expect(over("2025-03-24", "week", "2025-03-30T23:59:59Z")).toBe(true);
  expect(over("2025-03-31", "week", "2025-04-01T23:59:59Z")).toBe(false);
});

it("what is compared is asked for in the words of the API", () => {
  expect([compared("previous", 28, "day"), compared("previous", 2, "quarter"), compared("year", 3, "month"), compared("none", 3, "month")]).toEqual(["28 days", "6 months", "year", undefined]);
});

it("a longer time is shown in longer periods", () => {
  expect([30, 400, 1500, 6000, 30_000].map(fitting)).toEqual(["day", "week", "month", "quarter", "year"]);
});

it("chosen values become conditions that cannot break out of their quotes", () => {
  expect(conditions({ country: ["it's", "' or 1=1 --"] })).toEqual(["country in ('it''s', ''' or 1=1 --')"]);
  expect(conditions({ "customer.consent": [true], city: [null, "Lyon"], gone: [] })).toEqual(["customer.consent in (true)", "(city in ('Lyon') or city is null)"]);
  expect(conditions({ city: [null] })).toEqual(["city is null"]);
  expect(conditions({ city: ["Lyon"], country: ["France"] }, "city")).toEqual(["country in ('France')"]);
});

it("a click adds a value and a second one takes it away", () => {
  const once = toggled({}, "city", "Lyon");
  expect(toggled(once, "city", null)).toEqual({ city: ["Lyon", null] });
  expect(toggled(once, "city", "Lyon")).toEqual({});
});

it("a metric is called by the label of the language, or by its name", () => {
  expect([called(metric, "en"), called(metric, "zh"), called({ name: "x", label: ["客户数"] }, "en"), called({ name: "x", label: null }, "zh"), called({ name: "x", label: ["Orders"] }, "zh")]).toEqual(["Revenue", "成交额", "x", "x", "Orders"]);
  expect(dimensions(metric)).toEqual({ values: ["country"], times: ["time", "customer.first_order_at"] });
});
