/** A form made of a JSON Schema: each control stands under its key, with what the schema says of it and what is wrong with it. */
import { Button } from "antd";
import { createContext, lazy, Suspense, useContext, useId, useRef, useState, type ReactNode } from "react";
import { part, useDo, useGet } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Loading, Rich, Trouble } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import type { EditorHandle } from "../sql/Editor";
import type { Known } from "../sql/known";
import { anything, emptyOf, isFields, isSecret, plain, put, shapeOf, shownDefault, typed, variantOf, type Fields, type Json, type Schema, type Spot } from "./shape";
import own from "./words";

const Editor = lazy(() => import("../sql/Editor"));
const NO_TABLES: Known = [];
/** How deep everything that may be said is shown; deeper, what is not said is added first. */
const OPEN_DEPTH = 2;

/** A mistake, as the server tells it. */
export interface Mistake { severity: "error" | "warning"; file: string; line: number; column: number; message: string; hint: string | null; at: string[] }

/** What the options of a type are. */
export interface Type { type: string; about: string; schema: Schema }

/** What all fields of a form know. */
export interface Form {
  mistakes: Mistake[];
  /** The types to choose from, of connections and actions. */
  types: Type[];
  /** The key that names what is declared, and whether it stays as it is. */
  named: { key: string; fixed: boolean };
  /** The name that it has now. */
  name: string;
}
export const FormContext = createContext<Form>({ mistakes: [], types: [], named: { key: "", fixed: false }, name: "" });

interface Place { spot: Spot; path: string[]; value: Json | undefined; set: (value: Json | undefined) => void }

/** What is wrong at a place, or within it where it has no fields of its own. */
function useMistakes(path: string[], within: boolean): Mistake[] {
  const { mistakes } = useContext(FormContext);
  const at = path.join("\n");
  return mistakes.filter((one) => one.at.join("\n") === at || (within && one.at.join("\n").startsWith(`${at}\n`)));
}

function Wrong({ id, of }: { id: string; of: Mistake[] }) {
  return <div id={id}>{of.map((one) => <small key={one.message} className={one.severity === "error" ? "bad" : "warn"} role="alert" lang="en"><Rich text={one.hint ? `${one.message}. ${one.hint}` : one.message} /></small>)}</div>;
}

/** A key with its control, its help and what is wrong. */
function Labelled({ name, path, required, about, within, children }: { name: string; path: string[]; required: boolean; about?: string; within: boolean; children: (control: { id: string; "aria-invalid": boolean; "aria-describedby": string }) => ReactNode }) {
  const { t } = useWords(own);
  const id = useId();
  const wrong = useMistakes(path, within);
  return (
    <div className="field files-field">
      <label htmlFor={id}><code>{name}</code>{required && <span className="quiet"> {t("required")}</span>}</label>
      {children({ id, "aria-invalid": wrong.some((one) => one.severity === "error"), "aria-describedby": `${id}-said` })}
      {about && <small lang="en"><Rich text={about} /></small>}
      <Wrong id={`${id}-said`} of={wrong} />
    </div>
  );
}

