/** The words of the parts in this folder that not every page loads. */
import { dictionary } from "../i18n";

export default dictionary(
  {
    "type.text": "text", "type.integer": "integer", "type.number": "number", "type.flag": "yes/no", "type.day": "day", "type.moment": "moment (UTC)", "type.other": "other",
    "flow.more": "{count} more columns",
    "flow.in": "Zoom in", "flow.out": "Zoom out", "flow.fit": "Show all", "flow.controls": "Zoom",
  },
  {
    "type.text": "文本", "type.integer": "整数", "type.number": "数值", "type.flag": "是/否", "type.day": "日期", "type.moment": "时间 (UTC)", "type.other": "其他",
    "flow.more": "另有 {count} 列",
    "flow.in": "放大", "flow.out": "缩小", "flow.fit": "显示全部", "flow.controls": "缩放",
  },
);
