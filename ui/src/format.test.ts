import { describe, expect, it } from "vitest";
import { ago, compact, day, duration, fixed, interval, moment, number, percent, points, span } from "./format";

describe("numbers", () => {
  it("are separated as the language does", () => {
    expect(number(1234567.891, "en")).toBe("1,234,567.89");
    expect(number(1234567.891, "zh")).toBe("1,234,567.89");
  });
  it("keep every digit beyond 2^53", () => expect(number("9007199254740993", "en")).toBe("9,007,199,254,740,993"));
  it("leave other text alone", () => expect(number("1.5e3", "en")).toBe("1.5e3"));
  it("show nothing as a dash, and no NaN", () => {
    for (const nothing of [null, undefined, "", Number.NaN, Number.POSITIVE_INFINITY]) expect(number(nothing, "en")).toBe("–");
  });
  it("are shortened from a hundred thousand on", () => {
    expect(compact(99_999, "en")).toBe("99,999");
    expect(compact(152_000, "en")).toBe("152k");
    expect(compact(152_000, "zh")).toBe("15.2万");
  });
  it("stand below each other", () => expect(fixed(23.4, "en", 2)).toBe("23.40"));
});

describe("shares", () => {
  it("are per cent", () => expect(percent(0.1767, "en")).toBe("17.7%"));
  it("differ by percentage points, with a sign", () => {
    expect(points(0.0355, "en")).toBe("+3.6 pp");
    expect(points(-0.0101, "zh")).toBe("-1.0 个百分点");
    expect(points(0, "en")).toBe("0.0 pp");
  });
  it("have an interval that names its unit once", () => {
    expect(interval(0.01, 0.061, "en")).toBe("+1.0 … +6.1 pp");
    expect(interval(0.01, null, "en")).toBe("–");
  });
});

describe("time", () => {
  it("is in the largest readable unit", () => {
    expect(duration(0.3, "en")).toBe("0.3 ms");
    expect(duration(812.4, "en")).toBe("812 ms");
    expect(duration(1688, "zh")).toBe("1.7 秒");
    expect(duration(61_000, "en")).toBe("1 min 1 s");
    expect(duration(2 * 3_600_000 + 60_000, "zh")).toBe("2 小时 1 分");
  });
  it("of turns is a day in UTC, wherever the reader is", () => {
    expect(day("2025-04-01T23:59:59Z", "en")).toBe("1 Apr 2025");
    expect(day("2025-04-01T23:59:59Z", "zh")).toBe("2025年4月1日");
  });
  it("of other things is the reader's", () => expect(moment("2025-04-01T23:59:59Z", "en", "Asia/Shanghai")).toBe("2 Apr 2025, 07:59"));
  it("that is no time is shown as it came", () => {
    expect(day("soon", "en")).toBe("soon");
    expect(ago("soon", "en")).toBe("soon");
  });
  it("ago and ahead is said in words", () => {
    const now = Date.parse("2025-04-01T12:00:00Z");
    expect(ago("2025-04-01T11:58:00Z", "en", now)).toBe("2 minutes ago");
    expect(ago("2025-04-02T12:00:00Z", "zh", now)).toBe("明天");
  });
  it("of declarations is in words", () => {
    expect(span("604800000000us", "en")).toBe("7 days");
    expect(span("86400000000us", "zh")).toBe("1天");
    expect(span("5400000000us", "en")).toBe("90 minutes");
    expect(span("1500000us", "en")).toBe("1.5 s");
    expect(span(undefined, "en")).toBe("–");
  });
});
