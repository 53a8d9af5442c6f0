import type { Entry } from "../../pages";

export default [
  { path: "connections", title: { en: "Connections", zh: "连接" }, permission: "view", feature: "connections", menu: { group: "data", order: 10, icon: "connect" }, load: () => import("./Connections") },
  { path: "connections/:name", title: { en: "Connection", zh: "连接" }, permission: "view", feature: "connections", load: () => import("./Connection") },
] satisfies Entry[];
