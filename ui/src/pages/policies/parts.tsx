/** Parts that several pages of policies share. */
import type { Cell } from "../../api";

/** Reads a cell that holds JSON as text. */
export function parsed(cell: unknown): unknown {
  if (typeof cell !== "string") return cell ?? null;
  try {
    return JSON.parse(cell);
  } catch {
    return cell;
  }
}

/** What was chosen: items with their reasons, or the action. */
export function Chosen({ action, items, names }: { action: Cell | undefined; items: unknown; names: Record<string, string> }) {
  const list = parsed(items);
  if (!Array.isArray(list) || !list.length) return <>{String(action ?? "–")}</>;
  return <ul>{(list as ({ item_id?: string; reason?: string } | string)[]).map((item, at) => (typeof item === "string" ? <li key={at}><Named id={item} names={names} /></li> : <li key={at}><Named id={item.item_id ?? ""} names={names} /> <span className="quiet">{item.reason}</span></li>))}</ul>;
}

/** What an item is called, with its number behind it for who hovers; the number alone where no name is known. */
export function Named({ id, names }: { id: string; names: Record<string, string> }) {
  const name = names[id];
  return name ? <span title={id}>{name}</span> : <code>{id}</code>;
}

/** Whether a list without a row means that there are decisions which the reader is not shown: nothing was looked for among them. */
export const areUnshown = (decisions: number, ...filters: string[]): boolean => decisions > 0 && filters.every((filter) => filter === "");
