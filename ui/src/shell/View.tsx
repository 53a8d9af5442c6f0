/** Looking as somebody else: choosing whom, and what tells of it as long as it lasts. */
import { useMutation } from "@tanstack/react-query";
import { Button, Modal } from "antd";
import { useState } from "react";
import { call, part, Problem, useGet, type Items } from "../api";
import { useWords } from "../i18n";
import { useWho, whose } from "../session";
import { Ask, Trouble } from "../ui/basics";
import { Icon } from "../ui/icons";
import { look, type View } from "../view";
import own from "./words";

/** The roles that see anything. */
const ROLES = ["owner", "admin", "engineer", "analyst", "operator", "viewer"];

/** Whether somebody may query, as the server answers it; whoever may see nothing is refused before. */
async function queries(as: string): Promise<boolean> {
  const asked = `as=${part(as)}`;
  await call("GET", `/v1/turns?limit=1&${asked}`);
  try {
    await call("POST", `/v1/sql?${asked}`, { sql: "select 1", limit: 1 });
    return true;
  } catch (error) {
    if (error instanceof Problem && error.code === "denied") return false;
    throw error;
  }
}

export function Choosing({ close }: { close: () => void }) {
  const { t, word } = useWords(own);
  const mine = useWho();
  const [as, setAs] = useState("");
  const users = useGet<Items<{ name: string; role: string }>>("/v1/users");
  const begin = useMutation<View, Error, string>({ mutationFn: async (name) => ({ as: name, by: whose(mine), query: await queries(name) }), onSuccess: look });
  return (
    <Modal open title={t("app.view")} onCancel={close} okText={t("choose.go")} cancelText={t("f.cancel")} confirmLoading={begin.isPending} okButtonProps={{ disabled: !as }} onOk={() => begin.mutate(as)}>
      <p className="quiet">{t("choose.text")}</p>
      <Ask of={users} lines={1}>
        {({ items }) => {
          const others = items.filter((user) => user.name !== mine.me.name);
          // A name means the user before the role that is called so.
          const roles = ROLES.filter((role) => items.every((user) => user.name !== role));
          return (
            <label className="field">
              <span>{t("choose")}</span>
              <select className="input" value={as} onChange={(event) => setAs(event.target.value)}>
                <option value="">{t("choose.none")}</option>
                {others.length > 0 && <optgroup label={t("choose.users")}>{others.map(({ name, role }) => <option key={name} value={name}>{`${name} · ${word("role", role)}`}</option>)}</optgroup>}
                <optgroup label={t("choose.roles")}>{roles.map((role) => <option key={role} value={role}>{word("role", role)}</option>)}</optgroup>
              </select>
            </label>
          );
        }}
      </Ask>
      {begin.error && <Trouble error={begin.error} />}
    </Modal>
  );
}

export function Viewed({ view }: { view: View }) {
  const { t, word } = useWords(own);
  const name = word("role", view.as);
  return (
    <div className="viewed" role="status">
      <Icon name="user" size={16} />
      <p><b>{t("viewed", { name })}</b> <span>{t("viewed.text", { name })}</span></p>
      <Button size="small" onClick={() => look(null)}>{t("viewed.end")}</Button>
    </div>
  );
}
