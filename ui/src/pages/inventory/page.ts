import type { Entry } from "../../pages";

export default [
  // What is proposed and why lies in decisions, which are rows of data.
  { path: "inventory", title: { en: "Inventory", zh: "库存" }, permission: "query", feature: "policies", menu: { group: "loop", order: 50, icon: "inventory" }, load: () => import("./Inventory") },
] satisfies Entry[];
