/** The tables and columns that can be asked, to look up and to put into the query. */
import { useMemo, useState } from "react";
import { useWords } from "../../i18n";
import { Loading, Trouble } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import words from "../../ui/words";
import { found, quoted, type Known } from "./known";
import own from "./words";

const TYPES = ["text", "integer", "number", "flag", "day", "moment", "other"] as const;

export function Tables({ known, pending, error, retry, insert, first }: { known: Known; pending: boolean; error: unknown; retry: () => void; insert: (name: string) => void; first: (name: string) => void }) {
  const { t } = useWords(own);
  const { word } = useWords(words);
  const [looked, setLooked] = useState("");
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set());
  const shown = useMemo(() => found(known, looked), [known, looked]);
  const groups = useMemo(() => {
    const all = new Map<string, typeof shown>();
    for (const one of shown) {
      const [schema = ""] = one.table.name.split(".");
      all.set(schema, [...(all.get(schema) ?? []), one]);
    }
    // What was modelled is asked most, what the platform knows of itself least.
    const rank = (name: string) => ({ system: 4, raw: 3, staging: 2, learn: 1 })[name] ?? 0;
    return [...all].sort(([a], [b]) => rank(a) - rank(b) || a.localeCompare(b));
  }, [shown]);
  const turn = (name: string) => setOpen((now) => {
    const next = new Set(now);
    if (!next.delete(name)) next.add(name);
    return next;
  });
  return (
    <details className="card sql-tables" open={!matchMedia("(max-width: 1100px)").matches}>
      <summary><h2>{t("tables")}</h2></summary>
      <label className="find sql-find"><Icon name="search" size={15} /><input value={looked} placeholder={t("tables.find")} aria-label={t("tables.find")} onChange={(event) => setLooked(event.target.value)} /></label>
      <div className="sql-tree">
        {pending ? <Loading lines={6} /> : error && !known.length ? <Trouble error={error} retry={retry} /> : !shown.length ? <p className="quiet sql-nothing">{t("tables.none")}</p> : groups.map(([schema, tables]) => (
          <section key={schema} aria-label={schema}>
            <h3>{schema}</h3>
            <ul>
              {tables.map(({ table, columns }) => {
                const unfolded = open.has(table.name) || (looked.trim() !== "" && columns.length < table.columns.length);
                const name = table.name.split(".").slice(1).join(".") || table.name;
                return (
                  <li key={table.name}>
                    <div className="sql-table">
                      <button type="button" className="sql-fold" aria-expanded={unfolded} aria-label={t("tables.columns", { table: table.name })} onClick={() => turn(table.name)}><Icon name="next" size={12} /></button>
                      <button type="button" className="sql-name" title={t("tables.insert", { what: table.name })} onClick={() => insert(quoted(table.name))}>{name}</button>
                      <button type="button" className="sql-first" title={t("tables.first", { table: table.name })} aria-label={t("tables.first", { table: table.name })} onClick={() => first(table.name)}><Icon name="play" size={13} /></button>
                    </div>
                    {unfolded && (
                      <ul className="sql-columns">
                        {columns.map((column) => (
                          <li key={column.name}><button type="button" title={t("tables.insert", { what: column.name })} onClick={() => insert(quoted(column.name))}><span>{column.name}</span><i>{word("type", TYPES.find((one) => one === column.type) ?? "other")}</i></button></li>
                        ))}
                      </ul>
                    )}
                  </li>
                );
              })}
            </ul>
          </section>
        ))}
      </div>
    </details>
  );
}
