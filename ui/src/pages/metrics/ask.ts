import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { call, type Metric, type Table } from "../../api";
import type { Speaker } from "../../i18n";
import { isShare, type Question } from "./question";

/** The answer to a question; none is asked while it is `null`. Asked anew when tables have changed. */
export function useAsk(question: Question | null) {
  return useQuery<Table, Error>({
    queryKey: ["/v1/metrics/query", question],
    queryFn: ({ signal }) => call<Table>("POST", "/v1/metrics/query", question, signal),
    enabled: question !== null,
    placeholderData: keepPreviousData,
    staleTime: 60_000,
  });
}

/** Where a column of an answer stands. */
export const at = (table: Table, name: string) => table.columns.findIndex((column) => column.name === name);

export const numberOf = (value: unknown): number | null => (value === null || value === undefined || value === "" ? null : Number.isFinite(Number(value)) ? Number(value) : null);

type Writer = Pick<Speaker<never>, "n" | "percent" | "compact">;
/** How a metric's figures are written, in full and short. */
export function writer(metric: Metric, { n, percent, compact }: Writer) {
  if (isShare(metric)) return { full: (value: number | null) => percent(value), short: (value: number) => percent(value) };
  const unit = metric.unit ? ` ${metric.unit}` : "";
  return { full: (value: number | null) => (value === null ? "–" : `${n(value)}${unit}`), short: (value: number) => compact(value) };
}
