import type { Entry } from "../../pages";

export default [
  { path: "schedules", title: { en: "Schedules and alerts", zh: "调度与告警" }, permission: "view", feature: "schedules", menu: { group: "run", order: 15, icon: "clock" }, load: () => import("./Schedules") },
  { path: "schedules/:schedule", title: { en: "Schedule", zh: "调度" }, permission: "view", feature: "schedules", load: () => import("./Schedule") },
] satisfies Entry[];
