/** SQL to be read: keywords, text, comments and templates each in their colour. */
import { useMemo } from "react";
import { Copy } from "./basics";
import "./parts.css";

const KEYWORDS = new Set("select from where group by order having limit offset join left right full inner outer cross on using as and or not in is null distinct union all except intersect with recursive case when then else end cast between like ilike exists over partition rows range preceding following unbounded current row asc desc nulls first last interval date timestamp true false values create table view insert into update delete set explain lateral filter within qualify".split(" "));
const PIECES = /(--[^\n]*|\/\*[\s\S]*?\*\/)|('(?:[^']|'')*')|(\{\{[\s\S]*?\}\}|\{%[\s\S]*?%\}|\{#[\s\S]*?#\})|("(?:[^"]|"")*")|(\b\d+(?:\.\d+)?\b)|([A-Za-z_][A-Za-z_0-9]*)/g;

/** The pieces of a text with what each is; what is nothing special has no kind. */
export function pieces(text: string): { text: string; kind: string | null }[] {
  const all: { text: string; kind: string | null }[] = [];
  let done = 0;
  const plain = (to: number) => {
    if (to > done) all.push({ text: text.slice(done, to), kind: null });
  };
  for (const found of text.matchAll(PIECES)) {
    const [whole, comment, string, template, , number, word] = found;
    const kind = comment ? "comment" : string ? "string" : template ? "template" : number ? "number" : word && KEYWORDS.has(word.toLowerCase()) ? "keyword" : null;
    if (!kind) continue;
    plain(found.index);
    all.push({ text: whole, kind });
    done = found.index + whole.length;
  }
  plain(text.length);
  return all;
}

export function SqlText({ text, max = 420, label }: { text: string; max?: number; label: string }) {
  const shown = useMemo(() => pieces(text), [text]);
  return (
    <div className="code sqltext">
      <div className="code-copy"><Copy text={text} /></div>
      {/* It scrolls, so it must be reachable by keyboard. */}
      <pre tabIndex={0} role="region" style={{ maxHeight: max }} aria-label={label}><code>{shown.map((piece, at) => (piece.kind ? <span key={at} className={`sql-${piece.kind}`}>{piece.text}</span> : piece.text))}</code></pre>
    </div>
  );
}
