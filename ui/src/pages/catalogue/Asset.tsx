/** One asset: what it is, who answers for it, how fresh, tested, used and costly it is, and what its columns hold. */
import { Button } from "antd";
import { lazy, Suspense, type CSSProperties, type ReactNode } from "react";
import { Link, useParams } from "react-router";
import { part, Problem, useDo, useGet, type Asset as Plain, type Cell, type Table } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Code, Empty, Facts, Figures, Grid, Page, Rich, Status, Tabs, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { useKind } from "../../ui/kinds";
import { PageLink } from "../../ui/links";
import { entries } from "../../pages";
import { Spark } from "../metrics/Spark";
import { bytes, Health, iconOf, money, span } from "./parts";
import own from "./words";

// What extensions show comes after what is here anyway.
const Panels = lazy(() => import("../extensions/Panels"));

interface Test { name: string; status: string | null; failures?: number | null; at?: string | null; quality?: string }

interface Known {
  labels: string[]; owner: string | null; tags: string[]; certification: string; size_bytes: number | null; tests_status: string | null; age_s: number | null; fresh_limit_s: number | null; contract: boolean;
  reads: number; readers: number; last_read_at: string | null; work_s: number; cost_per_year: number; cost_with_upstream: number; health: number; is_table: boolean; columns: { name: string; masked: boolean }[];
}
type Whole = Omit<Plain, "tests"> & {
  exists?: boolean; health_history?: [string, number][]; landed_by?: { sync: string; stream: string } | null; known?: Known | null; health_sql?: string | null; currency?: string; held?: { version: number | null; reason: string; held_at: string } | null;
  tests: Test[];
};

interface Step { from: number; to: number; rows: number }
export interface ColumnProfile { name: string; type: string; nulls: number; distincts: number; distincts_exact: boolean; masked: boolean; min: string | null; max: string | null; mean: number | null; quantiles: number[]; histogram: Step[]; top: { value: string; rows: number }[] }
interface Profiled { version: number | null; profiled_at: string; profile: { rows: number; sample_rows: number; columns: ColumnProfile[] } }

const SAMPLE_ROWS = 50;
/** Frequent values of a column that are shown. */
const TOP = 3;
/** The share of rows from which a value is called frequent. */
const FREQUENT = 0.01;

/** Where an asset has a page of its own, by the kind in its name. */
const PAGES: Record<string, { to: string; says: "open.model" | "open.metric" | "open.policy" | "open.learner" | "open.connection" | "open.sync" | "open.quality" }> = {
  model: { to: "models", says: "open.model" }, metric: { to: "metrics", says: "open.metric" }, policy: { to: "policies", says: "open.policy" }, learner: { to: "learners", says: "open.learner" },
  connection: { to: "connections", says: "open.connection" }, sync: { to: "syncs", says: "open.sync" }, quality: { to: "quality", says: "open.quality" },
};

const quoted = (table: string) => table.split(".").map((one) => (/^[a-z_][a-z0-9_]*$/.test(one) ? one : `"${one.replaceAll('"', '""')}"`)).join(".");

/** The name of an asset on the page of its kind. */
const nameOf = (asset: { name: string; kind: string }) => (asset.name.startsWith(`${asset.kind}:`) ? asset.name.slice(asset.kind.length + 1) : asset.kind === "learner" ? asset.name.replace(/^learn\./, "") : asset.name);

