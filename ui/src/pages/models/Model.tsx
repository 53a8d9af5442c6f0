/** One model: its SQL, what it is made of, its tests and builds. */
import { useQuery } from "@tanstack/react-query";
import { App, Button } from "antd";
import { lazy, Suspense, useMemo, useState } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { call, part, useDo, useGet, type Asset, type Graph, type Model as Declared, type Table, type Work } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { iconOf, NodeLink, usePageOf } from "../../ui/assets";
import { Ask, Card, Chip, Choice, Empty, Figures, Grid, Loading, Page, Status, Trouble, Trust } from "../../ui/basics";
import type { FlowNode } from "../../ui/Flow";
import { Icon } from "../../ui/icons";
import { useKind } from "../../ui/kinds";
import { SqlText } from "../../ui/sqltext";
import { toneOf } from "./Models";
import parts from "../../ui/words";
import "./style.css";
import own from "./words";

const Flow = lazy(() => import("../../ui/Flow"));

interface Origin { table: string; column: string; transform: string }
type Whole = Omit<Declared, "columns"> & { model: string; enabled?: boolean; unit_tests?: string[]; columns?: { column: string; expression: string | null; origins?: Origin[] }[] };
type Tested = Omit<Asset, "tests"> & { tests: { name: string; status: string | null; failures?: number; at?: string | null }[] };

export default function Model() {
  const { t } = useWords(own);
  const { name = "" } = useParams();
  const model = useGet<Whole>(`/v1/models/${part(name)}`);
  const back = { to: "/models", label: t("back") };
  if (model.data && (model.data.name === name || model.data.model === name)) return <One key={model.data.name} model={model.data} read={model.dataUpdatedAt} />;
  return <Page title={name} back={back}><Ask of={{ ...model, data: undefined }} lines={8}>{() => null}</Ask></Page>;
}

function One({ model, read }: { model: Whole; read: number }) {
  const { t, n, word, ago, day } = useWords(own);
  const { can, has } = useWho();
  const { message } = App.useApp();
  const go = useNavigate();
  const asset = useGet<Tested>(`/v1/assets/${part(model.name)}`);
  const build = useDo<Work, boolean>((full) => ["POST", "/v1/models/build", { select: [`+${model.model}`], full_refresh: full }], (work) => {
    message.success(<span>{t("asked")} <Button type="link" size="small" onClick={() => void go(`/work/${work.work}`)}>{t("work.follow")}</Button></span>);
  });
  const tests = asset.data?.tests ?? [];
  const failed = tests.filter((test) => test.status === "failed").length;
  const passed = tests.filter((test) => test.status === "passed").length;
  return (
    <Page
      title={<>{model.name}<Status of={model.status} />{model.enabled === false && <Chip>{t("disabled")}</Chip>}{model.tags.map((tag) => <Chip key={tag}>{tag}</Chip>)}</>} text={model.description ?? undefined} back={{ to: "/models", label: t("back") }}
      actions={<>
        {can("query") && has("sql") && <Button onClick={() => void go(`/sql?q=${encodeURIComponent(`select * from ${model.name} limit 100`)}`)} icon={<Icon name="sql" size={15} />}>{t("query")}</Button>}
        {can("operate") && model.materialized === "incremental" && <Button loading={build.isPending && build.variables} onClick={() => build.mutate(true)}>{t("build.full")}</Button>}
        {can("operate") && <Button type="primary" icon={<Icon name="play" size={15} />} loading={build.isPending && !build.variables} onClick={() => build.mutate(false)}>{t("build")}</Button>}
      </>}
    >
      {build.error && <Trouble error={build.error} />}
      {model.status === "blocked" && <p className="models-blocked"><Icon name="alert" size={16} />{t("blocked")}</p>}
      <div className="models-figures">
        <Figures of={[
          { label: t("f.rows"), value: n(model.rows) },
          { label: t("tests"), value: tests.length ? (failed ? t("tests.failed", { failed: n(failed), count: n(tests.length) }) : passed ? t("tests.passed", { count: n(passed) }) : t("tests.declared", { count: n(tests.length) })) : "–", tone: failed ? "bad" : passed ? "ok" : undefined },
          { label: t("kept"), value: word("kept", model.materialized), note: model.file ? <code>{model.file}</code> : undefined },
          { label: t("built"), value: model.built_at ? day(model.built_at) : t("never") },
        ]} />
        <span className="models-trust"><Trust read={read} route={`GET /v1/models/${model.name}`} /></span>
      </div>
      <Around model={model} />
      <Sql model={model} />
      <Columns model={model} asset={asset.data} />
      <div className="columns">
        <Card title={t("tests")} flush extra={<Trust read={asset.dataUpdatedAt} route={`GET /v1/assets/${model.name}`} />}>
          <Ask of={asset} lines={4}>
            {() => (
              <Grid
                rows={tests} rowKey={(test) => test.name} label={t("tests")} page={20} tight first={{ key: "status" }} empty={<Empty icon="check" text={t("tests.none")} />}
                columns={[
                  { key: "name", title: t("f.name"), wrap: true, cell: (test) => <code>{test.name}</code>, by: (test) => test.name },
                  { key: "status", title: t("f.status"), cell: (test) => <Status of={test.status ?? "unknown"} />, by: (test) => test.status ?? "unknown" },
                  ...(failed ? [{ key: "failures", title: t("tests.failures"), number: true, cell: (test: Tested["tests"][number]) => n(test.failures ?? null), by: (test: Tested["tests"][number]) => test.failures }] : []),
                  { key: "at", title: t("tests.last"), cell: (test) => ago(test.at), by: (test) => test.at },
                ]}
              />
            )}
          </Ask>
          {model.unit_tests && model.unit_tests.length > 0 && <p className="quiet small models-unit">{t("unit", { names: model.unit_tests.join(", ") })}</p>}
        </Card>
        <Builds name={model.name} />
      </div>
    </Page>
  );
}

