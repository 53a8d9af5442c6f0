import type { Entry } from "../../pages";

export default [
  { path: "merges", title: { en: "Merges", zh: "系统合并" }, permission: "view", feature: "merges", menu: { group: "data", order: 23, icon: "lineage" }, load: () => import("./Merges") },
  { path: "merges/:name", title: { en: "Merge", zh: "系统合并" }, permission: "view", feature: "merges", load: () => import("./Merge") },
] satisfies Entry[];
