/** Parts of the pages of the catalogue. */
import type { Language } from "../../format";
import { useWords } from "../../i18n";
import type { IconName } from "../../ui/icons";
import "./style.css";
import own from "./words";

const ICONS: Record<string, IconName> = {
  source: "land", landed: "land", model: "model", seed: "model", snapshot: "model", table: "land", metric: "measure", semantic: "measure", learner: "learn", policy: "policies", action: "act",
  connection: "connect", sync: "syncs", system: "admin", quality: "check", dictionary: "catalogue", link: "syncs", split: "lineage", merge: "lineage", exposure: "outcome", schedule: "runs",
};
export const iconOf = (kind: string): IconName => ICONS[kind] ?? "catalogue";

const tone = (score: number) => (score >= 75 ? "ok" : score >= 45 ? "warn" : "bad");

/** How healthy an asset is, from 0 to 100: as an arc and as a number. */
export function Health({ score, size = 34 }: { score: number; size?: number }) {
  const { t, n } = useWords(own);
  const radius = 15;
  const round = 2 * Math.PI * radius;
  const said = n(Math.round(score));
  return (
    <span className={`cat-health cat-${tone(score)}`} role="img" aria-label={t("health.of", { score: said })} title={t("health.of", { score: said })} style={{ width: size, height: size }}>
      <svg viewBox="0 0 36 36" aria-hidden="true"><circle cx="18" cy="18" r={radius} /><circle cx="18" cy="18" r={radius} className="cat-arc" strokeDasharray={`${(score / 100) * round} ${round}`} /></svg>
      <b aria-hidden="true">{said}</b>
    </span>
  );
}

/** A number of seconds in its largest whole unit, for ages. */
export { age as span } from "../../ui/trust";

/** A size in bytes, in steps of 1024. */
export function bytes(count: number, language: Language): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = count;
  let at = 0;
  while (value >= 1024 && at < units.length - 1) { value /= 1024; at += 1; }
  return `${new Intl.NumberFormat(language === "zh" ? "zh-CN" : "en-GB", { maximumFractionDigits: value < 10 ? 1 : 0 }).format(value)} ${units[at]}`;
}

/** An amount of money in the currency of the project. */
export function money(amount: number, currency: string, language: Language): string {
  // Less than half a cent is nothing.
  const digits = Math.abs(amount) >= 0.005 && Math.abs(amount) < 100 ? 2 : 0;
  const options: Intl.NumberFormatOptions = { maximumFractionDigits: digits, minimumFractionDigits: digits };
  try {
    return new Intl.NumberFormat(language === "zh" ? "zh-CN" : "en-GB", { ...options, style: "currency", currency }).format(amount);
  } catch {
    // A project may name a currency that is none.
    return `${new Intl.NumberFormat(language === "zh" ? "zh-CN" : "en-GB", options).format(amount)} ${currency}`;
  }
}
