/** What is around every page: menu, search, what is under way, and the way out. */
import { App, Button, Popover } from "antd";
import { lazy, type ComponentType, Suspense, useCallback, useEffect, useMemo, useState } from "react";
import { Link, NavLink, Route, Routes, useLocation, useNavigate } from "react-router";
import { client, setCsrf, useDo, type Session, type Work } from "../api";
import { linksOf, useExtensions } from "../extensions";
import { useWords } from "../i18n";
import { underWay, useListening, useLive } from "../live";
import { entries, GROUPS, menu, type Entry } from "../pages";
import { useWho } from "../session";
import { Empty, Loading, Page, Rich } from "../ui/basics";
import { Icon } from "../ui/icons";
import { look } from "../view";
import { Boundary } from "./Boundary";
import { Mark } from "./Mark";
import { useWorkName } from "./names";

// What most visits never open comes when it is opened.
const Palette = lazy(() => import("./Palette"));
const Notices = lazy(() => import("./Notices"));
const Halted = lazy(() => import("../ui/halt").then((part) => ({ default: part.Halted })));
const Password = lazy(() => import("./Password"));
const Choosing = lazy(() => import("./View").then((part) => ({ default: part.Choosing })));
const Viewed = lazy(() => import("./View").then((part) => ({ default: part.Viewed })));
const Side = lazy(() => import("antd/es/drawer"));

const components = new Map<Entry, ComponentType>(entries.map((entry) => [entry, lazy(entry.load)]));

function Menu({ chosen }: { chosen?: () => void }) {
  const { t, language } = useWords();
  const { may } = useWho();
  const shown = menu(may);
  const own = linksOf(language, useExtensions());
  return (
    <nav className="menu" aria-label={t("app.menu")}>
      {GROUPS.map((group) => {
        const ours = shown.filter((entry) => entry.menu?.group === group);
        return ours.length > 0 && (
          <div key={group}>
            <h2>{t(`nav.${group}`)}</h2>
            <ul>
              {ours.map((entry) => (
                <li key={entry.path}><NavLink to={`/${entry.path}`} end={entry.path === "" || entry.path === "extensions"} onClick={chosen}>{entry.menu && <Icon name={entry.menu.icon} />}{entry.title[language]}</NavLink></li>
              ))}
            </ul>
          </div>
        );
      })}
      {own.length > 0 && (
        <div>
          <h2>{t("nav.extensions")}</h2>
          <ul>{own.map((link) => <li key={link.to}><NavLink to={link.to} onClick={chosen}><Icon name="tag" />{link.title}</NavLink></li>)}</ul>
        </div>
      )}
    </nav>
  );
}

function Doing() {
  const { t } = useWords();
  const name = useWorkName();
  const live = useLive();
  const now = underWay(live);
  const waiting = Object.values(live.work).filter((work) => work.status === "queued").length;
  if (!now) return live.open === false ? <span className="doing doing-lost" role="status"><Icon name="alert" size={14} />{t("app.unlive")}</span> : null;
  const task = (live.tasks[now.work] ?? []).findLast((one) => one.phase === "started");
  return (
    <Link className="doing" to={`/work/${now.work}`}>
      <i className="dot dot-live" />
      <span>{t("work.running", { what: name(now) })}</span>
      {task && <span className="doing-task">{task.name}</span>}
      {waiting > 0 && <span className="quiet">{t("work.waiting", { count: waiting })}</span>}
    </Link>
  );
}

function UserMenu() {
  const { t, word } = useWords();
  const { me, view, can } = useWho();
  const [changing, setChanging] = useState(false);
  const [choosing, setChoosing] = useState(false);
  const logout = useDo((): [string, string] => ["POST", "/v1/logout"], () => {
    setCsrf(null);
    client.clear();
    look(null);
    location.assign("/");
  });
  return (
    <>
      <Popover trigger="click" placement="bottomRight" content={
        <div className="user-menu">
          <p>{t("app.signedin", { name: me.name })}<br /><span className="quiet">{word("role", me.role)}</span></p>
          {can("administer") && <Button type="text" block onClick={() => setChoosing(true)}>{t("app.view")}</Button>}
          {!view && <Button type="text" block onClick={() => setChanging(true)}>{t("password.title")}</Button>}
          <Button type="text" block loading={logout.isPending} onClick={() => logout.mutate()}>{t("app.logout")}</Button>
        </div>
      }>
        <Button type="text" icon={<Icon name="user" />} aria-label={t("app.signedin", { name: me.name })}><span className="user-name">{me.name}</span></Button>
      </Popover>
      {changing && <Suspense><Password close={() => setChanging(false)} /></Suspense>}
      {choosing && <Suspense><Choosing close={() => setChoosing(false)} /></Suspense>}
    </>
  );
}

