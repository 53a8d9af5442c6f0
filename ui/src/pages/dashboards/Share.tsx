/** Links to one dashboard, or to a tile of it, for people without a name: made, shown once, taken back. */
import { App, Button, Modal } from "antd";
import { useState } from "react";
import { part, useDo, useGet, type Items } from "../../api";
import { useWords } from "../../i18n";
import { Ask, Choice, Chip, Code, Grid, Pick, Rich, Status, Trouble } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { scoped, titled, type Opened } from "./board";
import { sitesOf } from "../../sites";
import own from "./words";

interface Token { scopes: string[]; id: string; name: string; owner: string; created_at: string; expires_at: string; last_used_at: string | null; revoked: boolean }
const ROLES = ["engineer", "analyst", "operator", "viewer"];
const DAYS = ["7", "30", "90"] as const;

export default function Share({ opened, close }: { opened: Opened; close: () => void }) {
  const { t, word, day, ago, language } = useWords(own);
  const { name } = opened;
  const { modal } = App.useApp();
  const path = `/v1/dashboards/${part(name)}/links`;
  const links = useGet<Items<Token>>(path);
  const [whom, setWhom] = useState("");
  const [days, setDays] = useState<(typeof DAYS)[number]>("30");
  const [tile, setTile] = useState("");
  const [role, setRole] = useState("");
  const [sites, setSites] = useState("");
  const make = useDo<Token & { link: string }>(() => ["POST", path, { name: whom.trim(), days: Number(days), tile: tile || undefined, role: role || undefined, sites: sitesOf(sites) }], () => setWhom(""));
  const shown = opened.dashboard.tiles.map((one) => ({ key: one.tile, label: titled(one, opened.metrics, language, (what) => what) || one.tile }));
  const revoke = useDo<unknown, string>((id) => ["DELETE", `/v1/tokens/${part(id)}`]);
  const state = (token: Token) => (token.revoked ? "revoked" : new Date(token.expires_at).getTime() < Date.now() ? "expired" : "active");
  const ask = (token: Token) => modal.confirm({ title: t("share.revoke.title", { name: token.name }), content: t("share.revoke.text"), okText: t("share.revoke"), okButtonProps: { danger: true }, cancelText: t("f.cancel"), onOk: () => revoke.mutate(token.id) });
  const address = make.data && `${location.origin}${make.data.link}`;
  return (
    <Modal open title={t("share.title")} onCancel={close} footer={<Button onClick={close}>{t("app.close")}</Button>} width={640}>
      <p className="quiet"><Rich text={t("share.text")} /></p>
      <form className="board-share" onSubmit={(event) => { event.preventDefault(); if (whom.trim() && !make.isPending) make.mutate(); }}>
        <label className="field"><span>{t("share.whom")}</span><input value={whom} maxLength={64} placeholder="board-meeting" onChange={(event) => setWhom(event.target.value)} /></label>
        <div className="field"><span>{t("share.days")}</span><Choice label={t("share.days")} value={days} choose={setDays} of={DAYS.map((key) => ({ key, label: t("days.plain", { count: key }) }))} /></div>
        <Button type="primary" htmlType="submit" loading={make.isPending} disabled={!whom.trim()}>{t("share.make")}</Button>
        <div className="field"><span>{t("share.what")}</span><Pick label={t("share.what")} value={tile} choose={setTile} of={[{ key: "", label: t("share.what.all") }, ...shown]} /></div>
        <div className="field"><span>{t("share.role")}</span><Pick label={t("share.role")} value={role} choose={setRole} of={[{ key: "", label: t("share.role.mine") }, ...ROLES.map((key) => ({ key, label: word("role", key) }))]} /></div>
        <label className="field board-sites"><span>{t("share.sites")}</span><textarea rows={2} value={sites} placeholder="https://intranet.example" aria-describedby="share-sites" onChange={(event) => setSites(event.target.value)} /></label>
        <p className="quiet small board-sites" id="share-sites">{t("share.sites.text")}</p>
      </form>
      {make.error && <Trouble error={make.error} />}
      {address && (
        <div className="board-made" role="status">
          <p><Icon name="alert" size={15} />{t("share.once")}</p>
          <Code text={address} />
          <details className="declared"><summary>{t("share.frame")}</summary><Code text={`<iframe src="${address}" width="100%" height="${scoped(make.data?.scopes ?? []).tile ? 320 : 900}" style="border:0"></iframe>`} /></details>
        </div>
      )}
      {revoke.error && <Trouble error={revoke.error} />}
      <Ask of={links} lines={2}>
        {({ items }) => (items.length > 0 && (
          <Grid
            rows={items} rowKey={(one) => one.id} label={t("share.links")} tight first={{ key: "created", down: true }}
            columns={[
              { key: "name", title: t("share.whom"), cell: (one) => <b>{one.name}</b>, by: (one) => one.name },
              { key: "what", title: t("share.what"), wrap: true, cell: (one) => { const { tile: only, role: as, sites: on } = scoped(one.scopes); return <span className="row" style={{ gap: 4 }}>{only ? <Chip>{only}</Chip> : t("share.what.all")}{as && <Chip>{t("share.as", { role: word("role", as) })}</Chip>}{on.map((site) => <Chip key={site}>{site}</Chip>)}</span>; } },
              { key: "state", title: t("f.status"), cell: (one) => <Status of={state(one)} label={state(one) === "expired" ? t("share.expired") : undefined} />, by: state },
              { key: "expires", title: t("share.until"), cell: (one) => day(one.expires_at), by: (one) => one.expires_at },
              { key: "used", title: t("share.used"), cell: (one) => (one.last_used_at ? ago(one.last_used_at) : "–"), by: (one) => one.last_used_at },
              { key: "created", title: t("share.by"), cell: (one) => one.owner, by: (one) => one.created_at },
              { key: "do", title: "", cell: (one) => state(one) === "active" && <Button size="small" type="text" danger aria-label={`${t("share.revoke")}: ${one.name}`} onClick={() => ask(one)}>{t("share.revoke")}</Button> },
            ]}
          />
        ))}
      </Ask>
    </Modal>
  );
}
