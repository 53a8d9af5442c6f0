import type { Entry } from "../../pages";

// No permission: an extension says for whom it is, and may never more than whoever looks.
export default [
  { path: "extensions", title: { en: "Extensions", zh: "扩展" }, feature: "extensions", menu: { group: "run", order: 80, icon: "plus" }, load: () => import("./Extensions") },
  { path: "extensions/:name/:page", title: { en: "Extension", zh: "扩展" }, feature: "extensions", load: () => import("./Extension") },
] satisfies Entry[];
