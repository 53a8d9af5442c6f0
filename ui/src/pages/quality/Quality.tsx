/** Everything that is promised about tables, with the last verdicts. */
import { Button } from "antd";
import { useState } from "react";
import { Link } from "react-router";
import { part, useDo, useGet, type Work } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Choice, Code, Empty, Figures, Grid, Page, Rich, Status, Tabs, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { AssetLink } from "../../ui/links";
import { Asked, Figure, NOT_KEPT, type Promised, Why } from "./parts";
import own from "./words";

interface Hold { table: string; version: number | null; reason: string; held_at: string }
interface Contract { contract: string; file: string; id: string | null; name: string | null; version: string | null; status: string | null; purpose: string | null; tables: string[]; wrong: string | null }
interface Answer { items: Promised[]; holds: Hold[]; contracts: Contract[] }

/** A file to start from. */
const EXAMPLE = `quality: orders
table: source('raw', 'orders')
checks:
  - {metric: rowCount, mustBeGreaterThan: 0}
  - {metric: duplicateValues, column: order_id, mustBe: 0}
  - {metric: nullValues, column: customer_id, unit: percent, mustBeLessThan: 5, severity: warn}
`;

const LAST = `select * from (select *, row_number() over (partition by quality, "check" order by at desc, result_id) as place from system.quality_results) as ranked where place = 1`;

export default function Quality() {
  const { t, n } = useWords(own);
  const { can } = useWho();
  const all = useGet<Answer>("/v1/quality");
  const run = useDo<Work>(() => ["POST", "/v1/quality/run", {}]);
  const any = (all.data?.items.length ?? 0) > 0;
  return (
    <Page title={t("title")} text={t("text")} actions={any && can("operate") && <Button type="primary" icon={<Icon name="play" size={13} />} loading={run.isPending} onClick={() => run.mutate()}>{t("run")}</Button>}>
      {run.error && <Trouble error={run.error} />}
      {run.data && <Asked work={run.data} />}
      <Ask of={all}>
        {({ items, holds, contracts }) => {
          const count = (verdicts: (string | null)[]) => items.filter((one) => verdicts.includes(one.last?.verdict ?? null)).length;
          const [broken, warned] = [count(["failed", "broken"]), count(["warned"])];
          const monitors = items.filter((one) => one.monitor);
          return (
            <>
              {items.length > 0 && <Figures of={[
                { label: t("kept"), value: n(count(["passed"])), note: t("kept.note", { count: n(items.length) }), tone: "ok" },
                { label: t("broken"), value: n(broken), note: t("broken.note"), tone: broken ? "bad" : undefined },
                { label: t("warned"), value: n(warned), note: t("warned.note"), tone: warned ? "warn" : undefined },
                { label: t("unknown"), value: n(count([null, "learning"])), note: t("unknown.note") },
              ]} />}
              {holds.length > 0 && <Holds holds={holds} read={all.dataUpdatedAt} />}
              {items.length === 0 && contracts.length === 0 ? (
                <Card><Empty icon="quality" text={t("empty")} /><Code text={EXAMPLE} /></Card>
              ) : (
                <Tabs label={t("title")} tabs={[
                  { key: "promises", label: t("tab.promises"), count: items.length, body: () => <Promises items={items} read={all.dataUpdatedAt} /> },
                  { key: "monitors", label: t("tab.monitors"), count: monitors.length, body: () => <Monitors items={monitors} read={all.dataUpdatedAt} /> },
                  { key: "contracts", label: t("tab.contracts"), count: contracts.length, body: () => <Contracts items={contracts} read={all.dataUpdatedAt} /> },
                ]} />
              )}
            </>
          );
        }}
      </Ask>
    </Page>
  );
}

/** A table of the lake can be opened; `connection:table` lies elsewhere. */
export const Dataset = ({ name }: { name: string }) => (name.includes(":") ? <code>{name}</code> : <AssetLink name={name} />);

function Holds({ holds, read }: { holds: Hold[]; read: number }) {
  const { t, n, day } = useWords(own);
  return (
    <Card flush className="quality-holds" title={<><Icon name="alert" />{t("holds")}</>} extra={<Trust read={read} route="GET /v1/quality" />}>
      <p><Rich text={t("holds.text")} /></p>
      <Grid
        rows={holds} rowKey={(one) => one.table} label={t("holds")}
        columns={[
          { key: "table", title: t("table"), cell: (one) => <AssetLink name={one.table} /> },
          { key: "version", title: t("holds.version"), number: true, cell: (one) => (one.version === null ? t("holds.nothing") : n(one.version)) },
          { key: "reason", title: t("f.reason"), wrap: true, cell: (one) => one.reason },
          { key: "since", title: t("holds.since"), cell: (one) => day(one.held_at) },
        ]}
      />
    </Card>
  );
}

