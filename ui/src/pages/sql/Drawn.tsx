/** The rows of a query as a chart. */
import { lazy, Suspense, useMemo, useState } from "react";
import type { Table } from "../../api";
import { useWords } from "../../i18n";
import { Choice, Empty, Loading, Pick } from "../../ui/basics";
import { isNumber } from "../../ui/rows";
import { guess, numbers, series, type Kind } from "./drawing";
import own from "./words";

const Chart = lazy(() => import("../../ui/Chart"));

export function Drawn({ table }: { table: Table }) {
  const { t, n, compact } = useWords(own);
  const first = useMemo(() => guess(table), [table]);
  const [chosen, setChosen] = useState<{ of: Table; kind?: Kind; along?: number; value?: number | "all" }>({ of: table });
  const choice = first && { ...first, ...(chosen.of === table ? chosen : {}) };
  const shown = useMemo(() => (choice ? series(table, choice) : null), [table, choice?.kind, choice?.along, choice?.value]);
  const drawing = useMemo(() => shown && choice && { kind: choice.kind, along: shown.along, series: shown.series, write: (value: number) => n(value, 6), writeShort: compact, area: shown.series.length === 1 }, [shown, choice?.kind, n, compact]);
  if (!choice || !shown || !drawing) return <Empty icon="measure" text={t("chart.none")} />;
  const set = (more: Partial<typeof chosen>) => setChosen({ ...(chosen.of === table ? chosen : {}), of: table, ...more });
  const values = numbers(table);
  const name = (at: number) => table.columns[at]?.name ?? "";
  return (
    <>
      <div className="filters">
        <Choice label={t("chart.kind")} value={choice.kind} choose={(kind) => set({ kind, along: kind === "scatter" && !values.includes(choice.along) ? (values.find((at) => at !== choice.value) ?? values[0]) : choice.along })} of={(["line", "bar", "scatter"] as const).map((key) => ({ key, label: t(`chart.${key}`) }))} />
        <Pick label={t("chart.along")} value={String(choice.along)} choose={(at) => set({ along: Number(at) })} of={table.columns.flatMap((column, at) => (choice.kind === "scatter" && !isNumber(column) ? [] : [{ key: String(at), label: column.name }]))} />
        <Pick label={t("chart.value")} value={String(choice.value)} choose={(at) => set({ value: at === "all" ? "all" : Number(at) })} of={[...values.map((at) => ({ key: String(at), label: name(at) })), ...(values.length > 1 ? [{ key: "all", label: t("chart.all") }] : [])]} />
        {shown.cut !== null && <span className="quiet small">{t("chart.first", { count: n(shown.cut) })}</span>}
      </div>
      <Suspense fallback={<Loading lines={6} />}>
        <Chart drawing={drawing} height={360} label={t("chart.label", { kind: t(`chart.${choice.kind}`), what: shown.series.map((one) => one.name).join(", "), along: name(choice.along), count: n(shown.along.length) })} />
      </Suspense>
    </>
  );
}
