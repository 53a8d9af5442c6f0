/** What is known of a row that was set aside, and what somebody gives in place of it. */

export interface Field { column: string; value: string | null; masked: boolean; known: boolean; type: string | null; required: boolean }
export interface Opened { quarantine_id: string; file: string; line: number | null; column: string | null; code: string; reason: string; raw: string; fields: Field[]; why_not: string | null }
export interface Tried { quarantine_id: string; fits: boolean; column: string | null; code: string | null; reason: string | null; lands: Record<string, string | null> }

/** Values by the names of columns; null stands for no value. */
export type Given = Record<string, string | null>;

/** What differs from what was kept: what was typed and taken back again is not given. */
export const changed = (fields: Field[], given: Given): Given =>
  Object.fromEntries(Object.entries(given).filter(([column, value]) => {
    const field = fields.find((one) => one.column === column);
    return field !== undefined && (!field.known || field.masked || field.value !== value);
  }));

/** The rows that are mended together: all of one stream and one kind of mistake; none if they are mixed. */
export const alike = <R extends { stream: string; code: string }>(rows: R[]): boolean => rows.length > 0 && rows.every((row) => row.stream === rows[0]?.stream && row.code === rows[0]?.code);
