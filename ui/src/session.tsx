/** Who is signed in, and what they may do here. */
import { createContext, useContext } from "react";
import type { Me, Session } from "./api";
import type { Entry } from "./pages";

export interface Who {
  session: Session;
  me: Me;
  can: (permission: string) => boolean;
  has: (feature: string) => boolean;
  may: (entry: Entry) => boolean;
}

export const who = (session: Session, me: Me): Who => {
  const can = (permission: string) => me.permissions.includes(permission);
  const has = (feature: string) => me.features.includes(feature);
  return { session, me, can, has, may: (entry) => (!entry.permission || can(entry.permission)) && (!entry.feature || has(entry.feature)) };
};

/** Under which name this browser keeps what is somebody's own in a project: whoever signs in next shall not find it. */
export const whose = ({ session, me }: Pick<Who, "session" | "me">): string => `${session.project}.${me.name}`;

export const WhoContext = createContext<Who | null>(null);

/** The one who is signed in; pages are only shown to somebody. */
export function useWho(): Who {
  const value = useContext(WhoContext);
  if (!value) throw new Error("a page is shown outside of the shell");
  return value;
}