/** One key of a mapping, whatever it holds. */
function Field({ name, required, depth, ...place }: Place & { name: string; required: boolean; depth: number }) {
  const { t } = useWords(own);
  const { types, named } = useContext(FormContext);
  const schema = plain(place.spot);
  const shape = shapeOf(place.spot, name);
  const { path, value, set } = place;
  const common = { name, path, required, about: schema.description };
  const top = path.length === 1;
  if (top && name === "type" && types.length > 0) {
    const chosen = types.find((one) => one.type === value);
    return (
      <Labelled {...common} about={chosen?.about ?? undefined} within>
        {(control) => (
          <select {...control} className="input" value={typeof value === "string" ? value : ""} onChange={(event) => set(event.target.value || undefined)}>
            <option value="">{t("choose")}</option>
            {types.map((one) => <option key={one.type} value={one.type}>{one.type}</option>)}
          </select>
        )}
      </Labelled>
    );
  }
  switch (shape.kind) {
    case "choice":
      return (
        <Labelled {...common} within about={[schema.description, shape.options.find((one) => one.value === value)?.about].filter(Boolean).join(" ") || undefined}>
          {(control) => (
            <select {...control} className="input" value={value === undefined || value === null ? "" : String(value)} onChange={(event) => set(shape.options.find((one) => String(one.value) === event.target.value)?.value)}>
              <option value="">{shownDefault(schema) ?? t("choose")}</option>
              {shape.options.map((one) => <option key={String(one.value)} value={String(one.value)}>{String(one.value)}</option>)}
            </select>
          )}
        </Labelled>
      );
    case "truth":
      return (
        <Labelled {...common} within>
          {(control) => (
            <select {...control} className="input" value={typeof value === "boolean" ? String(value) : ""} onChange={(event) => set(event.target.value === "" ? undefined : event.target.value === "true")}>
              <option value="">{shownDefault(schema) ?? t("unset")}</option>
              <option value="true">{t("f.yes")}</option><option value="false">{t("f.no")}</option>
            </select>
          )}
        </Labelled>
      );
    case "number":
    case "scalar":
    case "any": {
      const read = (text: string) => (text === "" ? undefined : shape.kind === "any" ? anything(text) : typed(text));
      return <Labelled {...common} within>{(control) => <Typed {...control} value={value} read={read} set={set} placeholder={shownDefault(schema) ?? (shape.kind === "any" ? t("json") : undefined)} secret={isSecret(name)} path={path} />}</Labelled>;
    }
    case "text": {
      const text = typeof value === "string" ? value : value === undefined || value === null ? "" : JSON.stringify(value);
      const fixed = top && named.key === name && named.fixed;
      if (isSecret(name)) return <Labelled {...common} within>{(control) => <Secret {...control} name={name} path={path} text={text} set={set} />}</Labelled>;
      if (shape.sql) return <Sql {...common} text={text} set={set} />;
      return (
        <Labelled {...common} within>
          {(control) => (text.includes("\n")
            ? <textarea {...control} rows={Math.min(14, text.split("\n").length + 1)} spellCheck={false} value={text} onChange={(event) => set(event.target.value || undefined)} />
            : <input {...control} value={text} readOnly={fixed} spellCheck={false} autoComplete="off" placeholder={shownDefault(schema)} onChange={(event) => set(event.target.value === "" && !required ? undefined : event.target.value)} />)}
        </Labelled>
      );
    }
    case "list":
      return <List name={name} required={required} about={schema.description} of={shape.of} depth={depth} {...place} />;
    case "either": {
      const at = variantOf(value, shape.of);
      const chosen = shape.of[at];
      return (
        <Group name={name} required={required} about={schema.description} path={path} value={value} set={set} empty={() => emptyOf(place.spot)}>
          <Variants label={t("variant", { name })} of={shape.of.map((one) => one.label)} at={at} choose={(next) => { const other = shape.of[next]; if (other) set(emptyOf({ schema: other.schema, root: place.spot.root })); }} />
          {chosen && shapeOf({ schema: chosen.schema, root: place.spot.root }).kind !== "either" && <Field key={at} name={name} required depth={depth + 1} spot={{ schema: chosen.schema, root: place.spot.root }} path={path} value={value} set={set} />}
        </Group>
      );
    }
    case "fields": {
      return (
        <Group name={name} required={required} about={schema.description} path={path} value={value} set={set} empty={() => ({})}>
          <Mapping spot={place.spot} path={path} fields={isFields(value) ? value : {}} set={set} depth={depth + 1} />
        </Group>
      );
    }
  }
}

function Variants({ label, of, at, choose }: { label: string; of: string[]; at: number; choose: (next: number) => void }) {
  return <select className="input" aria-label={label} value={at} onChange={(event) => choose(Number(event.target.value))}>{of.map((one, number) => <option key={`${number} ${one}`} value={number}>{one}</option>)}</select>;
}

/** A text that is read as something else when whoever types it goes on. */
function Typed({ value, read, set, placeholder, secret, path, ...control }: { value: Json | undefined; read: (text: string) => Json | undefined; set: (value: Json | undefined) => void; placeholder?: string; secret: boolean; path: string[]; id: string; "aria-invalid": boolean; "aria-describedby": string }) {
  const shown = value === undefined || value === null ? "" : typeof value === "string" ? value : JSON.stringify(value);
  const [text, setText] = useState<string | null>(null);
  if (secret) return <Secret {...control} name={path.at(-1) ?? ""} path={path} text={shown} set={set} />;
  return <input {...control} value={text ?? shown} spellCheck={false} autoComplete="off" placeholder={placeholder} onChange={(event) => { setText(event.target.value); set(read(event.target.value)); }} onBlur={() => setText(null)} />;
}

