/** Quotas: what users of each role may take, and who wanted more. */
import { useGet, type Items } from "../../api";
import { useWords } from "../../i18n";
import { Ask, Card, Code, Empty, Grid, Rich, Trust } from "../../ui/basics";
import own from "./words";

export interface Quota { memory_bytes: number | null; time_ms: number | null; rows: number | null; queries: number | null; requests_per_minute: number | null }
interface Role { role: string; user_count: number; quota: Quota }
interface User { user: string; role: string | null; quota: Quota }
interface Hit { number: number; at: string; who: string; quota: string; most: number; said: string }
type Answer = Items<Role> & { users: User[]; hits: Hit[] | null; memory_bytes: number };

/** Bytes in MiB, as files say them. */
export const mebibytes = (bytes: number) => Math.round((bytes / (1 << 20)) * 10) / 10;

const EXAMPLE = "quotas:\n  roles:\n    analyst: {memory: 512MiB, time: 1m, rows: 50000, queries: 2}\n    agent: {requests_per_minute: 6000}\n  users:\n    anna: {time: 5m}";

export function Quotas() {
  const { t, n, duration, moment, word } = useWords(own);
  const quotas = useGet<Answer>("/v1/quotas");
  const limit = (value: string | null) => value ?? <span className="quiet small">{t("quotas.none")}</span>;
  const size = (bytes: number | null) => (bytes === null ? null : `${n(mebibytes(bytes))} MiB`);
  const limits = [
    { key: "memory", title: t("quotas.memory"), number: true, cell: ({ quota }: { quota: Quota }) => limit(size(quota.memory_bytes)) },
    { key: "time", title: t("quotas.time"), number: true, cell: ({ quota }: { quota: Quota }) => limit(quota.time_ms === null ? null : duration(quota.time_ms)) },
    { key: "rows", title: t("quotas.rows"), number: true, cell: ({ quota }: { quota: Quota }) => limit(quota.rows === null ? null : n(quota.rows)) },
    { key: "queries", title: t("quotas.queries"), number: true, cell: ({ quota }: { quota: Quota }) => limit(quota.queries === null ? null : n(quota.queries)) },
    { key: "requests", title: t("quotas.requests"), number: true, cell: ({ quota }: { quota: Quota }) => limit(quota.requests_per_minute === null ? null : n(quota.requests_per_minute)) },
  ];
  return (
    <Ask of={quotas}>
      {({ items, users, hits, memory_bytes: memory }) => (
        <>
          <Card flush title={t("tab.quotas")} extra={<Trust read={quotas.dataUpdatedAt} route="GET /v1/quotas" />}>
            <p className="quiet" style={{ padding: "0 16px" }}>{t("quotas.text", { memory: size(memory) ?? "" })}</p>
            <Grid
              rows={items} rowKey={(one) => one.role} label={t("tab.quotas")} empty={<Empty icon="info" text={t("quotas.none")} />}
              columns={[
                { key: "role", title: t("role"), cell: (one) => <b>{word("role", one.role)}</b>, by: (one) => one.role },
                { key: "count", title: t("tab.users"), number: true, cell: (one) => n(one.user_count), by: (one) => one.user_count },
                ...limits,
              ]}
            />
          </Card>
          {users.length > 0 && (
            <Card flush title={t("quotas.users")}>
              <Grid
                rows={users} rowKey={(one) => one.user} label={t("quotas.users")} empty={<Empty icon="info" text={t("quotas.none")} />}
                columns={[
                  { key: "user", title: t("audit.who"), cell: (one) => <b>{one.user}</b>, by: (one) => one.user },
                  { key: "role", title: t("role"), cell: (one) => (one.role ? word("role", one.role) : "–"), by: (one) => one.role ?? "" },
                  ...limits,
                ]}
              />
            </Card>
          )}
          <Card flush title={t("quotas.hits")}>
            {hits === null ? <p className="quiet" style={{ padding: "0 16px" }}>{t("quotas.hits.audit")}</p> : (
              <Grid
                rows={hits} rowKey={(one) => String(one.number)} label={t("quotas.hits")} empty={<Empty icon="info" text={t("quotas.hits.empty")} />}
                columns={[
                  { key: "at", title: t("f.at"), cell: (one) => moment(one.at), by: (one) => one.at },
                  { key: "who", title: t("audit.who"), cell: (one) => <b>{one.who}</b>, by: (one) => one.who },
                  { key: "quota", title: t("quotas.what"), cell: (one) => word("quotas.kind", one.quota), by: (one) => one.quota },
                  { key: "said", title: t("quotas.said"), wrap: true, cell: (one) => <span className="quiet small">{one.said}</span> },
                ]}
              />
            )}
          </Card>
          <Card><p className="quiet"><Rich text={t("quotas.declare")} /></p><Code text={EXAMPLE} /></Card>
        </>
      )}
    </Ask>
  );
}