/** Refuses in words what the API would refuse in numbers. */
function Guarded({ entry }: { entry: Entry }) {
  const { t, word, language } = useWords();
  const { may, me, view } = useWho();
  const Body = components.get(entry);
  if (view && !may(entry)) return <Page title={entry.title[language]}><Empty icon="alert" text={t("app.view.not", { name: view.as })} /></Page>;
  if (!Body || !may(entry)) return <Page title={entry.title[language]}><Empty icon="alert" text={t("app.noaccess", { role: word("role", me.role) })} action={entry.permission ? <Link to={`/access?what=${entry.permission}`}>{t("app.access.ask")}</Link> : undefined} /></Page>;
  return <Body />;
}

function NotFound() {
  const { t } = useWords();
  return <Page title={t("app.notfound")}><Empty text={t("app.notfound.text")} action={<Link to="/">{t("app.home")}</Link>} /></Page>;
}

export function Shell({ session, corner }: { session: Session; corner: React.ReactNode }) {
  const { t, language } = useWords();
  const name = useWorkName();
  const { view } = useWho();
  const { notification } = App.useApp();
  const [searching, setSearching] = useState(false);
  const [open, setOpen] = useState(false);
  const where = useLocation();
  const go = useNavigate();
  useListening(useCallback((work: Work) => {
    // People are told how what they asked for has ended, and of every failure; turns of the clock come and go.
    const failed = work.status === "failed" || work.status === "blocked";
    if (!failed && work.asked_by !== session.user?.name) return;
    notification[failed ? "error" : "success"]({
      key: work.work, title: t(failed ? "work.failed" : "work.done", { what: name(work) }),
      description: work.error ? <><Rich text={work.error} />{work.hint && <p><Rich text={work.hint} /></p>}</> : undefined,
      onClick: () => void go(work.run_id ? `/runs/${work.run_id}` : `/work/${work.work}`), placement: "bottomRight",
    });
  }, [notification, t, name, go, session.user?.name]));
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        setSearching((now) => !now);
      }
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
  const entry = useMemo(() => entries.find((one) => one.path === where.pathname.slice(1)) ?? entries.find((one) => one.path && where.pathname.startsWith(`/${one.path.split("/:")[0]}/`)), [where.pathname]);
  useEffect(() => {
    document.title = `${entry ? `${entry.title[language]} · ` : ""}${session.project}`;
    document.getElementById("content")?.scrollTo(0, 0);
  }, [entry, where.pathname, session.project, language]);
  const brand = (
    <Link to="/" className="brand"><Mark /><span><b>Flywheel</b><i>{session.project}</i></span></Link>
  );
  return (
    <div className="shell">
      <a className="skip" href="#content">{t("app.skip")}</a>
      <aside className="side">{brand}<Menu /><p className="side-foot">{session.version} · <a href="/licenses.txt" target="_blank" rel="noreferrer">{t("app.licenses")}</a></p></aside>
      {open && <Suspense><Side open onClose={() => setOpen(false)} placement="left" size={264} title={brand} rootClassName="side-drawer"><Menu chosen={() => setOpen(false)} /></Side></Suspense>}
      <div className="main">
        <header className="top">
          <Button className="only-narrow" type="text" icon={<Icon name="menu" />} aria-label={t("app.menu")} onClick={() => setOpen(true)} />
          <button type="button" className="search" onClick={() => setSearching(true)}><Icon name="search" size={16} /><span>{t("palette.hint")}</span><kbd>Ctrl K</kbd></button>
          <Doing />
          <Suspense><Notices /></Suspense>
          <span className="top-space" />
          {session.simulated && <span className="simulated" title={t("app.simulated.why")}><Icon name="experiments" size={14} />{t("app.simulated")}</span>}
          {corner}
          <UserMenu />
        </header>
        <Suspense><Halted /></Suspense>
        {view && <Suspense fallback={<Loading lines={1} />}><Viewed view={view} /></Suspense>}
        <main id="content" tabIndex={-1}>
          <Boundary key={where.pathname} words={{ title: t("app.broken"), text: t("app.broken.text"), reload: t("app.reload") }}>
            <Suspense fallback={<div className="page"><Loading lines={6} /></div>}>
              <Routes>
                {entries.map((one) => <Route key={one.path} path={`/${one.path}`} element={<Guarded entry={one} />} />)}
                <Route path="*" element={<NotFound />} />
              </Routes>
            </Suspense>
          </Boundary>
        </main>
      </div>
      {searching && <Suspense><Palette close={() => setSearching(false)} /></Suspense>}
    </div>
  );
}
