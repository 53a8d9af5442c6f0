/** What could be given up, what is, and what that saves. */
import { Button } from "antd";
import { useState } from "react";
import { useDo, useGet } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Empty, Figures, Grid, Page, Rich, Status, Trouble, Trust } from "../../ui/basics";
import { useKind } from "../../ui/kinds";
import { PageLink } from "../../ui/links";
import { Reason } from "../../ui/reason";
import { money } from "../catalogue/parts";
import "./style.css";
import own from "./words";

interface Finding { asset: string; why: string; evidence: string; saving_per_year: number }
interface Retired { asset: string; decided_at: string | null; cost_per_year: number; reason: string; gone: boolean; reads: number }
interface Ledger {
  currency: string; base_per_year: number; base_declared: boolean; saved_per_year: number; agreed_per_year: number; possible_per_year: number; target_share: number; target_per_year: number; saved_share: number;
  findings: Finding[]; retired: Retired[];
}

/** Kinds whose assets the catalogue names by their name in SQL. */
const TABLES = ["source", "model", "learner", "table"];

function AssetOf({ id }: { id: string }) {
  const kindOf = useKind();
  const [kind = "", name = id] = [id.slice(0, id.indexOf(":")), id.slice(id.indexOf(":") + 1)];
  return <span className="row" style={{ flexWrap: "nowrap" }}><PageLink to="catalogue" name={TABLES.includes(kind) ? name : id}><code>{name}</code></PageLink><Chip>{kindOf(kind)}</Chip></span>;
}

export default function Savings() {
  const { t } = useWords(own);
  const ledger = useGet<Ledger>("/v1/savings");
  return <Page title={t("title")} text={t("text")}><Ask of={ledger}>{(data) => <Body ledger={data} read={ledger.dataUpdatedAt} />}</Ask></Page>;
}

function Body({ ledger, read }: { ledger: Ledger; read: number }) {
  const { t, n, percent, day, language, word } = useWords(own);
  const { can } = useWho();
  const [giving, setGiving] = useState<Finding | null>(null);
  const retire = useDo<unknown, { asset: string; reason: string }>((asked) => ["POST", "/v1/savings/retire", asked], () => setGiving(null));
  const keep = useDo<unknown, string>((asset) => ["POST", "/v1/savings/keep", { asset }]);
  const amount = (value: number) => money(value, ledger.currency, language);
  const most = Math.max(ledger.target_per_year, ledger.saved_per_year + ledger.agreed_per_year, 1e-9);
  const width = (value: number) => `${Math.min(100, (value / most) * 100)}%`;
  const sql = "select * from system.savings order by amount_per_year desc";
  return (
    <>
      <Figures of={[
        { label: t("saved"), value: amount(ledger.saved_per_year), note: t("saved.note", { share: percent(ledger.saved_share), base: amount(ledger.base_per_year) }), tone: ledger.saved_per_year > 0 ? "ok" : undefined },
        { label: t("agreed"), value: amount(ledger.agreed_per_year), note: t("agreed.note") },
        { label: t("possible"), value: amount(ledger.possible_per_year), note: t("possible.note") },
        { label: t("target"), value: amount(ledger.target_per_year), note: t("target.note", { share: percent(ledger.target_share) }) },
      ]} />
      <Card extra={<Trust read={read} sql={sql} />} className="savings-card">
        <div className="savings-gauge" role="img" aria-label={t("gauge", { saved: amount(ledger.saved_per_year), target: amount(ledger.target_per_year), agreed: amount(ledger.agreed_per_year) })}>
          <i className="savings-done" style={{ width: width(ledger.saved_per_year) }} /><i className="savings-agreed" style={{ width: width(ledger.agreed_per_year) }} />
        </div>
        <p className="quiet small"><Rich text={t(ledger.base_declared ? "base.declared" : "base.measured")} /></p>
      </Card>
      {keep.error && <Trouble error={keep.error} />}
      <Card flush title={t("found")} extra={<Trust read={read} sql={sql} />}>
        <Grid
          rows={ledger.findings} rowKey={(one) => `${one.asset} ${one.why}`} label={t("found")} first={{ key: "amount", down: true }} empty={<Empty icon="savings" text={t("found.empty")} />}
          columns={[
            { key: "asset", title: t("asset"), cell: (one) => <AssetOf id={one.asset} />, by: (one) => one.asset },
            { key: "why", title: t("why"), cell: (one) => <Chip>{word("why", one.why)}</Chip>, by: (one) => one.why },
            { key: "evidence", title: t("evidence"), wrap: true, cell: (one) => one.evidence },
            { key: "amount", title: t("amount"), number: true, cell: (one) => amount(one.saving_per_year), by: (one) => one.saving_per_year },
            ...(can("operate") ? [{ key: "give", title: "", cell: (one: Finding) => <Button size="small" aria-label={`${t("give")}: ${one.asset}`} onClick={() => { retire.reset(); setGiving(one); }}>{t("give")}</Button> }] : []),
          ]}
        />
      </Card>
      <Card flush title={t("retired")} extra={<Trust read={read} sql={sql} />}>
        <Grid
          rows={ledger.retired} rowKey={(one) => one.asset} label={t("retired")} empty={<Empty icon="savings" text={t("retired.empty")} />}
          columns={[
            { key: "asset", title: t("asset"), cell: (one) => <AssetOf id={one.asset} />, by: (one) => one.asset },
            { key: "status", title: t("status"), cell: (one) => <Status of={one.gone ? "ok" : "pending"} label={t(one.gone ? "gone" : "still")} />, by: (one) => Number(one.gone) },
            { key: "reason", title: t("reason"), wrap: true, cell: (one) => one.reason },
            { key: "reads", title: t("reads"), number: true, cell: (one) => n(one.reads), by: (one) => one.reads },
            { key: "when", title: t("when"), cell: (one) => day(one.decided_at), by: (one) => one.decided_at },
            { key: "amount", title: t("amount"), number: true, cell: (one) => amount(one.cost_per_year), by: (one) => one.cost_per_year },
            ...(can("operate") ? [{ key: "keep", title: "", cell: (one: Retired) => !one.gone && <Button size="small" aria-label={`${t("keep")}: ${one.asset}`} loading={keep.isPending && keep.variables === one.asset} onClick={() => keep.mutate(one.asset)}>{t("keep")}</Button> }] : []),
          ]}
        />
      </Card>
      {giving && <Reason title={t("give.title", { asset: giving.asset })} text={t("give.text")} go={t("give")} busy={retire.isPending} error={retire.error} close={() => setGiving(null)} done={(reason) => retire.mutate({ asset: giving.asset, reason })} />}
    </>
  );
}
