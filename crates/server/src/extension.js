/*
 * What a page or panel of an extension speaks with Flywheel by:
 *
 *   <script src="/v1/extension.js"></script>
 *   const context = await flywheel.ready;              // {extension, scopes, user, language, theme, asset}
 *   const status = await flywheel.get("/v1/status");
 *   const table = await flywheel.post("/v1/sql", {sql: "select 1"});
 *   flywheel.on("context", (context) => …);            // the language or the colours were switched
 *   flywheel.height(document.body.scrollHeight);       // a panel says how high it wants to be
 *
 * A token is handed over by the page around the frame, which alone can make one, and again before it expires.
 */
(() => {
  "use strict";
  const heard = { context: [] };
  let context = null;
  let token = null;
  let began;
  let fresh = [];
  const ready = new Promise((done) => { began = done; });
  const tell = (message) => parent.postMessage({ flywheel: 1, ...message }, "*");
  addEventListener("message", (event) => {
    const said = event.data;
    // Only the page around the frame has a token to give.
    if (event.source !== parent || !said || said.flywheel !== 1) return;
    if (said.kind === "context") {
      context = Object.freeze(said.context);
      for (const hear of heard.context) hear(context);
    } else if (said.kind === "token") {
      token = said.token;
      for (const next of fresh.splice(0)) next();
    }
    if (context && token) began(context);
  });
  /** Asks the page around for another token; goes on without one after a while, and is then refused. */
  const renewed = () => new Promise((next) => {
    fresh.push(next);
    tell({ kind: "token" });
    setTimeout(next, 5000);
  });
  const send = (method, path, body) => fetch(path, {
    method, credentials: "omit",
    headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { "content-type": "application/json" }) },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const ask = async (method, path, body) => {
    await ready;
    let answer = await send(method, path, body);
    if (answer.status === 401) {
      await renewed();
      answer = await send(method, path, body);
    }
    const text = await answer.text();
    const value = text && (answer.headers.get("content-type") ?? "").includes("json") ? JSON.parse(text) : text;
    if (!answer.ok) throw Object.assign(new Error(value.detail ?? answer.statusText), { status: answer.status, problem: value });
    return value;
  };
  window.flywheel = Object.freeze({
    ready,
    get: (path) => ask("GET", path),
    post: (path, body = {}) => ask("POST", path, body),
    patch: (path, body = {}) => ask("PATCH", path, body),
    delete: (path) => ask("DELETE", path),
    on: (what, hear) => { heard[what]?.push(hear); if (what === "context" && context) hear(context); },
    height: (pixels) => tell({ kind: "height", pixels: Math.ceil(pixels) }),
  });
  tell({ kind: "ready" });
})();
