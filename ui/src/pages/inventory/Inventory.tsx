/** What a policy that reorders proposes, product by product, and why. */
import { useMemo, useState } from "react";
import { Link } from "react-router";
import { part, useGet, type Cell, type Items, type Policy, type Table } from "../../api";
import { useWords } from "../../i18n";
import { Ask, Card, Empty, Figures, Grid, Page, Pick, Trust } from "../../ui/basics";
import { Waiting } from "../../ui/approvals";
import "./style.css";
import own from "./words";

interface Proposal { unit: string; turn: number; at: string; on_hand: number | null; on_order: number | null; demand: number | null; point: number | null; quantity: number | null; cost: number | null; risk: number | null; class: string; reason: string }

/** Decisions that are read; more products are not proposed in one turn of an honest shop. */
const READ = 1_000;

/** A number of an object that was read from JSON. */
const numberOf = (object: Record<string, unknown>, key: string): number | null => (typeof object[key] === "number" ? (object[key] as number) : null);
const objectOf = (cell: Cell | undefined): Record<string, unknown> => {
  try {
    const value: unknown = JSON.parse(String(cell ?? "{}"));
    const first: unknown = Array.isArray(value) ? value[0] : value;
    return first && typeof first === "object" ? (first as Record<string, unknown>) : {};
  } catch {
    return {};
  }
};

/** The proposals of the newest turn among decisions. */
export function proposals(table: Pick<Table, "columns" | "rows">): Proposal[] {
  const at = (name: string) => table.columns.findIndex((column) => column.name === name);
  const [unit, turn, decided, items, features] = ["unit_id", "turn", "decided_at", "items", "features"].map(at) as [number, number, number, number, number];
  const newest = Math.max(...table.rows.map((row) => Number(row[turn])));
  return table.rows.filter((row) => Number(row[turn]) === newest).map((row) => {
    const [item, known] = [objectOf(row[items]), objectOf(row[features])];
    return {
      unit: String(row[unit]), turn: newest, at: String(row[decided]), on_hand: numberOf(known, "on_hand"), on_order: numberOf(known, "on_order"), demand: numberOf(item, "expected_demand"), point: numberOf(item, "reorder_point"),
      quantity: numberOf(item, "order_quantity"), cost: numberOf(item, "cost"), risk: numberOf(item, "stockout_risk"), class: typeof item.class === "string" ? item.class : "", reason: typeof item.reason === "string" ? item.reason : "",
    };
  });
}

export default function Inventory() {
  const { t } = useWords(own);
  const policies = useGet<Items<Policy>>("/v1/policies");
  const [chosen, choose] = useState("");
  return (
    <Page title={t("title")} text={t("text")}>
      <Ask of={policies}>
        {({ items }) => {
          const reordering = items.filter((policy) => policy.choose === "reorder");
          const name = chosen || reordering[0]?.policy;
          if (!name) return <Card><Empty icon="inventory" text={t("empty")} /></Card>;
          return (
            <>
              {reordering.length > 1 && <div className="filters"><Pick label={t("f.policy")} value={name} choose={choose} of={reordering.map((policy) => ({ key: policy.policy, label: policy.policy }))} /></div>}
              <Proposals name={name} />
            </>
          );
        }}
      </Ask>
    </Page>
  );
}

