import type { Entry } from "../../pages";

export default [
  { path: "quality", title: { en: "Quality", zh: "数据质量" }, permission: "view", feature: "quality", menu: { group: "data", order: 45, icon: "quality" }, load: () => import("./Quality") },
  { path: "quality/:name", title: { en: "Quality file", zh: "质量文件" }, permission: "view", feature: "quality", load: () => import("./File") },
] satisfies Entry[];
