/** Texts of tiles: paragraphs, headings, lists, bold, code and links; nothing in them is run. */
import { Fragment, type ReactNode } from "react";
import { Link } from "react-router";

const INLINE = /\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*|`([^`]+)`|\[([^\]]+)\]\(([^)\s]+)\)/g;

/** Whether an address may be followed: our own pages, and the web. */
const safe = (address: string) => /^(https?:\/\/|\/(?!\/))/.test(address);

function inline(text: string, links: boolean): ReactNode[] {
  const out: ReactNode[] = [];
  let done = 0;
  for (const found of text.matchAll(INLINE)) {
    const [whole, bold, stressed, code, label, address] = found;
    if (found.index > done) out.push(text.slice(done, found.index));
    if (bold) out.push(<b key={found.index}>{bold}</b>);
    else if (stressed) out.push(<em key={found.index}>{stressed}</em>);
    else if (code) out.push(<code key={found.index}>{code}</code>);
    else if (label && address && links && safe(address)) out.push(address.startsWith("/") ? <Link key={found.index} to={address}>{label}</Link> : <a key={found.index} href={address} target="_blank" rel="noreferrer noopener">{label}</a>);
    else out.push(label ?? whole);
    done = found.index + whole.length;
  }
  out.push(text.slice(done));
  return out;
}

/** The blocks of a text, each with what it is. */
export function blocks(text: string): { kind: "h" | "p" | "ul"; lines: string[] }[] {
  const all: { kind: "h" | "p" | "ul"; lines: string[] }[] = [];
  let open = false;
  for (const line of text.split("\n")) {
    const [heading, item] = [/^#{1,4}\s+(.*)$/.exec(line)?.[1], /^\s*[-*]\s+(.*)$/.exec(line)?.[1]];
    const last = all.at(-1);
    if (!line.trim()) open = false;
    else if (heading !== undefined) {
      all.push({ kind: "h", lines: [heading] });
      open = false;
    } else {
      const kind = item === undefined ? "p" : "ul";
      if (open && last?.kind === kind) last.lines.push(item ?? line);
      else all.push({ kind, lines: [item ?? line] });
      open = true;
    }
  }
  return all;
}

export function Markdown({ text, links = true }: { text: string; links?: boolean }) {
  return (
    <div className="board-text">
      {blocks(text).map(({ kind, lines }, at) => {
        if (kind === "h") return <h3 key={at}>{inline(lines[0] ?? "", links)}</h3>;
        if (kind === "ul") return <ul key={at}>{lines.map((line, index) => <li key={index}>{inline(line, links)}</li>)}</ul>;
        return <p key={at}>{lines.map((line, index) => <Fragment key={index}>{index > 0 && <br />}{inline(line, links)}</Fragment>)}</p>;
      })}
    </div>
  );
}
