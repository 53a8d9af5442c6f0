/** What waits for a person: fields that changed on both sides, records that may be the same, deletions. */
import { Button } from "antd";
import { useState } from "react";
import { part, useDo, useGet } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Empty, Trouble, Trust } from "../../ui/basics";
import { text, valueOf, type LinkOf, type Question } from "./parts";
import "./style.css";
import own from "./words";

const LIMIT = 200;
interface Answer { items: Question[]; sql: string; truncated: boolean }
type Said = { id: string; answer: string } | { id: string; value: unknown };

export function Questions({ link }: { link: LinkOf }) {
  const { t, n } = useWords(own);
  const { can } = useWho();
  const asked = useGet<Answer>(can("query") ? `/v1/links/${part(link.name)}/questions?limit=${LIMIT}` : null);
  const say = useDo<unknown, Said>((said) => ["POST", `/v1/links/${part(link.name)}/answer`, said]);
  if (!can("query")) return <Card><Empty icon="info" text={t("questions.denied", { count: n(link.questions) })} /></Card>;
  return (
    <Card title={t("tab.questions")} extra={asked.data && <Trust read={asked.dataUpdatedAt} sql={asked.data.sql} rows={asked.data.items.length} cut={asked.data.truncated} />}>
      <p className="quiet" style={{ marginBottom: 12 }}>{t("questions.text")}</p>
      {say.error && <Trouble error={say.error} />}
      <Ask of={asked}>
        {({ items, truncated }) => items.length === 0 ? <Empty icon="check" text={t("questions.none")} /> : (
          <div className="links-questions">
            {items.map((one) => <One key={one.id} one={one} link={link} say={can("operate") ? (said) => say.mutate(said) : null} busy={say.isPending && say.variables.id === one.id} />)}
            {truncated && <p className="quiet small">{t("questions.cut", { count: n(LIMIT) })}</p>}
          </div>
        )}
      </Ask>
    </Card>
  );
}

function One({ one, link, say, busy }: { one: Question; link: LinkOf; say: ((said: Said) => void) | null; busy: boolean }) {
  const { t, word, day } = useWords(own);
  const [typed, setTyped] = useState("");
  const detail = one.detail ?? {};
  const field = detail.field ?? "";
  const answers: { answer: string; label: string }[] =
    one.kind === "match" ? [{ answer: "same", label: t("answer.same") }, { answer: "different", label: t("answer.different") }]
    : one.kind === "delete" ? [{ answer: "delete", label: t("answer.delete") }, { answer: "keep", label: t("answer.keep") }]
    : [{ answer: "left", label: t("answer.left") }, { answer: "right", label: t("answer.right") }, { answer: "base", label: t("answer.base") }];
  return (
    <section className="links-question" aria-label={`${word("question", one.kind)} ${one.record} ${field}`}>
      <header className="row">
        <Chip>{word("question", one.kind)}</Chip>
        {field && <b>{field}</b>}
        <code>{one.record}</code>
        <span className="quiet small">{day(one.asked_at)}</span>
        {one.answer !== null && one.answer !== undefined && <Chip>{t("answered.as", { answer: text(one.answer) })}</Chip>}
      </header>
      {one.kind === "match" && <Two a={detail.a} b={detail.b} link={link} />}
      {one.kind === "delete" && <p>{t("delete.text", { gone: sideName(detail.deleted_on, link), changed: sideName(detail.changed_on, link) })}</p>}
      {one.kind === "conflict" && (
        <dl className="links-values">
          <div><dt>{t("left")} · {link.left}</dt><dd><code>{text(detail.left)}</code></dd></div>
          <div><dt>{t("right")} · {link.right}</dt><dd><code>{text(detail.right)}</code></dd></div>
          <div><dt>{t("base")}</dt><dd><code>{text(detail.base)}</code></dd></div>
        </dl>
      )}
      {(detail.why ?? detail.reason) && <p className="quiet small">{detail.why ?? detail.reason}</p>}
      {say && (
        <div className="row">
          {answers.map(({ answer, label }) => <Button key={answer} size="small" danger={answer === "delete"} disabled={busy} aria-label={`${label}: ${one.record} ${field}`} onClick={() => say({ id: one.id, answer })}>{label}</Button>)}
          {one.kind === "conflict" && (
            <>
              <input className="input" value={typed} placeholder={t("answer.other")} aria-label={`${t("answer.other")}: ${one.record} ${field}`} onChange={(event) => setTyped(event.target.value)} />
              <Button size="small" disabled={busy || typed === ""} onClick={() => say({ id: one.id, value: valueOf(typed, one.detail) })}>{t("answer.set")}</Button>
            </>
          )}
        </div>
      )}
    </section>
  );
}

const sideName = (side: string | undefined, link: LinkOf) => (side === "left" ? link.left : side === "right" ? link.right : (side ?? ""));

/** Two records beside each other, field by field. */
function Two({ a, b, link }: { a: NonNullable<Question["detail"]>["a"]; b: NonNullable<Question["detail"]>["a"]; link: LinkOf }) {
  const { t } = useWords(own);
  const fields = [...new Set([...Object.keys(a?.fields ?? {}), ...Object.keys(b?.fields ?? {})])];
  return (
    <table className="grid grid-tight">
      <thead><tr><th scope="col">{t("field")}</th>{[a, b].map((one, at) => <th key={at} scope="col">{sideName(one?.side, link)} · {one?.id}</th>)}</tr></thead>
      <tbody>
        {fields.map((field) => {
          const [left, right] = [text(a?.fields?.[field]), text(b?.fields?.[field])];
          return <tr key={field}><td>{field}</td><td>{left}</td><td className={left === right ? undefined : "warn"}>{right}</td></tr>;
        })}
      </tbody>
    </table>
  );
}
