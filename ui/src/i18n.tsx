/** The language of the pages, kept in this browser. Words that only one page uses lie beside that page. */
import { createContext, useContext, useMemo } from "react";
import * as format from "./format";
import { en } from "./words/en";
import { zh } from "./words/zh";

export type Key = keyof typeof en;
export type Values = Record<string, string | number>;

/** The words of one page in both languages. */
export interface Words<K extends string> {
  en: Record<K, string>;
  zh: Record<K, string>;
}

/** Declares a page's words; a key that one of the languages lacks does not compile. */
export const dictionary = <K extends string>(english: Record<K, string>, chinese: Record<NoInfer<K>, string>): Words<K> => ({ en: english, zh: chinese });

export const shared: Words<Key> = { en, zh };
const NONE: Words<never> = { en: {}, zh: {} };

const fill = (text: string, values: Values) => text.replace(/\{(\w+)\}/g, (whole, name: string) => (name in values ? String(values[name]) : whole));

/** Everything that writes words or numbers in one language, with the words of a page beside the shared ones. */
export function speaker<K extends string = never>(language: format.Language, own: Words<K> = NONE as Words<K>) {
  const all: Record<string, string> = { ...shared[language], ...own[language] };
  return {
    language,
    t: (key: Key | K, values: Values = {}) => fill(all[key] ?? key, values),
    /** The words for `group.word`, or the word itself when a newer server says one that these pages do not know. */
    word: (group: string, word: string) => all[`${group}.${word}`] ?? word,
    n: (value: number | string | null | undefined, digits?: number) => format.number(value, language, digits),
    fixed: (value: number | null | undefined, digits: number) => format.fixed(value, language, digits),
    compact: (value: number | null | undefined) => format.compact(value, language),
    percent: (value: number | null | undefined) => format.percent(value, language),
    points: (value: number | null | undefined) => format.points(value, language),
    interval: (lower: number | null | undefined, upper: number | null | undefined) => format.interval(lower, upper, language),
    duration: (value: number | null | undefined) => format.duration(value, language),
    span: (value: string | null | undefined) => format.span(value, language),
    moment: (value: string | null | undefined) => format.moment(value, language),
    day: (value: string | null | undefined) => format.day(value, language),
    ago: (value: string | null | undefined) => format.ago(value, language),
  };
}

export type Speaker<K extends string = never> = ReturnType<typeof speaker<K>>;
export const LanguageContext = createContext<format.Language>("en");

/** The words of the shared dictionary, and of a page's own if it is given. */
export function useWords<K extends string = never>(own?: Words<K>): Speaker<K> {
  const language = useContext(LanguageContext);
  return useMemo(() => speaker<K>(language, own), [language, own]);
}

const KEPT = "flywheel.language";

/** The language chosen earlier in this browser, or the one the browser asks for. */
export function firstLanguage(): format.Language {
  const kept = localStorage.getItem(KEPT);
  if (kept === "en" || kept === "zh") return kept;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export const keepLanguage = (language: format.Language) => localStorage.setItem(KEPT, language);
