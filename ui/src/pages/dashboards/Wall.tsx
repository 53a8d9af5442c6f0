/** A dashboard on a screen of its own: nothing but its figures, as large as fits, asked for anew by themselves. */
import { Button } from "antd";
import { useEffect, useLayoutEffect, useRef, useState } from "react";
import { client } from "../../api";
import { useWords } from "../../i18n";
import { Icon } from "../../ui/icons";
import { fitted, type Opened } from "./board";
import { Tiles } from "./Dashboard";
import own from "./words";

/** What stands free above and below the figures, in pixels: the padding of `.wall-body`. */
const FREE = 32;

/** How often figures are asked for anew, in milliseconds. */
const EVERY = 60_000;

export default function Wall({ opened, title, close }: { opened: Opened; title: string; close: () => void }) {
  const { t, moment } = useWords(own);
  const body = useRef<HTMLDivElement>(null);
  const board = useRef<HTMLDivElement>(null);
  const [zoom, setZoom] = useState(1);
  const [read, setRead] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => {
      void client.invalidateQueries({ predicate: ({ queryKey: [path] }) => typeof path === "string" && path.startsWith("/v1/dashboards/") });
      setRead(Date.now());
    }, EVERY);
    return () => clearInterval(timer);
  }, []);
  useEffect(() => {
    // Where the browser does not give the whole screen, the whole window is something, too.
    void document.documentElement.requestFullscreen?.().catch(() => undefined);
    const left = () => { if (!document.fullscreenElement) close(); };
    const key = (event: KeyboardEvent) => { if (event.key === "Escape") close(); };
    document.addEventListener("fullscreenchange", left);
    document.addEventListener("keydown", key);
    return () => {
      document.removeEventListener("fullscreenchange", left);
      document.removeEventListener("keydown", key);
      if (document.fullscreenElement) void document.exitFullscreen();
    };
  }, [close]);
  useLayoutEffect(() => {
    const outer = body.current;
    const inner = board.current;
    if (!outer || !inner) return;
    const fit = () => setZoom((now) => fitted(outer.clientHeight - FREE, inner.getBoundingClientRect().height / now));
    const watch = new ResizeObserver(fit);
    watch.observe(outer);
    watch.observe(inner);
    return () => watch.disconnect();
  }, []);
  return (
    <div className="wall" role="dialog" aria-modal="true" aria-label={title}>
      <header className="wall-head">
        <h2>{title}</h2>
        {opened.simulated && <span className="simulated"><Icon name="experiments" size={14} />{t("app.simulated")}</span>}
        <span className="top-space" />
        <span className="quiet" role="status">{t("wall.read", { when: moment(new Date(read).toISOString()) })}</span>
        <Button type="text" autoFocus icon={<Icon name="close" size={18} />} onClick={close} aria-label={t("wall.close")} title={t("wall.close")} />
      </header>
      <div className="wall-body" ref={body} tabIndex={0}><div ref={board} style={{ zoom }}><Tiles opened={opened} links={false} /></div></div>
    </div>
  );
}
