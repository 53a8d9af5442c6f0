import { expect, it } from "vitest";
import { waiting, type Request } from "../../access";
import { atLeast } from "./Access";

const one = (more: Partial<Request>): Request => ({ id: "a-1", user: "lin", kind: "permission", what: "query", reason: "r", days: 7, asked_at: "2025-03-01T00:00:00Z", status: "open", decided_by: null, decided_at: null, answer: null, until: null, seen: false, ...more });

it("nobody is asked to decide about their own request, and only who decides is asked", () => {
  const items = [one({ id: "1" }), one({ id: "2", user: "ada" }), one({ id: "3", status: "refused", user: "bo" })];
  const ids = (found: Request[]) => found.map((request) => request.id);
  expect(ids(waiting(items, { name: "ada", permissions: ["administer"] }).decide)).toEqual(["1"]);
  expect(ids(waiting(items, { name: "ada", permissions: ["view"] }).decide)).toEqual([]);
});

it("who asked is told of decisions that they have not seen, and not of their own doing", () => {
  const items = [one({ id: "1", status: "approved" }), one({ id: "2", status: "refused", seen: true }), one({ id: "3", status: "withdrawn" }), one({ id: "4" }), one({ id: "5", status: "refused", user: "bo" })];
  expect(waiting(items, { name: "lin", permissions: [] }).news.map((request) => request.id)).toEqual(["1"]);
});

it("who approves starts from the time that was asked for", () => expect([1, 5, 7, 60, 400, null].map(atLeast)).toEqual(["1", "7", "7", "90", "", ""]));
