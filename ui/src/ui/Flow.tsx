/** A graph of what is made from what. xyflow and dagre are heavy: load this with `lazy`. */
import { Graph as Dagre, layout } from "@dagrejs/dagre";
import { BaseEdge, Controls, getBezierPath, Handle, Position, ReactFlow, ReactFlowProvider, useReactFlow, type Edge, type EdgeProps, type Node, type NodeProps } from "@xyflow/react";
import "@xyflow/react/dist/style.css";
import { memo, useEffect, useMemo } from "react";
import { useWords } from "../i18n";
import { Icon, type IconName } from "./icons";
import "./parts.css";
import own from "./words";

export interface FlowColumn { name: string; hint?: string; on?: boolean; chosen?: boolean }
export interface FlowNode {
  id: string;
  title: string;
  sub: string;
  icon: IconName;
  tone?: "ok" | "warn" | "bad" | "idle";
  chosen?: boolean;
  dim?: boolean;
  columns?: FlowColumn[];
  /** Columns that are not shown. */
  more?: number;
}
export interface FlowEdge { from: string; to: string; fromColumn?: string; toColumn?: string; kind?: string; on?: boolean; dim?: boolean }

type Body = FlowNode & { open?: (id: string) => void; column?: (id: string, column: string) => void } & Record<string, unknown>;
type Box = Node<Body, "box">;

const WIDTH = 228;
const HEAD = 46;
const COLUMN = 24;

const tall = (node: FlowNode) => HEAD + 2 + (node.columns?.length ? 7 + node.columns.length * COLUMN : 0) + (node.more ? 22 : 0);

/** Where each node stands: left to right in the direction data flows, nothing on top of anything else. */
export function placed(nodes: FlowNode[], edges: FlowEdge[]): Map<string, { x: number; y: number }> {
  const graph = new Dagre();
  graph.setGraph({ rankdir: "LR", nodesep: 16, ranksep: 52, marginx: 16, marginy: 16 });
  graph.setDefaultEdgeLabel(() => ({}));
  const known = new Set(nodes.map((node) => node.id));
  for (const node of nodes) graph.setNode(node.id, { width: WIDTH, height: tall(node) });
  for (const edge of edges) if (known.has(edge.from) && known.has(edge.to) && edge.from !== edge.to) graph.setEdge(edge.from, edge.to);
  layout(graph);
  return new Map(nodes.map((node) => {
    const at = graph.node(node.id) as { x: number; y: number };
    return [node.id, { x: at.x - WIDTH / 2, y: at.y - tall(node) / 2 }];
  }));
}

const Drawn = memo(function Drawn({ data }: NodeProps<Box>) {
  const { t } = useWords(own);
  return (
    <div className={`flow-node ${data.tone ? `flow-node-tone-${data.tone}` : ""} ${data.chosen ? "flow-node-chosen" : ""} ${data.dim ? "flow-node-dim" : ""}`}>
      <button type="button" className="flow-node-head nodrag" aria-pressed={data.chosen ?? false} title={data.title} onClick={() => data.open?.(data.id)}>
        <Icon name={data.icon} size={18} /><span><b>{data.title}</b><small>{data.sub}</small></span>
      </button>
      <Handle type="target" position={Position.Left} style={{ top: HEAD / 2 }} isConnectable={false} />
      <Handle type="source" position={Position.Right} style={{ top: HEAD / 2 }} isConnectable={false} />
      {data.columns && data.columns.length > 0 && (
        <ul>
          {data.columns.map((column) => (
            <li key={column.name} className={column.chosen ? "flow-column-chosen" : column.on ? "flow-column-on" : undefined}>
              <Handle type="target" id={column.name} position={Position.Left} isConnectable={false} />
              <button type="button" className="nodrag" aria-pressed={column.chosen ?? false} title={column.name} onClick={() => data.column?.(data.id, column.name)}><span>{column.name}</span>{column.hint && <i>{column.hint}</i>}</button>
              <Handle type="source" id={column.name} position={Position.Right} isConnectable={false} />
            </li>
          ))}
        </ul>
      )}
      {data.more ? <div className="flow-more">{t("flow.more", { count: data.more })}</div> : null}
    </div>
  );
});

