/** Where the pages begin. */
import { QueryClientProvider } from "@tanstack/react-query";
import { App, Button, ConfigProvider } from "antd";
import english from "antd/locale/en_GB";
import chinese from "antd/locale/zh_CN";
import { lazy, StrictMode, Suspense, useEffect, useMemo, useRef, useState } from "react";
import { createRoot } from "react-dom/client";
import { BrowserRouter, useLocation } from "react-router";
import { client, forget, readAs, setCsrf, useGet, type Me, type Session } from "./api";
import { firstLanguage, keepLanguage, LanguageContext, useWords } from "./i18n";
import { forgetHeard } from "./live";
import { who, WhoContext, whose } from "./session";
import { Boundary } from "./shell/Boundary";
import { Shell } from "./shell/Shell";
import "./style.css";
import { firstMode, keepMode, tokens, wear, type Mode } from "./theme";
import { Loading, Trouble } from "./ui/basics";
import { Icon } from "./ui/icons";
import { leave, useView } from "./view";

// Who is signed in does not need it.
const Gate = lazy(() => import("./shell/Gate"));
// A link to one dashboard knows nobody.
const Embed = lazy(() => import("./pages/dashboards/Embed"));

function Root({ corner }: { corner: React.ReactNode }) {
  const { t } = useWords();
  const session = useGet<Session>("/v1/session");
  const where = useLocation();
  const signed = session.data?.user?.name;
  const me = useGet<Me>(signed ? "/v1/me" : null);
  const former = useRef(signed);
  useEffect(() => {
    // A session can end, or be another's, without anybody signing in here: in another window, or by time.
    if (former.current && former.current !== signed) {
      forget();
      forgetHeard();
    }
    former.current = signed;
  }, [signed]);
  const kept = useView();
  const value = useMemo(() => {
    if (!session.data || me.data?.name !== signed || !me.data) return null;
    const mine = who(session.data, me.data);
    return kept && kept.by === whose(mine) && mine.can("administer") ? who(session.data, me.data, kept) : mine;
  }, [session.data, me.data, signed, kept]);
  const over = kept !== null && session.data !== undefined && (!signed || (value !== null && value.view === null));
  useEffect(() => { if (over) leave(); }, [over]);
  if (!session.data) return <div className="gate">{session.error ? <Trouble error={session.error} retry={() => void session.refetch()} /> : <Loading />}</div>;
  setCsrf(session.data.csrf);
  if (where.pathname === "/setup" || !session.data.user) return <Suspense fallback={<div className="gate"><Loading /></div>}><Gate session={session.data} setup={where.pathname === "/setup"} corner={corner} /></Suspense>;
  if (value) readAs(value.view?.as ?? null);
  if (!value) return <div className="gate">{me.error ? <Trouble error={me.error} retry={() => void me.refetch()} /> : <Loading />}</div>;
  const words = { title: t("app.broken"), text: t("app.broken.text"), reload: t("app.reload") };
  return <Boundary words={words}><WhoContext value={value}><Shell key={value.view?.as ?? ""} session={session.data} corner={corner} /></WhoContext></Boundary>;
}

function Start({ corner }: { corner: React.ReactNode }) {
  const { pathname } = useLocation();
  return pathname.startsWith("/embed/") ? <Suspense fallback={<Loading />}><Embed corner={corner} /></Suspense> : <Root corner={corner} />;
}

/** The switches for language and colours. */
function Corner({ mode, turnMode, turnLanguage }: { mode: Mode; turnMode: () => void; turnLanguage: () => void }) {
  const { t, language } = useWords();
  return (
    <>
      <Button type="text" onClick={turnLanguage} lang={language === "en" ? "zh-CN" : "en"} className="language">{t("app.language")}</Button>
      <Button type="text" icon={<Icon name={mode === "dark" ? "sun" : "moon"} />} aria-label={t(mode === "dark" ? "app.theme.light" : "app.theme.dark")} title={t(mode === "dark" ? "app.theme.light" : "app.theme.dark")} onClick={turnMode} />
    </>
  );
}

function Pages() {
  const [language, setLanguage] = useState(firstLanguage);
  const [mode, setMode] = useState(firstMode);
  const theme = useMemo(() => tokens(mode), [mode]);
  useEffect(() => wear(mode), [mode]);
  useEffect(() => { document.documentElement.lang = language === "zh" ? "zh-CN" : "en"; }, [language]);
  const turnLanguage = () => {
    const next = language === "en" ? "zh" : "en";
    keepLanguage(next);
    setLanguage(next);
  };
  const turnMode = () => {
    const next = mode === "dark" ? "light" : "dark";
    keepMode(next);
    setMode(next);
  };
  return (
    <LanguageContext value={language}>
      <ConfigProvider theme={theme} locale={language === "zh" ? chinese : english} button={{ autoInsertSpace: false }} wave={{ disabled: true }}>
        <App>
          <QueryClientProvider client={client}>
            <BrowserRouter><Start corner={<Corner mode={mode} turnMode={turnMode} turnLanguage={turnLanguage} />} /></BrowserRouter>
          </QueryClientProvider>
        </App>
      </ConfigProvider>
    </LanguageContext>
  );
}

wear(firstMode());
const root = document.getElementById("root");
if (root) createRoot(root).render(<StrictMode><Pages /></StrictMode>);
