import type { Entry } from "../../pages";

export default [
  { path: "operations", title: { en: "Operations", zh: "运维" }, permission: "operate", feature: "databases", menu: { group: "run", order: 70, icon: "outcome" }, load: () => import("./Operations") },
] satisfies Entry[];
