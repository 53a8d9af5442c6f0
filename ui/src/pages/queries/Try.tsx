/** A query asked with values of one's own, and the same call as a program makes it. */
import { Button } from "antd";
import { useEffect, useId, useRef, useState } from "react";
import { call, fetched, Problem, save, type Table } from "../../api";
import { useWords } from "../../i18n";
import { Card, Choice, Code, Empty, Loading, Pick, Rich, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { Rows } from "../../ui/rows";
import { forSheets } from "../sql/known";
import { curl, example, family, fits, placeOf, rowsAt, script, sent, type Declared } from "./parameters";
import { gridOf, type Answer, type Query } from "./query";
import own from "./words";

const LIMITS = ["10", "100", "1000", "10000"] as const;
/** What stands in place of a key in an example. */
export const KEY = "YOUR_KEY";

type State = { is: "idle" } | { is: "asking" } | { is: "rows"; table: Table; path: string; at: number; offset: number } | { is: "failed"; error: unknown };

export function Try({ query }: { query: Query }) {
  const { t, n, duration } = useWords(own);
  const { parameters } = query;
  const [typed, setTyped] = useState<Record<string, string>>({});
  const [tried, setTried] = useState(false);
  const [limit, setLimit] = useState<string>(query.rows < 100 ? "10" : "100");
  const [state, setState] = useState<State>({ is: "idle" });
  const [saving, setSaving] = useState(false);
  const [way, setWay] = useState<"curl" | "script">("curl");
  const stop = useRef<AbortController | null>(null);
  useEffect(() => () => stop.current?.abort(), []);
  const text = (one: Declared) => typed[one.name] ?? "";
  const values = parameters.map((one): [string, string] => [one.name, sent(one.type, text(one))]);
  const bad = (one: Declared): string | null => {
    const now = sent(one.type, text(one));
    if (now === "") return one.required ? t("login.required") : null;
    return fits(one.type, now) ? null : t("bad.value", { type: one.type, example: example(one.type) });
  };
  const refused = state.is === "failed" && state.error instanceof Problem ? state.error : null;
  // Of a call, only its values can be wrong in a way that the caller can mend.
  const place = refused ? placeOf({ ...refused, code: refused.status === 422 || refused.status === 400 ? "invalid" : refused.code, detail: refused.message }, parameters.map((one) => one.name)) : null;
  const ask = async (offset: number) => {
    setTried(true);
    if (parameters.some((one) => bad(one) !== null)) return;
    stop.current?.abort();
    const control = new AbortController();
    stop.current = control;
    const path = rowsAt(query.name, values, { limit, ...(offset > 0 ? { offset: String(offset) } : {}) });
    const since = performance.now();
    setState({ is: "asking" });
    try {
      const answer = await call<Answer>("GET", path, undefined, control.signal);
      if (stop.current === control) setState({ is: "rows", table: gridOf(answer, performance.now() - since), path, at: Date.now(), offset: answer.offset });
    } catch (error) {
      if (stop.current === control && !control.signal.aborted) setState({ is: "failed", error });
    }
  };
  const csv = async (path: string) => {
    setSaving(true);
    try {
      save(forSheets(await fetched(`${path}&format=csv`, "en")), `${query.name}.csv`);
    } catch (error) {
      setState({ is: "failed", error });
    } finally {
      setSaving(false);
    }
  };
  const beside = (one: Declared) => (refused && place === `$${one.name}` ? { text: `${refused.detail}${refused.hint ? ` ${refused.hint}` : ""}`, server: true } : tried && bad(one) ? { text: bad(one) ?? "", server: false } : null);
  // A call that can be copied works: where a value has to be given and is not, one stands that fits.
  const address = location.origin + rowsAt(query.name, parameters.map((one): [string, string] => [one.name, sent(one.type, text(one)) || (one.required ? example(one.type) : "")]));
  return (
    <>
      <Card title={t("try")} extra={state.is === "rows" && <>
        <Button size="small" loading={saving} icon={<Icon name="download" size={14} />} onClick={() => void csv(state.path)}>CSV</Button>
        <Trust read={state.at} route={`GET ${state.path}`} />
      </>}>
        <form className="query-try" noValidate onSubmit={(event) => { event.preventDefault(); void ask(0); }}>
          {parameters.map((one) => <Value key={one.name} of={one} value={text(one)} said={beside(one)} set={(next) => { setTyped((now) => ({ ...now, [one.name]: next })); if (state.is === "failed") setState({ is: "idle" }); }} />)}
          <div className="query-go">
            <Pick label={t("limit")} value={limit} choose={setLimit} of={LIMITS.filter((one) => Number(one) <= Math.max(query.rows, 10)).map((key) => ({ key, label: n(Number(key)) }))} />
            <Button type="primary" htmlType="submit" loading={state.is === "asking"} icon={<Icon name="play" size={14} />}>{t("try.go")}</Button>
          </div>
        </form>
        <div aria-live="polite">
          {state.is === "asking" && <Loading lines={4} />}
          {state.is === "failed" && (place === null || !place.startsWith("$")) && <Trouble error={state.error} />}
          {state.is === "rows" && (state.table.row_count === 0 ? <Empty text={t(state.offset > 0 ? "try.end" : "try.none")} /> : (
            <>
              <p className="quiet small query-count">{t("try.rows", { first: n(state.offset + 1), last: n(state.offset + state.table.row_count), time: duration(state.table.elapsed_ms) })}</p>
              <Rows key={state.at} table={state.table} label={t("try.result", { name: query.name })} height={360} />
            </>
          ))}
        </div>
        {state.is === "rows" && (state.offset > 0 || state.table.truncated) && (
          <div className="query-pages">
            <Button size="small" disabled={state.offset === 0} onClick={() => void ask(Math.max(0, state.offset - Number(limit)))}>{t("try.before")}</Button>
            <Button size="small" disabled={!state.table.truncated} onClick={() => void ask(state.offset + state.table.row_count)}>{t("try.more")}</Button>
          </div>
        )}
      </Card>
      <Card title={t("programs")} extra={<Choice label={t("programs")} value={way} choose={setWay} of={[{ key: "curl", label: "curl" }, { key: "script", label: "JavaScript" }]} />}>
        <p className="quiet query-how"><Rich text={t("programs.text")} /></p>
        <Code text={way === "curl" ? curl(address, KEY) : script(address, KEY)} />
      </Card>
    </>
  );
}

/** The field of a parameter, by its type. */
function Value({ of, value, set, said }: { of: Declared; value: string; set: (value: string) => void; said: { text: string; server: boolean } | null }) {
  const { t } = useWords(own);
  const id = useId();
  const props = { id, "aria-invalid": said !== null, "aria-describedby": `${id}-help`, required: of.required };
  const kind = family(of.type);
  const standard = of.required ? "" : String(of.default ?? "");
  const help = [of.description, of.required ? null : t("default.is", { value: standard === "" ? "''" : standard })].filter(Boolean).join(" · ");
  const number = kind === "int64" || kind === "int32" || kind === "decimal" || kind === "float64";
  return (
    <div className="field">
      <label htmlFor={id}>{of.name} <span className="quiet">{kind === "timestamp" ? `${of.type}, UTC` : of.type}</span></label>
      {kind === "bool" ? <select {...props} value={value} onChange={(event) => set(event.target.value)}><option value="">{of.required ? t("default.choose") : t("default")}</option><option value="true">true</option><option value="false">false</option></select>
        : kind === "date" ? <input {...props} type="date" value={value} onChange={(event) => set(event.target.value)} />
          : kind === "timestamp" ? <input {...props} type="datetime-local" step={1} value={value} onChange={(event) => set(event.target.value)} />
            : <input {...props} value={value} inputMode={number ? "decimal" : undefined} spellCheck={false} autoComplete="off" placeholder={standard} onChange={(event) => set(event.target.value)} />}
      {said ? <small id={`${id}-help`} className="bad" role="alert" lang={said.server ? "en" : undefined}><Rich text={said.text} /></small> : <small id={`${id}-help`}>{help}</small>}
    </div>
  );
}
