/** Where everything comes from and what it leads to, as a graph and as lists; a column can be followed through. */
import { Button } from "antd";
import { lazy, Suspense, useCallback, useMemo, useState } from "react";
import { Link, useSearchParams } from "react-router";
import { part, useGet, type Asset, type Graph, type Items, type Model } from "../../api";
import { useWords } from "../../i18n";
import { iconOf, NodeLink, usePageOf } from "../../ui/assets";
import { Ask, Card, Chip, Choice, Empty, Grid, Loading, Page, Pick, Status, Trouble, Trust } from "../../ui/basics";
import type { FlowEdge, FlowNode } from "../../ui/Flow";
import { distances, reached } from "../../ui/graph";
import { Icon } from "../../ui/icons";
import { useKind } from "../../ui/kinds";
import type { Known } from "../../ui/trust";
import { healthOf, TONES } from "./health";
import "./style.css";
import { follow as followed, holderOf, isTable, touched, type Found, type Followed, type Told } from "./trace";
import own from "./words";

const Flow = lazy(() => import("../../ui/Flow"));

type GraphNode = Graph["nodes"][number];
/** Assets drawn at once without being asked for. */
const DRAWN_MAX = 150;
/** Columns of a table shown in the graph. */
const COLUMNS_MAX = 14;
const STEPS = ["1", "2", "3", "all"] as const;
const WAYS = ["both", "up", "down"] as const;
/** In which order kinds are listed where something reaches many. */
const ORDER = ["model", "snapshot", "semantic", "dimension", "measure", "metric", "dashboard", "learner", "policy", "action"];

/** The name by which an asset is asked for: that of its table, or the catalogue's. */
const nameOf = (node: GraphNode) => node.table ?? node.asset ?? node.id;

export default function Lineage() {
  const { t } = useWords(own);
  const graph = useGet<Graph>("/v1/lineage");
  return (
    <Page title={t("title")} text={t("text")}>
      <Ask of={graph} lines={10}>{(data) => (data.nodes.length ? <Shown graph={data} read={graph.dataUpdatedAt} /> : <Card><Empty icon="lineage" text={t("empty")} /></Card>)}</Ask>
    </Page>
  );
}

