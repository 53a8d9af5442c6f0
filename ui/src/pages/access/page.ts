import type { Entry } from "../../pages";

// No permission: whoever lacks one asks for it here, and who may administer decides here.
export default [
  { path: "access", title: { en: "Access", zh: "权限申请" }, feature: "access", menu: { group: "run", order: 85, icon: "user" }, load: () => import("./Access") },
] satisfies Entry[];
