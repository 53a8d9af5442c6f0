/** Names of things that several pages speak of. */
import { useCallback } from "react";
import type { Work } from "../api";
import { useWords } from "../i18n";

/** What a person calls a piece of work. */
export function useWorkName() {
  const { word } = useWords();
  return useCallback((work: Pick<Work, "kind" | "what">) => `${word("kind", work.kind)}${work.what ? ` ${work.what}` : ""}`, [word]);
}