function Shown({ graph, read }: { graph: Graph; read: number }) {
  const { t, n, word } = useWords(own);
  const kind = useKind();
  const [search, setSearch] = useSearchParams();
  const [all, setAll] = useState(false);
  const [influences, setInfluences] = useState(false);
  const models = useGet<Items<Model>>("/v1/models");
  const doing = useGet<Items<Known>>("/v1/trust");
  const asked = search.get("table");
  const column = search.get("column");
  const steps = STEPS.find((one) => one === search.get("steps")) ?? "2";
  const way = WAYS.find((one) => one === search.get("way")) ?? "both";
  const set = useCallback((changes: Record<string, string | null>) => setSearch((now) => {
    const next = new URLSearchParams(now);
    for (const [key, value] of Object.entries(changes)) {
      if (value === null) next.delete(key);
      else next.set(key, value);
    }
    return next;
  }), [setSearch]);
  const chosen = useMemo(() => (asked === null ? null : (graph.nodes.find((node) => node.table === asked || node.asset === asked || node.id === asked) ?? graph.nodes.find((node) => node.name === asked) ?? null)), [graph, asked]);
  const table = chosen?.table ?? null;
  const trace = useTrace(chosen, column, influences);
  const status = useMemo(() => new Map((models.data?.items ?? []).map((model) => [model.name, model.status])), [models.data]);
  const health = useMemo(() => (doing.data ? healthOf(graph.nodes, graph.edges, doing.data.items) : null), [graph, doing.data]);
  // Columns are held by tables, by name, and by all else, by kind and name; what a semantic view counts is its own.
  const holders = useMemo(() => new Map(graph.nodes.flatMap((node): [string, GraphNode][] => [[nameOf(node), node], [node.id, node], ...(node.kind === "semantic" ? [[`measure:${node.name}`, node], [`dimension:${node.name}`, node]] as [string, GraphNode][] : [])])), [graph]);

  const drawn = useMemo(() => {
    const card = (node: GraphNode, more: Partial<FlowNode> = {}): FlowNode => {
      const state = node.table ? status.get(node.table) : undefined;
      const does = health?.get(node.id);
      // Rows that are not published are nobody's yet, whatever their tests said.
      const said = state && state !== "published" ? word("status", state) : does?.fault ? t(`health.${does.fault}`) : null;
      return { id: node.id, title: node.table ?? node.name, sub: said ? `${kind(node.kind)} · ${said}` : kind(node.kind), icon: iconOf(node.kind), tone: state === "blocked" && does?.tone !== "bad" ? "warn" : state !== undefined && state !== "published" && state !== "blocked" ? "idle" : does?.tone, chosen: node.id === chosen?.id, ...more };
    };
    if (chosen && column !== null && table) {
      const columns = touched([...trace.edges, { from: table, fromColumn: column, to: table, toColumn: column, kind: "identity" }]);
      const nodes = [...columns].map(([name, some]) => {
        const listed = [...some].sort();
        const more = { columns: listed.slice(0, COLUMNS_MAX).map((one) => ({ name: one, on: true, chosen: name === table && one === column })), more: Math.max(0, listed.length - COLUMNS_MAX) };
        const node = holders.get(name);
        // Two holders may be one asset, such as the measures and dimensions of a semantic view.
        if (node) return card(node, { ...more, id: name });
        const of = trace.kinds.get(name) ?? "";
        return { id: name, title: name.startsWith(`${of}:`) ? name.slice(of.length + 1) : name, sub: kind(of), icon: iconOf(of), ...more };
      });
      const edges = trace.edges.map((edge): FlowEdge => ({ from: edge.from, to: edge.to, fromColumn: edge.fromColumn, toColumn: edge.toColumn, kind: edge.kind }));
      return { nodes, edges };
    }
    let nodes = graph.nodes;
    if (chosen) {
      const far = distances(graph.edges, chosen.id);
      const most = steps === "all" ? Number.POSITIVE_INFINITY : Number(steps);
      nodes = nodes.filter((node) => {
        const away = far.get(node.id);
        return away !== undefined && Math.abs(away) <= most && (way === "both" || away === 0 || (way === "up") === (away < 0));
      });
    }
    const ids = new Set(nodes.map((node) => node.id));
    return { nodes: nodes.map((node) => card(node)), edges: graph.edges.filter((edge) => ids.has(edge.from) && ids.has(edge.to)).map((edge): FlowEdge => ({ ...edge, on: edge.from === chosen?.id || edge.to === chosen?.id })) };
  }, [graph, chosen, column, table, trace.edges, trace.kinds, status, health, holders, steps, way, kind, word, t]);

  const open = useCallback((id: string) => {
    const node = holders.get(id);
    if (node) set({ table: nameOf(node), column: null });
  }, [holders, set]);
  const follow = useCallback((id: string, name: string) => {
    const node = holders.get(id);
    if (node?.table) set({ table: node.table, column: name });
  }, [holders, set]);
  const large = !chosen && !all && graph.nodes.length > DRAWN_MAX;
  return (
    <>
      <div className="filters lineage-bar">
        <Find nodes={graph.nodes} now={chosen ? nameOf(chosen) : (asked ?? "")} choose={(name) => set({ table: name || null, column: null })} />
        {chosen && <Button type="text" onClick={() => set({ table: null, column: null })}>{t("whole")}</Button>}
        {chosen && column === null && (
          <>
            <Choice label={t("way")} value={way} choose={(key) => set({ way: key === "both" ? null : key })} of={WAYS.map((key) => ({ key, label: t(`way.${key}`) }))} />
            <Pick label={t("steps")} value={steps} choose={(key) => set({ steps: key === "2" ? null : key })} of={STEPS.map((key) => ({ key, label: t(`steps.${key}`) }))} />
          </>
        )}
        {column === null && health && <ul className="lineage-key" aria-label={t("health")}>{TONES.map((tone) => <li key={tone}><b className={`lineage-${tone}`} />{t(`health.${tone}`)}</li>)}</ul>}
        {column === null && doing.error ? <Trouble error={doing.error} /> : null}
        {column !== null && table && (
          <>
            <ul className="lineage-key" aria-label={t("kinds")}>{(["identity", "transform", "aggregate", "learn", ...(influences ? ["influence" as const] : [])] as const).map((one) => <li key={one}><i className={`lineage-${one}`} />{t(`kind.${one}`)}</li>)}</ul>
            <label className="pick"><input type="checkbox" checked={influences} onChange={(event) => setInfluences(event.target.checked)} />{t("influence")}</label>
          </>
        )}
      </div>
      {asked !== null && !chosen && <Card><Empty icon="search" text={t("missing", { name: asked })} action={<Button onClick={() => set({ table: null, column: null })}>{t("whole")}</Button>} /></Card>}
      {column !== null && trace.error ? <Trouble error={trace.error} /> : null}
      <div className={!chosen ? undefined : column !== null && table ? "lineage-under" : "lineage-two"}>
        <div>
          {large ? <Card><Empty icon="lineage" text={t("large", { count: n(graph.nodes.length) })} action={<Button onClick={() => setAll(true)}>{t("large.draw")}</Button>} /></Card> : (
            <section className="card lineage-graph" aria-label={t("title")}>
              <span className="lineage-trust"><Trust read={read} route={column !== null && table ? `GET /v1/column-lineage?of=${table}.${column}` : "GET /v1/lineage"} /></span>
              <Suspense fallback={<div className="lineage-waits"><Loading lines={10} /></div>}>
                <Flow nodes={drawn.nodes} edges={drawn.edges} open={open} column={follow} focus={column !== null && table ? table : chosen?.id} height={column !== null && table ? 400 : 620} label={t("label", { nodes: n(drawn.nodes.length), edges: n(drawn.edges.length) })} />
              </Suspense>
            </section>
          )}
          {!large && (
            <details className="declared lineage-list">
              <summary>{t("list")}</summary>
              <Card flush>
                <Grid
                  rows={drawn.edges.map((edge, at) => ({ edge, at }))} rowKey={(row) => String(row.at)} label={t("list")} tight page={60}
                  columns={[
                    { key: "from", title: t("list.from"), cell: ({ edge }) => <Named node={holders.get(edge.from)} column={edge.fromColumn} />, by: ({ edge }) => edge.from },
                    { key: "how", title: t("list.how"), cell: ({ edge }) => <span className="quiet">{edge.kind ? word("kind", edge.kind) : t("reads")}</span>, by: ({ edge }) => edge.kind },
                    { key: "to", title: t("list.to"), cell: ({ edge }) => <Named node={holders.get(edge.to)} column={edge.toColumn} />, by: ({ edge }) => edge.to },
                  ]}
                />
              </Card>
            </details>
          )}
        </div>
        {chosen && (column !== null && table ? <ColumnSide table={table} column={column} trace={trace} set={set} /> : <AssetSide node={chosen} graph={graph} status={chosen.table ? status.get(chosen.table) : undefined} set={set} />)}
      </div>
    </>
  );
}

