import type { Entry } from "../../pages";

export default [
  { path: "policies", title: { en: "Policies", zh: "策略" }, permission: "view", feature: "policies", menu: { group: "loop", order: 20, icon: "policies" }, load: () => import("./Policies") },
  { path: "policies/new", title: { en: "New policy", zh: "新建策略" }, permission: "author", feature: "policies", load: () => import("./New") },
  { path: "policies/:name", title: { en: "Policy", zh: "策略" }, permission: "view", feature: "policies", load: () => import("./Policy") },
] satisfies Entry[];
