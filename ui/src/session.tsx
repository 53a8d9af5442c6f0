/** Who is signed in, and what they may do here. */
import { createContext, useContext } from "react";
import type { Me, Session } from "./api";
import type { Entry } from "./pages";
import type { View } from "./view";

export interface Who {
  session: Session;
  /** The one who is signed in, with what they may do here: while they look as somebody else, only what that person may read. */
  me: Me;
  /** As whom they look, if they do. */
  view: View | null;
  can: (permission: string) => boolean;
  has: (feature: string) => boolean;
  may: (entry: Entry) => boolean;
}

/** What can be done through the eyes of somebody else. */
const READ = ["view", "query"];
/** What is only ever of whoever is signed in: extensions ask in their name, and requests for access and tokens are theirs. */
const OWN = ["access", "extensions", "tokens"];

const seen = (me: Me, view: View): Me => ({
  ...me,
  permissions: me.permissions.filter((one) => READ.includes(one) && (one !== "query" || view.query)),
  features: me.features.filter((one) => !OWN.includes(one)),
});

export const who = (session: Session, mine: Me, view: View | null = null): Who => {
  const me = view ? seen(mine, view) : mine;
  const can = (permission: string) => me.permissions.includes(permission);
  const has = (feature: string) => me.features.includes(feature);
  return { session, me, view, can, has, may: (entry) => (!entry.permission || can(entry.permission)) && (!entry.feature || has(entry.feature)) };
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
