/** Buttons by which pages make and change what they show. */
import { Button } from "antd";
import { useNavigate } from "react-router";
import { part } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Icon } from "../../ui/icons";
import { mayDeclare, type Kind } from "./kinds";
import own from "./words";

/** Makes one of a kind; nothing for who may not. */
export function New({ kind, main = false }: { kind: Kind; main?: boolean }) {
  const { t } = useWords(own);
  const { can, has } = useWho();
  const go = useNavigate();
  if (!has("files") || !mayDeclare(can, kind)) return null;
  return <Button type={main ? "primary" : "default"} icon={<Icon name="plus" size={14} />} onClick={() => void go(`/files/${kind}`)}>{t(`new.${kind}`)}</Button>;
}

/** Changes the file of one; nothing for who may not. */
export function Edit({ kind, name, small = false }: { kind: Kind; name: string; small?: boolean }) {
  const { t } = useWords(own);
  const { can, has } = useWho();
  const go = useNavigate();
  if (!has("files") || !mayDeclare(can, kind)) return null;
  return <Button size={small ? "small" : "middle"} icon={<Icon name="edit" size={14} />} aria-label={`${t("edit")}: ${name}`} onClick={() => void go(`/files/${kind}/${part(name)}`)}>{t("edit")}</Button>;
}
