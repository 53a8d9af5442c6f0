/** Ctrl-K: to any page or thing of the project, from the keyboard. */
import { Modal } from "antd";
import { useDeferredValue, useEffect, useId, useMemo, useRef, useState } from "react";
import { useNavigate } from "react-router";
import { useGet, type Items } from "../api";
import { linksOf, useExtensions } from "../extensions";
import { useWords } from "../i18n";
import { entries, menu } from "../pages";
import { called } from "../pages/metrics/question";
import { useWho } from "../session";
import { Icon, type IconName } from "../ui/icons";
import { useKind } from "../ui/kinds";

interface Hit { key: string; title: string; note: string; icon: IconName; to: string }
interface Found { name: string; kind: string; labels?: string[]; description: string | null }

/** Kinds that have a page of their own; others are shown by the catalogue. */
const PAGES: Record<string, string> = { policy: "policies", learner: "learners", sync: "syncs", metric: "metrics", dashboard: "dashboards", query: "queries" };
const ICONS: Record<string, IconName> = { policy: "policies", learner: "learn", sync: "syncs", metric: "measure", model: "model", landed: "land", connection: "connect", action: "act", query: "share" };
const HITS_MAX = 12;

export default function Palette({ close }: { close: () => void }) {
  const { t, language } = useWords();
  const { may, has } = useWho();
  const kind = useKind();
  const go = useNavigate();
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const list = useId();
  const current = useRef<HTMLLIElement>(null);
  const asked = useDeferredValue(text.trim());
  const found = useGet<Items<Found>>(asked && has("assets") ? `/v1/assets?q=${encodeURIComponent(asked)}&limit=${HITS_MAX}` : null);
  const extensions = useExtensions();
  const groups = useMemo(() => {
    const wanted = text.trim().toLowerCase();
    const pages: Hit[] = menu(may)
      .filter((entry) => !wanted || `${entry.title.en} ${entry.title.zh}`.toLowerCase().includes(wanted))
      .map((entry) => ({ key: entry.path, title: entry.title[language], note: "", icon: entry.menu?.icon ?? "info", to: `/${entry.path}` }));
    pages.push(...linksOf(language, extensions).filter((link) => !wanted || link.title.toLowerCase().includes(wanted)).map((link): Hit => ({ key: link.to, title: link.title, note: "", icon: "tag", to: link.to })));
    const known = (path: string) => entries.some((entry) => entry.path === `${path}/:name`);
    const assets: Hit[] = (asked ? (found.data?.items ?? []) : []).slice(0, HITS_MAX).flatMap((asset) => {
      // Names of what is no table are `kind:name`; learners' tables are `learn.NAME`.
      const short = asset.name.replace(/^[a-z]+:/, "").replace(/^learn\./, "");
      const page = PAGES[asset.kind];
      const to = page && known(page) ? `/${page}/${encodeURIComponent(short)}` : known("catalogue") ? `/catalogue/${encodeURIComponent(asset.name)}` : null;
      const title = called({ name: short, label: asset.labels ?? null }, language);
      return to ? [{ key: asset.name, title, note: `${kind(asset.kind)}${title === short ? "" : ` · ${short}`}${asset.description ? ` · ${asset.description}` : ""}`, icon: ICONS[asset.kind] ?? "catalogue", to }] : [];
    });
    return [{ title: t("palette.pages"), hits: pages }, { title: t("palette.assets"), hits: assets }].filter((group) => group.hits.length);
  }, [text, asked, found.data, extensions, may, language, kind, t]);
  const hits = groups.flatMap((group) => group.hits);
  const chosen = Math.min(at, Math.max(0, hits.length - 1));
  useEffect(() => {
    current.current?.scrollIntoView({ block: "nearest" });
  }, [chosen]);
  const open = (hit: Hit | undefined) => {
    if (!hit) return;
    close();
    void go(hit.to);
  };
  let count = -1;
  return (
    <Modal open onCancel={close} footer={null} closable={false} width={600} title={null} className="palette" destroyOnHidden style={{ top: 90 }}>
      <div className="palette-field">
        <Icon name="search" />
        <input
          autoFocus role="combobox" aria-expanded="true" aria-controls={list} aria-activedescendant={hits.length ? `${list}-${chosen}` : undefined} aria-label={t("app.search")} placeholder={t("palette.hint")} value={text} maxLength={200}
          onChange={(event) => { setText(event.target.value); setAt(0); }}
          onKeyDown={(event) => {
            if (event.key === "ArrowDown") setAt(Math.min(chosen + 1, hits.length - 1));
            else if (event.key === "ArrowUp") setAt(Math.max(chosen - 1, 0));
            else if (event.key === "Enter" && !event.nativeEvent.isComposing) open(hits[chosen]);
            else return;
            event.preventDefault();
          }}
        />
      </div>
      <ul className="palette-list" id={list} role="listbox" aria-label={t("app.search")}>
        {groups.map((group) => [
          <li key={group.title} className="palette-group" role="presentation">{group.title}</li>,
          ...group.hits.map((hit) => {
            count += 1;
            const mine = count;
            return (
              <li key={hit.key} id={`${list}-${mine}`} ref={mine === chosen ? current : undefined} role="option" aria-selected={mine === chosen} onPointerMove={() => setAt(mine)} onClick={() => open(hit)}>
                <Icon name={hit.icon} size={16} /><b>{hit.title}</b><span>{hit.note}</span>
              </li>
            );
          }),
        ])}
        {!hits.length && <li className="palette-none" role="presentation">{t("palette.none")}</li>}
      </ul>
      <p className="palette-keys">{t("palette.keys")}</p>
    </Modal>
  );
}