/** A secret: only a reference goes into the file. What is typed stays here until it is stored. */
function Secret({ name, path, text, set, ...control }: { name: string; path: string[]; text: string; set: (value: Json | undefined) => void; id: string; "aria-invalid": boolean; "aria-describedby": string }) {
  const { t } = useWords(own);
  const { can, has } = useWho();
  const { name: declared } = useContext(FormContext);
  const [held, setHeld] = useState("");
  const [called, setCalled] = useState<string | null>(null);
  const as = called ?? `${declared || "connection"}_${path.at(-1) ?? name}`.toLowerCase().replace(/[^a-z0-9_]+/g, "_");
  const store = useDo<unknown>(() => ["PUT", `/v1/secrets/${part(as)}`, { value: held }], () => {
    set(`\${secret:${as}}`);
    setHeld("");
  });
  const isReference = (word: string) => word.startsWith("${");
  return (
    <>
      <input
        {...control} type={held ? "password" : "text"} value={held || text} spellCheck={false} autoComplete="new-password" placeholder="${secret:NAME}"
        onChange={(event) => {
          const next = event.target.value;
          const plainText = next !== "" && !isReference(next) && !"${".startsWith(next);
          setHeld(plainText ? next : "");
          set(plainText || next === "" ? undefined : next);
        }}
      />
      {held !== "" && (can("administer") && has("secrets") ? (
        <div className="files-secret">
          <input className="input" value={as} aria-label={t("secret.name", { name })} spellCheck={false} onChange={(event) => setCalled(event.target.value)} />
          <Button size="small" loading={store.isPending} disabled={!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$/.test(as)} onClick={() => store.mutate()}>{t("secret.store")}</Button>
          <small>{t("secret.text")}</small>
        </div>
      ) : <small className="warn"><Rich text={t("secret.ask")} /></small>)}
      {store.error && <Trouble error={store.error} />}
    </>
  );
}

/** A query, in the editor of the SQL lab. */
function Sql({ name, path, required, about, text, set }: { name: string; path: string[]; required: boolean; about?: string; text: string; set: (value: Json | undefined) => void }) {
  const { t } = useWords(own);
  const { can } = useWho();
  const schema = useGet<{ tables: Known }>(can("query") ? "/v1/sql/schema" : null);
  const handle = useRef<EditorHandle>(null);
  const first = useRef(text);
  const wrong = useMistakes(path, true);
  const id = useId();
  return (
    <div className="field files-field" role="group" aria-labelledby={id}>
      <span id={id}><code>{name}</code>{required && <span className="quiet"> {t("required")}</span>}</span>
      <div className="files-sql">
        <Suspense fallback={<Loading lines={2} />}>
          <Editor ref={handle} first={first.current} known={schema.data?.tables ?? NO_TABLES} label={name} hint={t("sql.hint")} run={() => undefined} changed={(next) => { if (next !== text) set(next === "" && !required ? undefined : next); }} />
        </Suspense>
      </div>
      {about && <small lang="en"><Rich text={about} /></small>}
      <Wrong id={`${id}-said`} of={wrong} />
    </div>
  );
}

/** Something with parts of its own: absent until it is added. */
function Group({ name, required, about, path, value, set, empty, children }: { name: string; required: boolean; about?: string; path: string[]; value: Json | undefined; set: (value: Json | undefined) => void; empty: () => Json; children: ReactNode }) {
  const { t } = useWords(own);
  const id = useId();
  const wrong = useMistakes(path, false);
  const there = value !== undefined && value !== null;
  return (
    <div className="files-group" role="group" aria-labelledby={id}>
      <div className="files-head">
        <span id={id}><code>{name}</code>{required && <span className="quiet"> {t("required")}</span>}</span>
        {!there && <Button size="small" aria-label={`${t("add")} ${name}`} onClick={() => set(empty())}>{t("add")}</Button>}
        {there && !required && <Button size="small" type="text" aria-label={t("remove.of", { name })} onClick={() => set(undefined)}>{t("remove")}</Button>}
      </div>
      {about && <small className="quiet" lang="en"><Rich text={about} /></small>}
      <Wrong id={`${id}-said`} of={wrong} />
      {there && <div className="files-inner">{children}</div>}
    </div>
  );
}