function Named({ node, column }: { node: GraphNode | undefined; column?: string }) {
  const kind = useKind();
  if (!node) return <>–</>;
  const name = nameOf(node);
  return <><Link to={`/lineage?table=${encodeURIComponent(name)}${column ? `&column=${encodeURIComponent(column)}` : ""}`}><code>{name.replace(/^[a-z]+:/, "")}{column ? `.${column}` : ""}</code></Link> <span className="quiet small">{kind(node.kind)}</span></>;
}

/** Chooses an asset by its name; the browser offers those that fit. */
function Find({ nodes, now, choose }: { nodes: GraphNode[]; now: string; choose: (name: string) => void }) {
  const { t } = useWords(own);
  const kind = useKind();
  const [text, setText] = useState<string | null>(null);
  const names = useMemo(() => new Set(nodes.map(nameOf)), [nodes]);
  return (
    <form className="lineage-find" onSubmit={(event) => { event.preventDefault(); choose((text ?? now).trim()); setText(null); }}>
      <label className="find"><Icon name="search" size={15} /><input list="lineage-names" value={text ?? now} placeholder={t("pick.hint")} aria-label={t("pick")} onFocus={(event) => event.target.select()} onBlur={() => text === "" && setText(null)} onChange={(event) => {
        const value = event.target.value;
        setText(value);
        if (names.has(value)) {
          choose(value);
          setText(null);
        }
      }} /></label>
      <datalist id="lineage-names">{nodes.map((node) => <option key={node.id} value={nameOf(node)}>{kind(node.kind)}</option>)}</datalist>
    </form>
  );
}

