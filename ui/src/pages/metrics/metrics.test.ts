import { expect, it } from "vitest";
import type { Metric } from "../../api";
import { called, compared, conditions, dimensionCalled, dimensions, extentOf, fitting, floor, movedTo, over, plus, snapped, toggled, valueLabel, valueLabels, wanted } from "./question";

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

it("a dimension is called by its label in the language, or by its name", () => {
  const labels = { country: { en: "Country", zh: "国家" }, "customer.country": { en: "Country", zh: "国家" }, city: { en: null, zh: "城市" } };
  const all = [{ dimension_labels: {} }, { dimension_labels: labels }];
  expect(["country", "customer.country", "city", "odd"].map((one) => dimensionCalled(one, all, "en"))).toEqual(["Country", "Country (customer.country)", "city", "odd"]);
  expect(["country", "city", "city:month"].map((one) => dimensionCalled(one, all, "zh"))).toEqual(["国家", "城市", "城市:month"]);
  expect(dimensionCalled("country", [{}], "zh")).toBe("country");
});

it("a value is called by its label in the language, and stays what it is without one", () => {
  const labels = { "1": { en: "Member", zh: "会员" }, app: { en: null, zh: "手机" }, true: { en: "Yes, indeed", zh: null } };
  const metrics: Pick<Metric, "value_labels">[] = [{ value_labels: {} }, {}, { value_labels: { "customer.tier": labels } }];
  const tier = valueLabels("customer.tier", metrics);
  expect([1, "1", "app", true, "constructor", null].map((value) => valueLabel(value, tier, "zh"))).toEqual(["会员", "会员", "手机", "Yes, indeed", null, null]);
  expect([1, "app", true].map((value) => valueLabel(value, tier, "en"))).toEqual(["Member", null, "Yes, indeed"]);
  expect([valueLabels("tier", metrics), valueLabels("toString", metrics), valueLabel(1, undefined, "zh")]).toEqual([undefined, undefined, null]);
});

it("a metric is opened on days that all have data, and so have those it is compared with", () => {
  const months = ["2024-12-01", "2025-01-01", "2025-02-01", "2025-03-01"];
  const nothing = { from: null, to: null };
  // The data ends on 12 March, the last turn was on the 31st.
  const ended = extentOf(months, ["2025-03-12", "2025-03-11", "2024-12-20"], true, "2025-03-31T23:59:59Z");
  expect(ended).toEqual({ from: "2024-12-20", to: "2025-03-13", whole: "2025-03-13" });
  expect(ended && wanted(nothing, ended)).toEqual({ from: "2025-02-13", to: "2025-03-13" });
  // Years ago, and more days than were asked for.
  expect(extentOf(months, ["2025-03-12", "2025-03-11"], false, "2026-11-05T08:00:00Z")).toEqual({ from: "2024-12-01", to: "2025-03-13", whole: "2025-03-13" });
  // A day that is not over is among all time, not among what is compared.
  const today = extentOf(months, ["2025-03-12", "2025-03-11"], false, "2025-03-12T08:00:00Z");
  expect(today).toEqual({ from: "2024-12-01", to: "2025-03-13", whole: "2025-03-12" });
  expect(today && wanted(nothing, today)).toEqual({ from: "2025-02-12", to: "2025-03-12" });
  expect(today && wanted({ from: "2025-03-01", to: null }, today)).toEqual({ from: "2025-03-01", to: "2025-03-12" });
  // What lies ahead of the last turn is left out; a metric that has no days has its months.
  expect(extentOf(months, ["2025-03-20"], true, "2025-03-12T23:59:59Z")?.to).toBe("2025-03-13");
  expect(extentOf(months, [], true, "2025-06-01T00:00:00Z")).toEqual({ from: "2024-12-01", to: "2025-04-01", whole: "2025-04-01" });
  expect(extentOf([], [], true, null)).toBeNull();
  // Too few days leave nothing to compare with: all are shown.
  expect(wanted(nothing, { from: "2025-03-01", to: "2025-03-13", whole: "2025-03-12" })).toEqual({ from: "2025-03-01", to: "2025-03-13" });
});

it("an end of the time that is moved beyond the other takes it along", () => {
  const time = { from: "2025-03-01", to: "2025-04-01" };
  expect(movedTo(time, "first", "2025-03-31")).toEqual({ from: "2025-03-31", to: "2025-04-01" });
  expect(movedTo(time, "first", "2025-04-01")).toEqual({ from: "2025-04-01", to: "2025-04-02" });
  expect(movedTo(time, "first", "2025-12-31")).toEqual({ from: "2025-12-31", to: "2026-01-01" });
  expect(movedTo(time, "last", "2025-03-01")).toEqual({ from: "2025-03-01", to: "2025-03-02" });
  expect(movedTo(time, "last", "2025-02-10")).toEqual({ from: "2025-02-10", to: "2025-02-11" });
});
