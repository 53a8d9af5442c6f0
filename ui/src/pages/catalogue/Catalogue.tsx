/** Finding anything: by words, and by kind, owner, tag and standing. */
import { useDeferredValue, useEffect, useState } from "react";
import { Link, useSearchParams } from "react-router";
import { part, useGet, withdrawn } from "../../api";
import { useWords } from "../../i18n";
import { Ask, Card, Chip, Empty, Page, Pick, Rich, Status, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { Button } from "antd";
import { useKind } from "../../ui/kinds";
import { called } from "../metrics/question";
import { Health, iconOf } from "./parts";
import own from "./words";

interface Hit {
  name: string; kind: string; labels: string[]; description: string | null; owner: string | null; tags: string[]; certification: string; file: string | null; rows: number | null;
  tests: number; tests_status: string | null; age_s: number | null; fresh_limit_s: number | null; reads: number; readers: number; used_by: number; cost_per_year: number; health: number; columns: string[]; score: number | null;
}
interface Facet { value: string; count: number }
const FACETS = ["kind", "owner", "tag", "certification"] as const;
type FacetName = (typeof FACETS)[number];
interface Answer { items: Hit[]; total: number; facets: Record<FacetName, Facet[]>; currency: string; notes: string[] }

/** Assets asked for at first, and with each "more"; the server gives 1,000 at most. */
const STEP = 100;
const MOST = 1_000;
/** Words of a facet that are in sight before it is opened. */
const IN_SIGHT = 8;
/** How long after a key was pressed the words are searched. */
const PAUSE_MS = 180;

const ORDERS: Record<string, (a: Hit, b: Hit) => number> = {
  health: (a, b) => b.health - a.health,
  reads: (a, b) => b.reads - a.reads,
  cost: (a, b) => b.cost_per_year - a.cost_per_year,
  name: (a, b) => a.name.localeCompare(b.name),
};

export default function Catalogue() {
  const { t, n } = useWords(own);
  const [search, setSearch] = useSearchParams();
  const asked = search.get("q") ?? "";
  const [words, setWords] = useState(asked);
  const [limit, setLimit] = useState(STEP);
  const order = search.get("order") ?? "";
  const set = (key: string, value: string | null) => {
    setLimit(STEP);
    setSearch((now) => { if (value) now.set(key, value); else now.delete(key); return now; }, { replace: true });
  };
  useEffect(() => setWords(asked), [asked]);
  useEffect(() => {
    if (words === asked) return;
    const timer = setTimeout(() => set("q", words.trim() ? words : null), PAUSE_MS);
    return () => clearTimeout(timer);
  });
  const query = new URLSearchParams({ limit: String(limit) });
  if (asked.trim()) query.set("q", asked.trim());
  for (const facet of FACETS) { const value = search.get(facet); if (value) query.set(facet, value); }
  const found = useGet<Answer>(`/v1/search?${query}`);
  const data = useDeferredValue(found.data);
  const filtered = FACETS.some((facet) => search.get(facet)) || asked.trim() !== "";
  return (
    <Page title={t("title")} text={t("text")}>
      <div className="cat-search">
        <Icon name="search" size={18} />
        <input type="search" value={words} placeholder={t("search")} aria-label={t("search")} autoFocus onChange={(event) => setWords(event.target.value)} />
        {filtered && <Button type="text" size="small" onClick={() => { setWords(""); setSearch({}, { replace: true }); }}>{t("clear")}</Button>}
      </div>
      {found.error && found.data && !withdrawn(found.error) && <Trouble error={found.error} />}
      <Ask of={found} lines={8}>
        {() => data && (
          <div className="cat-columns">
            <aside className="cat-facets" aria-label={t("f.filter")}>
              {FACETS.map((facet) => <Values key={facet} facet={facet} values={data.facets[facet]} chosen={search.get(facet)} choose={(value) => set(facet, value)} />)}
            </aside>
            <div className="cat-list">
              <div className="cat-bar">
                <span aria-live="polite"><b>{asked.trim() ? t("found.words", { count: n(data.total), words: asked.trim() }) : t("found", { count: n(data.total) })}</b></span>
                <span className="row">
                  <Pick label={t("sort")} value={order} choose={(value) => set("order", value || null)} of={[{ key: "", label: t(asked.trim() ? "sort.best" : "sort.kind") }, ...(["health", "reads", "cost", "name"] as const).map((key) => ({ key, label: t(`sort.${key}`) }))]} />
                  <Trust read={found.dataUpdatedAt} sql="select * from system.assets" />
                </span>
              </div>
              {data.notes.map((note) => <p key={note} className="quiet small"><Icon name="alert" size={13} /> {note}</p>)}
              {data.items.length === 0 ? <Card><Empty icon="search" text={t(filtered ? "none" : "empty")} /></Card> : (
                <ul>{(ORDERS[order] ? [...data.items].sort(ORDERS[order]) : data.items).map((hit) => <Row key={`${hit.kind} ${hit.name}`} hit={hit} />)}</ul>
              )}
              {data.total > data.items.length && limit < MOST && <p style={{ textAlign: "center" }}><Button type="text" loading={found.isFetching} onClick={() => setLimit(Math.min(MOST, limit + STEP * 4))}>{t("f.more", { count: n(Math.min(STEP * 4, data.total - data.items.length)) })}</Button></p>}
            </div>
          </div>
        )}
      </Ask>
    </Page>
  );
}

function Values({ facet, values, chosen, choose }: { facet: FacetName; values: Facet[]; chosen: string | null; choose: (value: string | null) => void }) {
  const { t, n, word } = useWords(own);
  const kind = useKind();
  const [open, setOpen] = useState(false);
  // What was chosen stays in sight, even if nothing is left of it.
  const all = chosen && !values.some((one) => one.value === chosen) ? [{ value: chosen, count: 0 }, ...values] : values;
  if (!all.length) return null;
  const say = (value: string) => (facet === "kind" ? kind(value) : facet === "certification" ? word("certification", value) : facet === "owner" && value === "-" ? t("nobody") : value);
  const shown = open ? all : all.slice(0, IN_SIGHT);
  return (
    <section>
      <h2>{t(`facet.${facet}`)}</h2>
      <ul>
        {shown.map(({ value, count }) => (
          <li key={value}><button type="button" aria-pressed={chosen === value} onClick={() => choose(chosen === value ? null : value)}><span>{say(value)}</span><span className="quiet">{n(count)}</span></button></li>
        ))}
      </ul>
      {all.length > shown.length && <Button type="text" size="small" onClick={() => setOpen(true)}>{t("facet.more", { count: n(all.length - shown.length) })}</Button>}
    </section>
  );
}

function Row({ hit }: { hit: Hit }) {
  const { t, n, language } = useWords(own);
  const kind = useKind();
  const short = hit.name.includes(":") ? hit.name.slice(hit.name.indexOf(":") + 1) : hit.name;
  const label = called({ name: short, label: hit.labels }, language);
  const stale = hit.age_s !== null && hit.fresh_limit_s !== null && hit.age_s > hit.fresh_limit_s;
  return (
    <li className="cat-row">
      <span className="cat-icon"><Icon name={iconOf(hit.kind)} /></span>
      <div className="cat-words">
        <p className="cat-name">
          <Link to={`/catalogue/${part(hit.name)}`}>{short}</Link>
          {label !== short && <span className="quiet">{label}</span>}
          <Chip>{kind(hit.kind)}</Chip>
          {hit.certification === "certified" && <Status of="ok" label={t("certification.certified")} />}
          {hit.certification === "deprecated" && <Status of="warned" label={t("certification.deprecated")} />}
          {stale && <Status of="stale" />}
          {hit.tests_status === "failed" && <Status of="failed" />}
        </p>
        {hit.description && <p className="cat-about"><Rich text={hit.description} /></p>}
        <p className="cat-more">
          {hit.owner && <span><Icon name="user" size={13} />{hit.owner}</span>}
          {hit.rows !== null && <span>{t("rows", { count: n(hit.rows) })}</span>}
          {hit.tests > 0 && <span>{t("tests", { count: n(hit.tests) })}</span>}
          {hit.reads > 0 && <span>{t("reads", { count: n(hit.reads) })}</span>}
          {hit.used_by > 0 && <span>{t("users", { count: n(hit.used_by) })}</span>}
          {hit.tags.map((tag) => <span key={tag}><Icon name="tag" size={13} />{tag}</span>)}
          {hit.columns.length > 0 && <span>{t("columns")} {hit.columns.map((column) => <code key={column} className="cat-column">{column}</code>)}</span>}
        </p>
      </div>
      <Health score={hit.health} />
    </li>
  );
}
