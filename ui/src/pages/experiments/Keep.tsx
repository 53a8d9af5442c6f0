/** The end of an experiment: which variant everybody gets, beside what the results say of it. */
import { App, Modal } from "antd";
import { useState } from "react";
import { part, useDo } from "../../api";
import { useWords } from "../../i18n";
import { Pick, Trouble } from "../../ui/basics";
import { breachedBy, evidenceOf, variantsOf } from "./doubts";
import type { Standing } from "./Experiments";
import own from "./words";

export function Keep({ policy, rows, concluded, broken, close }: { policy: string; rows: Standing[]; concluded: string | null; broken: boolean; close: () => void }) {
  const { t, n, points, interval, word } = useWords(own);
  const { message } = App.useApp();
  const variants = variantsOf(rows).filter((variant) => variant !== concluded);
  const better = rows.find((row) => row.metric === "outcome" && row.standing === "better" && row.variant !== concluded);
  const [keep, setKeep] = useState(better?.variant ?? variants[0] ?? "");
  const [reason, setReason] = useState("");
  const end = useDo<{ concluded: string }, { keep: string; reason: string }>((value) => ["POST", `/v1/policies/${part(policy)}/conclude`, value], (made) => { close(); void message.success(t("keep.done", { variant: made.concluded })); });
  return (
    <Modal open title={`${t("keep")} · ${policy}`} onCancel={close} okText={t("keep.go", { variant: keep })} cancelText={t("f.cancel")} confirmLoading={end.isPending} onOk={() => end.mutate({ keep, reason })}>
      <p className="quiet">{t("keep.text")}</p>
      <div className="field"><span>{t("variant")}</span><Pick of={variants.map((key) => ({ key, label: key }))} value={keep} choose={setKeep} label={t("variant")} /></div>
      {broken && <p className="bad">{word("standing", "split-broken")}</p>}
      {evidenceOf(rows, keep).map(({ row, doubt }) => (doubt === "none"
        ? <p key={row.variant} className="bad">{t("keep.none", { variant: row.variant, control: row.control })}</p>
        : (
          <div key={row.variant}>
            <p>{t("keep.evidence", { variant: row.variant, control: row.control, difference: points(row.difference), interval: interval(row.lower, row.upper), units: n(row.units + row.control_units) })}</p>
            {doubt && <p className="bad" role="alert">{t(doubt === "zero" ? "keep.zero" : "keep.worse")}</p>}
          </div>
        )))}
      {breachedBy(rows, keep).map((metric) => <p key={metric} className="bad" role="alert">{t("keep.breached", { variant: keep, metric })}</p>)}
      <label className="field"><span>{t("f.reason")}</span><textarea rows={3} maxLength={1000} value={reason} onChange={(event) => setReason(event.target.value)} /></label>
      {end.error && <Trouble error={end.error} />}
    </Modal>
  );
}
