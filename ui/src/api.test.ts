import { createElement } from "react";
import { renderToStaticMarkup } from "react-dom/server";
import { expect, it } from "vitest";
import { client, forget, Problem } from "./api";
import { Ask } from "./ui/basics";

it("nothing that was answered to one user is there for the next, but who is signed in", () => {
  client.setQueryData(["/v1/session"], { user: { name: "ada" } });
  client.setQueryData(["/v1/me"], { name: "ada" });
  client.setQueryData(["/v1/dashboards/shop/tiles/revenue", "session"], [1, 2, 3]);
  forget();
  expect([client.getQueryData(["/v1/me"]), client.getQueryData(["/v1/dashboards/shop/tiles/revenue", "session"])]).toEqual([undefined, undefined]);
  expect(client.getQueryData(["/v1/session"])).toEqual({ user: { name: "ada" } });
  client.clear();
});

it("what may no longer be read leaves the screen, and a server that is not reached takes nothing away", () => {
  const shown = (status: number, code: string) => {
    const of = { data: "old rows", error: new Problem(status, code, "said why", null, null), isPending: false, refetch: () => undefined };
    return renderToStaticMarkup(createElement(Ask<string>, { of, children: (data) => data }));
  };
  for (const [status, code] of [[401, "unauthenticated"], [403, "denied"], [404, "not-found"]] as const) {
    expect(shown(status, code)).not.toContain("old rows");
    expect(shown(status, code)).toContain("said why");
  }
  expect([shown(0, "unavailable"), shown(503, "unavailable")]).toEqual(["old rows", "old rows"]);
});