function List({ name, required, about, of, depth, spot, path, value, set }: Place & { name: string; required: boolean; about?: string; of: Schema; depth: number }) {
  const { t } = useWords(own);
  const items = Array.isArray(value) ? value : value === undefined || value === null ? [] : [value];
  const inner = { schema: of, root: spot.root };
  const change = (at: number, next: Json | undefined) => {
    const changed = items.flatMap((one, number) => (number !== at ? [one] : next === undefined ? [] : [next]));
    set(changed.length ? changed : required ? [] : undefined);
  };
  const wrong = useMistakes(path, false);
  const id = useId();
  return (
    <div className="files-group" role="group" aria-labelledby={id}>
      <div className="files-head">
        <span id={id}><code>{name}</code>{required && <span className="quiet"> {t("required")}</span>}</span>
        <Button size="small" aria-label={t("add.of", { name })} onClick={() => set([...items, emptyOf(inner)])}>{t("add")}</Button>
      </div>
      {about && <small className="quiet" lang="en"><Rich text={about} /></small>}
      <Wrong id={`${id}-said`} of={wrong} />
      {items.map((one, at) => {
        const called = t("item", { name, number: at + 1 });
        return (
          <div key={at} className="files-item">
            <Field name={called} required depth={depth + 1} spot={inner} path={[...path, String(at)]} value={one} set={(next) => change(at, next ?? "")} />
            <Button size="small" type="text" icon={<Icon name="remove" size={13} />} aria-label={t("remove.of", { name: called })} onClick={() => change(at, undefined)} />
          </div>
        );
      })}
    </div>
  );
}

/** The keys of a mapping: those that the schema names, and others where it allows them. */
export function Mapping({ spot, path, fields, set, depth }: { spot: Spot; path: string[]; fields: Fields; set: (fields: Fields) => void; depth: number }) {
  const { t } = useWords(own);
  const { types } = useContext(FormContext);
  const [key, setKey] = useState("");
  const shape = shapeOf(spot);
  if (shape.kind !== "fields") return null;
  const typeOf = (name: string): Spot | null => {
    // The settings of a connection or action are those of its type.
    const type = path.length === 0 && name === "options" ? types.find((one) => one.type === fields.type) : undefined;
    return type ? { schema: type.schema, root: type.schema } : null;
  };
  const named = Object.keys(shape.named);
  const shown = named.filter((name) => depth <= OPEN_DEPTH || shape.required.includes(name) || name in fields);
  const hidden = named.filter((name) => !shown.includes(name));
  const others = Object.keys(fields).filter((name) => !named.includes(name));
  const one = (name: string, inner: Schema) => (
    <Field key={name} name={name} required={shape.required.includes(name)} depth={depth} spot={typeOf(name) ?? { schema: inner, root: spot.root }} path={[...path, name]} value={fields[name]} set={(value) => set(put(fields, name, value))} />
  );
  return (
    <>
      {shown.map((name) => one(name, shape.named[name] ?? {}))}
      {others.map((name) => (
        <div key={name} className="files-item">
          {one(name, shape.rest ?? {})}
          <Button size="small" type="text" icon={<Icon name="remove" size={13} />} aria-label={t("remove.of", { name })} onClick={() => set(put(fields, name, undefined))} />
        </div>
      ))}
      {hidden.length > 0 && (
        <select className="input files-more" aria-label={path.length ? t("add.of", { name: path.at(-1) ?? "" }) : t("add.field")} value="" onChange={(event) => { const name = event.target.value; if (name) set(put(fields, name, emptyOf({ schema: shape.named[name] ?? {}, root: spot.root }))); }}>
          <option value="">{t("add.field")}</option>
          {hidden.map((name) => <option key={name} value={name}>{name}</option>)}
        </select>
      )}
      {shape.rest && (
        <form className="files-more" onSubmit={(event) => { event.preventDefault(); if (key && !(key in fields)) { set(put(fields, key, emptyOf({ schema: shape.rest ?? {}, root: spot.root }))); setKey(""); } }}>
          <input className="input" value={key} spellCheck={false} aria-label={`${t("add.key")}: ${path.at(-1) ?? ""}`} placeholder={t("add.key")} onChange={(event) => setKey(event.target.value)} />
          <Button size="small" htmlType="submit" disabled={!key || key in fields}>{t("add")}</Button>
        </form>
      )}
    </>
  );
}
