/** The tables that can be asked, and which of them a text names. */
export interface KnownTable { name: string; columns: { name: string; type: string }[] }
export type Known = KnownTable[];

/** The tables whose names stand in a text; names in quotes are the same names. */
export function named(text: string, known: Known): Known {
  const words = new Set(text.toLowerCase().replaceAll('"', "").match(/[\p{L}_][\p{L}\p{N}_]*(?:\.[\p{L}_][\p{L}\p{N}_]*)?/gu) ?? []);
  return known.filter((table) => words.has(table.name.toLowerCase()));
}

/** A name as it can stand in SQL: in quotes unless it is a plain, small one. */
export const quoted = (name: string) => name.split(".").map((piece) => (/^[a-z_][a-z0-9_]*$/.test(piece) ? piece : `"${piece.replaceAll('"', '""')}"`)).join(".");

/** Tables and columns that hold the words looked for, with all columns where the table itself is meant. */
export function found(known: Known, looked: string): { table: KnownTable; columns: KnownTable["columns"] }[] {
  const word = looked.trim().toLowerCase();
  if (!word) return known.map((table) => ({ table, columns: table.columns }));
  return known.flatMap((table) => {
    if (table.name.toLowerCase().includes(word)) return [{ table, columns: table.columns }];
    const columns = table.columns.filter((column) => column.name.toLowerCase().includes(word));
    return columns.length ? [{ table, columns }] : [];
  });
}

/** Where a message says that the fault lies, if it does: `Line: 2, Column: 8`. */
export function place(message: string): { line: number; column: number } | null {
  const at = /Line:\s*(\d+),\s*Column:?\s*(\d+)/i.exec(message);
  return at ? { line: Number(at[1]), column: Number(at[2]) } : null;
}

/** A CSV file for people: spreadsheets read Chinese in it as Chinese only behind a mark of UTF-8, which programs that ask the API need not skip. */
export const forSheets = (csv: Blob): Blob => new Blob(["\uFEFF", csv], { type: csv.type });
