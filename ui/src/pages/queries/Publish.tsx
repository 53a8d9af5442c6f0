/** Makes a published query of SQL, or changes one: its name, what it asks of its callers, and how much it answers. */
import { Button, Modal } from "antd";
import { useMutation } from "@tanstack/react-query";
import { type ReactNode, useId, useMemo, useState } from "react";
import { change, client, part, Problem, useGet } from "../../api";
import { useWords } from "../../i18n";
import { Rich, Trouble } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import type { Known } from "../sql/known";
import { complaints, edited, family, guess, meant, placeOf, put, RESERVED, scan, slug, TYPES, wrong, type Parameter } from "./parameters";
import { listOf, type Query } from "./query";
import "./style.css";
import own from "./words";

const ROWS_MAX = 100_000;
const SECONDS_MAX = 600;
const NO_TABLES: Known = [];

/** What stands beside a field when something is wrong with it. */
interface Said { text: string; server: boolean }

export default function Publish({ sql: first, of, tag = null, close, done }: { sql: string; of?: Query; tag?: string | null; close: () => void; done: (name: string) => void }) {
  const { t, n } = useWords(own);
  const [name, setName] = useState(of?.name ?? "");
  const [about, setAbout] = useState(of?.description ?? "");
  const [sql, setSql] = useState(first);
  const [rows, setRows] = useState(String(of?.rows ?? 1_000));
  const [seconds, setSeconds] = useState(String((of?.timeout_ms ?? 30_000) / 1_000));
  const [changes, setChanges] = useState<Record<string, Partial<Parameter>>>({});
  const [tried, setTried] = useState(false);
  const schema = useGet<{ tables: Known }>("/v1/sql/schema");
  const others = useGet<unknown>(of ? null : "/v1/queries");
  const taken = listOf<Query>(others.data, "queries").some((one) => one.name === name);
  const tables = schema.data?.tables ?? NO_TABLES;
  const parameters = useMemo(() => {
    const { names, plain } = scan(sql);
    const tablesRead = meant(sql, tables);
    const read = (of?.parameters ?? []).map(edited);
    // What a macro writes has no place in the text, and is asked for all the same.
    const hidden = of ? read.map((one) => one.name).filter((word) => !scan(of.sql).names.includes(word) && !names.includes(word)) : [];
    return [...names, ...hidden].map((word): Parameter => {
      const before = read.find((one) => one.name === word) ?? { name: word, type: guess(word, plain, tablesRead), required: true, default: "", description: "" };
      return { ...before, ...changes[word] };
    });
  }, [sql, tables, of, changes]);
  const names = parameters.map((one) => one.name);
  const save = useMutation<void, Error>({
    mutationFn: () => {
      const body = { description: about.trim(), sql, parameters: parameters.map(put), rows: Number(rows), timeout_ms: Math.round(Number(seconds) * 1_000), ...(of?.version && tag === null ? { version: of.version } : {}) };
      return change("PUT", `/v1/queries/${part(name)}`, of ? tag : "new", body);
    },
    onSuccess: () => {
      done(name);
      void client.invalidateQueries({ predicate: (query) => query.queryKey[0] !== "/v1/session" });
    },
  });
  const refused = save.error instanceof Problem ? save.error : null;
  // Somebody else published a query of that name in the meantime.
  const there = refused !== null && !of && (refused.code === "conflict" || refused.status === 412);
  const placed = (one: Parameters<typeof placeOf>[0]) => {
    const place = there ? "name" : placeOf(one, names);
    return of && place === "name" ? null : place;
  };
  const said = refused ? complaints(refused, of?.file ?? `queries/${name}.yaml`).map((one) => ({ place: placed(one), text: one.hint ? `${one.detail} ${one.hint}` : one.detail })) : [];
  const within = (value: string, most: number) => Number(value) > 0 && Number(value) <= most;
  const here = {
    name: !name ? t("name.first") : !/^[a-z][a-z0-9_]*$/.test(name) ? t("name.bad") : taken ? t("name.taken", { name }) : null,
    sql: sql.trim() ? null : t("sql.first"),
    rows: within(rows, ROWS_MAX) && Number.isInteger(Number(rows)) ? null : t("rows.bad", { most: n(ROWS_MAX) }),
    time: within(seconds, SECONDS_MAX) ? null : t("time.bad", { most: n(SECONDS_MAX) }),
  };
  const badParameter = (one: Parameter): string | null => {
    const what = wrong(one);
    return what === "name" ? t("bad.name", { name: one.name }) : what === "reserved" ? t("bad.reserved", { name: one.name, names: RESERVED.join(", ") }) : what === "type" ? t("bad.type") : what === "default" ? t("bad.default", { type: one.type }) : null;
  };
  /** What stands beside a field: what the server said about it, until something is changed, or what is seen here. */
  const beside = (where: string, seen: string | null, now = tried): Said | null => {
    const found = said.filter((one) => one.place === where);
    if (found.length) return { text: found.map((one) => one.text).join("\n"), server: true };
    return seen && now ? { text: seen, server: false } : null;
  };
  const touch = <A extends unknown[]>(set: (...given: A) => void) => (...given: A) => {
    if (save.error) save.reset();
    set(...given);
  };
  const setParameter = touch((word: string, next: Partial<Parameter>) => setChanges((now) => ({ ...now, [word]: { ...now[word], ...next } })));
  const go = () => {
    setTried(true);
    if (Object.values(here).some((one) => one !== null) || parameters.some((one) => wrong(one) !== null)) return;
    save.mutate();
  };
  const lost = of?.comments ?? 0;
  return (
    <Modal
      open width={860} title={of ? t("edit.title", { name: of.name }) : t("publish.title")} onCancel={close} mask={{ closable: false }}
      footer={<><Button onClick={close}>{t("f.cancel")}</Button><Button type="primary" loading={save.isPending} onClick={go}>{t(of ? "save" : "publish")}</Button></>}
    >
      <p className="quiet"><Rich text={t("publish.text")} /></p>
      {lost > 0 && <p className="query-note"><Icon name="alert" size={15} />{t("comments", { count: lost })}</p>}
      <div className="query-form">
        {!of && <Field label={t("f.name")} help={t("name.help")} said={beside("name", here.name)}>{(props) => <input {...props} value={name} maxLength={63} spellCheck={false} autoFocus placeholder="top_customers" onChange={(event) => touch(setName)(slug(event.target.value))} />}</Field>}
        <Field label={t("f.description")} help={t("about.help")} said={null}>{(props) => <input {...props} value={about} maxLength={1000} onChange={(event) => setAbout(event.target.value)} />}</Field>
      </div>
      <Field label="SQL" help={t("sql.help")} said={beside("sql", here.sql)}>{(props) => <textarea {...props} className="query-sql" rows={Math.min(16, Math.max(4, sql.split("\n").length + 1))} spellCheck={false} value={sql} onChange={(event) => touch(setSql)(event.target.value)} />}</Field>
      <h3 className="sub">{t("parameters")}</h3>
      {!parameters.length && <p className="quiet"><Rich text={t("parameters.how")} /></p>}
      <div className="query-parameters">
        {parameters.map((one) => <OneParameter key={one.name} of={one} set={(next) => setParameter(one.name, next)} said={beside(`$${one.name}`, badParameter(one), tried || wrong(one) === "name" || wrong(one) === "reserved")} />)}
      </div>
      <div className="query-form">
        <Field label={t("rows")} help={t("rows.help")} said={beside("rows", here.rows)}>{(props) => <input {...props} type="number" min={1} max={ROWS_MAX} value={rows} onChange={(event) => touch(setRows)(event.target.value)} />}</Field>
        <Field label={t("time")} help={t("time.help")} said={beside("time", here.time)}>{(props) => <input {...props} type="number" min={1} max={SECONDS_MAX} value={seconds} onChange={(event) => touch(setSeconds)(event.target.value)} />}</Field>
      </div>
      {said.some((one) => one.place !== null) && said.filter((one) => one.place === null).map((one) => <p key={one.text} className="bad" role="alert" lang="en"><Rich text={one.text} /></p>)}
      {save.error && !said.some((one) => one.place !== null) && <Trouble error={save.error} />}
    </Modal>
  );
}

