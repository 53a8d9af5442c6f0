/** What people call the kinds of assets. */
import { useCallback } from "react";
import { dictionary, useWords } from "../i18n";

export const words = dictionary(
  {
    "asset.source": "Landed table",
    "asset.landed": "Landed table",
    "asset.model": "Model",
    "asset.seed": "Seed",
    "asset.snapshot": "Snapshot",
    "asset.table": "Table",
    "asset.metric": "Metric",
    "asset.measure": "Measure",
    "asset.dimension": "Dimension",
    "asset.test": "Test",
    "asset.outside": "Outside",
    "asset.foreign": "Told by another tool",
    "asset.semantic": "Semantic view",
    "asset.dashboard": "Dashboard",
    "asset.query": "Published query",
    "asset.learner": "Learner",
    "asset.policy": "Policy",
    "asset.action": "Action",
    "asset.connection": "Connection",
    "asset.sync": "Sync",
    "asset.system": "System table",
    "asset.quality": "Quality file",
    "asset.dictionary": "Dictionary",
    "asset.link": "Link",
    "asset.split": "Split",
    "asset.schedule": "Schedule",
    "asset.rule": "Rule of access",
    "asset.extension": "Extension",
    "asset.exposure": "Exposure",
  },
  {
    "asset.source": "入湖表",
    "asset.landed": "入湖表",
    "asset.model": "模型",
    "asset.seed": "种子表",
    "asset.snapshot": "快照表",
    "asset.table": "表",
    "asset.metric": "指标",
    "asset.measure": "度量",
    "asset.dimension": "维度",
    "asset.test": "测试",
    "asset.outside": "外部系统",
    "asset.foreign": "其他工具提供",
    "asset.semantic": "语义视图",
    "asset.dashboard": "看板",
    "asset.query": "发布的查询",
    "asset.learner": "学习器",
    "asset.policy": "策略",
    "asset.action": "动作",
    "asset.connection": "连接",
    "asset.sync": "同步",
    "asset.system": "系统表",
    "asset.quality": "质量文件",
    "asset.dictionary": "码表",
    "asset.link": "关联",
    "asset.split": "拆分",
    "asset.schedule": "计划任务",
    "asset.rule": "权限规则",
    "asset.extension": "扩展",
    "asset.exposure": "下游应用",
  },
);

/** The word for a kind of asset, or the kind itself when a newer server says one that these pages do not know. */
export function useKind(): (kind: string) => string {
  const { word } = useWords(words);
  return useCallback((kind) => word("asset", kind), [word]);
}
