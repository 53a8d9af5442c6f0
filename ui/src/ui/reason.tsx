/** A window that asks why. */
import { Modal } from "antd";
import { useState } from "react";
import { useWords } from "../i18n";
import { Rich, Trouble } from "./basics";

/** Asks for the reason before something is done that others will wonder about. */
export function Reason({ title, text, go, danger, busy, error, close, done }: { title: string; text?: string; go: string; danger?: boolean; busy: boolean; error: unknown; close: () => void; done: (reason: string) => void }) {
  const { t } = useWords();
  const [reason, setReason] = useState("");
  return (
    <Modal open title={title} onCancel={close} okText={go} cancelText={t("f.cancel")} confirmLoading={busy} okButtonProps={{ danger }} onOk={() => done(reason)}>
      {text && <p className="quiet"><Rich text={text} /></p>}
      <label className="field"><span>{t("f.reason")}</span><textarea rows={3} maxLength={1000} value={reason} onChange={(event) => setReason(event.target.value)} autoFocus /></label>
      {Boolean(error) && <Trouble error={error} />}
    </Modal>
  );
}
