/** One file of the project, as a form and as YAML: both show one draft, which the server checks while it is written. */
import { useMutation, useQuery } from "@tanstack/react-query";
import { App, Button } from "antd";
import { useEffect, useState } from "react";
import { useNavigate, useParams } from "react-router";
import { call, change, client, part, tagged, useGet, type Tagged } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Empty, Page, Rich, Status, Tabs, Trouble } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { FormContext, Mapping, type Mistake, type Type } from "./Fields";
import { isKind, mayDeclare, shownAt, type Kind } from "./kinds";
import { isFields, type Fields, type Json, type Schema } from "./shape";
import "./style.css";
import own from "./words";

/** How long nothing has to be typed until a draft is checked. */
const PAUSE_MS = 400;

interface File { kind: Kind; name: string; file: string; text: string; value: Json; problems: Mistake[] }
interface Known { kind: Kind; folder: string; about: string; schema: Schema; types: Type[] }
interface Checked { name: string; file: string; text: string; value: Json; problems: Mistake[] }
interface Tested { ok: boolean; streams?: string[]; code?: string; detail?: string; hint?: string | null }

/** A text and what it says; `newer` is the one that was changed since they were the same. */
interface Draft { text: string; value: Fields; newer: "text" | "value" | null; step: number; unread: boolean }

export default function Declare() {
  const { t } = useWords(own);
  const { can } = useWho();
  const { kind: word = "", name = null } = useParams();
  const kind = isKind(word) ? word : null;
  const back = { to: "/files", label: t("back") };
  const known = useGet<Known>(kind && `/v1/schemas/${kind}`);
  const path = kind && name !== null ? `/v1/files/${kind}/${part(name)}` : null;
  const file = useQuery<Tagged<File>, Error>({ queryKey: [path, "file"], queryFn: ({ signal }) => tagged<File>(path ?? "", signal), enabled: path !== null, gcTime: 0, staleTime: Infinity, refetchOnWindowFocus: false });
  if (!kind || !mayDeclare(can, kind)) return <Page title={word} back={back}><Empty icon="edit" text={t("kind.none", { kind: word })} /></Page>;
  const title = name === null ? t(`new.${kind}`) : name;
  const there = file.data;
  return (
    <Page title={title} back={back}>
      <Ask of={known}>
        {(schema) => (path === null ? <Editing key={kind} kind={kind} known={schema} file={null} /> : (
          <Ask of={file}>{() => there && <Editing key={path} kind={kind} known={schema} file={there} />}</Ask>
        ))}
      </Ask>
    </Page>
  );
}