type Set = (changes: Record<string, string | null>) => void;

/** What is known of an asset, its columns, and how far a change of it reaches. */
function AssetSide({ node, graph, status, set }: { node: GraphNode; graph: Graph; status: string | undefined; set: Set }) {
  const { t, n } = useWords(own);
  const kind = useKind();
  const [looked, setLooked] = useState("");
  const name = node.asset ?? nameOf(node);
  const asset = useGet<Asset>(node.table ? `/v1/assets/${part(name)}` : null);
  const to = usePageOf()(name, node.kind);
  const after = useMemo(() => {
    const ids = reached(graph.edges, [node.id]);
    const by = new Map<string, GraphNode[]>();
    for (const one of graph.nodes) if (ids.has(one.id)) by.set(one.kind, [...(by.get(one.kind) ?? []), one]);
    return [...by].sort(([a], [b]) => ORDER.indexOf(a) - ORDER.indexOf(b));
  }, [graph, node.id]);
  const columns = node.table && asset.data?.name === name ? asset.data.columns.filter((column) => column.name.toLowerCase().includes(looked.trim().toLowerCase())) : [];
  return (
    <div className="lineage-side">
      <Card title={<span className="lineage-name"><Icon name={iconOf(node.kind)} size={18} />{node.table ?? node.name}</span>} extra={node.table ? <Trust read={asset.dataUpdatedAt || undefined} route={`GET /v1/assets/${name}`} /> : undefined}>
        <p className="row"><Chip>{kind(node.kind)}</Chip>{status && <Status of={status} />}{to && <Link to={to}>{t("open")}</Link>}</p>
        {node.table && asset.data?.description && <p className="lineage-about">{asset.data.description}</p>}
        {node.table && (
          <>
            <h3>{t("about.columns")}{asset.data && <span className="quiet"> {n(asset.data.columns.length)}</span>}</h3>
            <p className="quiet small">{t("about.pickcolumn")}</p>
            <Ask of={asset} lines={4}>
              {(data) => (
                <>
                  {data.columns.length > COLUMNS_MAX && <label className="find lineage-look"><Icon name="search" size={14} /><input value={looked} aria-label={t("about.find")} placeholder={t("about.find")} onChange={(event) => setLooked(event.target.value)} /></label>}
                  <ul className="lineage-columns">{columns.map((column) => <li key={column.name}><button type="button" title={column.description ?? undefined} onClick={() => set({ table: node.table, column: column.name })}><code>{column.name}</code><Icon name="next" size={12} /></button></li>)}</ul>
                </>
              )}
            </Ask>
          </>
        )}
      </Card>
      <Card title={t("impact")} extra={<><span className="quiet small">{t("impact.count", { count: n(after.reduce((sum, [, some]) => sum + some.length, 0)) })}</span><Trust route="GET /v1/lineage" /></>}>
        {!after.length ? <p className="quiet">{t("impact.none")}</p> : after.map(([of, some]) => (
          <div key={of} className="lineage-impact">
            <h3>{kind(of)} <span className="quiet">{n(some.length)}</span></h3>
            <p>{some.map((one) => <NodeLink key={one.id} name={one.asset ?? nameOf(one)} kind={one.kind} />)}</p>
          </div>
        ))}
      </Card>
    </div>
  );
}

