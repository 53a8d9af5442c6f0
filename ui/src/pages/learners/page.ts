import type { Entry } from "../../pages";

export default [
  { path: "learners", title: { en: "Learners", zh: "学习器" }, permission: "view", feature: "learners", menu: { group: "loop", order: 10, icon: "learn" }, load: () => import("./Learners") },
  { path: "learners/:name", title: { en: "Learner", zh: "学习器" }, permission: "view", feature: "learners", load: () => import("./Learner") },
] satisfies Entry[];
