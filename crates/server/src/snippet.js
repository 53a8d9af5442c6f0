/*
 * Sends what happens on a page to Flywheel:
 *   <script async src="https://flywheel.example.com/v1/snippet.js" data-key="fwp_..."></script>
 *   flywheel("cart", { item: "p-3" }); flywheel.exposure(decisionId); flywheel.identify("c-17"); flywheel.consent(true);
 * Where Do Not Track or Global Privacy Control is on, nothing is sent, and nothing is kept in the browser. With
 * data-consent="required" nothing is before flywheel.consent(true).
 */
(() => {
  "use strict";
  const script = document.currentScript;
  const early = window.flywheel && window.flywheel.q;
  const data = (script && script.dataset) || {};
  if (!data.key) return console.warn("flywheel: the script has no data-key");
  const to = new URL(data.to || "/v1/events", script.src);
  // Which decisions were seen has an address beside that of events.
  const seenTo = new URL("exposures", to);
  for (const one of [to, seenTo]) one.searchParams.set("key", data.key);
  const BATCH = 50, QUEUE = 500, BYTES = 50000, EVENT = 7000, WAIT = 2000, TRIES = 6, KEPT = "flywheel.visitor";
  const never = navigator.doNotTrack === "1" || navigator.globalPrivacyControl === true;
  let allowed = !never && data.consent !== "required";
  // Events that wait, then batches that are not acknowledged, oldest first.
  let queue = [], outbox = [];
  let timer, user, visitor, seen, busy = false, dropped = 0;
  const id = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");
  const bytes = (text) => new Blob([text]).size;

  /** A number of this browser; where it keeps nothing, of this page. */
  const who = () => {
    try { visitor = visitor || localStorage.getItem(KEPT); } catch {}
    if (!visitor) {
      visitor = id();
      try { localStorage.setItem(KEPT, visitor); } catch {}
    }
    return visitor;
  };

  /** Makes a batch of what waits. Sent again under its name, it is kept once. */
  const seal = () => {
    let size = 0;
    const events = [], exposed = "decision_id" in queue[0];
    while (queue.length && events.length < BATCH && exposed === "decision_id" in queue[0]) {
      const one = JSON.stringify({ ...queue[0], visitor: who(), ...(dropped && { dropped }) });
      size += bytes(one) + 1;
      if (events.length && size > BYTES) break;
      events.push(one);
      queue.shift();
      dropped = 0;
    }
    const batch = { to: exposed ? seenTo : to, once: id(), body: `[${events.join(",")}]`, tries: 0 };
    outbox.push(batch);
    return batch;
  };
  const address = ({ to, once }) => {
    to.searchParams.set("once", once);
    return to.href;
  };
  const plan = (ms) => { timer = timer || setTimeout(send, ms); };

  async function send() {
    clearTimeout(timer);
    timer = 0;
    if (!allowed || busy || !(outbox.length || queue.length)) return;
    const batch = outbox[0] || seal();
    let again = 0;
    busy = true;
    try {
      // Plain text needs no question beforehand, and no cookie goes along.
      const answer = await fetch(address(batch), { method: "POST", body: batch.body, headers: { "content-type": "text/plain" }, credentials: "omit", keepalive: true });
      if (answer.status === 429 || answer.status >= 500) again = Number(answer.headers.get("retry-after")) * 1000 || 1;
      else if (!answer.ok) console.warn(`flywheel: events were refused: ${answer.status}`);
    } catch { again = 1; }
    busy = false;
    // Twice as long each time, and not all visitors at once.
    if (again && ++batch.tries < TRIES) return plan(Math.max(again, 1000 * 2 ** batch.tries * (0.5 + Math.random())));
    outbox = outbox.filter((one) => one !== batch);
    if (outbox.length || queue.length) plan(0);
  }

  /** Hands over all that is not acknowledged: the page may be gone before an answer comes. */
  const leave = () => {
    if (!allowed) return;
    while (queue.length) seal();
    outbox = outbox.filter((batch) => !navigator.sendBeacon || !navigator.sendBeacon(address(batch), new Blob([batch.body], { type: "text/plain" })));
    if (outbox.length) plan(WAIT);
  };

  const track = (event, properties) => {
    if (never || typeof event !== "string" || !event) return;
    // Of the address without what stands after the ?, which may be anybody's secret.
    add(event, { event, event_id: id(), at: new Date().toISOString(), url: location.origin + location.pathname, ...(user && { user }), ...(properties && { properties }) });
  };
  const add = (event, one) => {
    let text = "";
    try { text = JSON.stringify(one); } catch {}
    if (!text || bytes(text) > EVENT) return console.warn(`flywheel: "${event}" is too large, or no JSON`);
    if (queue.length >= QUEUE) {
      queue.shift();
      dropped += 1;
    }
    queue.push(JSON.parse(text));
    if (allowed) queue.length < BATCH ? plan(WAIT) : send();
  };
  /** Tells that what was decided is seen: the whole of it, or one item. */
  track.exposure = (decision, item) => {
    if (never || typeof decision !== "string" || !decision) return;
    add("exposure", { decision_id: decision, ...(item != null && { item: String(item) }), at: new Date().toISOString() });
  };
  track.identify = (name) => { user = name == null ? undefined : String(name); };
  track.flush = send;
  track.consent = (given) => {
    allowed = !never && given === true;
    if (allowed) return plan(0);
    queue = [];
    outbox = [];
    visitor = undefined;
    try { localStorage.removeItem(KEPT); } catch {}
  };

  const page = () => {
    if (data.pages === "off" || seen === location.pathname) return;
    const from = document.referrer && !seen ? { referrer: new URL(document.referrer).origin } : {};
    seen = location.pathname;
    track("page", { title: document.title.slice(0, 200), ...from });
  };
  for (const name of ["pushState", "replaceState"]) {
    const before = history[name];
    history[name] = function (...given) {
      const done = before.apply(this, given);
      setTimeout(page, 0);
      return done;
    };
  }
  addEventListener("popstate", page);
  addEventListener("pagehide", leave);
  document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && leave());
  window.flywheel = track;
  for (const given of early || []) track(...given);
  page();
})();
