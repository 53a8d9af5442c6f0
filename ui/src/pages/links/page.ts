import type { Entry } from "../../pages";

export default [
  { path: "links", title: { en: "Two-way links", zh: "双向关联" }, permission: "view", feature: "links", menu: { group: "data", order: 22, icon: "link" }, load: () => import("./Links") },
  { path: "links/:name", title: { en: "Two-way link", zh: "双向关联" }, permission: "view", feature: "links", load: () => import("./Link") },
] satisfies Entry[];
