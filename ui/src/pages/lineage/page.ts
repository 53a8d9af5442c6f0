import type { Entry } from "../../pages";

export default [
  { path: "lineage", title: { en: "Lineage", zh: "血缘" }, permission: "view", feature: "lineage", menu: { group: "data", order: 50, icon: "lineage" }, load: () => import("./Lineage") },
] satisfies Entry[];
