/** One connection: its settings, what of it is landed, and whether it answers. */
import { Button } from "antd";
import { Link, useNavigate, useParams } from "react-router";
import { part, useDo, useGet, type Connection as Shown, type Items, type Sync } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Empty, Facts, Figures, Grid, Page, Status, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { AssetLink, PageLink } from "../../ui/links";
import { Edit } from "../files/buttons";
import { lastRead } from "./last";
import own from "./words";

/** What a test of a connection found. */
export interface Tested { ok: boolean; elapsed_ms: number; streams?: string[]; code?: string; detail?: string; hint?: string | null }

const SECRET = "(secret)";

export default function Connection() {
  const { t } = useWords(own);
  const { can } = useWho();
  const go = useNavigate();
  const { name = "" } = useParams();
  const connections = useGet<Items<Shown>>("/v1/connections");
  const syncs = useGet<Items<Sync>>("/v1/syncs");
  const test = useDo<Tested>(() => ["POST", `/v1/connections/${part(name)}/test`, {}]);
  const one = connections.data?.items.find((connection) => connection.name === name);
  const back = { to: "/connections", label: t("back") };
  if (connections.data && !one) return <Page title={name} back={back}><Empty icon="connect" text={t("missing", { name })} action={<Link to="/connections">{t("back")}</Link>} /></Page>;
  const actions = one && can("operate") && (
    <>
      <Edit kind="connection" name={name} />
      <Button icon={<Icon name="connect" size={14} />} loading={test.isPending} onClick={() => test.mutate()}>{t(test.data ? "test.again" : "test")}</Button>
      <Button type="primary" icon={<Icon name="plus" size={14} />} onClick={() => void go(`/new-sync?from=${part(name)}`)}>{t("new")}</Button>
    </>
  );
  return (
    <Page title={<>{name}{one && <Chip>{one.type}</Chip>}</>} text={one?.description ?? undefined} back={back} actions={actions}>
      {test.error && <Trouble error={test.error} />}
      {test.data && <Found tested={test.data} used={new Set((syncs.data?.items ?? []).filter((sync) => sync.from === name).flatMap((sync) => sync.streams.map((stream) => stream.stream)))} />}
      <Ask of={connections}>{() => one && <Body one={one} syncs={syncs.data?.items ?? []} read={connections.dataUpdatedAt} />}</Ask>
    </Page>
  );
}

function Found({ tested, used }: { tested: Tested; used: Set<string> }) {
  const { t, n, duration } = useWords(own);
  const streams = tested.streams ?? [];
  return (
    <Card title={t("test.title")} extra={<Trust read={Date.now()} route="POST /v1/connections/{connection}/test" />}>
      <div aria-live="polite">
        {!tested.ok && (
          <div className="trouble" role="alert"><Icon name="failed" size={20} /><div><p className="trouble-detail">{tested.code && <code className="trouble-code">{tested.code}</code>}{tested.detail ?? t("test.bad")}</p>{tested.hint && <p>{tested.hint}</p>}</div></div>
        )}
        {tested.ok && <p><Status of="ok" /> {streams.length ? t("test.ok", { count: n(streams.length), time: duration(tested.elapsed_ms) }) : t("test.none")}</p>}
      </div>
      {streams.length > 0 && (
        <div style={{ marginTop: 10 }}>
          <Grid
            tight rows={streams} rowKey={(stream) => stream} label={t("test.title")} page={12}
            columns={[
              { key: "stream", title: t("stream"), cell: (stream) => <code>{stream}</code>, by: (stream) => stream },
              { key: "used", title: t("f.status"), cell: (stream) => (used.has(stream) ? <Status of="active" label={t("test.used")} /> : <span className="quiet">{t("test.free")}</span>), by: (stream) => Number(used.has(stream)) },
            ]}
          />
        </div>
      )}
    </Card>
  );
}

function Body({ one, syncs, read }: { one: Shown; syncs: Sync[]; read: number }) {
  const { t, n, ago, moment } = useWords(own);
  const { can } = useWho();
  const mine = syncs.filter((sync) => one.syncs.includes(sync.name));
  const streams = mine.filter((sync) => sync.from === one.name).flatMap((sync) => sync.streams.map((stream) => ({ ...stream, sync })));
  const last = lastRead(one.name, syncs);
  const settings = Object.entries(one.settings);
  return (
    <>
      <Figures of={[
        { label: t("role"), value: t(`role.${one.role}` as "role.both") },
        { label: t("syncs"), value: n(one.syncs.length) },
        { label: t("streams"), value: n(streams.length) },
        { label: t("last"), value: last ? ago(last.started_at) : t("never"), note: last && moment(last.started_at), tone: last?.status === "failed" ? "bad" : undefined },
      ]} />
      <Card title={t("streams")} flush extra={<Trust read={read} route="GET /v1/syncs" />}>
        <Grid
          rows={streams} rowKey={(stream) => `${stream.sync.name} ${stream.stream}`} label={t("streams")}
          empty={<Empty icon="syncs" text={t("streams.empty")} action={can("operate") && <Link to={`/new-sync?from=${part(one.name)}`}>{t("new")}</Link>} />}
          columns={[
            { key: "stream", title: t("stream"), cell: (stream) => <code>{stream.stream}</code>, by: (stream) => stream.stream },
            { key: "sync", title: t("sync"), cell: (stream) => <PageLink to="syncs" name={stream.sync.name} />, by: (stream) => stream.sync.name },
            { key: "table", title: t("f.table"), cell: (stream) => (stream.table ? <AssetLink name={stream.table} /> : "–"), by: (stream) => stream.table },
            { key: "read", title: t("read"), cell: (stream) => <Chip>{stream.read}</Chip>, by: (stream) => stream.read },
            { key: "write", title: t("write"), cell: (stream) => <Chip>{stream.write}</Chip>, by: (stream) => stream.write },
            { key: "status", title: t("f.status"), cell: (stream) => (stream.sync.last?.status ? <Status of={stream.sync.last.status} /> : <span className="quiet">{t("never")}</span>), by: (stream) => stream.sync.last?.status },
            { key: "last", title: t("last"), cell: (stream) => (stream.sync.last?.started_at ? <span title={moment(stream.sync.last.started_at)}>{ago(stream.sync.last.started_at)}</span> : "–"), by: (stream) => stream.sync.last?.started_at },
          ]}
        />
      </Card>
      <Card title={t("settings")} extra={<><code className="quiet small">{one.file}</code><Trust read={read} route="GET /v1/connections" /></>}>
        {settings.length ? <Facts of={settings.map(([key, value]) => [<code key={key}>{key}</code>, value === SECRET ? <Status key={key} of="secret" label={t("secret")} /> : <code key={key}>{typeof value === "string" ? value : JSON.stringify(value)}</code>])} /> : <p className="quiet">{t("settings.none")}</p>}
      </Card>
    </>
  );
}