function Sql({ model }: { model: Whole }) {
  const { t } = useWords(own);
  const [tab, setTab] = useState<"written" | "run">("written");
  const text = tab === "written" ? model.sql : model.compiled;
  return (
    <Card title={t("sql")} extra={<Choice label={t("sql")} value={tab} choose={setTab} of={[{ key: "written", label: t("sql.written") }, { key: "run", label: t("sql.run") }]} />}>
      {text ? <SqlText text={text.trim()} max={460} label={`${t("sql")} · ${t(`sql.${tab}`)}`} /> : <Empty text={t("sql.none")} />}
    </Card>
  );
}

function Columns({ model, asset }: { model: Whole; asset: Tested | undefined }) {
  const { t, word } = useWords(own);
  const known = new Map((asset?.columns ?? []).map((column) => [column.name, column]));
  const rows = model.columns?.length ? model.columns : (asset?.columns ?? []).map((column) => ({ column: column.name, expression: null, origins: [] as Origin[] }));
  return (
    <Card title={t("columns")} flush extra={<Trust route={`GET /v1/models/${model.name}`} />}>
      <Grid
        rows={rows} rowKey={(row) => row.column} label={t("columns")} page={60} tight empty={<Empty text={t("columns.none")} />}
        columns={[
          { key: "name", title: t("f.column"), by: (row) => row.column, cell: (row) => <Link title={t("columns.trace", { column: row.column })} to={`/lineage?table=${encodeURIComponent(model.name)}&column=${encodeURIComponent(row.column)}`}><code>{row.column}</code></Link> },
          { key: "type", title: t("f.type"), by: (row) => known.get(row.column)?.type, cell: (row) => <TypeName type={known.get(row.column)?.type} /> },
          { key: "from", title: t("columns.from"), wrap: true, cell: (row) => <span className="models-from">{(row.origins ?? []).map((origin) => <Link key={`${origin.table}.${origin.column}`} to={`/lineage?table=${encodeURIComponent(origin.table)}&column=${encodeURIComponent(origin.column)}`}><code>{origin.table}.{origin.column}</code></Link>)}</span> },
          { key: "how", title: t("columns.how"), wrap: true, cell: (row) => (row.expression ? <code className="quiet">{row.expression}</code> : <span className="quiet">{[...new Set((row.origins ?? []).map((origin) => word("how", origin.transform)))].join(", ") || word("how", "constant")}</span>) },
          ...([...known.values()].some((column) => column.description) ? [{ key: "about", title: t("f.description"), wrap: true, cell: (row: { column: string }) => known.get(row.column)?.description ?? "" }] : []),
        ]}
      />
    </Card>
  );
}

function TypeName({ type }: { type: string | undefined }) {
  const { word } = useWords(parts);
  return <span className="quiet">{type ? word("type", type) : "–"}</span>;
}

