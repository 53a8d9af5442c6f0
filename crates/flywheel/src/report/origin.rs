//! Where one number comes from, and what the simulator knows.

use super::data::ReportData;
use super::lift::newest;
use super::markup::{
    both, escape, kind_words, number, or_dash, percent, points, section, table, whole,
};

/// The section on the lineage of one number.
pub(super) fn lineage(data: &ReportData) -> String {
    let Some(lineage) = &data.lineage else { return String::new() };
    let steps: String = lineage
        .steps
        .iter()
        .map(|step| {
            let sql = step.sql.as_ref().map_or_else(String::new, |sql| {
                format!("<pre tabindex=\"0\"><code>{}</code></pre>", escape(sql.trim()))
            });
            format!(
                "<li><p><span class=\"kind\">{}</span> <code>{}</code> <span class=\"note\">{}</span></p>{sql}</li>",
                kind_words(&step.kind),
                escape(&step.node),
                escape(&step.detail)
            )
        })
        .collect();
    let number = format!(
        "<p class=\"number\"><span>{}</span><b>{}</b></p>",
        both(&escape(&lineage.title), &escape(&lineage.title_zh)),
        escape(&lineage.value)
    );
    section(
        "lineage",
        ("Where a number comes from", "一个数字从何而来"),
        (
            "Every figure can be followed back to the rows of a file. Here is one.",
            "每个数字都能追溯到某个文件中的行。以下是其中一个。",
        ),
        &format!("<div class=\"card\">{number}<ol class=\"lineage\">{steps}</ol></div>"),
    )
}

/// The section on the truth behind simulated customers.
pub(super) fn truth(data: &ReportData) -> String {
    let Some(truth) = &data.truth else { return String::new() };
    let rows: Vec<Vec<String>> = truth
        .policies
        .iter()
        .map(|known| {
            let policy = data.policies.iter().find(|policy| policy.policy == known.policy);
            let measured = policy.and_then(newest);
            let interval = measured.and_then(|point| Some((point.lower?, point.upper?)));
            let verdict = interval.map_or_else(String::new, |(lower, upper)| {
                if (lower..=upper).contains(&known.lift) {
                    format!(
                        "<span class=\"badge good\">{}</span>",
                        both("holds the truth", "区间含真值")
                    )
                } else {
                    format!(
                        "<span class=\"badge bad\">{}</span>",
                        both("misses the truth", "区间未含真值")
                    )
                }
            });
            vec![
                escape(&known.policy),
                whole(known.messages),
                or_dash(measured.and_then(|point| point.lift), points),
                interval.map_or_else(
                    || "–".to_owned(),
                    |(lower, upper)| format!("{} … {}", points(lower), points(upper)),
                ),
                format!("<b>{}</b>", points(known.lift)),
                verdict,
                or_dash(known.lift_random, points),
                or_dash(known.lift_oracle, points),
            ]
        })
        .collect();
    let headings = [
        ("policy", "策略", false),
        ("messages", "消息数", true),
        ("measured lift", "测得提升", true),
        ("95 % interval", "95% 区间", true),
        ("true lift", "真实提升", true),
        ("", "", false),
        ("at random", "随机推荐", true),
        ("best possible", "最优上限", true),
    ];
    let facts = [
        (percent(truth.fill_rate), "of wanted pieces were sold", "的需求件数得到满足"),
        (number(truth.lost_revenue, 0), "revenue lost to empty shelves", "因缺货损失的销售额"),
        (whole(truth.lost_orders), "orders lost entirely", "个订单因缺货完全流失"),
        (whole(truth.empty_shelf_days), "product-days with an empty shelf", "个商品日货架为空"),
        (whole(truth.spoiled_rows), "rows spoiled on purpose", "行被故意弄坏"),
    ];
    let facts: String = facts
        .iter()
        .map(|(value, en, zh)| format!("<div><b>{value}</b><span>{}</span></div>", both(en, zh)))
        .collect();
    section(
        "truth",
        ("What only the simulator knows", "只有模拟器知道的真相"),
        (
            "The customers are simulated, so the effect of every message is known. A real shop never sees this table: it has the holdout and the interval.",
            "客户是模拟的，因此每条消息的效果都已知。真实的店铺永远看不到这张表：它只有留出组和区间。",
        ),
        &format!(
            "{}<div class=\"facts\">{facts}</div>",
            table(("Truth against measurement", "真值与测量"), &headings, &rows)
        ),
    )
}
