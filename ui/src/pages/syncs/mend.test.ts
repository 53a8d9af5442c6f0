import { expect, it } from "vitest";
import { alike, changed, type Field } from "./mend";

const field = (over: Partial<Field>): Field => ({ column: "amount", value: "two", masked: false, known: true, type: null, required: false, ...over });

it("only what differs from what was kept is sent, and what is hidden is sent as it is typed", () => {
  const fields = [field({}), field({ column: "day", value: null }), field({ column: "email", value: "ab12", masked: true })];
  expect(changed(fields, { amount: "2", day: null, email: "ab12" })).toEqual({ amount: "2", email: "ab12" });
  expect(changed(fields, { amount: "two", gone: "1" })).toEqual({});
  expect(changed(fields, { amount: null, day: "" })).toEqual({ amount: null, day: "" });
});

it("rows of one stream and one mistake are mended together, others are not", () => {
  const row = (stream: string, code: string) => ({ stream, code });
  expect(alike([row("a", "x"), row("a", "x")])).toBe(true);
  expect(alike([row("a", "x"), row("a", "y")])).toBe(false);
  expect(alike([row("a", "x"), row("b", "x")])).toBe(false);
  expect(alike([])).toBe(false);
});
