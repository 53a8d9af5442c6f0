/** What waits for a person before it leaves, with the buttons that let it leave, change it or end it. */
import { App, Button, Modal } from "antd";
import { useState } from "react";
import { Link } from "react-router";
import { part, useDo, useGet } from "../api";
import { useWords } from "../i18n";
import { useWho } from "../session";
import { Card, Grid, Trouble, Trust } from "./basics";
import { Reason } from "./reason";
import own from "./words";

/** A delivery that waits; what is data is left out for who may not read rows. */
export interface Approval {
  key: string; policy: string; turn: number; by_other: boolean; asked_at: string; expires_at: string | null; status: string; revision: number;
  unit?: string; of?: string | null; amount?: number | null; editable?: boolean; quantity?: number | null; cost?: number | null; proposed?: number | null;
  edits?: { by: string; at: string; before: number; after: number; reason: string | null }[]; payload?: unknown;
}
export interface Approvals { items: Approval[]; waiting: number; policies: { policy: string; waiting: number }[] }

const LISTED = 1_000;

/** As what deliveries were seen: who decides about one that was edited since is told so. */
export const seen = (items: Pick<Approval, "key" | "revision">[]) => items.map(({ key, revision }) => ({ key, revision }));

/** The sum of what is known of amounts; none if nothing is known. */
export const together = (items: Pick<Approval, "amount">[]): number | null => {
  const known = items.flatMap((one) => (typeof one.amount === "number" ? [one.amount] : []));
  return known.length ? known.reduce((sum, one) => sum + one, 0) : null;
};