function Proposals({ name }: { name: string }) {
  const words = useWords(own);
  const { t, n, percent, fixed } = words;
  const table = useGet<Table & { names?: Record<string, string> }>(`/v1/policies/${part(name)}/decisions?limit=${READ}`);
  const all = useMemo(() => (table.data ? proposals(table.data) : []), [table.data]);
  const [find, setFind] = useState("");
  const wanted = find.trim().toLowerCase();
  const called = (one: Proposal) => table.data?.names?.[one.unit] ?? one.unit;
  const rows = all.filter((one) => !wanted || called(one).toLowerCase().includes(wanted) || one.unit.toLowerCase().includes(wanted) || one.reason.toLowerCase().includes(wanted));
  const sum = (pick: (one: Proposal) => number | null) => all.reduce((total, one) => total + (pick(one) ?? 0), 0);
  const reach = Math.max(1, ...all.map((one) => Math.max(one.point ?? 0, (one.on_hand ?? 0) + (one.on_order ?? 0))));
  const [first] = all;
  return (
    <>
      <Waiting policy={name} names={table.data?.names} />
      <Ask of={table}>
        {(data) => !first ? <Card><Empty icon="check" text={t("none")} /></Card> : (
          <>
            <Figures of={[
              { label: t("proposals"), value: n(all.length) },
              { label: t("quantity"), value: n(sum((one) => one.quantity)) },
              { label: t("cost"), value: fixed(sum((one) => one.cost), 2) },
              { label: t("risk.most"), value: percent(Math.max(...all.map((one) => one.risk ?? 0))), note: t("risk.most.note"), tone: "warn" },
            ]} />
            <Card title={t("proposals")} flush className="inventory" extra={<><Link to={`/policies/${part(name)}`}>{t("policy")}</Link><Trust read={table.dataUpdatedAt} as={first.at} sql={data.sql} rows={data.row_count} took_ms={data.elapsed_ms} /></>}>
              <div className="filters" style={{ padding: "0 18px" }}>
                <span className="quiet small">{t("proposals.text", { turn: n(first.turn) })}{all.length === READ && ` ${t("cut", { count: n(READ) })}`}</span><span style={{ flex: 1 }} />
                <input className="input" type="search" aria-label={t("find")} placeholder={t("find")} value={find} onChange={(event) => setFind(event.target.value)} />
              </div>
              <Grid
                rows={rows} rowKey={(one) => one.unit} label={t("proposals")} page={30} first={{ key: "risk", down: true }}
                columns={[
                  { key: "unit", title: t("product"), wrap: true, cell: (one) => (called(one) === one.unit ? <code>{one.unit}</code> : <span title={one.unit}>{called(one)}</span>), by: called },
                  ...(all.some((one) => one.class) ? [{ key: "class", title: t("class"), cell: (one: Proposal) => one.class && <code title={t("class.text")}>{one.class}</code>, by: (one: Proposal) => one.class }] : []),
                  { key: "hand", title: t("hand"), number: true, cell: (one) => n(one.on_hand, 0), by: (one) => one.on_hand },
                  { key: "way", title: t("way"), number: true, cell: (one) => n(one.on_order, 0), by: (one) => one.on_order },
                  { key: "point", title: t("point"), number: true, cell: (one) => n(one.point, 0), by: (one) => one.point },
                  { key: "stock", title: t("stock"), width: "14%", cell: (one) => <div className="inventory-stock" role="img" aria-label={t("stock.label", { position: n((one.on_hand ?? 0) + (one.on_order ?? 0), 0), point: n(one.point, 0) })}><i style={{ width: `${((one.on_hand ?? 0) / reach) * 100}%` }} /><i style={{ left: `${((one.on_hand ?? 0) / reach) * 100}%`, width: `${((one.on_order ?? 0) / reach) * 100}%` }} /><u style={{ left: `${((one.point ?? 0) / reach) * 100}%` }} /></div> },
                  { key: "demand", title: t("demand"), number: true, cell: (one) => n(one.demand, 0), by: (one) => one.demand },
                  { key: "risk", title: t("risk"), number: true, cell: (one) => percent(one.risk), by: (one) => one.risk },
                  { key: "order", title: t("order"), number: true, cell: (one) => <b>{n(one.quantity, 0)}</b>, by: (one) => one.quantity },
                  { key: "cost", title: t("cost"), number: true, cell: (one) => fixed(one.cost, 2), by: (one) => one.cost },
                  { key: "why", title: t("why"), cell: (one) => <details className="declared"><summary>{t("why")}</summary><p style={{ whiteSpace: "normal", maxWidth: 320 }}>{one.reason}</p></details> },
                ]}
              />
            </Card>
          </>
        )}
      </Ask>
    </>
  );
}
