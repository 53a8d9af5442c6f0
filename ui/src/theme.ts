/** Colours and sizes. The palette is written once: into CSS variables for our own styles, into tokens for Ant Design. */
import { theme as antd, type ThemeConfig } from "antd";

export type Mode = "light" | "dark";

const palettes = {
  light: {
    "bg": "#f5f6f3", "surface": "#ffffff", "raised": "#ffffff", "sunken": "#eef0ec", "line": "#e0e4de", "line-strong": "#c3cac3",
    "ink": "#16211d", "ink-2": "#4c5a54", "ink-3": "#5a6761",
    "brand": "#14685a", "brand-ink": "#ffffff", "brand-soft": "#e1efea", "brand-line": "#a9cfc4",
    "ok": "#14685a", "ok-soft": "#e1efea", "warn": "#8a5200", "warn-fill": "#dd9526", "warn-soft": "#fbf0dc", "bad": "#b0281e", "bad-fill": "#cf3e33", "bad-soft": "#fbe7e4", "idle": "#5a6761", "idle-fill": "#c3cac3", "idle-soft": "#eceeea",
    "treated": "#14685a", "holdout": "#7a5ba6", "band": "rgba(20,104,90,.14)", "shadow": "0 1px 2px rgba(22,33,29,.05), 0 6px 20px rgba(22,33,29,.05)", "shadow-high": "0 12px 40px rgba(22,33,29,.18)",
  },
  dark: {
    "bg": "#0f1513", "surface": "#161d1a", "raised": "#1d2622", "sunken": "#121916", "line": "#28332e", "line-strong": "#3d4b45",
    "ink": "#e5ebe8", "ink-2": "#aebbb5", "ink-3": "#8e9c95",
    "brand": "#5fc7ac", "brand-ink": "#08201a", "brand-soft": "#17332c", "brand-line": "#2f6557",
    "ok": "#5fc7ac", "ok-soft": "#17332c", "warn": "#e9b45c", "warn-fill": "#d9982f", "warn-soft": "#33280f", "bad": "#f08d83", "bad-fill": "#d9564b", "bad-soft": "#3a1b18", "idle": "#8e9c95", "idle-fill": "#3d4b45", "idle-soft": "#202925",
    "treated": "#5fc7ac", "holdout": "#b79be0", "band": "rgba(95,199,172,.16)", "shadow": "0 1px 2px rgba(0,0,0,.3)", "shadow-high": "0 16px 50px rgba(0,0,0,.6)",
  },
} as const satisfies Record<Mode, Record<string, string>>;

export type Colour = keyof (typeof palettes)["light"];
/** A colour as text, for what cannot read CSS variables (a canvas). */
export const colour = (mode: Mode, name: Colour): string => palettes[mode][name];

const FONT = `ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC", sans-serif`;
const MONO = `ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace`;

/** Makes the page wear the colours. */
export function wear(mode: Mode) {
  const root = document.documentElement;
  root.dataset.theme = mode;
  root.style.colorScheme = mode;
  for (const [name, value] of Object.entries(palettes[mode])) root.style.setProperty(`--${name}`, value);
  root.style.setProperty("--font", FONT);
  root.style.setProperty("--mono", MONO);
}

/** The same for Ant Design. */
export function tokens(mode: Mode): ThemeConfig {
  const p = palettes[mode];
  return {
    algorithm: mode === "dark" ? antd.darkAlgorithm : antd.defaultAlgorithm,
    token: {
      colorPrimary: p.brand, colorInfo: p.brand, colorSuccess: p.ok, colorWarning: p["warn-fill"], colorError: p["bad-fill"], colorLink: p.brand,
      colorBgBase: p.surface, colorBgLayout: p.bg, colorBgContainer: p.surface, colorBgElevated: p.raised, colorTextBase: p.ink, colorText: p.ink,
      colorTextSecondary: p["ink-2"], colorTextTertiary: p["ink-3"], colorTextDescription: p["ink-2"], colorTextPlaceholder: p["ink-3"], colorBorder: p["line-strong"], colorBorderSecondary: p.line, colorTextLightSolid: p["brand-ink"],
      fontFamily: FONT, fontFamilyCode: MONO, fontSize: 14, borderRadius: 8, borderRadiusLG: 12, borderRadiusSM: 6, controlHeight: 34, wireframe: false,
      motion: !matchMedia("(prefers-reduced-motion: reduce)").matches, motionDurationMid: "0.14s", motionDurationSlow: "0.2s",
    },
    components: {
      Button: { fontWeight: 550, primaryShadow: "none", defaultShadow: "none", dangerShadow: "none" },
      Tooltip: { colorBgSpotlight: mode === "dark" ? "#2a3530" : "#22302a", colorTextLightSolid: "#f4f7f5" },
      Tabs: { horizontalMargin: "0 0 16px 0", titleFontSize: 14 },
    },
  };
}

const KEPT = "flywheel.theme";

/** The colours chosen earlier in this browser, or those the system asks for. */
export function firstMode(): Mode {
  const kept = localStorage.getItem(KEPT);
  if (kept === "light" || kept === "dark") return kept;
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

export const keepMode = (mode: Mode) => localStorage.setItem(KEPT, mode);
