/** Users, grants, rules, tokens, secrets and the audit log; each part for whom it is permitted. */
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Page, Tabs } from "../../ui/basics";
import { Audit } from "./Audit";
import { Grants } from "./Grants";
import { Quotas } from "./Quotas";
import { Rules } from "./Rules";
import { Secrets } from "./Secrets";
import "./style.css";
import { Tokens } from "./Tokens";
import { Users } from "./Users";
import own from "./words";

export default function Admin() {
  const { t } = useWords(own);
  const { can, has } = useWho();
  const tabs = [
    ...(can("administer") && has("users") ? [{ key: "users" as const, label: t("tab.users"), body: () => <Users /> }] : []),
    ...(can("administer") && has("grants") ? [{ key: "grants" as const, label: t("tab.grants"), body: () => <Grants /> }] : []),
    ...(can("administer") && has("rules") ? [{ key: "rules" as const, label: t("tab.rules"), body: () => <Rules /> }] : []),
    ...(can("administer") && has("quotas") ? [{ key: "quotas" as const, label: t("tab.quotas"), body: () => <Quotas /> }] : []),
    { key: "tokens" as const, label: t("tab.tokens"), body: () => <Tokens /> },
    ...(can("administer") && has("secrets") ? [{ key: "secrets" as const, label: t("tab.secrets"), body: () => <Secrets /> }] : []),
    ...(can("audit") && has("audit") ? [{ key: "audit" as const, label: t("tab.audit"), body: () => <Audit /> }] : []),
  ];
  return <Page title={t("title")} text={t(tabs.length > 1 ? "text" : "text.own")}>{tabs.length > 1 ? <Tabs<"users" | "grants" | "rules" | "quotas" | "tokens" | "secrets" | "audit"> label={t("title")} tabs={tabs} /> : <Tokens />}</Page>;
}
