/** The language of the pages, kept in this browser. */
import { createContext, useContext } from "react";
import { en } from "./en";
import * as format from "./format";
import { zh } from "./zh";

export type Key = keyof typeof en;
type Values = Record<string, string | number>;

/** The words for a key, with `{name}` replaced. */
export function words(language: format.Language, key: Key, values: Values = {}): string {
  const text: string = (language === "zh" ? zh : en)[key];
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => (name in values ? String(values[name]) : whole));
}

/** Everything that writes words or numbers in one language. */
export const speaker = (language: format.Language) => ({
  language,
  t: (key: Key, values?: Values) => words(language, key, values),
  /** The words for `group.word`, or the word itself when a newer server says one that these pages do not know. */
  word: (group: string, word: string) => (`${group}.${word}` in en ? words(language, `${group}.${word}` as Key) : word),
  n: (value: number | string | null | undefined, digits?: number) => format.number(value, language, digits),
  compact: (value: number | null | undefined) => format.compact(value, language),
  percent: (value: number | null | undefined) => format.percent(value, language),
  points: (value: number | null | undefined) => format.points(value, language),
  duration: (value: number | null | undefined) => format.duration(value, language),
  moment: (value: string | null | undefined) => format.moment(value, language),
  ago: (value: string | null | undefined) => format.ago(value, language),
});

export type Speaker = ReturnType<typeof speaker>;
export const SpeakerContext = createContext<Speaker>(speaker("en"));
export const useWords = () => useContext(SpeakerContext);