interface Trace extends Followed { notes: string[]; error: unknown; pending: boolean }
const NOTHING: Followed = { up: [], down: [], edges: [], influences: new Map(), kinds: new Map() };

/** Follows a column both ways, as far as there is something. */
function useTrace(chosen: GraphNode | null, column: string | null, influences: boolean): Trace {
  const table = column === null ? null : (chosen?.table ?? null);
  const told = useGet<Told>(table && column ? `/v1/column-lineage?of=${part(`${table}.${column}`)}` : null);
  // The answer of the column before is no answer for this one.
  const fresh = told.data && !told.isPlaceholderData ? told.data : null;
  return useMemo(() => ({ ...(fresh ? followed(fresh, influences) : NOTHING), notes: fresh?.notes ?? [], error: table ? told.error : null, pending: fresh === null }), [fresh, influences, table, told.error]);
}

/** How a column is made, step by step, and what is made of it. */
function ColumnSide({ table, column, trace, set }: { table: string; column: string; trace: Trace; set: Set }) {
  const { t, n, word } = useWords(own);
  const kind = useKind();
  const link = (one: Found) => (isTable(one.kind) && one.column !== null
    ? <button type="button" className="lineage-link" onClick={() => set({ table: one.asset, column: one.column })}><code>{one.asset}.{one.column}</code></button>
    : <span><NodeLink name={holderOf(one)} kind={one.kind} />{one.column !== null && <code className="quiet"> {one.column}</code>}</span>);
  const route = <Trust route={`GET /v1/column-lineage?of=${table}.${column}`} />;
  const by = new Map<string, Found[]>();
  for (const one of trace.down) by.set(one.kind, [...(by.get(one.kind) ?? []), one]);
  return (
    <div className="lineage-side">
      <Card title={<code>{column}</code>} extra={route}>
        <button type="button" className="lineage-link lineage-up" onClick={() => set({ column: null })}><Icon name="back" size={13} />{t("column.back", { table })}</button>
        <h3>{t("column.made")}</h3>
        {trace.pending ? (trace.error ? null : <Loading lines={4} />) : (
          <ol className="lineage-steps">
            {trace.up.map((one) => {
              const beside = trace.influences.get(one.id) ?? [];
              return (
                <li key={one.id}>
                  {link(one)}
                  {one.expression ? <code className="lineage-how">{one.expression}</code> : <span className="quiet small">{one.kind === "source" || one.kind === "outside" ? t("column.source") : word("kind", "identity")}</span>}
                  {beside.length > 0 && <span className="quiet small lineage-influences">{[...new Set(beside.map(({ how }) => how))].map((how) => <span key={how}>{word("how", how)} <code>{beside.filter((other) => other.how === how).map(({ of }) => (of.column === null ? of.asset : `${of.asset}.${of.column}`)).join(", ")}</code></span>)}</span>}
                </li>
              );
            })}
          </ol>
        )}
        {trace.notes.length > 0 && <details className="declared"><summary>{t("column.notes", { count: n(trace.notes.length) })}</summary><ul className="quiet small">{trace.notes.map((note) => <li key={note}>{note}</li>)}</ul></details>}
      </Card>
      <Card title={t("column.reaches")} extra={<><span className="quiet small">{n(trace.down.length)}</span>{route}</>}>
        {trace.pending && !trace.error && <Loading lines={3} />}
        {!trace.pending && !trace.down.length && <p className="quiet">{t("column.none")}</p>}
        {[...by].sort(([a], [b]) => ORDER.indexOf(a) - ORDER.indexOf(b)).map(([of, some]) => (
          <div key={of} className="lineage-reached">
            <h3>{kind(of)} <span className="quiet">{n(some.length)}</span></h3>
            <ul className="lineage-steps">{some.map((one) => <li key={one.id}>{link(one)}{one.expression && <code className="lineage-how">{one.expression}</code>}</li>)}</ul>
          </div>
        ))}
      </Card>
    </div>
  );
}
