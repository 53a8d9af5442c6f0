import type { Entry } from "../../pages";

export default [
  { path: "turns", title: { en: "Turns and runs", zh: "轮次与运行" }, permission: "view", feature: "runs", menu: { group: "run", order: 10, icon: "runs" }, load: () => import("./Turns") },
  { path: "runs/:run", title: { en: "Run", zh: "运行" }, permission: "view", feature: "runs", load: () => import("./Run") },
  { path: "work/:work", title: { en: "Work", zh: "工作" }, permission: "view", feature: "work", load: () => import("./Work") },
] satisfies Entry[];
