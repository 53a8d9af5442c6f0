/** Changing one's own password. */
import { App, Form, Input, Modal } from "antd";
import { useDo } from "../api";
import { useWords } from "../i18n";
import { Trouble } from "../ui/basics";

export default function Password({ close }: { close: () => void }) {
  const { t } = useWords();
  const { message } = App.useApp();
  const [form] = Form.useForm<{ old: string; new: string }>();
  const change = useDo<unknown, { old: string; new: string }>((asked) => ["POST", "/v1/me/password", asked], () => {
    void message.success(t("password.done"));
    close();
  });
  const needed = { required: true, message: t("login.required") };
  return (
    <Modal open title={t("password.title")} onCancel={close} onOk={() => form.submit()} okText={t("password.title")} cancelText={t("f.cancel")} confirmLoading={change.isPending}>
      <Form form={form} layout="vertical" requiredMark={false} onFinish={(asked) => change.mutate(asked)}>
        <Form.Item name="old" label={t("password.old")} rules={[needed]}><Input.Password autoComplete="current-password" autoFocus /></Form.Item>
        <Form.Item name="new" label={t("password.new")} extra={t("setup.short")} rules={[needed, { min: 10, message: t("setup.short") }]}><Input.Password autoComplete="new-password" /></Form.Item>
        {change.error && <Trouble error={change.error} means={{ denied: "old-password" }} />}
      </Form>
    </Modal>
  );
}