/** Nothing at all where nothing waits. */
export function Waiting({ policy, names }: { policy?: string; names?: Record<string, string> }) {
  const { t, n, fixed, moment } = useWords(own);
  const { can } = useWho();
  const { message } = App.useApp();
  const list = useGet<Approvals>(`/v1/approvals?limit=${LISTED}${policy === undefined ? "" : `&policy=${part(policy)}`}`);
  const [rejecting, setRejecting] = useState<Approval | null>(null);
  const [editing, setEditing] = useState<Approval | null>(null);
  const [all, setAll] = useState<Approval[] | null>(null);
  const approve = useDo<{ decided: number }, Approval[]>((items) => ["POST", "/v1/approvals/approve", { items: seen(items) }], ({ decided }) => { setAll(null); void message.success(t("approvals.done", { count: n(decided) })); });
  const reject = useDo<{ decided: number }, { items: Approval[]; reason: string }>(({ items, reason }) => ["POST", "/v1/approvals/reject", { items: seen(items), reason }], ({ decided }) => { setRejecting(null); void message.success(t("approvals.rejected", { count: n(decided) })); });
  const items = list.data?.items ?? [];
  if (!items.length) return null;
  if (!can("query")) return <Card title={t("approvals")}><p className="quiet">{t("approvals.hidden", { count: n(items.length) })}</p></Card>;
  const may = can("operate");
  const sum = (of: Approval[]) => { const known = together(of); return known === null ? "–" : fixed(known, 2); };
  return (
    <Card title={t("approvals")} flush extra={<>{may && items.length > 1 && <Button size="small" onClick={() => { approve.reset(); setAll(items); }}>{t("approvals.all", { count: n(items.length) })}</Button>}<Trust read={list.dataUpdatedAt} sql="select * from system.approvals where status = 'waiting'" /></>}>
      <p className="quiet small" style={{ padding: "0 18px" }}>{t("approvals.text")}</p>
      {approve.error && all === null && <div style={{ padding: "0 18px" }}><Trouble error={approve.error} /></div>}
      <Grid
        rows={items} rowKey={(one) => one.key} label={t("approvals")} page={30} first={{ key: "amount", down: true }}
        columns={[
          ...(policy === undefined ? [{ key: "policy", title: t("f.policy"), cell: (one: Approval) => <Link to={`/policies/${part(one.policy)}`}>{one.policy}</Link>, by: (one: Approval) => one.policy }] : []),
          { key: "unit", title: t("approvals.unit"), wrap: true, cell: (one) => { const called = one.unit === undefined ? undefined : names?.[one.unit]; return called ? <span title={one.unit}>{called}</span> : <code>{one.unit}</code>; }, by: (one) => one.unit },
          { key: "amount", title: t("approvals.amount"), number: true, cell: (one) => <span title={one.of ?? undefined}>{fixed(one.amount, 2)}</span>, by: (one) => one.amount },
          { key: "quantity", title: t("approvals.quantity"), number: true, cell: (one) => <span title={one.edits?.length ? t("approvals.edited", { who: one.edits.map((edit) => edit.by).join(", ") }) : undefined}><b>{n(one.quantity, 0)}</b>{one.edits?.length ? <small className="quiet"> {t("approvals.proposed", { count: n(one.proposed, 0) })}</small> : null}</span>, by: (one) => one.quantity },
          { key: "until", title: t("approvals.until"), cell: (one) => moment(one.expires_at), by: (one) => one.expires_at },
          { key: "sent", title: t("approvals.sent"), cell: (one) => <details className="declared"><summary>{t("approvals.sent")}</summary><pre style={{ whiteSpace: "pre-wrap", maxWidth: 320 }}>{JSON.stringify(one.payload, null, 1)}</pre></details> },
          ...(may ? [{
            key: "do", title: t("approvals.approve"), cell: (one: Approval) => (
              <span className="row" style={{ gap: 6 }}>
                <Button size="small" type="primary" loading={approve.isPending && approve.variables.length === 1 && approve.variables[0]?.key === one.key} onClick={() => approve.mutate([one])}>{t("approvals.approve")}</Button>
                {one.editable && <Button size="small" onClick={() => setEditing(one)}>{t("approvals.edit")}</Button>}
                <Button size="small" danger onClick={() => { reject.reset(); setRejecting(one); }}>{t("approvals.reject")}</Button>
              </span>
            ),
          }] : []),
        ]}
      />
      {all && (
        <Modal open title={t("approvals.all", { count: n(all.length) })} onCancel={() => setAll(null)} okText={t("approvals.approve")} cancelText={t("f.cancel")} confirmLoading={approve.isPending} onOk={() => approve.mutate(all)}>
          <p>{t("approvals.all.text", { count: n(all.length), sum: sum(all) })}</p>
          {approve.error && <Trouble error={approve.error} />}
        </Modal>
      )}
      {rejecting && <Reason title={`${t("approvals.reject")} · ${rejecting.unit ?? rejecting.key}`} text={t("approvals.reject.text")} go={t("approvals.reject")} danger busy={reject.isPending} error={reject.error} close={() => setRejecting(null)} done={(reason) => reject.mutate({ items: [rejecting], reason })} />}
      {editing && <Quantity of={editing} close={() => setEditing(null)} />}
    </Card>
  );
}

/** Asks for another quantity, and why. */
function Quantity({ of, close }: { of: Approval; close: () => void }) {
  const { t } = useWords(own);
  const [quantity, setQuantity] = useState(String(of.quantity ?? ""));
  const [reason, setReason] = useState("");
  const edit = useDo<Approval>(() => ["PATCH", `/v1/approvals/${part(of.key)}`, { quantity: Number(quantity), reason: reason.trim() || null, revision: of.revision }], close);
  return (
    <Modal open title={`${t("approvals.edit")} · ${of.unit ?? of.key}`} onCancel={close} okText={t("approvals.edit")} cancelText={t("f.cancel")} confirmLoading={edit.isPending} okButtonProps={{ disabled: !(Number(quantity) > 0) }} onOk={() => edit.mutate()}>
      <p className="quiet">{t("approvals.edit.text")}</p>
      <label className="field"><span>{t("approvals.quantity")}</span><input className="input" type="number" min={0} step="any" value={quantity} onChange={(event) => setQuantity(event.target.value)} autoFocus /></label>
      <label className="field"><span>{t("f.reason")}</span><textarea rows={2} maxLength={1000} value={reason} onChange={(event) => setReason(event.target.value)} /></label>
      {edit.error && <Trouble error={edit.error} />}
    </Modal>
  );
}