function Line({ sourceX, sourceY, targetX, targetY, sourcePosition, targetPosition }: EdgeProps) {
  const [path] = getBezierPath({ sourceX, sourceY, targetX, targetY, sourcePosition, targetPosition });
  return <BaseEdge path={path} />;
}

const NODES = { box: Drawn };
const EDGES = { line: Line };

function Inner({ nodes, edges, open, column, focus }: Graph) {
  const { t } = useWords(own);
  const flow = useReactFlow();
  const at = useMemo(() => placed(nodes, edges), [nodes, edges]);
  const boxes = useMemo<Box[]>(() => nodes.map((node) => ({ id: node.id, type: "box", position: at.get(node.id) ?? { x: 0, y: 0 }, data: { ...node, open, column }, width: WIDTH, height: tall(node), draggable: false, focusable: false })), [nodes, at, open, column]);
  const lines = useMemo<Edge[]>(() => {
    const known = new Map(nodes.map((node) => [node.id, new Set(node.columns?.map((one) => one.name))]));
    return edges.filter((edge) => known.has(edge.from) && known.has(edge.to)).map((edge, index) => ({
      id: String(index), type: "line", source: edge.from, target: edge.to, focusable: false,
      // A column that is not shown is stood for by the head of its table.
      sourceHandle: edge.fromColumn && known.get(edge.from)?.has(edge.fromColumn) ? edge.fromColumn : null,
      targetHandle: edge.toColumn && known.get(edge.to)?.has(edge.toColumn) ? edge.toColumn : null,
      className: `${edge.on ? "flow-edge-on" : ""} ${edge.dim ? "flow-edge-dim" : ""} ${edge.kind ? `flow-edge-${edge.kind}` : ""}`,
    }));
  }, [nodes, edges]);
  const shape = boxes.map((box) => box.id).join("\n");
  useEffect(() => {
    // Everything if it can be read then, otherwise what is asked about.
    const frame = requestAnimationFrame(() => {
      void flow.fitView({ padding: 0.06, maxZoom: 1, minZoom: focus ? 0.45 : 0.2 }).then(() => {
        const box = focus ? boxes.find((one) => one.id === focus) : undefined;
        if (box && flow.getZoom() <= 0.46) void flow.setCenter(box.position.x + WIDTH / 2, box.position.y + (box.height ?? 0) / 2, { zoom: 0.8 });
      });
    });
    return () => cancelAnimationFrame(frame);
    // Only another set of nodes moves the view; colours do not.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [shape, focus, flow]);
  return (
    <ReactFlow
      nodes={boxes} edges={lines} nodeTypes={NODES} edgeTypes={EDGES} minZoom={0.15} maxZoom={1.6} nodesConnectable={false} nodesDraggable={false} nodesFocusable={false} edgesFocusable={false} elementsSelectable={false} zoomOnScroll={false} panOnScroll={false} preventScrolling={false}
      ariaLabelConfig={{ "controls.ariaLabel": t("flow.controls"), "controls.zoomIn.ariaLabel": t("flow.in"), "controls.zoomOut.ariaLabel": t("flow.out"), "controls.fitView.ariaLabel": t("flow.fit") }}
    >
      <Controls showInteractive={false} />
    </ReactFlow>
  );
}

export interface Graph {
  nodes: FlowNode[];
  edges: FlowEdge[];
  open?: (id: string) => void;
  column?: (id: string, column: string) => void;
  /** What stays in view if not all can be read at once. */
  focus?: string;
}

/** Draws a graph. `label` says in words what is to be seen; a list with the same belongs beside it. */
export default function Flow({ height = 520, label, ...graph }: Graph & { height?: number; label: string }) {
  return (
    <div className="flow" style={{ height }} role="group" aria-label={label}>
      <ReactFlowProvider><Inner {...graph} /></ReactFlowProvider>
    </div>
  );
}
