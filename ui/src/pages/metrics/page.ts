import type { Entry } from "../../pages";

export default [
  { path: "metrics", title: { en: "Metrics", zh: "指标" }, permission: "view", feature: "metrics", menu: { group: "see", order: 20, icon: "measure" }, load: () => import("./Metrics") },
  { path: "metrics/:name", title: { en: "Metric", zh: "指标" }, permission: "view", feature: "metrics", load: () => import("./Explore") },
] satisfies Entry[];
