/** Signing in, and the first visit by a set-up link. */
import { Button } from "antd";
import { type ReactNode, type SubmitEvent, useEffect, useState } from "react";
import { useLocation, useNavigate } from "react-router";
import { client, forget, setCsrf, useDo, type Session, type User } from "../api";
import { useWords } from "../i18n";
import { type Means, Rich, Trouble } from "../ui/basics";
import { Icon } from "../ui/icons";
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

/** What a refusal means here: nobody is signed in yet, and may do nothing. */
const SIGN_IN: Means = { unauthenticated: "sign-in" };
const SET_UP: Means = { denied: "set-up-link" };

/** The least length of a password; the server asks for the same. */
const PASSWORD_MIN = 10;

function Fields({ go, busy, error, means, fresh, second, submit }: { go: string; busy: boolean; error: unknown; means: Means; fresh?: boolean; second?: boolean; submit: (asked: Asked) => void }) {
  const { t } = useWords();
  const [asked, setAsked] = useState<Asked>({ name: "", password: "" });
  const [tried, setTried] = useState(false);
  const wrong = {
    name: asked.name.trim() ? null : t("login.required"),
    password: !asked.password ? t("login.required") : fresh && [...asked.password].length < PASSWORD_MIN ? t("setup.short") : null,
  };
  const send = (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    setTried(true);
    if (!wrong.name && !wrong.password && !busy) submit({ name: asked.name.trim(), password: asked.password });
  };
  const field = (name: keyof Asked, kind: string, complete: string, hint?: string) => {
    const mistake = tried ? wrong[name] : null;
    return (
      <label className="field gate-field">
        <span>{t(`login.${name}`)}</span>
        <input
          id={name} name={name} type={kind} autoComplete={complete} autoFocus={name === "name" && !second} maxLength={1000} value={asked[name]} aria-invalid={mistake !== null} aria-describedby={mistake || hint ? `${name}-says` : undefined}
          onChange={(event) => setAsked({ ...asked, [name]: event.target.value })}
        />
        {(mistake ?? hint) && <small id={`${name}-says`} className={mistake ? "bad" : undefined} role={mistake ? "alert" : undefined}>{mistake ?? hint}</small>}
      </label>
    );
  };
  return (
    <form onSubmit={send} noValidate>
      {field("name", "text", "username")}
      {field("password", "password", fresh ? "new-password" : "current-password", fresh ? t("setup.short") : undefined)}
      {Boolean(error) && <Trouble error={error} means={means} />}
      <Button type={second ? "default" : "primary"} htmlType="submit" size="large" block loading={busy}>{go}</Button>
    </form>
  );
}

const begin = ({ csrf }: Begun) => {
  setCsrf(csrf);
  forget();
  void client.invalidateQueries({ queryKey: ["/v1/session"] });
};

const Note = ({ text }: { text: string }) => <p className="gate-note"><Icon name="info" /><span><Rich text={text} /></span></p>;

/** Why the identity provider's way ended here, as the server says it in the address. */
const REFUSED = ["expired", "provider", "no-role", "disabled", "name-taken", "bad-name", "no-owner", "unavailable", "failed"] as const;

function Login({ session, corner }: { session: Session; corner: ReactNode }) {
  const { t } = useWords();
  const place = useLocation();
  const login = useDo<Begun, Asked>((asked) => ["POST", "/v1/login", asked], begin);
  const offered = session.sign_in;
  const [byPassword, setByPassword] = useState(!offered || offered.local === "yes");
  const search = new URLSearchParams(place.search);
  const refused = REFUSED.find((word) => word === search.get("sign_in"));
  search.delete("sign_in");
  const rest = search.toString();
  const here = `${place.pathname}${rest ? `?${rest}` : ""}${place.hash}`;
  return (
    <Frame title={t("login.title")} project={session.project} corner={corner}>
      {refused && <p className="gate-note" role="alert"><Icon name="info" /><span><Rich text={t(`signin.${refused}`, { name: offered?.name ?? "" })} /></span></p>}
      {session.setup_needed && <Note text={t("login.setup")} />}
      {offered && <Button type="primary" size="large" block className="gate-provider" href={`${offered.address}?return_to=${encodeURIComponent(here)}`}>{t("signin.go", { name: offered.name })}</Button>}
      {offered && !session.setup_needed && (byPassword ? <p className="gate-or quiet">{t("signin.or")}</p> : <Button type="link" block onClick={() => setByPassword(true)}>{t("signin.owner")}</Button>)}
      {!session.setup_needed && byPassword && <Fields go={t("login.go")} second={Boolean(offered)} busy={login.isPending} error={login.error} means={SIGN_IN} submit={login.mutate} />}
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
      {token ? <Fields fresh go={t("setup.go")} busy={setup.isPending} error={setup.error} means={SET_UP} submit={setup.mutate} /> : <Note text={t("setup.notoken")} />}
    </Frame>
  );
}

export default function Gate({ session, setup, corner }: { session: Session; setup: boolean; corner: ReactNode }) {
  return setup ? <Setup session={session} corner={corner} /> : <Login session={session} corner={corner} />;
}
