import { expect, test } from "vitest";
import { bytes, money, span } from "./parts";

test("ages are whole numbers of their largest unit", () => {
  expect(span(59, "en")).toBe("59 seconds");
  expect(span(3 * 86_400 + 5, "en")).toBe("3 days");
  expect(span(7_200, "zh")).toBe("2小时");
});

test("sizes go in steps of 1024", () => {
  expect(bytes(0, "en")).toBe("0 B");
  expect(bytes(1_536, "en")).toBe("1.5 KiB");
  expect(bytes(345_000_000, "zh")).toBe("329 MiB");
});

test("amounts are in the project's currency, also where that is none of this world", () => {
  expect(money(0, "EUR", "en")).toBe("€0");
  expect(money(3_200, "EUR", "en")).toBe("€3,200");
  expect(money(0.5, "EUR", "en")).toBe("€0.50");
  expect(money(1_234, "beans", "en")).toBe("1,234 beans");
});
