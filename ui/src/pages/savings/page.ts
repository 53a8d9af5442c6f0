import type { Entry } from "../../pages";

export default [
  { path: "savings", title: { en: "Savings", zh: "降本" }, permission: "view", feature: "savings", menu: { group: "run", order: 40, icon: "savings" }, load: () => import("./Savings") },
] satisfies Entry[];