function Editing({ kind, known, file }: { kind: Kind; known: Known; file: Tagged<File> | null }) {
  const { t } = useWords(own);
  const go = useNavigate();
  const { modal } = App.useApp();
  const name = file?.value.name ?? null;
  const [draft, setDraft] = useState<Draft>(() => ({ text: file?.value.text ?? "", value: isFields(file?.value.value) ? file.value.value : {}, newer: null, step: 0, unread: false }));
  const [mistakes, setMistakes] = useState<Mistake[]>(() => (file?.value.problems ?? []).map((one) => ({ ...one, at: one.at ?? [] })));
  const [failed, setFailed] = useState<unknown>(null);
  const { text, value, newer, step } = draft;
  const asked = { kind, ...(name === null ? {} : { name }), text, ...(newer === "value" ? { value } : {}) };
  useEffect(() => {
    if (newer === null) return;
    const stop = new AbortController();
    const timer = setTimeout(() => {
      call<Checked>("POST", "/v1/files/check", asked, stop.signal).then((found) => {
        setFailed(null);
        setMistakes(found.problems);
        setDraft((now) => {
          if (now.step !== step) return now;
          if (newer === "value") return { ...now, text: found.text, newer: null, unread: false };
          return isFields(found.value) ? { ...now, value: found.value, newer: null, unread: false } : { ...now, newer: null, unread: true };
        });
      }, (error: unknown) => { if (!stop.signal.aborted) setFailed(error); });
    }, PAUSE_MS);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
    // A draft is checked once for each change of it.
  }, [step]);
  const said = typeof value[kind] === "string" ? value[kind] : "";
  const called = name ?? said;
  const done = (to: string) => {
    // Not the file itself, which may be gone.
    void client.invalidateQueries({ predicate: ({ queryKey: [path, what] }) => path !== "/v1/session" && what !== "file" });
    void go(to);
  };
  const address = `/v1/files/${kind}/${part(called)}`;
  const save = useMutation<void, Error>({
    mutationFn: () => change("PUT", address, file ? file.tag : "new", { text, ...(newer === "value" ? { value } : {}) }),
    onSuccess: () => done(shownAt(kind, called)),
  });
  const remove = useMutation<void, Error>({ mutationFn: () => change("DELETE", address, file?.tag ?? null), onSuccess: () => done(shownAt(kind, null)) });
  const test = useMutation<Tested, Error>({ mutationFn: () => call<Tested>("POST", "/v1/files/test", asked) });
  const write = (next: Partial<Draft>) => {
    if (save.error) save.reset();
    if (test.data) test.reset();
    setDraft((now) => ({ ...now, ...next, step: now.step + 1 }));
  };
  const errors = mistakes.filter((one) => one.severity === "error").length;
  const changed = step > 0 || file === null;
  const form = { mistakes, types: known.types, named: { key: kind, fixed: name !== null }, name: called };
  const ask = () => modal.confirm({ title: t("delete.title", { name: called }), content: <Rich text={t("delete.text", { file: file?.value.file ?? "" })} />, okText: t("delete"), okButtonProps: { danger: true }, cancelText: t("f.cancel"), onOk: () => remove.mutate() });
  return (
    <div className="files-page">
      <div className="files-main">
        <Tabs
          label={t("title")}
          tabs={[
            {
              key: "form", label: t("form"),
              body: () => (
                <Card>
                  {draft.unread && <p className="warn">{t("form.unread")}</p>}
                  <fieldset className="files-form" disabled={draft.unread || newer === "text"}>
                    <legend className="unseen">{called || t(`kinds.${kind}`)}</legend>
                    <FormContext value={form}><Mapping spot={{ schema: known.schema, root: known.schema }} path={[]} fields={value} set={(next) => write({ value: next, newer: "value" })} depth={0} /></FormContext>
                  </fieldset>
                </Card>
              ),
            },
            { key: "yaml", label: t("yaml"), body: () => <Card><textarea className="files-yaml" aria-label={t("yaml.label")} rows={Math.max(16, text.split("\n").length + 2)} spellCheck={false} readOnly={newer === "value" && failed === null} value={text} onChange={(event) => write({ text: event.target.value, newer: "text" })} /></Card> },
          ]}
        />
      </div>
      <div className="files-side">
        <Card title={t("problems")}>
          <div aria-live="polite">
            {newer !== null && !failed ? <p className="quiet">{t("checking")}</p> : mistakes.length === 0 && <p className="quiet">{changed && step === 0 ? known.about : t("good")}</p>}
            <ul className="files-mistakes">{mistakes.map((one) => <li key={`${one.file} ${one.line} ${one.column} ${one.message}`}><Status of={one.severity === "error" ? "failed" : "warn"} label={one.at.length > 0 ? t("problem.line", { line: one.line, column: one.column }) : t("problem.file", { file: one.file, line: one.line })} /><p lang="en"><Rich text={one.message} /></p>{one.hint && <p className="quiet small" lang="en"><Rich text={one.hint} /></p>}</li>)}</ul>
          </div>
          {failed !== null && <Trouble error={failed} />}
          {kind === "policy" && <p className="warn small">{t("policy.waits")}</p>}
          {!called && changed && step > 0 && <p className="warn small">{t("name.first")}</p>}
          <div className="files-acts">
            <Button type="primary" loading={save.isPending} disabled={!changed || !called || errors > 0 || newer === "text" || draft.unread} onClick={() => save.mutate()}>{t("save")}</Button>
            {kind === "connection" && <Button icon={<Icon name="connect" size={14} />} loading={test.isPending} disabled={!called || draft.unread} onClick={() => test.mutate()}>{t("test")}</Button>}
            {file && <Button danger icon={<Icon name="remove" size={14} />} loading={remove.isPending} onClick={ask}>{t("delete")}</Button>}
          </div>
          {test.data && <Found tested={test.data} />}
          {[save.error, remove.error, test.error].map((error, at) => error && <Trouble key={at} error={error} />)}
        </Card>
      </div>
    </div>
  );
}

function Found({ tested }: { tested: Tested }) {
  const { t, n } = useWords(own);
  return (
    <div role="status">
      {tested.ok ? <p><Status of="ok" /> {t("test.ok", { count: n(tested.streams?.length ?? 0) })}</p> : <div className="trouble"><Icon name="failed" size={20} /><div><p className="trouble-detail">{tested.code && <code className="trouble-code">{tested.code}</code>}{tested.detail ?? t("test.bad")}</p>{tested.hint && <p>{tested.hint}</p>}</div></div>}
    </div>
  );
}
