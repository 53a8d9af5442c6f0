/** Persons who were erased, by tokens that tell nothing of them. */
import { useGet, type Items } from "../../api";
import { useWords } from "../../i18n";
import { Ask, Card, Empty, Grid, Rich, Status, Trust } from "../../ui/basics";
import own from "./words";

/** How a status is shown: its tone and its word. */
const SHOWN = {
  done: { tone: "ok", word: "erasures.done" }, running: { tone: "running", word: "erasures.running" }, incomplete: { tone: "failed", word: "erasures.incomplete" },
} as const;

interface Erasure { token: string; status: keyof typeof SHOWN; kept_out: boolean; asked_by: string; reason: string; asked_at: string; ended_at: string | null; remains: { place: string; why: string }[] }

export function Erasures() {
  const { t, n, moment } = useWords(own);
  const all = useGet<Items<Erasure>>("/v1/erasures");
  return (
    <Card flush title={t("erasures")} extra={<Trust read={all.dataUpdatedAt} sql="select * from system.erasures" route="GET /v1/erasures" />}>
      <p className="quiet" style={{ padding: "0 16px" }}><Rich text={t("erasures.text")} /></p>
      <Ask of={all}>
        {({ items }) => (
          <Grid
            rows={items} rowKey={(one) => one.token} label={t("erasures")} empty={<Empty icon="info" text={t("erasures.empty")} />}
            columns={[
              { key: "token", title: t("erasures.token"), cell: (one) => <code>{one.token}</code>, by: (one) => one.token },
              { key: "status", title: t("erasures.status"), cell: (one) => <Status of={SHOWN[one.status].tone} label={t(SHOWN[one.status].word)} />, by: (one) => one.status },
              { key: "reason", title: t("erasures.reason"), wrap: true, cell: (one) => one.reason, by: (one) => one.reason },
              { key: "who", title: t("audit.who"), cell: (one) => one.asked_by, by: (one) => one.asked_by },
              { key: "at", title: t("f.at"), cell: (one) => moment(one.asked_at), by: (one) => one.asked_at },
              { key: "ended", title: t("erasures.ended"), cell: (one) => (one.ended_at ? moment(one.ended_at) : "–"), by: (one) => one.ended_at ?? "" },
              { key: "out", title: t("erasures.out"), cell: (one) => t(one.kept_out ? "erasures.out.yes" : "erasures.out.no"), by: (one) => String(one.kept_out) },
              { key: "remains", title: t("erasures.remains"), wrap: true, cell: (one) => (one.remains.length === 0 ? "–" : <details className="declared"><summary>{n(one.remains.length)}</summary>{one.remains.map(({ place, why }) => <p key={place + why}><code>{place}</code>: {why}</p>)}</details>), by: (one) => one.remains.length },
            ]}
          />
        )}
      </Ask>
    </Card>
  );
}
