//! Tables of what happened: turns, purchase proposals, tests and rows set aside.

use super::data::ReportData;
use super::markup::{
    both, details, escape, named, number, or_dash, percent, section, table, whole, wrapped,
};

/// The section on turns.
pub(super) fn turns(data: &ReportData) -> String {
    if data.turns.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = data
        .turns
        .iter()
        .map(|turn| {
            vec![
                turn.turn.to_string(),
                escape(&turn.date),
                whole(turn.rows_landed),
                whole(turn.rows_quarantined),
                whole(turn.test_failures),
                whole(turn.fits),
                whole(turn.decisions),
                whole(turn.held_out),
                whole(turn.actions),
                whole(turn.outcomes),
            ]
        })
        .collect();
    let headings = [
        ("turn", "轮次", true),
        ("date", "日期", false),
        ("rows landed", "落地行数", true),
        ("set aside", "隔离", true),
        ("failing tests", "未过测试", true),
        ("fits", "拟合", true),
        ("decisions", "决策", true),
        ("held out", "留出", true),
        ("actions", "行动", true),
        ("outcomes", "结果", true),
    ];
    section(
        "turns",
        ("Every turn", "每一轮"),
        (
            "Each turn lands what is new, rebuilds what it touches, learns, decides, acts and counts what came of earlier decisions.",
            "每一轮都落地新数据、重建受影响的模型、学习、决策、行动，并统计早先决策的结果。",
        ),
        &table(("Turns", "轮次"), &headings, &rows),
    )
}

/// The section on purchase proposals.
pub(super) fn stock(data: &ReportData) -> String {
    if data.proposals.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = data
        .proposals
        .iter()
        .map(|proposal| {
            vec![
                escape(&proposal.date),
                format!("{} <small>{}</small>", escape(&proposal.name), escape(&proposal.product)),
                number(proposal.on_hand, 0),
                number(proposal.on_order, 0),
                number(proposal.expected_demand, 1),
                or_dash(proposal.stockout_risk, percent),
                format!("<b>{}</b>", number(proposal.quantity, 0)),
                number(proposal.cost, 2),
                wrapped(&named(&proposal.reason, proposal.reason_zh.as_deref())),
            ]
        })
        .collect();
    let headings = [
        ("date", "日期", false),
        ("product", "商品", false),
        ("on hand", "在库", true),
        ("on order", "在途", true),
        ("expected demand", "预期需求", true),
        ("risk of empty shelf", "缺货风险", true),
        ("order", "订购", true),
        ("cost", "金额", true),
        ("reason", "理由", false),
    ];
    section(
        "stock",
        ("What to buy", "该采购什么"),
        (
            "The newest proposals: enough to last until the delivery after next in 19 of 20 cases.",
            "最新的采购建议：在 20 次中的 19 次足以撑到下一次到货之后。",
        ),
        &table(("Purchase proposals", "采购建议"), &headings, &rows),
    )
}

/// The section on tests and on rows set aside.
pub(super) fn quality(data: &ReportData) -> String {
    if data.tests.is_empty() && data.quarantine.is_empty() {
        return String::new();
    }
    let mut body = String::new();
    if !data.quarantine.is_empty() {
        body.push_str(&quarantine(data));
    }
    if !data.tests.is_empty() {
        body.push_str(&tests(data));
    }
    section(
        "quality",
        ("What was wrong with the data", "数据有哪些问题"),
        (
            "A row that cannot be read is set aside with its reason, never dropped and never a stop. A failing test stops publication; readers keep the last good version.",
            "无法读取的行会连同原因一起隔离，既不丢弃也不中断。测试失败会阻止发布，读者继续使用上一个好版本。",
        ),
        &body,
    )
}

fn quarantine(data: &ReportData) -> String {
    let rows: Vec<Vec<String>> = data
        .quarantine
        .iter()
        .map(|row| {
            vec![
                format!(
                    "<code>{}{}</code>",
                    escape(&row.file),
                    row.line.map_or_else(String::new, |line| format!(":{line}"))
                ),
                escape(row.column.as_deref().unwrap_or("–")),
                wrapped(&escape(&row.reason)),
                format!("<code class=\"raw\">{}</code>", escape(&row.raw)),
            ]
        })
        .collect();
    let headings = [
        ("place", "位置", false),
        ("column", "列", false),
        ("reason", "原因", false),
        ("the row as it was", "原始行", false),
    ];
    let (shown, all) = (data.quarantine.len() as u64, data.totals.rows_quarantined);
    let landed = data.totals.rows_landed + all;
    let share = if landed == 0 { 0.0 } else { all as f64 / landed as f64 };
    let title = both(
        &format!("{} rows set aside, {} of all; {shown} shown", whole(all), percent(share)),
        &format!("共隔离 {} 行，占全部 {}；此处显示 {shown} 行", whole(all), percent(share)),
    );
    format!("<h3>{title}</h3>{}", table(("Rows set aside", "隔离的行"), &headings, &rows))
}

fn tests(data: &ReportData) -> String {
    let row = |test: &super::data::TestResult| {
        let (class, en, zh) = match test.status.as_str() {
            "passed" => ("good", "passed", "通过"),
            "warned" => ("open", "warned", "警告"),
            _ => ("bad", "failed", "失败"),
        };
        vec![
            format!("<code>{}</code>", escape(&test.subject)),
            escape(&test.test),
            format!("<span class=\"badge {class}\">{}</span>", both(en, zh)),
            whole(test.failures),
        ]
    };
    let headings = [
        ("of", "对象", false),
        ("claim", "断言", false),
        ("result", "结果", false),
        ("rows against it", "反例行数", true),
    ];
    let open: Vec<Vec<String>> =
        data.tests.iter().filter(|t| t.status != "passed").map(row).collect();
    let all: Vec<Vec<String>> = data.tests.iter().map(row).collect();
    let passed = all.len() - open.len();
    let title = both(
        &format!("{passed} of {} tests pass", all.len()),
        &format!("{} 项测试中 {passed} 项通过", all.len()),
    );
    let label = ("Tests", "测试");
    let shown = if open.is_empty() { String::new() } else { table(label, &headings, &open) };
    let every = details(("All tests", "全部测试"), &table(label, &headings, &all));
    format!("<h3>{title}</h3>{shown}{every}")
}
