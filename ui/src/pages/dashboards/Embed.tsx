/** A dashboard behind a link: no menu, no session, nothing but what the link shows. */
import { useQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { useLocation } from "react-router";
import { part, problemOf } from "../../api";
import { useWords } from "../../i18n";
import { Ask } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { Mark } from "../../shell/Mark";
import { labelled, type Opened } from "./board";
import { Tiles } from "./Dashboard";
import { SourceContext, type Source } from "./source";
import "./style.css";
import own from "./words";

/** Asks with the token of the link; a session that the browser may have is left out. */
async function ask<T>(token: string, path: string, signal?: AbortSignal): Promise<T> {
  const answer = await fetch(path, { headers: { authorization: `Bearer ${token}` }, credentials: "omit", signal });
  if (!answer.ok) throw await problemOf(answer);
  return (await answer.json()) as T;
}

export default function Embed({ corner }: { corner: React.ReactNode }) {
  const { t, language } = useWords(own);
  const { pathname, hash } = useLocation();
  const name = decodeURIComponent(pathname.split("/")[2] ?? "");
  // Choosing a filter changes the address, not the token.
  const [token] = useState(() => hash.slice(1));
  const source = useMemo<Source>(() => ({ key: `link ${name}`, get: (path, signal) => ask(token, path, signal) }), [token, name]);
  const opened = useQuery<Opened, Error>({ queryKey: ["/v1/dashboards", source.key], queryFn: ({ signal }) => source.get<Opened>(`/v1/dashboards/${part(name)}`, signal), enabled: token !== "", retry: false, refetchInterval: 300_000 });
  const title = opened.data ? (labelled(opened.data.dashboard.title, language) ?? name) : name;
  useEffect(() => { document.title = title; }, [title]);
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
