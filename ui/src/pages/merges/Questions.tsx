/** Pairs that a person has to decide: both records beside each other, field by field. */
import { Button } from "antd";
import { part, useDo, useGet } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Empty, Trouble, Trust } from "../../ui/basics";
import { compared, type MergeOf, type Pair } from "./parts";
import own from "./words";

const LIMIT = 200;
interface Answer { items: Pair[]; sql: string; truncated: boolean }
interface Said { id: string; answer: "same" | "different" }

export function Questions({ merge }: { merge: MergeOf }) {
  const { t, n } = useWords(own);
  const { can } = useWho();
  const asked = useGet<Answer>(can("query") ? `/v1/merges/${part(merge.name)}/questions?limit=${LIMIT}` : null);
  const say = useDo<unknown, Said>((said) => ["POST", `/v1/merges/${part(merge.name)}/answer`, said]);
  if (!can("query")) return <Card><Empty icon="info" text={t("questions.denied")} /></Card>;
  return (
    <Card title={t("tab.questions")} extra={asked.data && <Trust read={asked.dataUpdatedAt} sql={asked.data.sql} rows={asked.data.items.length} cut={asked.data.truncated} />}>
      <p className="quiet" style={{ marginBottom: 12 }}>{t("questions.text")}</p>
      {say.error && <Trouble error={say.error} />}
      <Ask of={asked}>
        {({ items, truncated }) => items.length === 0 ? <Empty icon="check" text={t("questions.none")} /> : (
          <>
            {items.map((one) => <One key={one.pair_id} one={one} say={can("operate") ? (answer) => say.mutate({ id: one.pair_id, answer }) : null} busy={say.isPending && say.variables.id === one.pair_id} />)}
            {truncated && <p className="quiet small">{t("questions.cut", { count: n(LIMIT) })}</p>}
          </>
        )}
      </Ask>
    </Card>
  );
}

function One({ one, say, busy }: { one: Pair; say: ((answer: Said["answer"]) => void) | null; busy: boolean }) {
  const { t, n, day } = useWords(own);
  const names = [`${one.a_source}:${one.a_key}`, `${one.b_source}:${one.b_key}`];
  const label = names.join(" · ");
  return (
    <section aria-label={label} style={{ marginBottom: 20 }}>
      <header className="row" style={{ marginBottom: 6 }}>
        <Chip>{t("alike", { share: `${n(Math.round(one.score * 100))} %` })}</Chip>
        <span className="quiet small">{one.why}</span>
        <span className="quiet small">{day(one.asked_at)}</span>
      </header>
      <table className="grid grid-tight">
        <thead><tr><th scope="col">{t("field")}</th>{names.map((name) => <th key={name} scope="col"><code>{name}</code></th>)}</tr></thead>
        <tbody>
          {compared(one).map((row) => <tr key={row.field}><td>{row.field}</td><td>{row.a}</td><td className={row.differs ? "warn" : undefined}>{row.b}</td></tr>)}
        </tbody>
      </table>
      {say && (
        <div className="row" style={{ marginTop: 8 }}>
          <Button size="small" disabled={busy} aria-label={`${t("answer.same")}: ${label}`} onClick={() => say("same")}>{t("answer.same")}</Button>
          <Button size="small" disabled={busy} aria-label={`${t("answer.different")}: ${label}`} onClick={() => say("different")}>{t("answer.different")}</Button>
        </div>
      )}
    </section>
  );
}
