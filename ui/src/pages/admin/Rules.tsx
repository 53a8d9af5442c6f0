/** Rules: which tables they are about, who sees what of them, and what does not fit. */
import { useGet, type Items } from "../../api";
import { useWords } from "../../i18n";
import { Ask, Card, Chip, Code, Empty, Grid, Rich, Status, Trust } from "../../ui/basics";
import own from "./words";

interface Readers {
  everybody?: boolean; roles?: string[]; groups?: string[]; users?: string[];
  nothing?: boolean; rows?: string | null; masks?: Record<string, unknown>; hide?: string[];
}
interface Rule { rule: string; description: string | null; ask: string; file: string; line: number; tables: string[]; cleared: string[]; refused: string[]; readers: Readers[]; users: [string, number | null][]; lifted: string[] }
interface Misfit { rule: string; message: string; hint: string | null }
type Answer = Items<Rule> & { misfits: Misfit[]; closed: Misfit[] };
interface Entry { rule: Rule; readers: Readers | null; place: number }

/** The place of those for whom a rule was lifted: no entry of its file names them. */
const LIFTED = 0;

/** Every entry of every rule, and of each the users whom no entry names, and those who asked to see everything and may. */
export const entries = (rules: Rule[]): Entry[] => rules.flatMap((rule) => {
  const all: Entry[] = rule.readers.map((readers, index) => ({ rule, readers, place: index + 1 }));
  const closed = rule.readers.some((readers) => readers.everybody);
  const open = closed ? all : [...all, { rule, readers: null, place: all.length + 1 }];
  return rule.lifted.length > 0 ? [...open, { rule, readers: {}, place: LIFTED }] : open;
});

/** The users of the server for whom an entry decides. */
export const decided = ({ rule, readers, place }: Entry) => place === LIFTED ? rule.lifted : rule.users.filter(([, at]) => (readers ? at === place : at === null)).map(([name]) => name);

export function Rules() {
  const { t, word } = useWords(own);
  const rules = useGet<Answer>("/v1/rules");
  const who = ({ readers, place }: Entry) => (place === LIFTED ? [t("rules.lifted")] : readers === null || readers.everybody ? [t(readers ? "rules.everybody" : "rules.others")] : [
    ...(readers.roles ?? []).map((role) => word("role", role)), ...(readers.groups ?? []), ...(readers.users ?? []),
  ]);
  const sees = ({ readers }: Entry) => {
    if (!readers || readers.nothing) return <Status of="denied" label={t("rules.nothing")} />;
    const masks = Object.entries(readers.masks ?? {});
    if (!readers.rows && !masks.length && !readers.hide?.length) return <Status of="ok" label={t("rules.all")} />;
    return (
      <>
        {readers.rows && <div><span className="quiet small">{t("rules.rows")}</span> <code>{readers.rows}</code></div>}
        {masks.map(([column, mask]) => <div key={column}><span className="quiet small">{t("rules.mask")}</span> <code>{column}</code> → <code>{typeof mask === "string" ? mask : JSON.stringify(mask)}</code></div>)}
        {readers.hide?.length ? <div><span className="quiet small">{t("rules.hide")}</span> {readers.hide.map((column) => <code key={column}>{column} </code>)}</div> : null}
      </>
    );
  };
  return (
    <Ask of={rules}>
      {({ items, misfits, closed }) => (
        <>
          {closed.length > 0 && <Card title={t("rules.closed")}>{closed.map((one) => <p key={one.rule + one.message}><Status of="attention" label={one.rule} /> {one.message} <span className="quiet small">{one.hint}</span></p>)}</Card>}
          {misfits.length > 0 && <Card title={t("rules.misfits")}>{misfits.map((one) => <p key={one.rule + one.message}><Status of="failed" label={one.rule} /> {one.message} <span className="quiet small">{one.hint}</span></p>)}</Card>}
          <Card flush title={t("tab.rules")} extra={<Trust read={rules.dataUpdatedAt} route="GET /v1/rules" />}>
            <Grid
              rows={entries(items)} rowKey={(entry) => `${entry.rule.rule} ${entry.place}`} label={t("tab.rules")} empty={<Empty icon="info" text={t("rules.empty")} />}
              columns={[
                { key: "rule", title: t("rules.rule"), cell: (entry) => (entry.place === 1 ? <b title={`${entry.rule.file}:${entry.rule.line}`}>{entry.rule.rule}</b> : null), by: (entry) => entry.rule.rule },
                { key: "tables", title: t("rules.tables"), wrap: true, cell: (entry) => (entry.place === 1 ? <>{entry.rule.tables.map((table) => <code key={table}>{table} </code>)}</> : null) },
                { key: "who", title: t("rules.who"), wrap: true, cell: (entry) => <>{who(entry).map((one) => <Chip key={one}>{one}</Chip>)}</> },
                { key: "sees", title: t("rules.sees"), wrap: true, cell: sees },
                { key: "users", title: t("tab.users"), wrap: true, cell: (entry) => <span className="quiet small">{decided(entry).join(", ")}</span> },
              ]}
            />
          </Card>
          {items.some((rule) => rule.refused.length > 0) && (
            <Card title={t("rules.refused")}>
              <p className="quiet">{t("rules.refused.text")}</p>
              {items.filter((rule) => rule.refused.length > 0).map((rule) => <p key={rule.rule}><b>{rule.rule}</b> {rule.refused.map((table) => <code key={table}>{table} </code>)}</p>)}
            </Card>
          )}
          <Card title={t("rules.try")}><p className="quiet"><Rich text={t("rules.try.text")} /></p><Code text={'flywheel sql "select * from raw.customers" --as anna'} /></Card>
        </>
      )}
    </Ask>
  );
}
