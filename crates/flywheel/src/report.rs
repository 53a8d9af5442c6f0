//! The report: one HTML page that needs nothing else.
//!
//! A pure function of its data, so that the same run gives the same bytes. Charts are drawn here as
//! SVG; style and script are inline, and the page's own policy forbids it to load anything. Every
//! text exists in English and Chinese and the page shows one of them. All data is escaped.

mod axis;
mod data;
mod forecast;
mod ledger;
mod lift;
mod markup;
mod origin;
mod people;
mod ring;
mod segments;
#[cfg(test)]
pub(crate) mod tests;

pub use data::{
    Compared, DayValue, ForecastDay, ForecastSeries, LiftPoint, Lineage, LineageStep, PolicyReport,
    PolicyTruth, Proposal, QuarantinedRow, Recommended, RecommendedItem, ReportData, StageCounts,
    StageMove, TestResult, Totals, TruthReport, Turn,
};

use lift::Verdict;
use markup::{both, escape, or_dash, points};

/// The page's style.
const STYLE: &str = include_str!("report/style.css");

/// The page's script: it switches language and theme, and the page is complete without it.
const SCRIPT: &str = include_str!("report/script.js");

/// The page may load nothing but what it carries.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// Renders the page.
#[must_use]
pub fn render(data: &ReportData) -> String {
    let sections = [
        lift::render(data),
        segments::render(data),
        people::render(data),
        forecast::render(data),
        ledger::stock(data),
        ledger::quality(data),
        origin::lineage(data),
        origin::truth(data),
        ledger::turns(data),
    ];
    format!(
        "<!doctype html>\n<html lang=\"en\" data-lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"{CONTENT_POLICY}\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n<title>{} · Flywheel</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{}{}<main id=\"main\">\n{}{}</main>\n{}<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        escape(&data.project),
        banner(data),
        header(data, &sections),
        hero(data),
        sections.concat(),
        footer(data),
    )
}

fn banner(data: &ReportData) -> String {
    let Some(seed) = data.simulated_seed else { return String::new() };
    format!(
        "<p class=\"banner\" role=\"note\">{}</p>\n",
        both(
            &format!(
                "<b>Simulated customers.</b> Nobody in this report exists; seed {seed} made them all."
            ),
            &format!("<b>模拟客户。</b>报告中的人物均不存在，全部由种子 {seed} 生成。"),
        )
    )
}

/// The names of the sections for the navigation, by their anchor.
const LINKS: [(&str, &str, &str); 9] = [
    ("lift", "Lift", "提升"),
    ("segments", "Customers", "客户"),
    ("recommendations", "Recommendations", "推荐"),
    ("forecast", "Forecast", "预测"),
    ("stock", "Stock", "采购"),
    ("quality", "Data", "数据质量"),
    ("lineage", "Lineage", "血缘"),
    ("truth", "Truth", "真相"),
    ("turns", "Turns", "轮次"),
];

fn header(data: &ReportData, sections: &[String]) -> String {
    let there =
        |id: &str| sections.iter().any(|html| html.starts_with(&format!("<section id=\"{id}\"")));
    let links: String = LINKS
        .iter()
        .filter(|(id, _, _)| there(id))
        .map(|(id, en, zh)| format!("<a href=\"#{id}\">{}</a>", both(en, zh)))
        .collect();
    format!(
        "<a class=\"skip\" href=\"#main\">{}</a><header class=\"top\"><div class=\"bar\"><p class=\"brand\"><svg viewBox=\"0 0 24 24\" aria-hidden=\"true\"><circle cx=\"12\" cy=\"12\" r=\"9\"/><path d=\"M12 3a9 9 0 0 1 9 9\"/></svg>Flywheel <span>{}</span></p><div class=\"tools\"><button type=\"button\" id=\"lang\" aria-label=\"中文 / English\">{}</button><button type=\"button\" id=\"theme\">{}</button></div></div><nav aria-label=\"Sections · 章节\">{links}</nav></header>\n",
        both("Skip to the content", "跳到正文"),
        escape(&data.project),
        both("中文", "English"),
        both("Light / dark", "明 / 暗"),
    )
}

/// The policy that the headline is about.
fn headline_policy(data: &ReportData) -> Option<&PolicyReport> {
    match &data.headline_policy {
        Some(name) => data.policies.iter().find(|policy| policy.policy == *name),
        None => data.policies.iter().find(|policy| !policy.lifts.is_empty()),
    }
}

fn hero(data: &ReportData) -> String {
    let policy = headline_policy(data);
    let title = match policy.map_or(Verdict::Unknown, lift::verdict) {
        Verdict::Helps => both("The wheel turns, and it helps.", "飞轮在转，而且有效。"),
        Verdict::Harms => both("The wheel turns, and it does harm.", "飞轮在转，但适得其反。"),
        Verdict::Open => both("The wheel turns. No evidence yet.", "飞轮在转，尚无证据。"),
        Verdict::Unknown => both("The wheel turns.", "飞轮开始转动。"),
    };
    let lift = policy.and_then(lift::newest).and_then(|point| point.lift);
    let sentence = policy.map_or_else(String::new, lift::sentence);
    let dates = match (data.turns.first(), data.turns.last()) {
        (Some(first), Some(last)) => format!("{} – {}", escape(&first.date), escape(&last.date)),
        _ => String::new(),
    };
    let simulated = if data.simulated_seed.is_some() {
        format!(" · {}", both("simulated customers", "模拟客户"))
    } else {
        String::new()
    };
    format!(
        "<section class=\"hero\" aria-labelledby=\"hero-h\"><div><p class=\"eyebrow\">{dates}{simulated}</p><h1 id=\"hero-h\">{title}</h1><p class=\"say\">{sentence}</p>{}</div><div>{}</div></section>\n",
        arms(policy),
        ring::draw(data, &or_dash(lift, points)),
    )
}

/// The two rates behind the headline, as bars of one scale.
fn arms(policy: Option<&PolicyReport>) -> String {
    let Some(point) = policy.and_then(lift::newest) else { return String::new() };
    let (Some(treated), Some(held)) = (point.treated_rate, point.holdout_rate) else {
        return String::new();
    };
    let most = treated.max(held).max(f64::MIN_POSITIVE);
    let bar = |class: &str, en: &str, zh: &str, rate: f64| {
        format!(
            "<div class=\"arm {class}\"><span>{}</span><i style=\"--w:{:.3}\"></i><b>{}</b></div>",
            both(en, zh),
            rate / most,
            markup::percent(rate)
        )
    };
    let measured = markup::whole(point.measured);
    format!(
        "<div class=\"arms\">{}{}<p class=\"note\">{}</p></div>",
        bar("treated", "treated", "干预组", treated),
        bar("held", "held out", "留出组", held),
        both(
            &format!("{measured} decisions whose window has closed, as of {}", escape(&point.date)),
            &format!("截至 {}，窗口已结束的 {measured} 个决策", escape(&point.date)),
        ),
    )
}

fn footer(data: &ReportData) -> String {
    let again = if data.command.is_empty() {
        String::new()
    } else {
        let note = if data.simulated_seed.is_some() {
            both(
                "The same seed gives the same report, byte for byte:",
                "同样的种子得到逐字节相同的报告：",
            )
        } else {
            both("Made by:", "生成命令：")
        };
        format!("<p>{note} <code>{}</code></p>", escape(&data.command))
    };
    format!("<footer><p>Flywheel {}</p>{again}</footer>\n", escape(&data.version))
}
