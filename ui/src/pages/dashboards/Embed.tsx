/** A dashboard, or one tile of it, behind a link: no menu, no session, nothing but what the link shows. */
import { useQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { useLocation } from "react-router";
import { part, problemOf } from "../../api";
import { useWords } from "../../i18n";
import { Ask } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { Mark } from "../../shell/Mark";
import { choiceOf, labelled, type Opened } from "./board";
import { Tiles } from "./Dashboard";
import { SourceContext, type Source } from "./source";
import "./style.css";
import { Tile } from "./Tile";
import own from "./words";

/** Asks with the token of the link; a session that the browser may have is left out. */
async function ask<T>(token: string, link: string | null, path: string, signal?: AbortSignal): Promise<T> {
  // The server has told the browser which sites this page may stand in by the link of its address, and asks which it was.
  const headers: Record<string, string> = { authorization: `Bearer ${token}`, ...(link ? { "x-flywheel-link": link } : {}) };
  const answer = await fetch(path, { headers, credentials: "omit", signal });
  if (!answer.ok) throw await problemOf(answer);
  return (await answer.json()) as T;
}

const AS_DECLARED = choiceOf(new URLSearchParams());

/** One tile as large as its frame. */
function Only({ opened }: { opened: Opened }) {
  const { t } = useWords(own);
  const tile = opened.dashboard.tiles[0];
  if (!tile) return <p className="board-note"><Icon name="info" size={16} />{t("embed.gone")}</p>;
  return <Tile board={opened.name} tile={tile} show={opened.shown[tile.tile]} metrics={opened.metrics} choice={AS_DECLARED} rows={opened.may.rows} links={false} />;
}

export default function Embed({ corner }: { corner: React.ReactNode }) {
  const { t, language } = useWords(own);
  const { pathname, hash, search } = useLocation();
  const name = decodeURIComponent(pathname.split("/")[2] ?? "");
  // Choosing a filter changes the address, not the token.
  const [token] = useState(() => hash.slice(1));
  const [link] = useState(() => new URLSearchParams(search).get("link"));
  const source = useMemo<Source>(() => ({ key: `link ${name} ${link}`, get: (path, signal) => ask(token, link, path, signal) }), [token, link, name]);
  const opened = useQuery<Opened, Error>({ queryKey: ["/v1/dashboards", source.key], queryFn: ({ signal }) => source.get<Opened>(`/v1/dashboards/${part(name)}`, signal), enabled: token !== "", retry: false, refetchInterval: 300_000 });
  const title = opened.data ? (labelled(opened.data.dashboard.title, language) ?? name) : name;
  useEffect(() => { document.title = title; }, [title]);
  if (opened.data?.only) return <SourceContext value={source}><main className="embed-tile" id="content"><h1 className="unseen">{title}</h1><Only opened={opened.data} /></main></SourceContext>;
  return (
    <SourceContext value={source}>
      <main className="embed" id="content">
        <header className="embed-head"><Mark size={24} /><h1>{title}</h1>{opened.data?.simulated && <span className="simulated"><Icon name="experiments" size={14} />{t("app.simulated")}</span>}<span className="top-space" />{corner}</header>
        {opened.data?.dashboard.description && <p className="embed-text">{opened.data.dashboard.description}</p>}
        {token ? <Ask of={opened} lines={8}>{(data) => <Tiles opened={data} links={false} />}</Ask> : <p className="board-note"><Icon name="info" size={16} />{t("embed.notoken")}</p>}
      </main>
    </SourceContext>
  );
}
