import type { Entry } from "../../pages";

export default [
  { path: "models", title: { en: "Models", zh: "模型" }, permission: "view", feature: "models", menu: { group: "data", order: 30, icon: "model" }, load: () => import("./Models") },
  { path: "models/:name", title: { en: "Model", zh: "模型" }, permission: "view", feature: "models", load: () => import("./Model") },
  { path: "plan", title: { en: "Plan", zh: "变更计划" }, permission: "view", feature: "plan", load: () => import("./Plan") },
] satisfies Entry[];
