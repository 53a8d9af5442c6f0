/** The outbox: what leaves, what arrived, what was given up. */
import { App, Button } from "antd";
import { useState } from "react";
import { Link } from "react-router";
import { part, useDo, useGet, type Action, type Items, type Policy } from "../../api";
import { groupBy } from "../../group";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Choice, Empty, Figures, Grid, Page, Pick, Status, Trouble, Trust } from "../../ui/basics";
import own from "./words";

interface Counts { pending: number; delivered: number; dead: number }
type Which = "" | keyof Counts;

const LISTED = 500;

export default function Actions() {
  const { t, n, moment } = useWords(own);
  const [status, setStatus] = useState<Which>("");
  const [policy, setPolicy] = useState("");
  const counts = useGet<Counts>("/v1/actions/counts");
  const policies = useGet<Items<Policy>>("/v1/policies");
  const actions = useGet<Items<Action>>(`/v1/actions?limit=${LISTED}${status && `&status=${status}`}${policy && `&policy=${part(policy)}`}`);
  const total = counts.data ? counts.data.pending + counts.data.delivered + counts.data.dead : 0;
  return (
    <Page title={t("title")} text={t("text")}>
      <Ask of={counts} lines={2}>
        {({ pending, delivered, dead }) => <Figures of={[{ label: t("delivered"), value: n(delivered) }, { label: t("pending"), value: n(pending), note: t("pending.note") }, { label: t("dead"), value: n(dead), note: t("dead.note"), tone: dead ? "bad" : undefined }]} />}
      </Ask>
      {(counts.data?.dead ?? 0) > 0 && <Dead />}
      <Card title={t("deliveries")} flush extra={<Trust read={actions.dataUpdatedAt} sql="select * from system.outbox order by turn desc" />}>
        <div className="filters" style={{ padding: "4px 18px 0" }}>
          <Choice label={t("f.status")} value={status} choose={setStatus} of={[{ key: "", label: t("f.all") }, ...(["delivered", "pending", "dead"] as const).map((key) => ({ key, label: t(`status.${key}`) }))]} />
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
              {items.length === LISTED && <p className="quiet small" style={{ padding: "8px 18px" }}>{t("limit", { count: n(LISTED) })}</p>}
            </>
          )}
        </Ask>
      </Card>
    </Page>
  );
}

/** What was given up, by policy, with the button that makes it due again. */
function Dead() {
  const { t, n } = useWords(own);
  const { can } = useWho();
  const { message } = App.useApp();
  const dead = useGet<Items<Action>>(`/v1/actions?status=dead&limit=1000`);
  const retry = useDo<{ revived: number }, string>((policy) => ["POST", `/v1/policies/${part(policy)}/retry`, {}], ({ revived }) => void message.success(t("retried", { count: n(revived) })));
  const by = groupBy(dead.data?.items ?? [], (one) => one.policy);
  return (
    <Card title={t("dead")}>
      {[...by].map(([policy, all]) => (
        <div key={policy} className="row" style={{ justifyContent: "space-between", padding: "6px 0" }}>
          <span style={{ flex: 1, minWidth: 260 }}>{t("retry.text", { count: n(all.length), policy, error: all[0]?.error ?? "–" })}</span>
          {can("operate") && <Button loading={retry.isPending && retry.variables === policy} onClick={() => retry.mutate(policy)}>{t("retry")}</Button>}
        </div>
      ))}
      {retry.error && <Trouble error={retry.error} />}
    </Card>
  );
}
