/** Grants: who holds them, and what every user may see, change and run. */
import { useGet, type Items } from "../../api";
import { useWords } from "../../i18n";
import { Ask, Card, Chip, Code, Empty, Grid, Trust } from "../../ui/basics";
import own from "./words";

const DEEDS = ["read", "change", "act"] as const;
const KINDS = ["tables", "metrics", "dashboards", "queries", "learners", "policies", "syncs", "connections", "schedules"] as const;
type Deed = (typeof DEEDS)[number];
type Kind = (typeof KINDS)[number];
type Things = Partial<Record<Kind, string[]>>;

interface Grant extends Partial<Record<Deed, Things>> {
  grant: string; description: string | null; ask: string; file: string; line: number; users: string[]; given: string[];
  to: { everybody?: boolean; roles?: string[]; groups?: string[]; users?: string[] };
}
interface Effective { kind: Kind; closed: boolean; read: string[]; change: string[]; act: string[]; hidden: number }
interface Lacking { kind: Kind; name: string; reads: [Kind, string][] }
interface User { who: string; role: string | null; grants: string[]; given: string[]; everything: boolean; kinds: Effective[]; lacking: Lacking[] }
type Answer = Items<Grant> & { users: User[] };

/** Names that are written out; the others are counted. */
const NAMES_SHOWN = 8;

const EXAMPLE = "grant: marketing\nask: data@shop.example\nto: {groups: [marketing]}\nread:\n  tables: [marts.*]\n  dashboards: [campaigns]\nact:\n  policies: [welcome_*]";

/** What a grant's file says, deed by deed. */
export const said = (grant: Pick<Grant, Deed>) => DEEDS.flatMap((deed) => KINDS.flatMap((kind) => {
  const patterns = grant[deed]?.[kind] ?? [];
  return patterns.length > 0 ? [{ deed, kind, patterns }] : [];
}));

/** The first names, and how many come after them. */
export const first = (names: string[]) => ({ shown: names.slice(0, NAMES_SHOWN), more: Math.max(0, names.length - NAMES_SHOWN) });

interface Line { user: User; kind: Effective | null; place: number }

/** Each kind that is closed to a user, on a line of its own; one line for whom nothing is. */
export const lines = (users: User[]): Line[] => users.flatMap((user): Line[] => {
  const closed = user.kinds.filter((one) => one.closed || one.hidden > 0);
  return user.everything || closed.length === 0 ? [{ user, kind: null, place: 1 }] : closed.map((kind, index) => ({ user, kind, place: index + 1 }));
});

export function Grants() {
  const { t, n, word } = useWords(own);
  const grants = useGet<Answer>("/v1/grants");
  const names = (all: string[]) => {
    if (all.length === 0) return <span className="quiet small">{t("grants.nothing")}</span>;
    const { shown, more } = first(all);
    return <>{shown.map((name) => <code key={name}>{name} </code>)}{more > 0 && <span className="quiet small">{t("grants.more", { count: n(more) })}</span>}</>;
  };
  const holders = ({ to }: Grant) => [...(to.everybody ? [t("grants.everybody")] : []), ...(to.roles ?? []).map((role) => word("role", role)), ...(to.groups ?? []), ...(to.users ?? [])];
  return (
    <Ask of={grants}>
      {({ items, users }) => (
        <>
          <Card flush title={t("tab.grants")} extra={<Trust read={grants.dataUpdatedAt} route="GET /v1/grants" />}>
            <Grid
              rows={items} rowKey={(one) => one.grant} label={t("tab.grants")} empty={<Empty icon="info" text={t("grants.empty")} />}
              columns={[
                { key: "grant", title: t("grants.grant"), cell: (one) => <b title={`${one.file}:${one.line}`}>{one.grant}</b>, by: (one) => one.grant },
                { key: "to", title: t("grants.to"), wrap: true, cell: (one) => <>{holders(one).map((name) => <Chip key={name}>{name}</Chip>)}</> },
                { key: "what", title: t("grants.what"), wrap: true, cell: (one) => <>{said(one).map(({ deed, kind, patterns }) => <div key={`${deed} ${kind}`}><span className="quiet small">{word("deed", deed)} · {word("governed", kind)}</span> {patterns.map((pattern) => <code key={pattern}>{pattern} </code>)}</div>)}</> },
                { key: "users", title: t("grants.users"), wrap: true, cell: (one) => <span className="quiet small">{one.users.map((user) => (one.given.includes(user) ? `${user} (${t("grants.given")})` : user)).join(", ")}</span> },
              ]}
            />
          </Card>
          {items.length === 0 ? <Card title={t("grants.grant")}><Code text={EXAMPLE} /></Card> : (
            <Card flush title={t("grants.access")}>
              <p className="quiet" style={{ padding: "0 16px" }}>{t("grants.access.text")}</p>
              <Grid
                rows={lines(users)} rowKey={({ user, place }) => `${user.who} ${place}`} label={t("grants.access")} empty={<Empty icon="info" text={t("grants.nothing")} />}
                columns={[
                  { key: "user", title: t("audit.who"), cell: ({ user, place }) => (place === 1 ? <><b>{user.who}</b> <span className="quiet small">{user.role ? word("role", user.role) : ""}</span></> : null), by: ({ user }) => user.who },
                  { key: "kind", title: t("grants.what"), cell: ({ user, kind }) => (kind ? word("governed", kind.kind) : user.everything ? t("grants.all") : t("grants.open")) },
                  { key: "read", title: word("deed", "read"), wrap: true, cell: ({ user, kind }) => (kind ? <>{names(kind.read)} {kind.hidden > 0 && <span className="quiet small">{t("grants.hidden", { count: n(kind.hidden) })}</span>}{user.lacking.filter((one) => one.kind === kind.kind).map((one) => <div key={one.name} className="small">{t("grants.lacking", { name: one.name, reads: first(one.reads.map(([, name]) => name)).shown.join(", ") })}</div>)}</> : null) },
                  { key: "change", title: word("deed", "change"), wrap: true, cell: ({ kind }) => (kind ? names(kind.change) : null) },
                  { key: "act", title: word("deed", "act"), wrap: true, cell: ({ kind }) => (kind ? names(kind.act) : null) },
                ]}
              />
            </Card>
          )}
        </>
      )}
    </Ask>
  );
}