interface FieldProps { id: string; "aria-invalid": boolean; "aria-describedby": string }

/** A field with its help, or in its place with what is wrong. */
function Field({ label, help, said, children }: { label: string; help: string; said: Said | null; children: (props: FieldProps) => ReactNode }) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {children({ id, "aria-invalid": said !== null, "aria-describedby": `${id}-help` })}
      <Beside id={`${id}-help`} said={said} help={help} />
    </div>
  );
}

function Beside({ id, said, help }: { id: string; said: Said | null; help?: string }) {
  if (!said) return <small id={id}>{help && <Rich text={help} />}</small>;
  return <small id={id} className="bad" role="alert" lang={said.server ? "en" : undefined}><Rich text={said.text} /></small>;
}

function OneParameter({ of: { name, type, required, default: given, description }, set, said }: { of: Parameter; set: (next: Partial<Parameter>) => void; said: Said | null }) {
  const { t, word } = useWords(own);
  const id = useId();
  const kind = family(type);
  const kinds = (TYPES as readonly string[]).includes(kind) ? TYPES : [...TYPES, kind];
  const about = { "aria-invalid": said !== null, "aria-describedby": `${id}-said` };
  return (
    <div role="group" aria-label={`$${name}`}>
      <code>${name}</code>
      <select value={kind} aria-label={t("of.type", { name })} {...about} onChange={(event) => set({ type: event.target.value === "decimal" ? "decimal(18,2)" : event.target.value })}>
        {kinds.map((one) => <option key={one} value={one}>{one === word("as", one) ? one : `${one} · ${word("as", one)}`}</option>)}
      </select>
      {kind === "decimal" && <input className="query-digits" value={/\((.*)\)/.exec(type)?.[1] ?? ""} aria-label={t("of.digits", { name })} title={t("of.digits", { name })} {...about} onChange={(event) => set({ type: `decimal(${event.target.value})` })} />}
      <label className="query-check"><input type="checkbox" checked={required} onChange={(event) => set({ required: event.target.checked })} /><span>{t("required")}</span></label>
      {!required && (kind === "bool"
        ? <select value={given} aria-label={t("of.default", { name })} {...about} onChange={(event) => set({ default: event.target.value })}><option value="">{t("default.choose")}</option><option value="true">true</option><option value="false">false</option></select>
        : <input value={given} maxLength={1000} placeholder={t("default")} aria-label={t("of.default", { name })} {...about} onChange={(event) => set({ default: event.target.value })} />)}
      <input className="query-says" value={description} maxLength={1000} placeholder={t("f.description")} aria-label={t("of.about", { name })} onChange={(event) => set({ description: event.target.value })} />
      <Beside id={`${id}-said`} said={said} />
    </div>
  );
}
