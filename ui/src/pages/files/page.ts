import type { Entry } from "../../pages";

export default [
  { path: "files", title: { en: "Files", zh: "声明文件" }, permission: "author", feature: "files", menu: { group: "run", order: 60, icon: "edit" }, load: () => import("./Files") },
  { path: "files/:kind", title: { en: "New file", zh: "新建声明" }, permission: "author", feature: "files", load: () => import("./Declare") },
  { path: "files/:kind/:name", title: { en: "File", zh: "声明文件" }, permission: "author", feature: "files", load: () => import("./Declare") },
] satisfies Entry[];
