/** Our own line icons, 24 × 24. */
const paths = {
  home: "M4 11.5 12 4l8 7.5M6.5 9.7V20h11V9.7M10 20v-5.5h4V20",
  connect: "M9 7.5V4M15 7.5V4M7 7.5h10v3.8a5 5 0 0 1-10 0zM12 16.3V20",
  land: "M12 4v10m0 0 4-4m-4 4-4-4M4.5 15.5V19h15v-3.5",
  model: "M12 3.8 20 8l-8 4.2L4 8zM4 12.2l8 4.2 8-4.2M4 16l8 4.2 8-4.2",
  board: "M4.5 4.5h6.5v8H4.5zM13.5 4.5h6v4.5h-6zM13.5 11.5h6v8h-6zM4.5 15h6.5v4.5H4.5z",
  edit: "M5 19l1-4L16.2 4.8l3 3L9 18zM14 7l3 3",
  share: "M9 12.5l6-6M10.5 5.5h5.5V11M18.5 13.5v6h-14v-14h6",
  print: "M7 9V4.5h10V9M7 16.5H4.5v-7.5h15v7.5H17M7 14h10v5.5H7z",
  drag: "M9 6v.1M15 6v.1M9 12v.1M15 12v.1M9 18v.1M15 18v.1",
  remove: "M5 7h14M9.5 7V4.5h5V7M7 7l1 12.5h8L17 7M10.5 10.5v5.5M13.5 10.5v5.5",
  filter: "M4.5 5.5h15l-6 7v6l-3-1.6v-4.4z",
  measure: "M4 19.5h16M7 16v-4M12 16V6.5M17 16V10",
  learn: "M12 4.2a5.6 5.6 0 0 0-3.3 10.1c.7.6 1.1 1.2 1.1 2.2h4.4c0-1 .4-1.6 1.1-2.2A5.6 5.6 0 0 0 12 4.2zM10 19.5h4",
  decide: "M12 20v-6m0 0L6 8m6 6 6-6M6 12V8h4M18 12V8h-4",
  act: "M20 4 4.5 10.4l6 3 3 6zM10.5 13.4 20 4",
  outcome: "M12 20a8 8 0 1 1 8-8M12 15.6a3.6 3.6 0 1 1 3.6-3.6M12 12l7.5 7.5m0-4.2v4.2h-4.2",
  catalogue: "M5 4.5h11.5a2 2 0 0 1 2 2v13H7a2 2 0 0 1-2-2zM5 17.3a2 2 0 0 1 2-2h11.5M9 8.5h5.5",
  lineage: "M4 5.5h5v4H4zM15 4h5v4h-5zM15 16h5v4h-5zM9 7.5h2.5a2 2 0 0 1 2 2V16a2 2 0 0 0 1.5 2M11.5 7.5 15 6",
  sql: "M4.5 5h15v14h-15zM8 9.5l2.8 2.5L8 14.5M12.5 15H16",
  syncs: "M5 9.5h13l-3.2-3.2M19 14.5H6l3.2 3.2",
  runs: "M12 4.2a7.8 7.8 0 1 1-7.4 5.3M12 8v4.3l3 1.8M4.2 4.8v4.9h4.9",
  clock: "M12 4.2a7.8 7.8 0 1 1 0 15.6 7.8 7.8 0 0 1 0-15.6zM12 7.8V12l3 2",
  policies: "M12 3.8 19 6.5v5c0 4.2-2.8 7.3-7 8.7-4.2-1.4-7-4.5-7-8.7v-5zM9 12l2.2 2.2L15.4 10",
  experiments: "M9.5 4h5M10.5 4v5.5L5.6 18a1.5 1.5 0 0 0 1.3 2.2h10.2a1.5 1.5 0 0 0 1.3-2.2l-4.9-8.5V4M8.2 14.5h7.6",
  inventory: "M4.5 8 12 4l7.5 4v8.2L12 20.2l-7.5-4zM4.5 8l7.5 4 7.5-4M12 12v8.2M8.2 6l7.6 4",
  admin: "M12 8.7a3.3 3.3 0 1 0 0 6.6 3.3 3.3 0 0 0 0-6.6zM12 3.8v2.4M12 17.8v2.4M3.8 12h2.4M17.8 12h2.4M6.2 6.2l1.7 1.7M16.1 16.1l1.7 1.7M17.8 6.2l-1.7 1.7M7.9 16.1l-1.7 1.7",
  quality: "M6.5 4.5h11v15h-11zM9.2 9.3l1.3 1.3 2.2-2.5M9.2 15.3l1.3 1.3 2.2-2.5M14.5 10h.8M14.5 16h.8",
  savings: "M12 4.2a7.8 7.8 0 1 1 0 15.6 7.8 7.8 0 0 1 0-15.6zM14.6 9.4c-.5-.8-1.4-1.2-2.6-1.2-1.5 0-2.5.7-2.5 1.8 0 2.6 5.2 1.3 5.2 3.9 0 1.2-1.1 1.9-2.7 1.9-1.3 0-2.3-.5-2.8-1.4M12 6.8v1.4M12 15.8v1.4",
  search: "M10.8 5a5.8 5.8 0 1 1 0 11.6 5.8 5.8 0 0 1 0-11.6zM15 15l4.5 4.5",
  sun: "M12 8.2a3.8 3.8 0 1 1 0 7.6 3.8 3.8 0 0 1 0-7.6zM12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6 7 7M17 17l1.4 1.4M18.4 5.6 17 7M7 17l-1.4 1.4",
  moon: "M19.5 14.4A8 8 0 1 1 9.6 4.5a6.4 6.4 0 0 0 9.9 9.9z",
  menu: "M4.5 7h15M4.5 12h15M4.5 17h15",
  close: "M6 6l12 12M18 6 6 18",
  check: "M5 12.5l4.5 4.5L19 7.5",
  alert: "M12 4 21 19.5H3zM12 10v4.4M12 16.9v.1",
  failed: "M12 4a8 8 0 1 1 0 16 8 8 0 0 1 0-16zM9 9l6 6M15 9l-6 6",
  info: "M12 4a8 8 0 1 1 0 16 8 8 0 0 1 0-16zM12 11v5M12 8v.1",
  play: "M8 5.5v13l10.5-6.5z",
  pause: "M8.5 6v12M15.5 6v12",
  back: "M14.5 6 8.5 12l6 6",
  next: "M9.5 6l6 6-6 6",
  undo: "M9 8H14a5 5 0 0 1 0 10H8M9 8l3.5-3.5M9 8l3.5 3.5",
  copy: "M8.5 8.5h11v11h-11zM15.5 8.5v-4h-11v11h4",
  user: "M12 12a3.8 3.8 0 1 0 0-7.6 3.8 3.8 0 0 0 0 7.6zM4.8 20c.7-3.8 3.4-5.7 7.2-5.7s6.5 1.9 7.2 5.7",
  download: "M12 4v11m0 0 4-4m-4 4-4-4M5 19.5h14",
  plus: "M12 5v14M5 12h14",
  tag: "M4 4.5h7.5l8 8-7.5 7.5-8-8zM8 8.4v.1",
  link: "M9.5 14.5l5-5M8.2 11 6 13.2a3.4 3.4 0 0 0 4.8 4.8L13 15.8M15.8 13 18 10.8A3.4 3.4 0 0 0 13.2 6L11 8.2",
} as const;

export type IconName = keyof typeof paths;

/** An icon that says nothing by itself; the words beside it do. */
export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg className="icon" width={size} height={size} viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth={1.7} strokeLinecap="round" strokeLinejoin="round" aria-hidden="true" focusable="false">
      <path d={paths[name]} />
    </svg>
  );
}
