import type { Entry } from "../../pages";

export default [
  { path: "experiments", title: { en: "Experiments", zh: "实验" }, permission: "view", feature: "experiments", menu: { group: "loop", order: 30, icon: "experiments" }, load: () => import("./Experiments") },
] satisfies Entry[];
