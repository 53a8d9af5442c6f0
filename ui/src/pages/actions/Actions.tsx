/** The outbox: what leaves, what arrived, what was given up. */
import { App, Button } from "antd";
import { useState } from "react";
import { Link } from "react-router";
import { part, useDo, useGet, usePieces, type Action, type Items, type Policy } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Choice, Empty, Figures, Grid, Page, Pick, Status, Trouble, Trust } from "../../ui/basics";
import { Waiting } from "../../ui/approvals";
import { Reason } from "../../ui/reason";
import { New } from "../files/buttons";
import { OfKind } from "../files/OfKind";
import { givenUp, type Counts, type GivenUp } from "./counts";
import own from "./words";

type Which = "" | "waiting" | "pending" | "delivered" | "dead" | "discarded";

const LISTED = 500;

export default function Actions() {
  const { t, n, moment } = useWords(own);
  const [status, setStatus] = useState<Which>("");
  const [policy, setPolicy] = useState("");
  const counts = useGet<Counts>("/v1/actions/counts");
  const policies = useGet<Items<Policy>>("/v1/policies");
  const actions = usePieces<Action>(`/v1/actions?limit=${LISTED}${status && `&status=${status}`}${policy && `&policy=${part(policy)}`}`);
  const total = counts.data ? counts.data.pending + counts.data.delivered + counts.data.dead + counts.data.discarded : 0;
  const declared = policies.data?.items.map((one) => one.policy);
  return (
    <Page title={t("title")} text={t("text")} actions={<New kind="action" />}>
      <Ask of={counts} lines={2}>
        {({ pending, delivered, dead, discarded }) => <Figures of={[{ label: t("delivered"), value: n(delivered) }, { label: t("pending"), value: n(pending), note: t("pending.note") }, { label: t("dead"), value: n(dead), note: t("dead.note"), tone: dead ? "bad" : undefined }, { label: t("discarded"), value: n(discarded), note: t("discarded.note") }]} />}
      </Ask>
      <Waiting />
      {counts.data && counts.data.dead > 0 && <Dead of={givenUp(counts.data, declared)} />}
      <Card title={t("deliveries")} flush extra={<Trust read={actions.dataUpdatedAt} sql="select * from system.outbox order by turn desc" />}>
        <div className="filters" style={{ padding: "4px 18px 0" }}>
          <Choice label={t("f.status")} value={status} choose={setStatus} of={[{ key: "", label: t("f.all") }, ...(["delivered", "waiting", "pending", "dead", "discarded"] as const).map((key) => ({ key, label: t(`status.${key}`) }))]} />
          <Pick label={t("f.policy")} value={policy} choose={setPolicy} of={[{ key: "", label: t("f.all") }, ...(policies.data?.items ?? []).map((one) => ({ key: one.policy, label: one.policy }))]} />
        </div>
        <Ask of={actions}>
          {({ items }) => (
            <>
              <Grid
                rows={items} rowKey={(one) => one.key} label={t("deliveries")} empty={<Empty icon="act" text={status === "dead" ? t("empty.dead") : total === 0 ? t("empty.all") : t("empty")} />}
                columns={[
                  { key: "turn", title: t("f.turn"), number: true, cell: (one) => n(one.turn), by: (one) => one.turn },
                  { key: "policy", title: t("f.policy"), cell: (one) => <Link to={`/policies/${part(one.policy)}`}>{one.policy}</Link>, by: (one) => one.policy },
                  { key: "action", title: t("f.action"), cell: (one) => <code>{one.action}</code>, by: (one) => one.action },
                  { key: "status", title: t("f.status"), cell: (one) => <Status of={one.status} />, by: (one) => one.status },
                  { key: "attempts", title: t("attempts"), number: true, cell: (one) => n(one.attempts), by: (one) => one.attempts },
                  { key: "due", title: t("due"), cell: (one) => moment(one.due_at), by: (one) => one.due_at },
                  { key: "ended", title: t("f.ended"), cell: (one) => moment(one.ended_at), by: (one) => one.ended_at },
                  { key: "key", title: t("key"), cell: (one) => <code className="quiet">{one.key}</code> },
                  { key: "error", title: t("f.error"), wrap: true, cell: (one) => one.error && <span className="bad">{one.error}</span> },
                ]}
              />
              {actions.more && <p className="grid-more"><Button type="text" loading={actions.loading} onClick={actions.more}>{t("f.older")}</Button></p>}
            </>
          )}
        </Ask>
      </Card>
      <OfKind kind="action" />
    </Page>
  );
}

/** What was given up, by policy, with the buttons that make it due again or give it up for good. */
function Dead({ of }: { of: GivenUp[] }) {
  const { t, n } = useWords(own);
  const { can } = useWho();
  const { message } = App.useApp();
  const [leaving, setLeaving] = useState<string | null>(null);
  const retry = useDo<{ revived: number }, string>((policy) => ["POST", `/v1/policies/${part(policy)}/retry`, {}], ({ revived }) => void message.success(t("retried", { count: n(revived) })));
  const discard = useDo<{ discarded: number; kept: number }, { policy: string; reason: string }>(({ policy, reason }) => ["POST", `/v1/policies/${part(policy)}/discard`, { reason }], ({ discarded }) => {
    setLeaving(null);
    void message.success(t("discard.done", { count: n(discarded) }));
  });
  return (
    <Card title={t("dead")}>
      {of.map(({ policy, dead, declared }) => (
        <div key={policy} className="row" style={{ justifyContent: "space-between", gap: 8, padding: "6px 0" }}>
          <Why policy={policy} dead={dead} declared={declared} />
          {can("operate") && (
            <>
              {declared && <Button loading={retry.isPending && retry.variables === policy} onClick={() => retry.mutate(policy)}>{t("retry")}</Button>}
              <Button danger onClick={() => { discard.reset(); setLeaving(policy); }}>{t("discard")}</Button>
            </>
          )}
        </div>
      ))}
      {retry.error && <Trouble error={retry.error} />}
      {leaving !== null && <Reason title={`${t("discard")} · ${leaving}`} text={t("discard.text")} go={t("discard")} danger busy={discard.isPending} error={discard.error} close={() => setLeaving(null)} done={(reason) => discard.mutate({ policy: leaving, reason })} />}
    </Card>
  );
}

/** How much of a policy was given up, and why the newest of it, for who may know. */
function Why({ policy, dead, declared }: GivenUp) {
  const { t, n } = useWords(own);
  const newest = useGet<Items<Action>>(`/v1/actions?status=dead&limit=1&policy=${part(policy)}`);
  const error = newest.data?.items[0]?.error;
  return (
    <span style={{ flex: 1, minWidth: 260 }}>
      {t(dead === 1 ? "given.one" : "given", { count: n(dead), policy })} {!declared && t("given.gone")} {error && t("given.why", { error })}
    </span>
  );
}
