import type { Entry } from "../../pages";

export default [
  { path: "", title: { en: "Home", zh: "首页" }, permission: "view", feature: "status", menu: { group: "see", order: 10, icon: "home" }, load: () => import("./Home") },
] satisfies Entry[];