export default function Asset() {
  const { t } = useWords(own);
  const kind = useKind();
  const { can, has, may } = useWho();
  const { name = "" } = useParams();
  const asset = useGet<Whole>(`/v1/assets/${part(name)}`);
  const back = { to: "/catalogue", label: t("back") };
  if (asset.error instanceof Problem && asset.error.status === 404) return <Page title={name} back={back}><Empty icon="catalogue" text={asset.error.hint ? `${t("missing", { name })} ${asset.error.hint}` : t("missing", { name })} action={<Link to="/catalogue">{t("back")}</Link>} /></Page>;
  const one = asset.data;
  const page = one && PAGES[one.kind];
  const entry = page && entries.find((candidate) => candidate.path === `${page.to}/:name`);
  const table = one?.known?.is_table ?? (one?.kind === "system");
  const lineage = entries.find((candidate) => candidate.path === "lineage");
  const actions = one && (
    <>
      {table && one.kind !== "system" && lineage && may(lineage) && <Link className="ant-btn-link" to={`/lineage?table=${part(one.name)}`}><Button icon={<Icon name="lineage" size={14} />}>{t("lineage")}</Button></Link>}
      {table && can("query") && has("sql") && entries.some((candidate) => candidate.path === "sql") && <Link to={`/sql?q=${part(`select * from ${quoted(one.name)} limit 100`)}`}><Button icon={<Icon name="sql" size={14} />}>{t("query")}</Button></Link>}
      {page && entry && may(entry) && <Link to={`/${page.to}/${part(nameOf(one))}`}><Button type="primary">{t(page.says)}</Button></Link>}
    </>
  );
  const title = one ? (
    <>
      <span className="cat-icon"><Icon name={iconOf(one.kind)} /></span>{nameOf(one)}<Chip>{kind(one.kind)}</Chip>
      {one.known?.certification === "certified" && <Status of="ok" label={t("certification.certified")} />}
      {one.known?.certification === "deprecated" && <Status of="warned" label={t("certification.deprecated")} />}
    </>
  ) : name;
  return (
    <Page title={title} text={one?.description ?? undefined} back={back} actions={actions}>
      <Ask of={asset} lines={8}>{(data) => <Body asset={data} table={table} read={asset.dataUpdatedAt} />}</Ask>
    </Page>
  );
}

function Body({ asset, table, read }: { asset: Whole; table: boolean; read: number }) {
  const { t, n, ago, moment, language, word } = useWords(own);
  const { known, held } = asset;
  const currency = asset.currency ?? "EUR";
  const stale = known?.age_s != null && known.fresh_limit_s != null && known.age_s > known.fresh_limit_s;
  const failed = asset.tests.filter((test) => test.status === "failed").length;
  const figures = known ? [
    { label: t("health"), value: <Health score={known.health} size={40} /> },
    ...(table ? [{ label: t("f.rows"), value: n(asset.rows), note: asset.version !== null && `${t("f.version")} ${n(asset.version)}` }] : []),
    ...(known.age_s !== null ? [{ label: t("fresh"), value: <span className={stale ? "bad" : undefined}>{span(known.age_s, language)}</span>, note: known.fresh_limit_s !== null && t("fresh.limit", { limit: span(known.fresh_limit_s, language) }) }] : []),
    ...(table || asset.kind === "metric" ? [{ label: t("usage"), value: n(known.reads), note: known.reads ? t("usage.note", { readers: n(known.readers), when: ago(known.last_read_at) }) : t("usage.nobody") }] : []),
    { label: t("cost"), value: money(known.cost_per_year, currency, language), note: t("cost.note", { total: money(known.cost_with_upstream, currency, language) }) },
  ] : [];
  const facts: [ReactNode, ReactNode][] = [];
  const fact = (name: string, value: ReactNode) => { if (value !== null && value !== undefined && value !== "" && value !== false) facts.push([name, value]); };
  fact(t("owner"), known ? (known.owner ?? <span className="quiet">{t("owner.none")}</span>) : null);
  fact(t("labels"), known?.labels.length ? known.labels.join(" · ") : null);
  fact(t("facet.tag"), (known?.tags ?? asset.tags ?? []).length ? <span className="row" style={{ gap: 4 }}>{(known?.tags ?? asset.tags ?? []).map((tag) => <Link key={tag} to={`/catalogue?tag=${part(tag)}`}><Chip>{tag}</Chip></Link>)}</span> : null);
  fact(t("facet.certification"), known ? word("certification", known.certification) : null);
  fact(t("f.file"), asset.file && <code>{asset.file}</code>);
  fact(t("landed.by"), asset.landed_by && <><PageLink to="syncs" name={asset.landed_by.sync} /> · <code>{asset.landed_by.stream}</code></>);
  fact(t("f.updated"), asset.updated_at && moment(asset.updated_at));
  fact(t("size"), known?.size_bytes != null && bytes(known.size_bytes, language));
  fact(t("work"), known && known.work_s > 0 ? span(known.work_s, language) : null);
  fact(t("contract"), table && known ? t(known.contract ? "f.yes" : "f.no") : null);
  const about = () => (
    <>
      <Made asset={asset} />
      <div className="columns">
        <Card title={t("facts")} extra={<Trust read={read} sql={known ? `select * from system.assets where name = '${nameOf(asset).replaceAll("'", "''")}'` : null} route="GET /v1/assets/{asset}" />}>
          <div className="cat-facts"><Facts of={facts} /></div>
          {(asset.health_history?.length ?? 0) > 1 && <Trend days={asset.health_history ?? []} read={read} name={nameOf(asset)} kind={asset.kind} />}
          {asset.health_sql && <details className="declared"><summary>{t("formula")}</summary><Code text={asset.health_sql} /></details>}
        </Card>
        {table && asset.kind !== "system" && <Card title={t("tests.title")} flush extra={<>{failed > 0 && <Status of="failed" label={n(failed)} />}<Trust read={read} route="GET /v1/assets/{asset}" /></>}><Tests asset={asset} /></Card>}
      </div>
      <Suspense><Panels on="asset" asset={asset.name} /></Suspense>
    </>
  );
  return (
    <>
      {held && (
        <div className="cat-held" role="status"><Icon name="alert" /><div><p>{held.version === null ? t("held.none", { reason: held.reason }) : t("held", { version: n(held.version), reason: held.reason })}</p><Link to="/quality">{t("held.open")}</Link></div></div>
      )}
      {figures.length > 0 && <Figures of={figures} />}
      {table ? (
        <Tabs
          label={asset.name}
          tabs={[
            { key: "about", label: t("tab.about"), body: about },
            { key: "columns", label: t("tab.columns"), count: asset.columns.length, body: () => <Columns asset={asset} read={read} /> },
            ...(asset.exists !== false ? [{ key: "sample" as const, label: t("tab.sample"), body: () => <Sample name={asset.name} /> }] : []),
            ...(asset.sql ? [{ key: "sql" as const, label: t("tab.sql"), body: () => <Card title={asset.file ? t("sql.text", { file: asset.file }) : t("tab.sql")}><Code text={asset.sql ?? ""} max={640} /></Card> }] : []),
          ]}
        />
      ) : about()}
    </>
  );
}

