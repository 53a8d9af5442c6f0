/** All models: what became of each, and how they stand to one another. */
import { Button } from "antd";
import { lazy, Suspense, useMemo, useState } from "react";
import { Link, useNavigate, useSearchParams } from "react-router";
import { part, useDo, useGet, type Graph, type Items, type Model, type Work } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { iconOf } from "../../ui/assets";
import { Ask, Card, Chip, Choice, Empty, Grid, Loading, Page, Status, Trouble, Trust } from "../../ui/basics";
import type { FlowNode } from "../../ui/Flow";
import { Icon } from "../../ui/icons";
import { useKind } from "../../ui/kinds";
import "../../ui/parts.css";
import "./style.css";
import own from "./words";

const Flow = lazy(() => import("../../ui/Flow"));

/** Kinds of nodes that the graph of models shows. */
const KINDS = ["source", "seed", "model", "snapshot"];

export const toneOf = (status: string | undefined) => (status === "published" ? "ok" : status === "blocked" ? "warn" : "idle") as FlowNode["tone"];

/** The tests of a model, as far as is known how they ended. */
export function Tests({ model }: { model: Pick<Model, "tests"> }) {
  const { t, n } = useWords(own);
  const { declared = 0, passed = 0, failed = 0 } = model.tests;
  if (passed + failed > 0) return <Status of={failed ? "failed" : "passed"} label={failed ? t("tests.failed", { failed: n(failed), count: n(passed + failed) }) : t("tests.passed", { count: n(passed) })} />;
  return declared ? <span className="quiet">{t("tests.declared", { count: n(declared) })}</span> : <span className="quiet">–</span>;
}

export default function Models() {
  const { t, n, word, day } = useWords(own);
  const { can, has } = useWho();
  const models = useGet<Items<Model>>("/v1/models");
  const [search, setSearch] = useSearchParams();
  const [looked, setLooked] = useState("");
  const build = useDo<Work>(() => ["POST", "/v1/models/build", { select: [], full_refresh: false }]);
  const as = search.get("as") === "graph" ? "graph" : "list";
  return (
    <Page title={t("title")} text={t("text")} actions={<>{has("plan") && <Link className="models-plan" to="/plan">{t("plan")}</Link>}{can("operate") && <Button type="primary" icon={<Icon name="play" size={15} />} loading={build.isPending} onClick={() => build.mutate()}>{t("build.all")}</Button>}</>}>
      {build.error && <Trouble error={build.error} />}
      <Ask of={models} lines={8}>
        {({ items }) => {
          if (!items.length) return <Card><Empty icon="model" text={t("empty")} /></Card>;
          const looking = looked.trim().toLowerCase();
          const shown = looking ? items.filter((model) => [model.name, model.description ?? "", ...model.tags].some((text) => text.toLowerCase().includes(looking))) : items;
          return (
            <>
              <div className="filters">
                {as === "list" && <label className="find models-find"><Icon name="search" size={15} /><input value={looked} placeholder={t("find")} aria-label={t("find")} onChange={(event) => setLooked(event.target.value)} /></label>}
                <Choice label={t("as")} value={as} choose={(key) => setSearch(key === "graph" ? { as: key } : {})} of={[{ key: "list", label: t("as.list") }, { key: "graph", label: t("as.graph") }]} />
              </div>
              {as === "graph" ? <Around models={items} /> : (
                <Card flush className="models-list" extra={<Trust read={models.dataUpdatedAt} route="GET /v1/models" />}>
                  <Grid
                    rows={shown} rowKey={(model) => model.name} label={t("title")} page={100} empty={<Empty icon="search" text={t("find.none")} />}
                    columns={[
                      { key: "name", title: t("f.name"), by: (model) => model.name, wrap: true, cell: (model) => <div className="models-name"><Link to={`/models/${part(model.name)}`}>{model.name}</Link>{model.description && <small>{model.description}</small>}</div> },
                      { key: "status", title: t("f.status"), by: (model) => model.status, cell: (model) => <Status of={model.status} /> },
                      { key: "kept", title: t("kept"), by: (model) => model.materialized, cell: (model) => <Chip>{word("kept", model.materialized)}</Chip> },
                      { key: "rows", title: t("f.rows"), number: true, by: (model) => model.rows, cell: (model) => n(model.rows) },
                      { key: "tests", title: t("tests"), by: (model) => model.tests.declared ?? 0, cell: (model) => <Tests model={model} /> },
                      { key: "built", title: t("built"), by: (model) => model.built_at, cell: (model) => (model.built_at ? <time dateTime={model.built_at}>{day(model.built_at)}</time> : <span className="quiet">{t("never")}</span>) },
                    ]}
                  />
                </Card>
              )}
            </>
          );
        }}
      </Ask>
    </Page>
  );
}

function Around({ models }: { models: Model[] }) {
  const { t, n, word } = useWords(own);
  const kind = useKind();
  const go = useNavigate();
  const graph = useGet<Graph>("/v1/lineage");
  const shown = useMemo(() => {
    if (!graph.data) return null;
    const of = new Map(models.map((model) => [model.name, model]));
    const nodes = graph.data.nodes.filter((node) => KINDS.includes(node.kind));
    const ids = new Set(nodes.map((node) => node.id));
    return {
      nodes: nodes.map((node): FlowNode => {
        const model = node.table ? of.get(node.table) : undefined;
        return { id: node.id, title: node.table ?? node.name, sub: model ? `${word("kept", model.materialized)}${model.rows === null ? "" : ` · ${n(model.rows)}`}` : kind(node.kind), icon: iconOf(node.kind), tone: model ? toneOf(model.status) : undefined };
      }),
      edges: graph.data.edges.filter((edge) => ids.has(edge.from) && ids.has(edge.to)),
    };
  }, [graph.data, models, word, kind, n]);
  const open = (id: string) => {
    const node = graph.data?.nodes.find((one) => one.id === id);
    if (node?.kind === "model" && node.table) void go(`/models/${part(node.table)}`);
    else if (node?.table) void go(`/lineage?table=${encodeURIComponent(node.table)}`);
  };
  return (
    <Card flush className="models-graph models-whole">
      <span className="models-trust"><Trust read={graph.dataUpdatedAt} route="GET /v1/lineage" /></span>
      <Ask of={graph} lines={10}>
        {() => shown && <Suspense fallback={<Loading lines={10} />}><Flow nodes={shown.nodes} edges={shown.edges} open={open} height={640} label={t("graph.label", { nodes: n(shown.nodes.length), edges: n(shown.edges.length) })} /></Suspense>}
      </Ask>
    </Card>
  );
}
