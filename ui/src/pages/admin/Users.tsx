/** Users: inviting, roles, new links, disabling, removing. */
import { App, Button, Modal } from "antd";
import { useState } from "react";
import { part, useDo, useGet, type Items } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Code, Grid, Rich, Status, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import own from "./words";

interface User { name: string; role: string; disabled: boolean; created_at: string; last_seen_at: string | null; has_password: boolean }
const ROLES = ["owner", "admin", "engineer", "analyst", "operator", "viewer", "agent"] as const;

/** How somebody stands. A program comes with a token and never chooses a password, so nobody waits for it to accept an invitation. */
function State({ of }: { of: User }) {
  const { t } = useWords(own);
  if (of.disabled) return <Status of="disabled" label={t("state.disabled")} />;
  if (of.has_password) return <Status of="active" label={t("state.active")} />;
  if (of.role === "agent") return <Status of="active" label={t("state.program")} />;
  return <Status of="pending" label={t("state.invited")} />;
}

/** A link that is shown once. */
interface Shown { name: string; link: string; title: "invited" | "reset.done" }

/** A link of the server as it is opened from outside. */
export const whole = (link: string, origin = location.origin) => new URL(link, origin).toString();

export function Users() {
  const { t, moment, ago, word } = useWords(own);
  const { me } = useWho();
  const { modal } = App.useApp();
  const [shown, setShown] = useState<Shown | null>(null);
  const [inviting, setInviting] = useState(false);
  const users = useGet<Items<User>>("/v1/users");
  const change = useDo<User, { name: string; role?: string; disabled?: boolean }>(({ name, ...what }) => ["PATCH", `/v1/users/${part(name)}`, what]);
  const reset = useDo<{ setup_link: string }, string>((name) => ["POST", `/v1/users/${part(name)}/reset`, {}], ({ setup_link }, name) => setShown({ name, link: setup_link, title: "reset.done" }));
  const remove = useDo<unknown, string>((name) => ["DELETE", `/v1/users/${part(name)}`]);
  const owner = me.role === "owner";
  const roles = ROLES.filter((role) => owner || role !== "owner");
  const error = change.error ?? reset.error ?? remove.error;
  const fixed = (user: User) => !owner && user.role === "owner";
  return (
    <>
      {error && <Trouble error={error} />}
      <Card flush title={t("tab.users")} extra={<><Button type="primary" size="small" icon={<Icon name="plus" size={13} />} onClick={() => setInviting(true)}>{t("invite")}</Button><Trust read={users.dataUpdatedAt} route="GET /v1/users" /></>}>
        <Ask of={users}>
          {({ items }) => (
            <Grid
              rows={items} rowKey={(user) => user.name} label={t("tab.users")} first={{ key: "name" }}
              columns={[
                { key: "name", title: t("f.name"), cell: (user) => <><b>{user.name}</b>{user.name === me.name && <> <Chip>{t("you")}</Chip></>}</>, by: (user) => user.name },
                {
                  key: "role", title: t("role"), by: (user) => ROLES.indexOf(user.role as "owner"),
                  cell: (user) => (fixed(user) ? word("role", user.role) : (
                    <span className="pick"><select aria-label={`${t("role")}: ${user.name}`} value={user.role} title={word("role", `${user.role}.may`)} onChange={(event) => change.mutate({ name: user.name, role: event.target.value })}>{roles.map((role) => <option key={role} value={role}>{t(`role.${role}`)}</option>)}</select></span>
                  )),
                },
                { key: "may", title: "", wrap: true, cell: (user) => <span className="quiet small">{word("role", `${user.role}.may`)}</span> },
                { key: "state", title: t("state"), cell: (user) => <State of={user} />, by: (user) => Number(user.disabled) },
                { key: "seen", title: t("seen"), cell: (user) => (user.last_seen_at ? <span title={moment(user.last_seen_at)}>{ago(user.last_seen_at)}</span> : t("never")), by: (user) => user.last_seen_at },
                { key: "created", title: t("created"), cell: (user) => moment(user.created_at), by: (user) => user.created_at },
                {
                  key: "do", title: "",
                  cell: (user) => !fixed(user) && (
                    <span className="row admin-acts">
                      <Button size="small" type="text" aria-label={`${t("reset")}: ${user.name}`} onClick={() => modal.confirm({ title: t("reset.title", { name: user.name }), content: t("reset.text"), okText: t("reset"), cancelText: t("f.cancel"), onOk: () => reset.mutate(user.name) })}>{t("reset")}</Button>
                      {user.name !== me.name && <Button size="small" type="text" aria-label={`${t(user.disabled ? "enable" : "disable")}: ${user.name}`} onClick={() => change.mutate({ name: user.name, disabled: !user.disabled })}>{t(user.disabled ? "enable" : "disable")}</Button>}
                      {user.name !== me.name && <Button size="small" type="text" danger aria-label={`${t("remove")}: ${user.name}`} onClick={() => modal.confirm({ title: t("remove.title", { name: user.name }), content: t("remove.text"), okText: t("remove"), okButtonProps: { danger: true }, cancelText: t("f.cancel"), onOk: () => remove.mutate(user.name) })}>{t("remove")}</Button>}
                    </span>
                  ),
                },
              ]}
            />
          )}
        </Ask>
      </Card>
      {inviting && <Invite roles={roles} close={() => setInviting(false)} made={(name, link) => { setInviting(false); setShown({ name, link, title: "invited" }); }} />}
      {shown && (
        <Modal open title={t(shown.title, { name: shown.name })} onCancel={() => setShown(null)} footer={<Button type="primary" onClick={() => setShown(null)}>{t("app.close")}</Button>}>
          <p style={{ marginBottom: 12 }}>{t("link.text", { name: shown.name })}</p>
          <Code text={whole(shown.link)} />
        </Modal>
      )}
    </>
  );
}

function Invite({ roles, close, made }: { roles: readonly (typeof ROLES)[number][]; close: () => void; made: (name: string, link: string) => void }) {
  const { t } = useWords(own);
  const [name, setName] = useState("");
  const [role, setRole] = useState<(typeof ROLES)[number]>("analyst");
  const add = useDo<{ user: User; setup_link: string }>(() => ["POST", "/v1/users", { name: name.trim(), role }], ({ user, setup_link }) => made(user.name, setup_link));
  return (
    <Modal open title={t("invite")} onCancel={close} okText={t("invite")} cancelText={t("f.cancel")} confirmLoading={add.isPending} okButtonProps={{ disabled: !name.trim() }} onOk={() => add.mutate()}>
      <label className="field"><span>{t("invite.name")}</span><input value={name} maxLength={64} autoFocus onChange={(event) => setName(event.target.value)} onKeyDown={(event) => { if (event.key === "Enter" && name.trim()) add.mutate(); }} /><small><Rich text={t("invite.help")} /></small></label>
      <fieldset className="admin-roles">
        <legend>{t("role")}</legend>
        {roles.map((one) => <label key={one}><input type="radio" name="role" checked={role === one} onChange={() => setRole(one)} /><span><b>{t(`role.${one}`)}</b><small>{t(`role.${one}.may`)}</small></span></label>)}
      </fieldset>
      {add.error && <Trouble error={add.error} />}
    </Modal>
  );
}
