/** What measures of learners are called and mean: which way is better. */
import type { Measure } from "../api";
import type { Language } from "../format";

/** Measures are better when higher, but for errors. */
const LESS_IS_BETTER = /wape|mase|smape|mae|rmse|mse|brier|log.?loss|error|deviance|pinball/i;
/** A share of intervals that held is as good as it is near to what was promised. */
const NEAR_IS_BETTER = /^coverage( of groups)?(, all truths so far)?$/i;

export const isNear = (measure: string) => NEAR_IS_BETTER.test(measure);
export const isLess = (measure: string) => LESS_IS_BETTER.test(measure);

/** Whether a value beats its baseline; `null` where that is not the question. */
export function better({ measure, value, baseline }: Pick<Measure, "measure" | "value" | "baseline">): boolean | null {
  if (value === null || baseline === null || isNear(measure)) return null;
  return isLess(measure) ? value < baseline : value > baseline;
}

/** Names of measures, and what stands behind their commas, as people say them in Chinese; the API says them in English. */
const CHINESE: Record<string, string> = {
  "brier": "Brier 分数", "mean squared error": "均方误差", "log loss": "对数损失", "calibration error": "校准误差", "auc": "AUC", "mae": "平均绝对误差", "wape": "WAPE",
  "wape_on_named_days": "特殊日期的 WAPE", "wape_of_levels": "各层级的 WAPE", "coverage": "覆盖率", "coverage of groups": "各组的覆盖率", "total_ratio": "总量比", "qini": "Qini 系数", "reward": "收益",
  "effect on the best 30 %": "前 30% 的效果", "share of later events in the window": "之后事件落在时段内的占比", "gain of ranking": "排序的增益", "answers a place": "每个位置的响应",
  "before learning": "学习前", "held back": "留出数据", "held-back seeds": "留出的种子", "known outcomes": "已知结果", "beside an even choice": "对比均匀选择", "lower end": "区间下限", "ranked": "重新排序",
  "held-back seeds in the best 5 %": "前 5% 中留出种子的占比", "held-back seeds in the best 10 %": "前 10% 中留出种子的占比", "held-back seeds in the best 20 %": "前 20% 中留出种子的占比", "beside the mean seed": "对比平均种子",
  "not ranked: too few places drawn": "未排序：抽样位置太少", "not ranked: too few answers": "未排序：响应太少", "not ranked: too few answers to its own order": "未排序：对原有顺序的响应太少",
  "not ranked: logged chances say too little": "未排序：记录的概率信息不足", "not ranked: no gain shown": "未排序：未显示增益",
  "beside the algorithm's order": "对比算法原有顺序", "new items": "新商品", "all items": "全部商品", "items had before": "买过的商品", "novelty": "新颖度",
  "users with 1 or 2 items": "有 1 至 2 件商品的用户", "users with 3 to 10 items": "有 3 至 10 件商品的用户", "users with more than 10 items": "有 10 件以上商品的用户", "all truths so far": "迄今所有真实值",
};

/** What a measure is called in a language; a part that these pages do not know stays as the server says it. */
export function measureCalled(measure: string, language: Language): string {
  if (language !== "zh") return measure;
  const [name = "", ...more] = measure.split(", ");
  // Of recommendations the name goes before whom it is of: `ndcg@10 new items`.
  const of = /^(.+) (new items|all items|items had before)$/.exec(name);
  const said = [of?.[1] ?? name, ...(of?.[2] ? [of[2]] : []), ...more].map((part) => CHINESE[part] ?? part);
  return said.length > 1 ? `${said[0] ?? ""}（${said.slice(1).join("，")}）` : (said[0] ?? measure);
}