function Promises({ items, read }: { items: Promised[]; read: number }) {
  const { t, n, ago, moment, word } = useWords(own);
  const [which, setWhich] = useState<"all" | "bad">("all");
  const bad = items.filter((one) => NOT_KEPT.includes(one.last?.verdict ?? ""));
  return (
    <Card flush title={t("tab.promises")} extra={<><Choice label={t("verdict")} value={which} choose={setWhich} of={[{ key: "all", label: t("filter.all") }, { key: "bad", label: <>{t("filter.bad")} {n(bad.length)}</> }]} /><Trust read={read} sql={LAST} /></>}>
      <Grid
        rows={which === "bad" ? bad : items} rowKey={(one) => `${one.quality}.${one.check}`} label={t("tab.promises")} empty={<Empty icon="check" text={t("none")} />}
        columns={[
          { key: "verdict", title: t("verdict"), cell: (one) => <Status of={one.last?.verdict ?? "unknown"} />, by: (one) => ["failed", "broken", "warned", "learning", "passed"].indexOf(one.last?.verdict ?? "") },
          { key: "table", title: t("table"), cell: (one) => <Dataset name={one.dataset} />, by: (one) => one.dataset },
          { key: "promise", title: t("promise"), wrap: true, cell: (one) => <><Link to={`/quality/${part(one.quality)}`}>{one.check}</Link>{one.column && !one.check.endsWith(one.column) && <> · <code>{one.column}</code></>}{one.dimension && <> <Chip>{one.dimension}</Chip></>}{one.description && <div className="quiet small">{one.description}</div>}{NOT_KEPT.includes(one.last?.verdict ?? "") && one.last?.reason && <Why reason={one.last.reason} />}</>, by: (one) => one.check },
          { key: "must", title: t("must"), wrap: true, cell: (one) => <>{one.promised}<div className="quiet small">{word("severity", one.severity)}</div></>, by: (one) => one.promised },
          { key: "figure", title: t("figure"), number: true, cell: (one) => <Figure value={one.last?.value} unit={one.last?.unit} />, by: (one) => one.last?.value },
          { key: "failing", title: t("failing"), number: true, cell: (one) => n(one.last?.failing), by: (one) => one.last?.failing },
          { key: "owner", title: t("owner"), cell: (one) => one.owner ?? "–", by: (one) => one.owner },
          { key: "when", title: t("when"), cell: (one) => (one.last ? <span title={moment(one.last.at)}>{ago(one.last.at)}</span> : t("never")), by: (one) => one.last?.at },
        ]}
      />
    </Card>
  );
}

function Monitors({ items, read }: { items: Promised[]; read: number }) {
  const { t, n } = useWords(own);
  return (
    <Card flush title={t("tab.monitors")} extra={<Trust read={read} sql={LAST} />}>
      <p className="quality-text">{t("monitors.text")}</p>
      <Grid
        rows={items} rowKey={(one) => `${one.quality}.${one.check}`} label={t("tab.monitors")} empty={<Empty icon="quality" text={t("monitors.empty")} />}
        columns={[
          { key: "verdict", title: t("verdict"), cell: (one) => <Status of={one.last?.verdict ?? "unknown"} />, by: (one) => one.last?.verdict },
          { key: "table", title: t("table"), cell: (one) => <Dataset name={one.dataset} />, by: (one) => one.dataset },
          { key: "check", title: t("check"), wrap: true, cell: (one) => <><Link to={`/quality/${part(one.quality)}`}>{one.check}</Link>{one.last?.reason && one.last.verdict !== "passed" && <div className="quiet small">{one.last.reason}</div>}</>, by: (one) => one.check },
          { key: "figure", title: t("figure"), number: true, cell: (one) => <Figure value={one.last?.value} unit={one.last?.unit} />, by: (one) => one.last?.value },
          { key: "expected", title: t("expected"), number: true, cell: (one) => (one.last?.low === null || one.last?.low === undefined ? "–" : `${n(one.last.low, 4)} … ${n(one.last.high, 4)}`) },
          { key: "past", title: t("past"), number: true, cell: (one) => n(one.last?.history), by: (one) => one.last?.history },
        ]}
      />
    </Card>
  );
}

function Contracts({ items, read }: { items: Contract[]; read: number }) {
  const { t } = useWords(own);
  return (
    <Card flush title={t("tab.contracts")} extra={<Trust read={read} route="GET /v1/quality" />}>
      {items.length > 0 && <p className="quality-text">{t("contracts.text")}</p>}
      <Grid
        rows={items} rowKey={(one) => one.contract} label={t("tab.contracts")} empty={<Empty icon="catalogue" text={t("contracts.empty")} />}
        columns={[
          { key: "name", title: t("contract"), cell: (one) => <><b>{one.name ?? one.contract}</b><div className="quiet small"><code>{one.file}</code></div></>, by: (one) => one.name ?? one.contract },
          { key: "version", title: t("contract.version"), cell: (one) => one.version ?? "–", by: (one) => one.version },
          { key: "status", title: t("contract.status"), cell: (one) => (one.status ? <Chip>{one.status}</Chip> : "–"), by: (one) => one.status },
          { key: "tables", title: t("contract.tables"), cell: (one) => one.tables.map((table) => <Chip key={table}>{table}</Chip>) },
          { key: "purpose", title: t("contract.purpose"), wrap: true, cell: (one) => (one.wrong ? <span className="bad">{one.wrong}</span> : (one.purpose ?? "–")) },
        ]}
      />
    </Card>
  );
}
