/** The switch that stops all policies at once: what tells of it on every page, and the button that pulls it. */
import { App, Button } from "antd";
import { useState } from "react";
import { useDo, useGet } from "../api";
import { useWords } from "../i18n";
import { useWho } from "../session";
import { Trouble } from "./basics";
import { Icon } from "./icons";
import { Reason } from "./reason";
import own from "./words";

interface Halt { halted: { reason: string; by: string; at: string } | null }

const useHalt = () => {
  const { can } = useWho();
  return useGet<Halt>(can("view") ? "/v1/halt" : null, 60_000).data?.halted ?? null;
};

/** Says that all policies are stopped; nothing if they are not. */
export function Halted() {
  const { t, ago } = useWords(own);
  const { can } = useWho();
  const { message } = App.useApp();
  const halted = useHalt();
  const lift = useDo(() => ["POST", "/v1/halt/lift", {}], () => void message.success(t("halt.lifted")));
  if (!halted) return null;
  return (
    <div className="halted" role="alert">
      <Icon name="failed" size={18} />
      <p><b>{t("halt.on")}</b> <span>{t("halt.why", { reason: halted.reason, by: halted.by, when: ago(halted.at) })}</span></p>
      {lift.error && <Trouble error={lift.error} />}
      {can("operate") && <Button size="small" loading={lift.isPending} onClick={() => lift.mutate()}>{t("halt.lift")}</Button>}
    </div>
  );
}

/** Stops all policies, for a reason; nothing for who may not, or if they are stopped. */
export function HaltButton() {
  const { t } = useWords(own);
  const { can } = useWho();
  const halted = useHalt();
  const [asking, setAsking] = useState(false);
  const halt = useDo<unknown, string>((reason) => ["POST", "/v1/halt", { reason }], () => setAsking(false));
  if (!can("operate") || halted) return null;
  return (
    <>
      <Button danger onClick={() => setAsking(true)}>{t("halt")}</Button>
      {asking && <Reason danger title={t("halt")} text={t("halt.text")} go={t("halt.go")} busy={halt.isPending} error={halt.error} close={() => setAsking(false)} done={(reason) => halt.mutate(reason)} />}
    </>
  );
}
