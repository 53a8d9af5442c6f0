/** Signing in, and the first visit by a set-up link. */
import { Alert, Button, Form, Input } from "antd";
import { type ReactNode, useEffect } from "react";
import { useLocation, useNavigate } from "react-router";
import { client, setCsrf, useDo, type Session, type User } from "../api";
import { useWords } from "../i18n";
import { Rich, Trouble } from "../ui/basics";
import { Mark } from "./Mark";

interface Begun { user: User; csrf: string }
interface Asked { name: string; password: string }

function Frame({ title, text, project, children, corner }: { title: string; text?: string; project: string; children: ReactNode; corner: ReactNode }) {
  return (
    <div className="gate">
      <div className="gate-corner">{corner}</div>
      <main className="gate-card">
        <Mark size={44} />
        <h1>{title}</h1>
        <p className="quiet">{project}</p>
        {text && <p className="gate-text"><Rich text={text} /></p>}
        {children}
      </main>
    </div>
  );
}

function Fields({ go, busy, error, minimum, submit }: { go: string; busy: boolean; error: unknown; minimum?: boolean; submit: (asked: Asked) => void }) {
  const { t } = useWords();
  const needed = { required: true, message: t("login.required") };
  return (
    <Form<Asked> layout="vertical" requiredMark={false} onFinish={submit} disabled={busy}>
      <Form.Item name="name" label={t("login.name")} rules={[needed]}><Input autoFocus autoComplete="username" size="large" maxLength={100} /></Form.Item>
      <Form.Item name="password" label={t("login.password")} rules={[needed, ...(minimum ? [{ min: 10, message: t("setup.short") }] : [])]} extra={minimum ? t("setup.short") : undefined}>
        <Input.Password autoComplete={minimum ? "new-password" : "current-password"} size="large" maxLength={1000} />
      </Form.Item>
      {Boolean(error) && <Trouble error={error} />}
      <Button type="primary" htmlType="submit" size="large" block loading={busy}>{go}</Button>
    </Form>
  );
}

const begin = ({ csrf }: Begun) => {
  setCsrf(csrf);
  void client.invalidateQueries({ queryKey: ["/v1/session"] });
};

function Login({ session, corner }: { session: Session; corner: ReactNode }) {
  const { t } = useWords();
  const login = useDo<Begun, Asked>((asked) => ["POST", "/v1/login", asked], begin);
  return (
    <Frame title={t("login.title")} project={session.project} corner={corner}>
      {session.setup_needed ? <Alert type="info" showIcon title={t("login.setup")} /> : <Fields go={t("login.go")} busy={login.isPending} error={login.error} submit={login.mutate} />}
    </Frame>
  );
}

function Setup({ session, corner }: { session: Session; corner: ReactNode }) {
  const { t } = useWords();
  const { search } = useLocation();
  const go = useNavigate();
  const token = new URLSearchParams(search).get("token");
  const setup = useDo<Begun, Asked>((asked) => ["POST", "/v1/setup", { ...asked, token }], (begun) => {
    begin(begun);
    // The token shall not stay in the history.
    void go("/", { replace: true });
  });
  useEffect(() => setup.reset(), [token]);
  return (
    <Frame title={t("setup.title")} text={`${t("setup.text")}${session.setup_needed ? "" : ` ${t("setup.invited")}`}`} project={session.project} corner={corner}>
      {token ? <Fields minimum go={t("setup.go")} busy={setup.isPending} error={setup.error} submit={setup.mutate} /> : <Alert type="warning" showIcon title={t("setup.notoken")} />}
    </Frame>
  );
}

export default function Gate({ session, setup, corner }: { session: Session; setup: boolean; corner: ReactNode }) {
  return setup ? <Setup session={session} corner={corner} /> : <Login session={session} corner={corner} />;
}
