/** Where tiles get their answers: by the session of somebody signed in, by a link, or of a dashboard that is not kept yet. */
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { createContext, useContext, useEffect, useRef, useState } from "react";
import { call, part, type Items, type Cell } from "../../api";
import { asked, type Answer, type Board, type Choice, type Tile } from "./board";

export interface Source {
  /** What tells the answers of one source from those of another. */
  key: string;
  get: <T>(path: string, signal?: AbortSignal) => Promise<T>;
  /** The dashboard that is being made; its tiles are asked as they are now. */
  draft?: Board;
}

export const SourceContext = createContext<Source>({ key: "session", get: (path, signal) => call("GET", path, undefined, signal) });
export const useSource = () => useContext(SourceContext);

/** How long nothing must be typed before it is asked, in milliseconds. */
const TYPING = 400;

/** A value once it stays the same: what is half typed is not asked. */
function useSettled<T>(value: T): T {
  const [kept, setKept] = useState(value);
  const text = JSON.stringify(value);
  const newest = useRef(value);
  newest.current = value;
  useEffect(() => {
    const timer = setTimeout(() => setKept(newest.current), TYPING);
    return () => clearTimeout(timer);
  }, [text]);
  return kept;
}

/** The answer of a tile. */
export function useAnswer(name: string, tile: Tile, choice: Choice, wanted: boolean) {
  const { key, get, draft } = useSource();
  const path = `/v1/dashboards/${part(name)}/tiles/${part(tile.tile)}${asked(choice)}`;
  // Where a tile stands, how large it is and what it is called changes no answer.
  const said = draft && { ...tile, title: {}, text: {}, description: null, width: null, height: null };
  const typed = draft && said && { dashboard: { ...draft, title: {}, description: null, tiles: [said] }, tile: tile.tile, chosen: {} };
  const question = useSettled(typed);
  return useQuery<Answer, Error>({
    queryKey: ["/v1/dashboards", key, question ?? path],
    queryFn: ({ signal }) => (question ? call<Answer>("POST", "/v1/dashboard-preview", question, signal) : get<Answer>(path, signal)),
    enabled: wanted && Boolean(typed) === Boolean(question),
    placeholderData: keepPreviousData,
    staleTime: 60_000,
    retry: false,
  });
}

/** Values of a filter to choose from. */
export function useValues(name: string, dimension: string, wanted: boolean) {
  const { key, get } = useSource();
  const path = `/v1/dashboards/${part(name)}/values/${part(dimension)}`;
  return useQuery<Items<Cell>, Error>({ queryKey: ["/v1/dashboards", key, path], queryFn: ({ signal }) => get<Items<Cell>>(path, signal), enabled: wanted, staleTime: 300_000, retry: false });
}