/** Days of health that are drawn. */
const TREND_DAYS = 90;

/** How healthy it was, day by day. */
function Trend({ days, read, name, kind }: { days: [string, number][]; read: number; name: string; kind: string }) {
  const { t, n, day } = useWords(own);
  const shown = days.slice(-TREND_DAYS);
  const [first, last] = [shown[0], shown.at(-1)];
  if (!first || !last) return null;
  const said = t("health.trend", { from: n(Math.round(first[1])), then: day(first[0]), to: n(Math.round(last[1])), now: day(last[0]) });
  const text = (value: string) => `'${value.replaceAll("'", "''")}'`;
  return (
    <div className="cat-trend">
      <h3 className="sub">{t("health.history")}<Trust read={read} sql={`select day, health from system.health_history where kind = ${text(kind)} and name = ${text(name)} order by day`} /></h3>
      <Spark values={shown.map(([, health]) => health)} label={said} height={36} />
      <p className="quiet small">{said}</p>
    </div>
  );
}

/** What it is made from and what is made from it, one step each way. */
function Made({ asset }: { asset: Whole }) {
  const { t } = useWords(own);
  const { may } = useWho();
  const lineage = entries.find((entry) => entry.path === "lineage");
  if (!asset.upstream.length && !asset.downstream.length) return null;
  const side = (title: string, names: string[]) => (
    <div>
      <h3>{title}</h3>
      {names.length === 0 ? <p className="quiet small">{t("made.none")}</p> : <ul className="cat-side">{names.map((name) => { const kind = /^([a-z]+):/.exec(name)?.[1] ?? (name.startsWith("learn.") ? "learner" : "table"); return <li key={name}><Link to={`/catalogue/${part(name)}`}><Icon name={iconOf(kind)} size={15} /><span>{name.replace(/^[a-z]+:/, "")}</span></Link></li>; })}</ul>}
    </div>
  );
  return (
    <Card title={t("made")} extra={lineage && may(lineage) && !asset.name.includes(":") && <Link to={`/lineage?table=${part(asset.name)}`}>{t("made.graph")}</Link>}>
      <div className="cat-flow">
        {side(t("made.from"), asset.upstream)}
        <Icon name="next" />
        <div className="cat-here"><Icon name={iconOf(asset.kind)} size={16} />{nameOf(asset)}</div>
        <Icon name="next" />
        {side(t("made.into"), asset.downstream)}
      </div>
    </Card>
  );
}

