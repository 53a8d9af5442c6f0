/** Stored secrets: their names, when they were set and what refers to them. A value goes in and never comes back. */
import { App, Button, Modal } from "antd";
import { useState } from "react";
import { part, useDo, useGet, type Items } from "../../api";
import { useWords } from "../../i18n";
import { Ask, Card, Code, Empty, Grid, Rich, Status, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import own from "./words";

export interface Stored { name: string; set_at: string | null; used_by: { file: string; line: number }[] }

/** How a file refers to a secret. */
export const reference = (name: string) => `\${secret:${name}}`;

/** Whether a secret can be called that; the server has the last word. */
export const named = (name: string) => /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$/.test(name);

/** Where a secret is referred to, each file once with its lines. */
export const places = (of: Stored["used_by"]): string[] => {
  const lines = new Map<string, number[]>();
  for (const { file, line } of of) lines.set(file, [...(lines.get(file) ?? []), line]);
  return [...lines].map(([file, at]) => `${file}:${at.join(",")}`);
};

export function Secrets() {
  const { t, moment, ago } = useWords(own);
  const { modal } = App.useApp();
  const [setting, setSetting] = useState<string | null>(null);
  const secrets = useGet<Items<Stored>>("/v1/secrets");
  const remove = useDo<unknown, Stored>(({ name, used_by }) => ["DELETE", `/v1/secrets/${part(name)}${used_by.length > 0 ? "?force=true" : ""}`]);
  return (
    <>
      {remove.error && <Trouble error={remove.error} />}
      <Card flush title={t("tab.secrets")} extra={<><Button type="primary" size="small" icon={<Icon name="plus" size={13} />} onClick={() => setSetting("")}>{t("secret.new")}</Button><Trust read={secrets.dataUpdatedAt} route="GET /v1/secrets" /></>}>
        <p className="admin-text"><Rich text={t("secrets.text")} /></p>
        <Ask of={secrets}>
          {({ items }) => (
            <Grid
              rows={items} rowKey={(one) => one.name} label={t("tab.secrets")} first={{ key: "name" }} empty={<Empty icon="info" text={t("secrets.empty")} />}
              columns={[
                { key: "name", title: t("f.name"), cell: (one) => <b>{one.name}</b>, by: (one) => one.name },
                { key: "state", title: t("state"), cell: (one) => (one.set_at ? <Status of="ok" label={t("secret.stored")} /> : <Status of="failed" label={t("secret.missing")} />), by: (one) => Number(!one.set_at) },
                { key: "set", title: t("secret.set_at"), cell: (one) => (one.set_at ? <span title={moment(one.set_at)}>{ago(one.set_at)}</span> : t("never")), by: (one) => one.set_at },
                { key: "used", title: t("secret.used"), wrap: true, cell: (one) => <>{places(one.used_by).map((place) => <code key={place}>{place} </code>)}{one.used_by.length === 0 && <span className="quiet">{t("secret.unused")}</span>}</> },
                {
                  key: "do", title: "",
                  cell: (one) => (
                    <span className="row admin-acts">
                      <Button size="small" type="text" aria-label={`${t(one.set_at ? "secret.replace" : "secret.store")}: ${one.name}`} onClick={() => setSetting(one.name)}>{t(one.set_at ? "secret.replace" : "secret.store")}</Button>
                      {one.set_at && <Button size="small" type="text" danger aria-label={`${t("remove")}: ${one.name}`} onClick={() => modal.confirm({ title: t("secret.remove.title", { name: one.name }), content: one.used_by.length > 0 ? t("secret.remove.used", { files: places(one.used_by).join(" ") }) : t("secret.remove.text"), okText: t("remove"), okButtonProps: { danger: true }, cancelText: t("f.cancel"), onOk: () => remove.mutate(one) })}>{t("remove")}</Button>}
                    </span>
                  ),
                },
              ]}
            />
          )}
        </Ask>
      </Card>
      <Card title={t("secrets.command")}><p className="quiet"><Rich text={t("secrets.command.text")} /></p><Code text={"flywheel secret set crm < file\nflywheel secret rotate-key"} /></Card>
      {setting !== null && <Value fixed={setting} close={() => setSetting(null)} />}
    </>
  );
}

function Value({ fixed, close }: { fixed: string; close: () => void }) {
  const { t } = useWords(own);
  const [name, setName] = useState(fixed);
  const [value, setValue] = useState("");
  const store = useDo(() => ["PUT", `/v1/secrets/${part(name.trim())}`, { value }], close);
  const fits = named(name.trim());
  return (
    <Modal open title={t(fixed ? "secret.of" : "secret.new", { name: fixed })} onCancel={close} okText={t("secret.store")} cancelText={t("f.cancel")} confirmLoading={store.isPending} okButtonProps={{ disabled: !fits || !value }} onOk={() => store.mutate()}>
      {!fixed && <label className="field"><span>{t("f.name")}</span><input value={name} maxLength={100} placeholder="crm" autoFocus autoComplete="off" onChange={(event) => setName(event.target.value)} /><small>{t("secret.name.help")}</small></label>}
      <label className="field"><span>{t("f.value")}</span><input type="password" value={value} autoFocus={fixed !== ""} autoComplete="new-password" onChange={(event) => setValue(event.target.value)} onKeyDown={(event) => { if (event.key === "Enter" && fits && value) store.mutate(); }} /><small>{t("secret.value.help")}</small></label>
      {fits && <><p style={{ margin: "12px 0 6px" }}>{t("secret.refer")}</p><Code text={`password: ${reference(name.trim())}`} /></>}
      {store.error && <Trouble error={store.error} />}
    </Modal>
  );
}