function Around({ model }: { model: Whole }) {
  const { t, n } = useWords(own);
  const kind = useKind();
  const go = useNavigate();
  const pageOf = usePageOf();
  const graph = useGet<Graph>("/v1/lineage");
  const shown = useMemo(() => {
    const all = graph.data;
    const self = all?.nodes.find((node) => node.kind === "model" && node.table === model.name);
    if (!all || !self) return null;
    const up = new Set(all.edges.filter((edge) => edge.to === self.id).map((edge) => edge.from));
    const down = new Set(all.edges.filter((edge) => edge.from === self.id).map((edge) => edge.to));
    const near = new Set([self.id, ...up, ...down]);
    return {
      self: self.id, up: up.size, down: down.size, all: all.nodes.filter((node) => near.has(node.id)),
      nodes: all.nodes.filter((node) => near.has(node.id)).map((node): FlowNode => ({ id: node.id, title: node.table ?? node.name, sub: kind(node.kind), icon: iconOf(node.kind), chosen: node.id === self.id, tone: node.id === self.id ? toneOf(model.status) : undefined })),
      edges: all.edges.filter((edge) => (edge.from === self.id || edge.to === self.id) && near.has(edge.from) && near.has(edge.to)),
    };
  }, [graph.data, model.name, model.status, kind]);
  const open = (id: string) => {
    const node = shown?.all.find((one) => one.id === id);
    const to = node && pageOf(node.asset ?? node.table ?? node.id, node.kind);
    if (to && id !== shown?.self) void go(to);
  };
  const named = (names: string[] | undefined) => (names?.length ? names.map((name) => <NodeLink key={name} name={name} kind={kindOf(name, graph.data)} />) : <span className="quiet">{t("nothing")}</span>);
  return (
    <Card flush className="models-graph" title={t("around")} extra={<><Link to={`/lineage?table=${encodeURIComponent(model.name)}`}>{t("around.open")}</Link><Trust read={graph.dataUpdatedAt} route="GET /v1/lineage" /></>}>
      <dl className="models-near">
        <div><dt>{t("up")}</dt><dd>{named(model.upstream)}</dd></div>
        <div><dt>{t("down")}</dt><dd>{named(model.downstream)}</dd></div>
      </dl>
      <Ask of={graph} lines={5}>
        {() => shown && <Suspense fallback={<Loading lines={6} />}><Flow nodes={shown.nodes} edges={shown.edges} open={open} focus={shown.self} height={Math.min(420, 90 + Math.max(2, shown.up, shown.down) * 66)} label={t("around.label", { name: model.name, up: n(shown.up), down: n(shown.down) })} /></Suspense>}
      </Ask>
    </Card>
  );
}

const kindOf = (asset: string, graph: Graph | undefined): string => graph?.nodes.find((node) => node.asset === asset)?.kind ?? asset.split(":")[0] ?? "";

interface Built { run_id: string; started_at: string; status: string; did: "built" | "unchanged" | "blocked" | "failed"; ms: number | null; error: string | null }

/** What a build's record says about one model. */
export function builds(table: Table, name: string): Built[] {
  return table.rows.flatMap(([run, at, status, error, detail]) => {
    let said: { model_ms?: Record<string, number>; blocked?: string[]; good?: string[] };
    try {
      said = JSON.parse(String(detail ?? "{}")) as typeof said;
    } catch {
      return [];
    }
    const ms = said.model_ms?.[name] ?? null;
    const blocked = said.blocked?.includes(name) ?? false;
    const good = said.good?.includes(name) ?? false;
    if (ms === null && !blocked && !good && status !== "failed") return [];
    const did = blocked ? "blocked" as const : status === "failed" && !good ? "failed" as const : ms === null ? "unchanged" as const : "built" as const;
    return [{ run_id: String(run), started_at: String(at), status: String(status), did, ms, error: error === null ? null : String(error) }];
  });
}

/** Builds looked at. */
const BUILDS = 60;
const BUILDS_SQL = `select run_id, started_at, status, error, detail from system.tasks where kind = 'build' order by started_at desc limit ${BUILDS}`;

function Builds({ name }: { name: string }) {
  const { t, duration, moment } = useWords(own);
  const { can } = useWho();
  const answer = useQuery<Table, Error>({ queryKey: ["/v1/models/builds"], queryFn: ({ signal }) => call<Table>("POST", "/v1/sql", { sql: BUILDS_SQL, limit: BUILDS }, signal), enabled: can("query") });
  const rows = useMemo(() => (answer.data ? builds(answer.data, name) : []), [answer.data, name]);
  return (
    <Card title={t("runs")} flush extra={answer.data && <Trust read={answer.dataUpdatedAt} sql={BUILDS_SQL} rows={answer.data.row_count} took_ms={answer.data.elapsed_ms} />}>
      {!can("query") ? <Empty text={t("runs.noquery")} /> : (
        <Ask of={answer} lines={4}>
          {() => (
            <Grid
              rows={rows} rowKey={(row) => `${row.run_id} ${row.started_at}`} label={t("runs")} page={12} tight empty={<Empty icon="runs" text={t("runs.none")} />}
              columns={[
                { key: "at", title: t("f.started"), cell: (row) => <Link to={`/runs/${row.run_id}`}>{moment(row.started_at)}</Link>, by: (row) => row.started_at },
                { key: "did", title: t("runs.did"), wrap: true, cell: (row) => <><Status of={row.did === "built" ? "succeeded" : row.did === "unchanged" ? "skipped" : row.did} label={t(`runs.${row.did}`)} />{row.did === "failed" && row.error && <small className="models-error">{row.error}</small>}</>, by: (row) => row.did },
                { key: "ms", title: t("runs.duration"), number: true, cell: (row) => duration(row.ms), by: (row) => row.ms },
              ]}
            />
          )}
        </Ask>
      )}
    </Card>
  );
}