function Tests({ asset }: { asset: Whole }) {
  const { t, n, ago, moment } = useWords(own);
  return (
    <Grid
      rows={asset.tests} rowKey={(test) => test.name} label={t("tests.title")} page={10} empty={<Empty icon="check" text={t("tests.none")} />}
      columns={[
        { key: "name", title: t("f.name"), wrap: true, cell: (test) => (test.quality ? <PageLink to="quality" name={test.quality}><code>{test.name}</code></PageLink> : <code>{test.name}</code>), by: (test) => test.name },
        { key: "status", title: t("f.status"), cell: (test) => <Status of={test.status ?? "unknown"} />, by: (test) => test.status },
        { key: "failures", title: t("tests.failures"), number: true, cell: (test) => n(test.failures), by: (test) => test.failures },
        { key: "at", title: t("tests.at"), cell: (test) => (test.at ? <span title={moment(test.at)}>{ago(test.at)}</span> : "–"), by: (test) => test.at },
      ]}
    />
  );
}

function Columns({ asset, read }: { asset: Whole; read: number }) {
  const { t, n, percent, ago } = useWords(own);
  const { can, view } = useWho();
  const path = `/v1/assets/${part(asset.name)}/profile`;
  const can_see = can("query") && asset.kind !== "system";
  const kept = useGet<{ profiled: Profiled | null }>(can_see ? path : null);
  const make = useDo(() => ["POST", path, {}]);
  const profiled = kept.data?.profiled ?? null;
  const of = new Map((profiled?.profile.columns ?? []).map((column) => [column.name, column]));
  const rows = profiled?.profile.rows ?? 0;
  const masked = new Set((asset.known?.columns ?? []).filter((column) => column.masked).map((column) => column.name));
  const more = profiled ? [
    { key: "filled", title: t("p.filled"), number: true, cell: (column: Plain["columns"][number]) => { const one = of.get(column.name); if (!one || !rows) return "–"; const share = 1 - one.nulls / rows; return <span className="cat-filled">{percent(share)}<i style={{ "--share": `${share * 100}%` } as CSSProperties} /></span>; }, by: (column: Plain["columns"][number]) => of.get(column.name)?.nulls },
    { key: "distinct", title: t("p.distinct"), number: true, cell: (column: Plain["columns"][number]) => { const one = of.get(column.name); return one ? (one.distincts_exact ? n(one.distincts) : t("p.about", { count: n(one.distincts) })) : "–"; }, by: (column: Plain["columns"][number]) => of.get(column.name)?.distincts },
    { key: "range", title: t("p.range"), cell: (column: Plain["columns"][number]) => { const one = of.get(column.name); return one?.masked ? <span className="quiet">{t("p.hidden")}</span> : one && one.min !== null ? <span className="cat-range"><Bound value={one.min} type={column.type} /> … <Bound value={one.max} type={column.type} /></span> : "–"; } },
    { key: "values", title: t("p.values"), cell: (column: Plain["columns"][number]) => { const one = of.get(column.name); return one && !one.masked ? <Spread column={one} type={column.type} rows={profiled.profile.sample_rows} /> : null; } },
  ] : [];
  return (
    <Card title={t("columns.title")} flush extra={<>{can_see && !view && asset.exists !== false && <Button size="small" loading={make.isPending} onClick={() => make.mutate()}>{t(profiled ? "profile.again" : "profile.make")}</Button>}<Trust read={read} sql={profiled ? `select * from system.profiles where "table" = '${asset.name.replaceAll("'", "''")}' order by position` : `describe ${quoted(asset.name)}`} /></>}>
      {can_see && asset.exists !== false && (
        <p className="cat-profile small">
          {profiled ? <>{profiled.version === null ? t("profile.view", { when: ago(profiled.profiled_at) }) : t("profile.text", { version: n(profiled.version), when: ago(profiled.profiled_at) })}{profiled.version !== null && asset.version !== null && profiled.version !== asset.version && <span className="row"><Status of="stale" />{t("profile.old", { now: n(asset.version) })}</span>}</> : <>{t("profile.none")} <Rich text={t("profile.command", { name: asset.name })} /></>}
        </p>
      )}
      {(make.error ?? kept.error) && <div style={{ padding: "0 18px" }}><Trouble error={make.error ?? kept.error} /></div>}
      <Grid
        rows={asset.columns} rowKey={(column) => column.name} label={t("columns.title")} page={100} empty={<Empty icon="land" text={t("columns.none")} />}
        columns={[
          { key: "name", title: t("f.name"), wrap: true, cell: (column) => <><code>{column.name}</code>{masked.has(column.name) && <> <Chip>{t("p.hidden")}</Chip></>}{column.description && <div className="quiet small"><Rich text={column.description} /></div>}</>, by: (column) => column.name },
          { key: "type", title: t("type"), cell: (column) => <Chip>{column.type}</Chip>, by: (column) => column.type },
          ...more,
        ]}
      />
    </Card>
  );
}

