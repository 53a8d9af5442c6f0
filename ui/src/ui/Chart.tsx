/** A chart. ECharts is heavy: load this with `lazy`, so that it comes when the first chart is shown. */
import { BarChart, LineChart, ScatterChart } from "echarts/charts";
import { BrushComponent, GridComponent, LegendComponent, ToolboxComponent, TooltipComponent } from "echarts/components";
import { init, use, type EChartsType } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import { useEffect, useRef, useState } from "react";
import { colour, type Colour, type Mode } from "../theme";
import "./parts.css";

use([BarChart, LineChart, ScatterChart, GridComponent, TooltipComponent, LegendComponent, BrushComponent, ToolboxComponent, CanvasRenderer]);

/** Colours of series that eyes with any colour vision tell apart, for each theme. */
const SERIES: Record<Mode, string[]> = {
  light: ["#14685a", "#c2691c", "#2f6fb5", "#a83a6b", "#7a5ba6", "#6b7a1e", "#8a8f99", "#3d4b45"],
  dark: ["#5fc7ac", "#e9a35c", "#7db4ec", "#e88ab3", "#b79be0", "#bac764", "#9aa3a0", "#dfe6e2"],
};

export interface Series {
  name: string;
  values: (number | null)[];
  /** What it is compared with is drawn thin and dashed. */
  before?: boolean;
}

export interface Drawing {
  kind: "line" | "bar" | "scatter";
  /** Where each value stands along. */
  along: (string | number)[];
  /** How a place along is written. */
  alongLabel?: (value: string) => string;
  series: Series[];
  write?: (value: number) => string;
  /** How numbers on the axis are written: short. */
  writeShort?: (value: number) => string;
  /** Whether the area below a single line is filled. */
  area?: boolean;
}

const mode = (): Mode => (document.documentElement.dataset.theme === "dark" ? "dark" : "light");

const safe = (text: string) => text.replace(/[&<>"]/g, (letter) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[letter] ?? letter);

function option(drawing: Drawing, now: Mode, brush: boolean) {
  const c = (name: Colour) => colour(now, name);
  const { kind, along, series, write = String, writeShort = write, alongLabel = String } = drawing;
  const font = getComputedStyle(document.body).fontFamily;
  const text = { color: c("ink-3"), fontSize: 12, fontFamily: font };
  const value = { type: "value", scale: kind !== "bar" && !drawing.area, axisLabel: { ...text, formatter: writeShort }, splitLine: { lineStyle: { color: c("line") } }, splitNumber: 4 };
  return {
    animation: false, color: SERIES[now], textStyle: { fontFamily: font },
    grid: { left: 8, right: 16, top: series.length > 1 ? 40 : 14, bottom: 4, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
    legend: series.length > 1 ? { top: 2, left: 4, type: "plain", icon: "roundRect", itemWidth: 12, itemHeight: 4, textStyle: { ...text, color: c("ink-2") } } : undefined,
    tooltip: {
      trigger: kind === "scatter" ? "item" : "axis", confine: true, backgroundColor: c("raised"), borderColor: c("line"), padding: [8, 12], textStyle: { color: c("ink"), fontSize: 12.5, fontFamily: font }, axisPointer: { type: kind === "bar" ? "shadow" : "line", lineStyle: { color: c("ink-3") }, shadowStyle: { color: c("band") } },
      formatter: (shown: TipPoint | TipPoint[]) => {
        const all = Array.isArray(shown) ? shown : [shown];
        const head = all[0];
        const title = kind === "scatter" && Array.isArray(head?.value) ? writeShort(Number(head.value[0])) : alongLabel(String(head?.name ?? ""));
        return `<b>${safe(title)}</b>${all.map((point) => {
          const one = Array.isArray(point.value) ? point.value[1] : point.value;
          return `<br>${point.marker} ${safe(point.seriesName)} <b style="float:right;margin-left:18px">${one === null || one === undefined ? "–" : safe(write(Number(one)))}</b>`;
        }).join("")}`;
      },
    },
    xAxis: kind === "scatter" ? { ...value, axisLine: { lineStyle: { color: c("line-strong") } } } : {
      type: "category", data: along.map(String), boundaryGap: kind === "bar", axisTick: { show: false }, axisLine: { lineStyle: { color: c("line-strong") } },
      axisLabel: { ...text, formatter: (one: string) => { const label = alongLabel(one); return label.length > 18 ? `${label.slice(0, 17)}…` : label; }, hideOverlap: true },
    },
    yAxis: value,
    // The brush brings tools of its own; drawing across is all that is wanted.
    toolbox: { show: false },
    brush: brush ? { xAxisIndex: 0, brushMode: "single", brushType: "lineX", toolbox: [], brushStyle: { color: c("band"), borderColor: c("brand"), borderWidth: 1 }, throttleType: "debounce", throttleDelay: 60 } : undefined,
    series: series.map((one, at) => ({
      name: one.name, type: kind, barMaxWidth: 34, itemStyle: kind === "bar" ? { borderRadius: [3, 3, 0, 0], ...(one.before ? { color: c("line-strong") } : {}) } : one.before ? { color: c("ink-3") } : undefined,
      data: kind === "scatter" ? one.values.map((y, index) => [Number(along[index]), y]) : one.values,
      ...(kind === "line" ? { showSymbol: along.length < 2 || one.values.filter((each) => each !== null).length < 2, symbolSize: 6, sampling: "lttb", lineStyle: one.before ? { width: 1.5, type: "dashed", color: c("ink-3") } : { width: 2.2 }, areaStyle: drawing.area && at === 0 ? { color: c("band") } : undefined } : {}),
      ...(kind === "scatter" ? { symbolSize: 7, itemStyle: { opacity: 0.7 }, large: one.values.length > 2000 } : {}),
    })),
  };
}

interface TipPoint { name: string; seriesName: string; marker: string; value: unknown }

/**
 * Draws. `label` says in words what is to be seen; a table with the figures belongs beside it. `brushed` is told of
 * the places between which somebody drew.
 */
export default function Chart({ drawing, label, height = 280, brushed }: { drawing: Drawing; label: string; height?: number | string; brushed?: (from: number, to: number) => void }) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<EChartsType | null>(null);
  const told = useRef(brushed);
  told.current = brushed;
  const [theme, setTheme] = useState(mode);
  useEffect(() => {
    const observer = new MutationObserver(() => setTheme(mode()));
    observer.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const made = init(element);
    chart.current = made;
    const sized = new ResizeObserver(() => made.resize());
    sized.observe(element);
    made.on("brushEnd", (event) => {
      const areas = (event as { areas?: { coordRange?: number[] }[] }).areas ?? [];
      const [from, to] = areas[0]?.coordRange ?? [];
      made.dispatchAction({ type: "brush", areas: [] });
      if (from !== undefined && to !== undefined && to > from) told.current?.(from, to);
    });
    return () => {
      sized.disconnect();
      made.dispose();
      chart.current = null;
    };
  }, []);
  useEffect(() => {
    const brush = told.current !== undefined;
    chart.current?.setOption(option(drawing, theme, brush) as Parameters<EChartsType["setOption"]>[0], { notMerge: true });
    if (brush) chart.current?.dispatchAction({ type: "takeGlobalCursor", key: "brush", brushOption: { brushType: "lineX", brushMode: "single" } });
  }, [drawing, theme]);
  return <div className="chart" style={{ height }} role="img" aria-label={label}><div ref={box} aria-hidden="true" /></div>;
}
