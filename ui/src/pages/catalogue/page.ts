import type { Entry } from "../../pages";

export default [
  { path: "catalogue", title: { en: "Catalogue", zh: "数据目录" }, permission: "view", feature: "search", menu: { group: "data", order: 40, icon: "catalogue" }, load: () => import("./Catalogue") },
  { path: "catalogue/:name", title: { en: "Asset", zh: "数据资产" }, permission: "view", feature: "assets", load: () => import("./Asset") },
] satisfies Entry[];
