/** Keys to one query: made, shown once, taken back. */
import { App, Button } from "antd";
import { useState } from "react";
import { part, useDo, useGet } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Choice, Code, Empty, Grid, Pick, Rich, Status, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { curl, example, rowsAt } from "./parameters";
import { listOf, roleOf, stateOf, type Key, type MadeKey, type Query } from "./query";
import own from "./words";

const DAYS = ["7", "30", "90", "365"] as const;
/** The roles that may call queries. */
const ROLES = ["engineer", "analyst", "viewer", "agent"];

/** What can name a key, from what somebody types. */
const plainName = (text: string) => text.replace(/[^\p{L}\p{N}_.@+-]+/gu, "-");

const called = (key: Key) => key.label || key.name || key.id;

export function Keys({ query }: { query: Query }) {
  const { t, word, day, ago } = useWords(own);
  const { can } = useWho();
  const { modal } = App.useApp();
  const path = `/v1/queries/${part(query.name)}/keys`;
  const keys = useGet<unknown>(path);
  const [label, setLabel] = useState("");
  const [days, setDays] = useState<(typeof DAYS)[number]>("30");
  const [role, setRole] = useState("");
  const make = useDo<MadeKey>(() => ["POST", path, { days: Number(days), role: role || undefined, label: label.trim() || undefined }], () => setLabel(""));
  const revoke = useDo<unknown, string>((id) => ["DELETE", `/v1/tokens/${part(id)}`]);
  const ask = (key: Key) => modal.confirm({ title: t("key.revoke.title", { name: called(key) }), content: t("key.revoke.text"), okText: t("key.revoke"), okButtonProps: { danger: true }, cancelText: t("f.cancel"), onOk: () => revoke.mutate(key.id) });
  const address = location.origin + rowsAt(query.name, query.parameters.filter((one) => one.required).map((one): [string, string] => [one.name, example(one.type)]));
  return (
    <Card title={t("keys")} extra={<Trust read={keys.dataUpdatedAt} route={`GET ${path}`} />}>
      <p className="quiet"><Rich text={t("keys.text")} /></p>
      {can("call") && <form className="query-key" onSubmit={(event) => { event.preventDefault(); if (!make.isPending) make.mutate(); }}>
        <label className="field"><span>{t("key.label")}</span><input value={label} maxLength={64} placeholder="web-shop" onChange={(event) => setLabel(plainName(event.target.value))} /></label>
        <div className="field"><span>{t("key.days")}</span><Choice label={t("key.days")} value={days} choose={setDays} of={DAYS.map((key) => ({ key, label: t("key.days.some", { count: key }) }))} /></div>
        <div className="field"><span aria-hidden="true">{t("key.role")}</span><Pick label={t("key.role")} value={role} choose={setRole} of={[{ key: "", label: t("key.role.mine") }, ...ROLES.map((key) => ({ key, label: word("role", key) }))]} /></div>
        <Button type="primary" htmlType="submit" icon={<Icon name="plus" size={14} />} loading={make.isPending}>{t("key.make")}</Button>
      </form>}
      {make.error && <Trouble error={make.error} />}
      {make.data && (
        <div className="query-made" role="status">
          <p><Icon name="alert" size={15} />{t("key.once", { day: day(make.data.expires_at) })}</p>
          <Code text={make.data.key} />
          <Code text={curl(address, make.data.key)} />
        </div>
      )}
      {revoke.error && <Trouble error={revoke.error} />}
      <Ask of={keys} lines={2}>
        {(answer) => (
          <Grid
            rows={listOf<Key>(answer, "keys")} rowKey={(one) => one.id} label={t("keys.of", { name: query.name })} tight first={{ key: "created", down: true }} empty={<Empty icon="admin" text={t("keys.empty")} />}
            columns={[
              { key: "name", title: t("key.label"), cell: (one) => <b>{called(one)}</b>, by: called },
              { key: "role", title: t("key.role"), cell: (one) => { const as = roleOf(one); return as ? <Chip>{word("role", as)}</Chip> : t("key.role.maker"); } },
              { key: "state", title: t("f.status"), cell: (one) => <Status of={stateOf(one)} label={stateOf(one) === "expired" ? t("key.expired") : undefined} />, by: (one) => stateOf(one) },
              { key: "expires", title: t("key.until"), cell: (one) => day(one.expires_at), by: (one) => one.expires_at },
              { key: "used", title: t("key.used"), cell: (one) => (one.last_used_at ? ago(one.last_used_at) : "–"), by: (one) => one.last_used_at },
              { key: "created", title: t("key.by"), cell: (one) => one.owner, by: (one) => one.created_at },
              { key: "do", title: "", cell: (one) => stateOf(one) === "active" && <Button size="small" type="text" danger aria-label={`${t("key.revoke")}: ${called(one)}`} onClick={() => ask(one)}>{t("key.revoke")}</Button> },
            ]}
          />
        )}
      </Ask>
    </Card>
  );
}
