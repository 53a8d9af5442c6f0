/** The words of the parts in this folder that not every page loads. */
import { dictionary } from "../i18n";

export default dictionary(
  {
    "type.text": "text", "type.integer": "integer", "type.number": "number", "type.flag": "yes/no", "type.day": "day", "type.moment": "moment (UTC)", "type.other": "other",
    "asset.model": "Model", "asset.landed": "Landed table", "asset.source": "Landed table", "asset.seed": "Seed", "asset.snapshot": "Snapshot", "asset.metric": "Metric", "asset.semantic": "Semantic view", "asset.learner": "Learner", "asset.policy": "Policy",
    "asset.measure": "Measure", "asset.dimension": "Dimension", "asset.outside": "Outside", "asset.foreign": "Told by another tool", "asset.dashboard": "Dashboard", "asset.action": "Action", "asset.connection": "Connection", "asset.sync": "Sync", "asset.system": "System table", "asset.test": "Test", "asset.exposure": "Exposure",
    "flow.more": "{count} more columns",
    "flow.in": "Zoom in", "flow.out": "Zoom out", "flow.fit": "Show all", "flow.controls": "Zoom",
  },
  {
    "type.text": "文本", "type.integer": "整数", "type.number": "数值", "type.flag": "是/否", "type.day": "日期", "type.moment": "时间 (UTC)", "type.other": "其他",
    "asset.model": "模型", "asset.landed": "入湖表", "asset.source": "入湖表", "asset.seed": "种子表", "asset.snapshot": "快照", "asset.metric": "指标", "asset.semantic": "语义视图", "asset.learner": "学习器", "asset.policy": "策略",
    "asset.measure": "度量", "asset.dimension": "维度", "asset.outside": "外部系统", "asset.foreign": "其他工具提供", "asset.dashboard": "看板", "asset.action": "动作", "asset.connection": "连接", "asset.sync": "同步", "asset.system": "系统表", "asset.test": "测试", "asset.exposure": "下游应用",
    "flow.more": "另有 {count} 列",
    "flow.in": "放大", "flow.out": "缩小", "flow.fit": "显示全部", "flow.controls": "缩放",
  },
);
