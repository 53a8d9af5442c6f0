/**
 * The frame of a page or panel of an extension. It has no origin of its own (`sandbox` without `allow-same-origin`), so it
 * reaches neither this page nor the session; what it may ask the API, it asks with a token that is handed over here and
 * that lasts for minutes.
 */
import { useCallback, useEffect, useRef, useState } from "react";
import { call, part } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Loading, Rich, Trouble } from "../../ui/basics";
import { answerTo, renewIn, type Pass } from "./pass";
import "./style.css";
import own from "./words";

/** How long a page may take until it is said that it does not answer. */
const SLOW_MS = 8_000;

export function Frame({ extension, file, title, height, asset }: { extension: string; file: string; title: string; height?: number; asset?: string }) {
  const { t, language } = useWords(own);
  const { me } = useWho();
  const frame = useRef<HTMLIFrameElement>(null);
  const pass = useRef<Pass | null>(null);
  const asking = useRef<Promise<Pass> | null>(null);
  const asked = useRef(0);
  const [files, setFiles] = useState<string | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [tall, setTall] = useState(height);
  const [state, setState] = useState<"loading" | "slow" | "ready">("loading");

  const renew = useCallback(async () => {
    asking.current ??= call<Pass>("POST", `/v1/extensions/${part(extension)}/token`, {});
    asked.current = Date.now();
    try {
      pass.current = await asking.current;
      setError(null);
      // The address of what is shown stays: another one would load it anew.
      setFiles((now) => now ?? pass.current?.files ?? null);
    } catch (why) {
      pass.current = null;
      setError(why);
    } finally {
      asking.current = null;
    }
  }, [extension]);

  // No address to tell: a frame without an origin can only be addressed as anybody. Nobody else can be in it, because
  // pages of this server let no frame go anywhere else.
  const tell = useCallback((message: object) => frame.current?.contentWindow?.postMessage({ flywheel: 1, ...message }, "*"), []);
  const context = useCallback(() => ({
    kind: "context",
    context: { extension, scopes: pass.current?.scopes ?? [], user: { name: me.name, role: me.role }, language, theme: document.documentElement.dataset.theme ?? "light", asset: asset ?? null },
  }), [extension, me, language, asset]);

  useEffect(() => void renew(), [renew]);

  useEffect(() => {
    const hear = async (event: MessageEvent) => {
      if (event.source !== frame.current?.contentWindow || event.origin !== "null") return;
      const wish = answerTo(event.data, { now: Date.now(), asked: asked.current, expires: pass.current?.expires_at ?? null, fixed: height === undefined });
      if (wish.height !== undefined) setTall(wish.height);
      if (wish.renew) await renew();
      if (wish.ready) {
        setState("ready");
        tell(context());
      }
      if ((wish.ready || wish.token) && pass.current) tell({ kind: "token", token: pass.current.token, expires_at: pass.current.expires_at });
    };
    addEventListener("message", hear);
    return () => removeEventListener("message", hear);
  }, [renew, tell, context, height]);

  // Language and colours go on to what is shown.
  useEffect(() => {
    if (state === "ready") tell(context());
    const watch = new MutationObserver(() => tell(context()));
    watch.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    return () => watch.disconnect();
  }, [state, tell, context]);

  // A token is renewed before it expires, and only for who looks.
  useEffect(() => {
    if (state !== "ready") return;
    const turn = setInterval(() => {
      if (document.visibilityState !== "visible" || renewIn(pass.current?.expires_at ?? null, Date.now()) > 0) return;
      void renew().then(() => pass.current && tell({ kind: "token", token: pass.current.token, expires_at: pass.current.expires_at }));
    }, 30_000);
    return () => clearInterval(turn);
  }, [state, renew, tell]);

  useEffect(() => {
    if (!files) return;
    const late = setTimeout(() => setState((now) => (now === "loading" ? "slow" : now)), SLOW_MS);
    return () => clearTimeout(late);
  }, [files]);

  return (
    <>
      {error !== null && <Trouble error={error} retry={() => void renew()} />}
      {state === "slow" && <p className="extension-slow" role="status"><Rich text={t("slow")} /></p>}
      {files === null && error === null && <Loading lines={6} />}
      {files !== null && <iframe ref={frame} className={tall === undefined ? "extension-page" : "extension-panel"} style={tall === undefined ? undefined : { height: tall }} src={`${files}${file}`} title={title} sandbox="allow-scripts" referrerPolicy="no-referrer" />}
    </>
  );
}
