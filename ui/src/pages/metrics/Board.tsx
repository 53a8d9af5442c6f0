/** The largest values of a dimension, each with its share, its change, and a click that narrows everything to it. */
import { useMemo, useState } from "react";
import type { Cell, Metric } from "../../api";
import { useWords } from "../../i18n";
import { Card, Loading, Trouble, Trust } from "../../ui/basics";
import { at, numberOf, useAsk } from "./ask";
import { valueCalled } from "./Explore";
import { signed } from "./Metrics";
import { called, dimensionCalled, type Question } from "./question";
import own from "./words";

const FEW = 7;
const MANY = 50;

export function Board({ metric, dimension, question, total, chosen, choose, write }: { metric: Metric; dimension: string; question: Question; total: number | null; chosen: Cell[]; choose: (value: Cell) => void; write: { full: (value: number | null) => string } }) {
  const { t, percent, language } = useWords(own);
  const [many, setMany] = useState(false);
  // One more than is shown says whether there is more.
  const answer = useAsk({ ...question, limit: (many ? MANY : FEW) + 1 });
  const table = answer.data;
  const of = useMemo(() => [metric], [metric]);
  const name = dimensionCalled(dimension, [metric], language);
  const label = t("board.label", { metric: called(metric, language), dimension: name });
  const by = table ? at(table, dimension.replaceAll(".", "_")) : -1;
  const value = table ? at(table, metric.name) : -1;
  const change = table ? at(table, `${metric.name}_change`) : -1;
  const rows = (table?.rows ?? []).slice(0, many ? MANY : FEW);
  const changes = change >= 0 && rows.some((row) => row[change] !== null);
  const says = (key: Cell) => valueCalled(key, table?.labels?.[table.columns[by]?.name ?? ""], language, t);
  const most = Math.max(0, ...rows.map((row) => Math.abs(numberOf(row[value]) ?? 0)));
  const adds = metric.kind === "measure" && total !== null && total > 0;
  return (
    <Card className="metrics-board" title={<span title={dimension}>{name}</span>} extra={table && <Trust of={of} read={answer.dataUpdatedAt} sql={table.sql} rows={table.row_count} took_ms={table.elapsed_ms} cut={(table.rows.length > rows.length)} />}>
      {answer.error ? <Trouble error={answer.error} retry={() => void answer.refetch()} /> : !table ? <Loading lines={5} /> : !rows.length ? <p className="quiet">{t("board.none")}</p> : (
        <ul aria-label={label}>
          {rows.map((row, index) => {
            const [key, size, moved] = [row[by] ?? null, numberOf(row[value]), change >= 0 ? numberOf(row[change]) : null];
            const on = chosen.includes(key);
            const good = moved === null || moved === 0 || !metric.direction ? "" : (moved > 0) === (metric.direction === "up") ? "tone-good" : "tone-poor";
            return (
              <li key={`${index} ${String(key)}`}>
                <button type="button" aria-pressed={on} className={chosen.length && !on ? "metrics-off" : undefined} title={t("board.only", { value: says(key) })} onClick={() => choose(key)}>
                  <i style={{ width: most ? `${(Math.abs(size ?? 0) / most) * 100}%` : 0 }} aria-hidden="true" />
                  <span className={key === null ? "quiet" : undefined}>{says(key)}</span>
                  {adds && !chosen.length && size !== null && <small title={t("share")}>{percent(size / total)}</small>}
                  <b>{write.full(size)}</b>
                  {changes && <em className={good}>{moved === null ? "–" : signed(moved, percent)}</em>}
                </button>
              </li>
            );
          })}
        </ul>
      )}
      {table && (table.rows.length > rows.length || many) && <button type="button" className="metrics-more" onClick={() => setMany(!many)}>{t(many ? "board.less" : "board.more")}</button>}
    </Card>
  );
}
