import type { Entry } from "../../pages";

export default [
  { path: "dashboards", title: { en: "Dashboards", zh: "看板" }, permission: "view", feature: "dashboards", menu: { group: "see", order: 15, icon: "board" }, load: () => import("./Dashboards") },
  { path: "dashboards/new", title: { en: "New dashboard", zh: "新建看板" }, permission: "author", feature: "dashboards", load: () => import("./Build") },
  { path: "dashboards/:name", title: { en: "Dashboard", zh: "看板" }, permission: "view", feature: "dashboards", load: () => import("./Dashboard") },
  { path: "dashboards/:name/edit", title: { en: "Edit dashboard", zh: "编辑看板" }, permission: "author", feature: "dashboards", load: () => import("./Build") },
] satisfies Entry[];
