/** One quality file: its checks with their figures over time, and rows that broke them. */
import { Button } from "antd";
import { Link, useParams } from "react-router";
import { part, Problem, useDo, useGet, type Cell, type Table, type Work } from "../../api";
import { groupBy } from "../../group";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Code, Declared, Empty, Grid, Page, Status, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { Asked, Figure, Over, type Result, Why } from "./parts";
import { Dataset } from "./Quality";
import own from "./words";

interface Answer { quality: string; file: string; declared: { description?: string | null; owner?: string | null } | null; items: Result[]; sql: string }

export default function File() {
  const { t } = useWords(own);
  const { can } = useWho();
  const { name = "" } = useParams();
  const one = useGet<Answer>(`/v1/quality/${part(name)}?limit=1000`);
  const run = useDo<Work>(() => ["POST", "/v1/quality/run", { select: [name] }]);
  const back = { to: "/quality", label: t("back") };
  if (one.error instanceof Problem && one.error.status === 404) return <Page title={name} back={back}><Empty icon="quality" text={t("missing", { name })} action={<Link to="/quality">{t("back")}</Link>} /></Page>;
  const dataset = one.data?.items[0]?.dataset;
  return (
    <Page title={<>{name}{dataset && <Chip><Dataset name={dataset} /></Chip>}</>} text={one.data?.declared?.description ?? undefined} back={back} actions={one.data && can("operate") && <Button type="primary" icon={<Icon name="play" size={13} />} loading={run.isPending} onClick={() => run.mutate()}>{t("run")}</Button>}>
      {run.error && <Trouble error={run.error} />}
      {run.data && <Asked work={run.data} />}
      <Ask of={one}>
        {({ items, sql, file, declared }) => (
          <>
            {items.length === 0 && <Card><Empty icon="quality" text={t("results.empty", { name })} /></Card>}
            <div className="columns">{[...groupBy(items, (result) => result.check).entries()].map(([check, results]) => <Check key={check} check={check} results={results} read={one.dataUpdatedAt} sql={sql} />)}</div>
            {items.length > 0 && <div className="after-columns"><Failing name={name} /></div>}
            <Declared file={file} value={declared} />
          </>
        )}
      </Ask>
    </Page>
  );
}

function Check({ check, results, read, sql }: { check: string; results: Result[]; read: number; sql: string }) {
  const { t, n, ago, moment, word } = useWords(own);
  const last = results[0];
  if (!last) return null;
  return (
    <Card title={<code>{check}</code>} extra={<><Status of={last.verdict} /><Trust read={read} as={last.at} sql={last.sql ?? sql} /></>}>
      <div className="quality-check">
        <p className="quality-head"><b><Figure value={last.value} unit={last.unit} /></b>{last.threshold && <span>{t("must")} {last.threshold}{last.unit === "percent" ? " %" : ""}</span>}{last.low !== null && <span>{t("expected")} {n(last.low, 4)} … {n(last.high, 4)}</span>}{last.failing !== null && last.rows !== null && <span>{t("rows.of", { failing: n(last.failing), rows: n(last.rows) })}</span>}<span className="quiet">{ago(last.at)}</span></p>
        {last.verdict !== "passed" && last.reason && <Why reason={last.reason} quiet={last.verdict === "learning"} />}
        <Over check={check} results={results} />
        <details className="declared">
          <summary>{t("f.table.as")}</summary>
          <Grid
            tight rows={results} rowKey={(one) => `${one.at} ${one.run_id}`} label={check} page={20}
            columns={[
              { key: "at", title: t("when"), cell: (one) => <Link to={`/runs/${part(one.run_id)}`}>{moment(one.at)}</Link>, by: (one) => one.at },
              { key: "verdict", title: t("verdict"), cell: (one) => word("status", one.verdict), by: (one) => one.verdict },
              { key: "value", title: t("figure"), number: true, cell: (one) => <Figure value={one.value} unit={one.unit} />, by: (one) => one.value },
              { key: "failing", title: t("failing"), number: true, cell: (one) => n(one.failing), by: (one) => one.failing },
              { key: "expected", title: t("expected"), number: true, cell: (one) => (one.low === null ? "–" : `${n(one.low, 4)} … ${n(one.high, 4)}`) },
            ]}
          />
        </details>
        {last.sql && <details className="declared"><summary>{t("sql")}</summary><Code text={last.sql} /></details>}
      </div>
    </Card>
  );
}

type Sample = Record<string, Cell>;

/** The failing rows as they were kept; what is no list of rows is none. */
export function samples(text: Cell | undefined): Sample[] {
  try {
    const rows: unknown = JSON.parse(String(text ?? "[]"));
    return Array.isArray(rows) ? rows.filter((row): row is Sample => typeof row === "object" && row !== null) : [];
  } catch {
    return [];
  }
}

function Failing({ name }: { name: string }) {
  const { t, moment } = useWords(own);
  const { can } = useWho();
  const rows = useGet<Table>(can("query") ? `/v1/quality/${part(name)}/failing?limit=10` : null);
  if (!can("query")) return <Card title={t("samples")}><Empty icon="info" text={t("samples.denied")} /></Card>;
  return (
    <Card flush title={t("samples")} extra={rows.data && <Trust read={rows.dataUpdatedAt} sql={rows.data.sql} rows={rows.data.row_count} took_ms={rows.data.elapsed_ms} />}>
      <Ask of={rows} lines={3}>
        {(table) => {
          const at = (key: string) => table.columns.findIndex((column) => column.name === key);
          // Of each check the newest rows: earlier ones were the same or are mended.
          const newest = [...groupBy(table.rows, (row) => String(row[at("check")])).values()].flatMap((all) => all.slice(0, 1));
          if (!newest.length) return <Empty icon="check" text={t("samples.empty")} />;
          return (
            <>
              <p className="quality-text">{t("samples.text")}</p>
              <div className="quality-rows">
                {newest.map((row, index) => {
                  const broke = samples(row[at("sample")]);
                  const names = [...new Set(broke.flatMap((one) => Object.keys(one)))];
                  return (
                    <div key={index}>
                      <p><code>{String(row[at("check")])}</code> <span className="quiet small">{moment(String(row[at("at")]))}</span></p>
                      <Grid tight rows={broke.map((one, number) => ({ one, number }))} rowKey={(one) => String(one.number)} label={`${t("samples")}: ${String(row[at("check")])}`} columns={names.map((key) => ({ key, title: key, cell: ({ one }: { one: Sample }) => String(one[key] ?? "–") }))} />
                    </div>
                  );
                })}
              </div>
            </>
          );
        }}
      </Ask>
    </Card>
  );
}
