import type { Entry } from "../../pages";

export default [
  { path: "syncs", title: { en: "Syncs", zh: "同步" }, permission: "view", feature: "syncs", menu: { group: "data", order: 20, icon: "syncs" }, load: () => import("./Syncs") },
  { path: "syncs/:name", title: { en: "Sync", zh: "同步" }, permission: "view", feature: "syncs", load: () => import("./Sync") },
  { path: "new-sync", title: { en: "New sync", zh: "新建同步" }, permission: "operate", feature: "connections", load: () => import("./NewSync") },
] satisfies Entry[];
