/** Every system that rows come from or go to. */
import { App, Button } from "antd";
import { useNavigate } from "react-router";
import { useDo, useGet, type Connection, type Items, type Sync } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Code, Empty, Grid, Page, Rich, Status, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { PageLink } from "../../ui/links";
import { New } from "../files/buttons";
import { lastRead } from "./last";
import own from "./words";

/** A file to start from. */
const EXAMPLE = `connection: shop_db
type: postgres
description: The shop's database.
options:
  host: db.example.org
  database: shop
  user: reader
  password: '\${env:SHOP_DB_PASSWORD}'
`;

export function Reload() {
  const { t } = useWords(own);
  const { can } = useWho();
  const { message } = App.useApp();
  const reload = useDo<{ warnings: string[] }>(() => ["POST", "/v1/project/reload", {}], ({ warnings }) => {
    void message.success(t("reloaded"));
    for (const warning of warnings) void message.warning(warning, 8);
  });
  if (!can("operate")) return null;
  return <><Button loading={reload.isPending} onClick={() => reload.mutate()}>{t("reload")}</Button>{reload.error && <Trouble error={reload.error} />}</>;
}

export default function Connections() {
  const { t, n, ago } = useWords(own);
  const { can } = useWho();
  const go = useNavigate();
  const connections = useGet<Items<Connection>>("/v1/connections");
  const syncs = useGet<Items<Sync>>("/v1/syncs");
  const any = (connections.data?.items.length ?? 0) > 0;
  return (
    <Page title={t("title")} text={t("text")} actions={<><New kind="connection" main={!any} />{any && can("operate") && <><Reload /><Button type="primary" icon={<Icon name="plus" size={14} />} onClick={() => void go("/new-sync")}>{t("new")}</Button></>}</>}>
      <Card flush title={any && t("back")} extra={any && <Trust read={connections.dataUpdatedAt} route="GET /v1/connections" />}>
        <Ask of={connections}>
          {({ items }) => (
            <Grid
              rows={items} rowKey={(one) => one.name} label={t("title")} first={{ key: "name" }}
              empty={<><Empty icon="connect" text={t("empty")} action={<Reload />} /><div style={{ padding: "0 18px 12px" }}><Code text={EXAMPLE} /></div></>}
              columns={[
                { key: "name", title: t("f.name"), wrap: true, cell: (one) => <><PageLink to="connections" name={one.name}><b>{one.name}</b></PageLink>{one.description && <div className="quiet small"><Rich text={one.description} /></div>}</>, by: (one) => one.name },
                { key: "type", title: t("f.type"), cell: (one) => <Chip>{one.type}</Chip>, by: (one) => one.type },
                { key: "role", title: t("role"), cell: (one) => t(`role.${one.role}` as "role.both"), by: (one) => one.role },
                { key: "syncs", title: t("syncs"), cell: (one) => (one.syncs.length ? one.syncs.map((sync, at) => <span key={sync}>{at > 0 && ", "}<PageLink to="syncs" name={sync} /></span>) : "–"), by: (one) => one.syncs.length },
                { key: "streams", title: t("streams"), number: true, cell: (one) => n((syncs.data?.items ?? []).filter((sync) => sync.from === one.name).reduce((sum, sync) => sum + sync.streams.length, 0)) },
                { key: "last", title: t("last"), cell: (one) => { const last = lastRead(one.name, syncs.data?.items ?? []); return last ? <span className="row"><Status of={last.status} /><span className="quiet">{ago(last.started_at)}</span></span> : <span className="quiet">{t("never")}</span>; }, by: (one) => lastRead(one.name, syncs.data?.items ?? [])?.started_at },
                { key: "file", title: t("f.file"), cell: (one) => <code className="quiet">{one.file}</code>, by: (one) => one.file },
              ]}
            />
          )}
        </Ask>
      </Card>
    </Page>
  );
}