/** A value of a profile, which are all text: moments as people write them, and empty text told. */
function Bound({ value, type }: { value: string | null; type: string }) {
  const { t, moment, n } = useWords(own);
  if (value === "") return <i className="quiet">{t("p.empty")}</i>;
  if (value !== null && type === "moment") return <>{moment(value)}</>;
  if (value !== null && type === "number" && Number.isFinite(Number(value))) return <>{n(Number(value), 4)}</>;
  return <>{value}</>;
}

/** How the values of a column are spread: numbers as steps, others as the most frequent values. */
function Spread({ column, type, rows }: { column: ColumnProfile; type: string; rows: number }) {
  const { t, n, percent } = useWords(own);
  if (column.histogram.length > 1) {
    const most = Math.max(1, ...column.histogram.map((step) => step.rows));
    const [width, height] = [14, 30];
    return (
      <svg className="cat-spark" width={column.histogram.length * width} height={height} role="img" aria-label={t("p.spread", { name: column.name, median: n(column.quantiles[2]), min: column.min ?? "–", max: column.max ?? "–" })}>
        {column.histogram.map((step, at) => { const tall = step.rows ? Math.max(1.5, (step.rows / most) * height) : 0; return <rect key={at} x={at * width} y={height - tall} width={width - 1.5} height={tall} rx={1.5}><title>{`${n(step.from)} … ${n(step.to)}: ${n(step.rows)}`}</title></rect>; })}
      </svg>
    );
  }
  // Where nearly every value is another, none is frequent.
  if (!column.top.length || !rows || (column.top[0]?.rows ?? 0) < rows * FREQUENT) return null;
  return <span className="cat-top">{column.top.slice(0, TOP).map((one) => <span key={one.value} style={{ "--share": `${(one.rows / rows) * 100}%` } as CSSProperties}><b><Bound value={one.value} type={type} /></b><span className="quiet">{percent(one.rows / rows)}</span></span>)}</span>;
}

interface SampleRow { cells: Cell[]; at: number }

function Sample({ name }: { name: string }) {
  const { t, n } = useWords(own);
  const { can } = useWho();
  const sample = useGet<Table>(can("query") ? `/v1/assets/${part(name)}/sample?limit=${SAMPLE_ROWS}` : null);
  if (!can("query")) return <Card><Empty icon="info" text={t("sample.denied")} /></Card>;
  return (
    <Card title={t("tab.sample")} flush extra={sample.data && <Trust read={sample.dataUpdatedAt} sql={sample.data.sql} rows={sample.data.row_count} took_ms={sample.data.elapsed_ms} cut={sample.data.truncated} />}>
      <Ask of={sample}>
        {(table) => (
          <>
            {table.rows.length > 0 && <p className="cat-profile small">{t("sample.text", { count: n(table.rows.length) })}</p>}
            <div className="cat-sample">
              <Grid
                tight rows={table.rows.map((cells, at) => ({ cells, at }))} rowKey={(row) => String(row.at)} label={t("tab.sample")} empty={<Empty icon="land" text={t("sample.empty")} />}
                columns={table.columns.map((column, at) => ({ key: column.name, title: column.name, number: column.type === "integer" || column.type === "number", cell: (row: SampleRow) => <Value value={row.cells[at] ?? null} type={column.type} />, by: (row: SampleRow) => { const cell = row.cells[at]; return typeof cell === "boolean" ? String(cell) : cell; } }))}
              />
            </div>
          </>
        )}
      </Ask>
    </Card>
  );
}

function Value({ value, type }: { value: Cell; type: string }) {
  const { n, moment } = useWords();
  if (value === null) return <span className="quiet">–</span>;
  // Whole numbers are often keys: they are shown digit by digit.
  if (type === "number") return <>{n(value as number | string, 4)}</>;
  if (type === "moment") return <span title={String(value)}>{moment(String(value))}</span>;
  return <span title={String(value)}>{String(value)}</span>;
}
