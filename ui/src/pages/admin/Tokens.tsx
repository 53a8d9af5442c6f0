/** Tokens of programs: made, shown once, taken back. */
import { App, Button, Modal } from "antd";
import { useState } from "react";
import { part, useDo, useGet, type Items } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Choice, Code, Empty, Grid, Rich, Status, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { sitesOf } from "../../sites";
import own from "./words";

interface Token { id: string; name: string; owner: string; scopes: string[]; created_at: string; expires_at: string; last_used_at: string | null; revoked: boolean }
type Made = Token & { token: string };
const DAYS = ["30", "90", "365"] as const;

/** A request that shows what a token is good for. */
export function example(scopes: string[], token: string, origin: string): string {
  if (token.startsWith("fwp_")) return `<script async src="${origin}/v1/snippet.js" data-key="${token}"></script>`;
  const bearer = `-H 'authorization: Bearer ${token}'`;
  if (scopes.includes("ingest")) return `curl ${bearer} -H 'content-type: application/json' \\\n  -d '{"customer_id": "c-17", "event": "visit"}' ${origin}/v1/events`;
  if (scopes.includes("query")) return `curl ${bearer} -H 'content-type: application/json' \\\n  -d '{"sql": "select * from system.tables"}' ${origin}/v1/sql`;
  return `curl ${bearer} ${origin}/v1/${scopes.includes("view") ? "status" : "me"}`;
}

export function Tokens() {
  const { t, moment, ago, day } = useWords(own);
  const { can, me } = useWho();
  const { modal } = App.useApp();
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState<Made | null>(null);
  const tokens = useGet<Items<Token>>("/v1/tokens");
  const revoke = useDo<unknown, string>((id) => ["DELETE", `/v1/tokens/${part(id)}`]);
  const state = (token: Token) => (token.revoked ? "revoked" : new Date(token.expires_at).getTime() < Date.now() ? "expired" : "active");
  const ask = (token: Token) => modal.confirm({ title: t("revoke.title", { name: token.name }), content: t("revoke.text"), okText: t("revoke"), okButtonProps: { danger: true }, cancelText: t("f.cancel"), onOk: () => revoke.mutate(token.id) });
  const button = <Button type="primary" size="small" icon={<Icon name="plus" size={13} />} onClick={() => setMaking(true)}>{t("token.new")}</Button>;
  return (
    <>
      {revoke.error && <Trouble error={revoke.error} />}
      <Card flush title={t("tab.tokens")} extra={<>{button}<Trust read={tokens.dataUpdatedAt} route="GET /v1/tokens" /></>}>
        <p className="admin-text"><Rich text={t("tokens.text")} /></p>
        <Ask of={tokens}>
          {({ items }) => (
            <Grid
              rows={items} rowKey={(token) => token.id} label={t("tab.tokens")} first={{ key: "created", down: true }} empty={<Empty icon="admin" text={t("tokens.empty")} action={button} />}
              columns={[
                { key: "name", title: t("token.name"), cell: (token) => <b>{token.name}</b>, by: (token) => token.name },
                ...(can("administer") ? [{ key: "owner", title: t("owner"), cell: (token: Token) => <>{token.owner}{token.owner === me.name && <> <Chip>{t("you")}</Chip></>}</>, by: (token: Token) => token.owner }] : []),
                { key: "scopes", title: t("token.scopes"), wrap: true, cell: (token) => <span className="row" style={{ gap: 4 }}>{token.scopes.map((scope) => <Chip key={scope}>{scope}</Chip>)}</span> },
                { key: "state", title: t("state"), cell: (token) => <Status of={state(token)} label={state(token) === "expired" ? t("expired") : undefined} />, by: state },
                { key: "expires", title: t("expires"), cell: (token) => day(token.expires_at), by: (token) => token.expires_at },
                { key: "used", title: t("used"), cell: (token) => (token.last_used_at ? <span title={moment(token.last_used_at)}>{ago(token.last_used_at)}</span> : t("never")), by: (token) => token.last_used_at },
                { key: "created", title: t("created"), cell: (token) => moment(token.created_at), by: (token) => token.created_at },
                { key: "do", title: "", cell: (token) => !token.revoked && <Button size="small" type="text" danger aria-label={`${t("revoke")}: ${token.name}`} onClick={() => ask(token)}>{t("revoke")}</Button> },
              ]}
            />
          )}
        </Ask>
      </Card>
      {making && <New close={() => setMaking(false)} done={(token) => { setMaking(false); setMade(token); }} />}
      {made && (
        <Modal open title={t("token.made", { name: made.name })} mask={{ closable: false }} closable={false} footer={<Button type="primary" onClick={() => setMade(null)}>{t("token.close")}</Button>}>
          <p className="admin-once"><Icon name="alert" size={16} />{t("token.once")}</p>
          <Code text={made.token} />
          <p style={{ margin: "14px 0 6px" }}>{t("token.try")}</p>
          <Code text={example(made.scopes, made.token, location.origin)} />
        </Modal>
      )}
    </>
  );
}

function New({ close, done }: { close: () => void; done: (token: Made) => void }) {
  const { t } = useWords(own);
  const { me } = useWho();
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<string[]>([]);
  const [days, setDays] = useState<(typeof DAYS)[number]>("90");
  const [sites, setSites] = useState("");
  const [topic, setTopic] = useState("web");
  // Anybody can read a key that stands in a page: it only hands in events.
  const pages = scopes.length === 1 && scopes[0] === "ingest";
  const of = pages ? sitesOf(sites) : [];
  const make = useDo<Made>(() => ["POST", "/v1/tokens", { name: name.trim(), scopes, days: Number(days), ...(of.length > 0 && { sites: of, topic: topic.trim() || undefined }) }], done);
  const { word } = useWords(own);
  return (
    <Modal open title={t("token.new")} onCancel={close} okText={t("token.create")} cancelText={t("f.cancel")} confirmLoading={make.isPending} okButtonProps={{ disabled: !name.trim() || scopes.length === 0 }} onOk={() => make.mutate()}>
      <label className="field"><span>{t("token.name")}</span><input value={name} maxLength={64} placeholder="web-shop" autoFocus onChange={(event) => setName(event.target.value)} /><small>{t("invite.help")}</small></label>
      <fieldset className="admin-roles">
        <legend>{t("token.scopes")}</legend>
        {me.permissions.map((scope) => <label key={scope}><input type="checkbox" checked={scopes.includes(scope)} onChange={(event) => setScopes(event.target.checked ? [...scopes, scope] : scopes.filter((one) => one !== scope))} /><span><b>{scope}</b><small>{word("scope", scope)}</small></span></label>)}
      </fieldset>
      {pages && <label className="field"><span>{t("token.sites")}</span><textarea rows={2} value={sites} placeholder="https://shop.example" onChange={(event) => setSites(event.target.value)} /><small><Rich text={t("token.sites.text")} /></small></label>}
      {of.length > 0 && <label className="field"><span>{t("token.topic")}</span><input value={topic} maxLength={63} onChange={(event) => setTopic(event.target.value)} /></label>}
      <div className="field"><span>{t("token.days")}</span><Choice label={t("token.days")} value={days} choose={setDays} of={DAYS.map((key) => ({ key, label: t("token.days.count", { count: key }) }))} /></div>
      {make.error && <Trouble error={make.error} />}
    </Modal>
  );
}
