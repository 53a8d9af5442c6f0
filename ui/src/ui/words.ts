/** The words of the parts in this folder that not every page loads. */
import { dictionary } from "../i18n";

export default dictionary(
  {
    "type.text": "text", "type.integer": "integer", "type.number": "number", "type.flag": "yes/no", "type.day": "day", "type.moment": "moment (UTC)", "type.other": "other",
    "flow.more": "{count} more columns",
    "flow.in": "Zoom in", "flow.out": "Zoom out", "flow.fit": "Show all", "flow.controls": "Zoom",
    "halt": "Stop all policies", "halt.go": "Stop all", "halt.text": "At once nothing is decided and nothing leaves, until somebody lets them go on. Everybody will read the reason. Policies that are paused each by itself stay so afterwards.",
    "halt.on": "ALL POLICIES ARE STOPPED: nothing is decided and nothing leaves.", "halt.why": "{reason} ({by}, {when})", "halt.lift": "Let them go on", "halt.lifted": "All policies go on, but for those that are paused each by itself",
    "approvals": "Waiting for approval", "approvals.text": "Nothing of this leaves until somebody approves it. Who wrote the policy, let it go on or edited a line cannot approve it where the policy asks for a second person.",
    "approvals.unit": "For", "approvals.amount": "Amount", "approvals.quantity": "Order", "approvals.proposed": "proposed: {count}", "approvals.until": "Until", "approvals.sent": "What is sent", "approvals.edited": "edited by {who}",
    "approvals.approve": "Approve", "approvals.reject": "Reject", "approvals.all": "Approve all {count}", "approvals.edit": "Change quantity", "approvals.reject.text": "It ends for good and is not sent. The reason is kept with it.", "approvals.edit.text": "What was proposed stays in the record. Whoever changes it cannot approve it where a second person is asked for.",
    "approvals.all.text": "Deliveries: {count}. Together: {sum}. They leave as soon as they are approved.", "approvals.done": "Approved: {count}", "approvals.rejected": "Rejected: {count}", "approvals.hidden": "Deliveries that wait: {count}. Whoever may read rows sees and approves them.",
  },
  {
    "type.text": "文本", "type.integer": "整数", "type.number": "数值", "type.flag": "是/否", "type.day": "日期", "type.moment": "时间 (UTC)", "type.other": "其他",
    "flow.more": "另有 {count} 列",
    "flow.in": "放大", "flow.out": "缩小", "flow.fit": "显示全部", "flow.controls": "缩放",
    "halt": "停止所有策略", "halt.go": "全部停止", "halt.text": "立即停止一切决策和投递，直到有人恢复。所有人都会看到原因。此前单独暂停的策略在恢复后仍保持暂停。",
    "halt.on": "所有策略已停止：不再决策，也不再投递。", "halt.why": "{reason}（{by}，{when}）", "halt.lift": "恢复运行", "halt.lifted": "所有策略已恢复，单独暂停的除外",
    "approvals": "等待审批", "approvals.text": "经人审批之前，这些都不会发出。若策略要求第二人审批，编写或恢复该策略、或修改过该行的人不能审批。",
    "approvals.unit": "对象", "approvals.amount": "金额", "approvals.quantity": "订货量", "approvals.proposed": "原建议：{count}", "approvals.until": "截止", "approvals.sent": "发送内容", "approvals.edited": "由 {who} 修改",
    "approvals.approve": "批准", "approvals.reject": "拒绝", "approvals.all": "全部批准（{count}）", "approvals.edit": "修改数量", "approvals.reject.text": "它将彻底终止，不会发出。原因会随之保存。", "approvals.edit.text": "原建议会保留在记录中。若要求第二人审批，修改者不能审批。",
    "approvals.all.text": "投递数：{count}。合计：{sum}。批准后立即发出。", "approvals.done": "已批准：{count}", "approvals.rejected": "已拒绝：{count}", "approvals.hidden": "等待审批的投递：{count}。有读取数据权限的人可以查看和审批。",
  },
);
