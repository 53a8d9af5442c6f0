/** A sync in five steps: where from, what, how, the file, and its first run. */
import { Button } from "antd";
import { type ReactNode, useState } from "react";
import { Link, useNavigate, useSearchParams } from "react-router";
import { call, part, useDo, useGet, type Connection, type Items, type Sync, type Work } from "../../api";
import { useQuery } from "@tanstack/react-query";
import { useWords } from "../../i18n";
import { Ask, Choice, Code, Empty, Loading, Page, Rich, Trouble } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import type { Tested } from "../connections/Connection";
import "./style.css";
import own from "./words";

type Mode = "best" | "full" | "incremental" | "cdc";
type Every = "5m" | "1h" | "1d";
interface Draft { sync: string; file: string; yaml: string; saved: boolean }

/** Whether a text can be the name of a file, as the server sees it. */
export const plain = (name: string) => /^[A-Za-z0-9_-]+$/.test(name);

/** The command that writes the same file; names with signs of a shell are quoted. */
export function command(connection: string, sync: string, tables: string[], mode: Mode, every: Every): string {
  const word = (text: string) => (/^[\w.,*/:-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
  const parts = ["flywheel discover", word(connection), "--name", word(sync)];
  if (tables.length) parts.push("--tables", word(tables.join(",")));
  parts.push("--read", mode);
  if (mode === "best") parts.push("--every", every);
  return [...parts, "--save"].join(" ");
}

export default function NewSync() {
  const { t } = useWords(own);
  const [search, setSearch] = useSearchParams();
  const from = search.get("from");
  const connections = useGet<Items<Connection>>("/v1/connections");
  const syncs = useGet<Items<Sync>>("/v1/syncs");
  return (
    <Page title={t("new")} text={t("new.text")} back={{ to: "/syncs", label: t("back") }}>
      <Ask of={connections}>
        {({ items }) => {
          const one = items.find((connection) => connection.name === from);
          return (
            <div className="steps">
              <Step step={1} title={t("step.from")} state={one ? "done" : "now"} said={one && <><b>{one.name}</b> · {one.type}</>} change={one && (() => setSearch({}, { replace: true }))}>
                {items.length === 0 ? <Empty icon="connect" text={t("from.empty")} action={<Link to="/connections">{t("from.open")}</Link>} /> : (
                  <div className="steps-tiles">
                    {items.map((connection) => <button key={connection.name} type="button" onClick={() => setSearch({ from: connection.name })}><b>{connection.name}</b><small>{connection.type}</small>{connection.description && <small>{connection.description}</small>}</button>)}
                  </div>
                )}
              </Step>
              {one ? <Rest key={one.name} from={one.name} taken={new Set((syncs.data?.items ?? []).map((sync) => sync.name))} /> : (["step.streams", "step.how", "step.file", "step.run"] as const).map((title, at) => <Step key={title} step={at + 2} title={t(title)} state="later" />)}
            </div>
          );
        }}
      </Ask>
    </Page>
  );
}

type State = "done" | "now" | "later";

function Step({ step, title, state, said, change, children }: { step: number; title: string; state: State; said?: ReactNode; change?: () => void; children?: ReactNode }) {
  const { t } = useWords(own);
  return (
    <section data-state={state} aria-label={`${t("step", { step })}: ${title}`} aria-current={state === "now" ? "step" : undefined}>
      <header>
        <span className="steps-mark" aria-hidden="true">{state === "done" ? <Icon name="check" size={15} /> : step}</span>
        <h2>{title}</h2>
        {state === "done" && said && <span className="steps-said">{said}</span>}
        {state === "done" && change && <Button size="small" type="text" onClick={change}>{t("from.change")}</Button>}
      </header>
      {state === "now" && children && <div className="steps-body">{children}</div>}
    </section>
  );
}

function Rest({ from, taken }: { from: string; taken: Set<string> }) {
  const { t, n } = useWords(own);
  const go = useNavigate();
  const [at, setAt] = useState(2);
  const [chosen, setChosen] = useState<Set<string> | null>(null);
  const [name, setName] = useState(taken.has(from) ? `${from}_2` : from);
  const [mode, setMode] = useState<Mode>("best");
  const [every, setEvery] = useState<Every>("1h");
  // A look into the connection is asked for by POST, because it acts on another system; it is kept as an answer all the same.
  const found = useQuery<Tested, Error>({ queryKey: ["look", from], queryFn: ({ signal }) => call<Tested>("POST", `/v1/connections/${part(from)}/test`, {}, signal), staleTime: Number.POSITIVE_INFINITY, refetchOnWindowFocus: false, enabled: at === 2 });
  const all = found.data?.streams ?? [];
  const tables = chosen && chosen.size < all.length ? all.filter((stream) => chosen.has(stream)) : [];
  const count = chosen?.size ?? all.length;
  const wish = (save: boolean) => ({ sync: name, tables, every, save, ...(mode === "best" ? {} : { read: mode }) });
  const draft = useDo<Draft>(() => ["POST", `/v1/connections/${part(from)}/draft`, wish(false)], () => setAt(4));
  const keep = useDo<Draft>(() => ["POST", `/v1/connections/${part(from)}/draft`, wish(true)], () => setAt(5));
  const run = useDo<Work>(() => ["POST", `/v1/syncs/${part(name)}/run`, {}], () => void go(`/syncs/${part(name)}`));
  const state = (step: number): State => (at === step ? "now" : at > step ? "done" : "later");
  const change = (step: number) => (at < 5 ? () => { draft.reset(); keep.reset(); setAt(step); } : undefined);
  const wrong = name && !plain(name) ? t("name.bad") : taken.has(name) && !keep.data ? t("name.taken") : null;
  return (
    <>
      <Step step={2} title={t("step.streams")} state={state(2)} said={count === all.length ? t("streams.all", { count: n(all.length) }) : t("streams.some", { count: n(count) })} change={change(2)}>
        {found.isPending && <><p className="quiet">{t("streams.looking", { name: from })}</p><Loading lines={3} /></>}
        {found.error && <Trouble error={found.error} retry={() => void found.refetch()} />}
        {found.data && !found.data.ok && <div className="trouble" role="alert"><Icon name="failed" size={20} /><div><p className="trouble-detail">{found.data.code && <code className="trouble-code">{found.data.code}</code>}{found.data.detail}</p>{found.data.hint && <p><Rich text={found.data.hint} /></p>}<Button size="small" onClick={() => void found.refetch()}>{t("app.retry")}</Button></div></div>}
        {found.data?.ok && (all.length === 0 ? <Empty icon="info" text={t("streams.nothing")} /> : <Streams all={all} chosen={chosen ?? new Set(all)} choose={setChosen} next={() => setAt(3)} />)}
      </Step>
      <Step step={3} title={t("step.how")} state={state(3)} said={<><code>{name}</code> · {t(`mode.${mode}`)}</>} change={change(3)}>
        <div className="steps-fields">
          <label className="field"><span>{t("name")}</span><input className="input" value={name} maxLength={48} aria-invalid={wrong !== null} onChange={(event) => setName(event.target.value)} /><small className={wrong ? "bad" : undefined}>{wrong ?? t("name.help")}</small></label>
          <div className="field"><span>{t("every")}</span><Choice label={t("every")} value={every} choose={setEvery} of={(["5m", "1h", "1d"] as const).map((key) => ({ key, label: t(`every.${key}`) }))} /><small>{t("every.help")}</small></div>
        </div>
        <div className="field"><span>{t("mode")}</span><Choice label={t("mode")} value={mode} choose={setMode} of={(["best", "full", "incremental", "cdc"] as const).map((key) => ({ key, label: t(`mode.${key}`) }))} /></div>
        {draft.error && <Trouble error={draft.error} />}
        <Button type="primary" disabled={!plain(name) || wrong !== null} loading={draft.isPending} onClick={() => draft.mutate()}>{t("draft")}</Button>
      </Step>
      <Step step={4} title={t("step.file")} state={state(4)} said={draft.data && <code>{draft.data.file}</code>}>
        {draft.data && (
          <>
            <Code text={draft.data.yaml} max={420} />
            <p style={{ margin: "12px 0 6px" }}><Rich text={t("keep.text", { file: draft.data.file })} /></p>
            <Code text={command(from, name, tables, mode, every)} />
            {keep.error && <Trouble error={keep.error} />}
            <div className="row" style={{ marginTop: 14 }}>
              <Button type="primary" loading={keep.isPending} onClick={() => keep.mutate()}>{t("keep")}</Button>
              <Button onClick={change(3)}>{t("from.change")}</Button>
            </div>
          </>
        )}
      </Step>
      <Step step={5} title={t("step.run")} state={state(5)}>
        {keep.data && <p style={{ marginBottom: 12 }}><Icon name="check" size={15} /> {t("kept", { file: keep.data.file })}</p>}
        {run.error && <Trouble error={run.error} />}
        <div className="row">
          <Button type="primary" icon={<Icon name="play" size={13} />} loading={run.isPending} onClick={() => run.mutate()}>{t("run")}</Button>
          <Link to={`/syncs/${part(name)}`}>{t("open")}</Link>
        </div>
      </Step>
    </>
  );
}

/** Streams above which a filter helps. */
const MANY = 12;

function Streams({ all, chosen, choose, next }: { all: string[]; chosen: Set<string>; choose: (chosen: Set<string>) => void; next: () => void }) {
  const { t, n } = useWords(own);
  const [filter, setFilter] = useState("");
  const shown = all.filter((stream) => stream.toLowerCase().includes(filter.trim().toLowerCase()));
  const set = (streams: string[], on: boolean) => {
    const now = new Set(chosen);
    for (const stream of streams) if (on) now.add(stream); else now.delete(stream);
    choose(now);
  };
  const every = shown.length > 0 && shown.every((stream) => chosen.has(stream));
  return (
    <>
      <p className="quiet"><Rich text={t("streams.each")} /></p>
      {all.length > MANY && <input className="input" type="search" placeholder={t("streams.filter")} aria-label={t("streams.filter")} value={filter} onChange={(event) => setFilter(event.target.value)} style={{ marginTop: 10 }} />}
      <div className="steps-list">
        {shown.length === 0 && <p className="quiet">{t("streams.none")}</p>}
        {shown.length > 1 && <label style={{ gridColumn: "1 / -1" }}><input type="checkbox" checked={every} onChange={(event) => set(shown, event.target.checked)} /><b>{t("streams.all", { count: n(shown.length) })}</b></label>}
        {shown.map((stream) => <label key={stream} title={stream}><input type="checkbox" checked={chosen.has(stream)} onChange={(event) => set([stream], event.target.checked)} /><code>{stream}</code></label>)}
      </div>
      <Button type="primary" disabled={chosen.size === 0} onClick={next}>{t("next")} · {t("streams.some", { count: n(chosen.size) })}</Button>
    </>
  );
}
