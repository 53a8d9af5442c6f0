/** All metrics, by what their rows mean, each with its newest figure and where it is going. */
import { useEffect, useMemo, useRef, useState } from "react";
import { Link } from "react-router";
import { part, useGet, type Items, type Metric, type Status } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Empty, Page, Rich, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import "../../ui/parts.css";
import { at, numberOf, useAsk, writer } from "./ask";
import { called, dimensions, over, windowed } from "./question";
import { Spark } from "./Spark";
import "./style.css";
import own from "./words";

/** Weeks whose figures are drawn. */
const WEEKS = 26;

/** The moment up to which there is data: that of the last turn, or `null` for now; not known yet while the status is asked for. */
export const useAsOf = (): string | null | undefined => {
  const status = useGet<Status>("/v1/status");
  return status.data ? (status.data.turn?.at ?? null) : status.error ? null : undefined;
};

export default function Metrics() {
  const { t, language } = useWords(own);
  const { can } = useWho();
  const metrics = useGet<Items<Metric>>("/v1/metrics");
  const [looked, setLooked] = useState("");
  return (
    <Page title={t("title")} text={t("text")}>
      <Ask of={metrics} lines={8}>
        {({ items }) => {
          if (!items.length) return <Card><Empty icon="measure" text={t("empty")} /></Card>;
          const word = looked.trim().toLowerCase();
          const shown = word ? items.filter((metric) => [metric.name, metric.description ?? "", metric.view, ...metric.synonyms, ...[metric.label ?? []].flat()].some((text) => text.toLowerCase().includes(word))) : items;
          const views = [...new Set(shown.map((metric) => metric.view))];
          return (
            <>
              <div className="filters">
                <label className="find metrics-find"><Icon name="search" size={15} /><input value={looked} placeholder={t("find")} aria-label={t("find")} onChange={(event) => setLooked(event.target.value)} /></label>
                {!can("query") && <span className="quiet"><Rich text={t("noquery")} /></span>}
              </div>
              {!shown.length && <Card><Empty icon="search" text={t("find.none")} /></Card>}
              {views.map((view) => {
                const of = shown.filter((metric) => metric.view === view).sort((a, b) => rank(a) - rank(b) || called(a, language).localeCompare(called(b, language), language));
                return (
                  <section key={view} aria-label={t("of", { view })}>
                    <div className="section-head metrics-view"><h2>{t("of", { view })}</h2><span className="quiet small">{t("of.count", { count: of.length })}</span></div>
                    <ul className="metrics-cards">{of.map((metric) => <li key={metric.name}><One metric={metric} /></li>)}</ul>
                  </section>
                );
              })}
            </>
          );
        }}
      </Ask>
    </Page>
  );
}

/** Whether an element was in sight, or nearly, so far: a project may have hundreds of metrics. */
function useSeen(): [React.RefObject<HTMLElement | null>, boolean] {
  const element = useRef<HTMLElement>(null);
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    if (!element.current) return;
    const observer = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && setSeen(true), { rootMargin: "300px" });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return [element, seen];
}

/** What is measured comes before what is made of it. */
const rank = (metric: Metric) => (metric.kind === "measure" ? 0 : windowed(metric) ? 2 : 1);

function One({ metric }: { metric: Metric }) {
  const words = useWords(own);
  const { t, word, day, percent, language } = words;
  const { can } = useWho();
  const timed = dimensions(metric).times.includes("time");
  const [card, seen] = useSeen();
  const answer = useAsk(can("query") && seen ? (timed ? { metrics: [metric.name], grain: "week", order: ["-time"], limit: WEEKS } : { metrics: [metric.name] }) : null);
  const write = useMemo(() => writer(metric, words), [metric, words]);
  const name = called(metric, language);
  const asOf = useAsOf();
  const shown = useMemo(() => {
    const table = answer.data;
    if (!table) return null;
    const value = at(table, metric.name);
    // A week that is not over yet would look like a fall.
    const rows = timed ? [...table.rows].reverse().filter((row) => over(String(row[0]), "week", asOf ?? null)) : table.rows;
    return { values: rows.map((row) => numberOf(row[value])), first: rows[0]?.[0], last: rows.at(-1)?.[0] };
  }, [answer.data, metric.name, timed, asOf]);
  const of = useMemo(() => [metric], [metric]);
  const now = shown?.values.at(-1) ?? null;
  const before = shown?.values.at(-2) ?? null;
  const change = timed && now !== null && before ? (now - before) / Math.abs(before) : null;
  const good = change === null || !metric.direction ? undefined : (change > 0) === (metric.direction === "up") ? "tone-good" : "tone-poor";
  return (
    <article className="card metrics-card" ref={card}>
      <div className="metrics-card-head">
        <h3><Link to={`/metrics/${part(metric.name)}`}>{name}</Link></h3>
        <Chip>{word("kind", metric.kind)}</Chip>
        {answer.data && <Trust of={of} read={answer.dataUpdatedAt} sql={answer.data.sql} rows={answer.data.row_count} took_ms={answer.data.elapsed_ms} />}
      </div>
      {can("query") && (answer.error ? <p className="quiet small metrics-error">{answer.error.message}</p> : (
        <>
          <p className="metrics-now"><b>{shown ? (now === null ? t("nodata") : write.full(now)) : " "}</b>{change !== null && <span className={good} title={t("change", { change: signed(change, percent) })}>{signed(change, percent)}</span>}</p>
          {timed && shown && <Spark values={shown.values} label={t("spark", { name, count: shown.values.length, first: day(String(shown.first ?? "")), last: day(String(shown.last ?? "")) })} />}
          <p className="quiet small">{!shown ? " " : timed ? t("last", { when: day(String(shown.last ?? "")) }) : t("now")}</p>
        </>
      ))}
      <p className="small metrics-about">{metric.description ?? <code>{metric.name}</code>}</p>
    </article>
  );
}

/** A change with its sign. */
export const signed = (change: number, percent: (value: number) => string) => `${change >= 0.0005 ? "+" : change <= -0.0005 ? "−" : ""}${percent(Math.abs(change))}`;
