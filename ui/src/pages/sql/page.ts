import type { Entry } from "../../pages";

export default [
  { path: "sql", title: { en: "SQL lab", zh: "SQL 工作台" }, permission: "query", feature: "sql", menu: { group: "see", order: 30, icon: "sql" }, load: () => import("./Lab") },
] satisfies Entry[];
