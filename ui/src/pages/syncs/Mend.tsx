/** A window in which rows that were set aside are mended: other values, a look at what would land, and the landing. */
import { Button, Modal } from "antd";
import { useState } from "react";
import { part, useDo, useGet, type Items, type Work } from "../../api";
import { useWords } from "../../i18n";
import { Ask, Code, Empty, Status, Trouble } from "../../ui/basics";
import { changed, type Field, type Given, type Opened, type Tried } from "./mend";
import own from "./words";

/** Rows of a trial that are shown; the others end alike or are tried again with fewer. */
const SHOWN = 10;
/** Rows that are tried at most, as the server says it. */
const TRIED = 100;

export default function Mend({ rows, close, done }: { rows: string[]; close: () => void; done: (work: Work) => void }) {
  const { t, n } = useWords(own);
  const [given, setGiven] = useState<Given>({});
  const [force, setForce] = useState(false);
  const several = rows.length > 1;
  const opened = useGet<Opened>(`/v1/quarantine/${part(rows[0] ?? "")}`);
  const fields = opened.data?.fields ?? [];
  // Of several rows only what is typed is the same for all.
  const set = several ? given : changed(fields, given);
  const tried = useDo<Items<Tried>>(() => ["POST", "/v1/quarantine/try", { rows: rows.slice(0, TRIED), set, force }]);
  const land = useDo<Work>(() => ["POST", "/v1/quarantine/mend", { rows, set, force }], (work) => { done(work); close(); });
  const give = (column: string, value: string | null | undefined) => {
    tried.reset();
    setGiven((now) => { const next = { ...now }; if (value === undefined) delete next[column]; else next[column] = value; return next; });
  };
  const can = opened.data !== undefined && opened.data.why_not === null;
  return (
    <Modal
      open width={760} title={several ? t("mend.several", { count: n(rows.length) }) : t("mend.title")} onCancel={close}
      footer={<>
        <Button onClick={close}>{t("f.cancel")}</Button>
        <Button disabled={!can} loading={tried.isPending} onClick={() => tried.mutate()}>{t("mend.try")}</Button>
        <Button type="primary" disabled={!can} loading={land.isPending} onClick={() => land.mutate()}>{t("mend.go")}</Button>
      </>}
    >
      <Ask of={opened} lines={6}>
        {(row) => (
          <>
            {!several && <p className="quiet"><code>{row.file}</code>{row.line !== null && <> {t("aside.line", { line: n(row.line) })}</>} · {row.column && <><code>{row.column}</code> </>}{row.reason}</p>}
            {row.why_not !== null ? <><Empty icon="alert" text={t("mend.not", { why: row.why_not })} /><Code text={row.raw} max={160} /></> : (
              <>
                <p className="quiet small">{t(several ? "mend.several.text" : "mend.text")}</p>
                <div className="mend-fields">
                  {fields.map((field) => <One key={field.column} field={field} several={several} blamed={row.column === field.column} value={given[field.column]} give={(value) => give(field.column, value)} />)}
                </div>
              </>
            )}
          </>
        )}
      </Ask>
      {tried.data && <Outcome all={tried.data.items} />}
      {(force || tried.data?.items.some((one) => one.code === "newer-row")) && <label><input type="checkbox" checked={force} onChange={(event) => setForce(event.target.checked)} /> {t("mend.force")}</label>}
      {tried.error && <Trouble error={tried.error} />}
      {land.error && <Trouble error={land.error} />}
    </Modal>
  );
}

/** One column: its value as it was kept, or what is given instead. */
function One({ field, several, blamed, value, give }: { field: Field; several: boolean; blamed: boolean; value: string | null | undefined; give: (value: string | null | undefined) => void }) {
  const { t } = useWords(own);
  const kept = several || field.masked ? null : field.value;
  const shown = value === undefined ? (kept ?? "") : (value ?? "");
  const none = value === null;
  const hint = none ? t("mend.null") : field.masked && !several ? t(field.known ? "mend.masked" : "mend.hidden") : several ? t("mend.as") : kept === null && value === undefined ? t("mend.null") : "";
  return (
    <div className={`mend-field ${blamed ? "mend-blamed" : ""}`}>
      <label>
        <span><code>{field.column}</code>{field.type && <small>{field.type}</small>}{field.required && <small>{t("mend.required")}</small>}</span>
        <input className="input" value={shown} placeholder={hint} aria-invalid={blamed && value === undefined} onChange={(event) => give(event.target.value)} />
      </label>
      <Button size="small" type="text" aria-label={`${t(value === undefined ? "mend.none" : "mend.back")}: ${field.column}`} onClick={() => give(value === undefined ? null : undefined)}>{t(value === undefined ? "mend.none" : "mend.back")}</Button>
    </div>
  );
}

function Outcome({ all }: { all: Tried[] }) {
  const { t, n } = useWords(own);
  const fits = all.filter((one) => one.fits).length;
  return (
    <div className="mend-tried" role="status">
      <p><Status of={fits === all.length ? "succeeded" : "warned"} label={t("mend.tried", { fits: n(fits), count: n(all.length) })} /></p>
      <ul>
        {all.slice(0, SHOWN).map((one) => (
          <li key={one.quarantine_id}>
            {one.fits ? Object.entries(one.lands).map(([column, value]) => <span key={column}><code>{column}</code> {value ?? "∅"} </span>) : <span className="bad">{one.column && <code>{one.column}</code>} {one.reason}</span>}
          </li>
        ))}
      </ul>
    </div>
  );
}
