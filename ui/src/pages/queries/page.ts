import type { Entry } from "../../pages";

export default [
  { path: "queries", title: { en: "Published queries", zh: "数据服务" }, permission: "view", feature: "queries", menu: { group: "see", order: 35, icon: "share" }, load: () => import("./Queries") },
  { path: "queries/:name", title: { en: "Published query", zh: "发布的查询" }, permission: "view", feature: "queries", load: () => import("./Query") },
] satisfies Entry[];
