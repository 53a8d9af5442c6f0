/** What extensions of the project show to whoever is signed in (`extensions/NAME/extension.yaml`). */
import { part, useGet, type Items } from "./api";
import type { Language } from "./format";
import { useWho } from "./session";

export interface Label { en?: string | null; zh?: string | null }
export interface ExtensionPage { page: string; title: Label; file: string }
export interface ExtensionPanel { panel: string; title: Label; on: "home" | "asset"; file: string; height: number }
export interface Extension {
  name: string; title: Label; description: string | null; owner: string | null; declared_in: string;
  scopes: string[]; granted: string[]; pages: ExtensionPage[]; panels: ExtensionPanel[];
}

export function useExtensions(): Extension[] {
  const { has } = useWho();
  const found = useGet<Items<Extension>>(has("extensions") ? "/v1/extensions" : null);
  return found.data?.items ?? [];
}

/** The first of the labels that says something in the language, else in the other one. */
export function labelIn(language: Language, labels: Label[], name: string): string {
  for (const label of labels) {
    const said = label[language] || label[language === "zh" ? "en" : "zh"];
    if (said) return said;
  }
  return name;
}

export const titleOf = (language: Language, extension: Extension, one: { title: Label }, name: string) => labelIn(language, [one.title, extension.title], name);

/** The pages of extensions, as the menu has them. */
export const linksOf = (language: Language, extensions: Extension[]) =>
  extensions.flatMap((extension) => extension.pages.map((page) => ({ to: `/extensions/${part(extension.name)}/${part(page.page)}`, title: titleOf(language, extension, page, page.page) })));
