import type { Entry } from "../../pages";

// No permission: everybody keeps their own tokens here; who may do more sees more.
export default [
  { path: "admin", title: { en: "Administration", zh: "管理" }, feature: "tokens", menu: { group: "run", order: 90, icon: "admin" }, load: () => import("./Admin") },
] satisfies Entry[];
