import type { Entry } from "../../pages";

export default [
  { path: "actions", title: { en: "Actions", zh: "动作" }, permission: "view", feature: "actions", menu: { group: "loop", order: 40, icon: "act" }, load: () => import("./Actions") },
] satisfies Entry[];
