//! What is recommended to whom, and why.

use super::data::{Recommended, RecommendedItem, ReportData};
use super::markup::{both, escape, named, section, stage_words};

/// The section on recommendations.
pub(super) fn render(data: &ReportData) -> String {
    if data.recommendations.is_empty() {
        return String::new();
    }
    let cards: String = data.recommendations.iter().map(card).collect();
    section(
        "recommendations",
        ("What they may want next", "他们接下来可能想要什么"),
        (
            "A few customers, what they bought lately, and what is recommended, each with its reason.",
            "几位客户、他们最近买了什么、推荐了什么，以及每条推荐的理由。",
        ),
        &format!("<div class=\"cards small\">{cards}</div>"),
    )
}

fn card(customer: &Recommended) -> String {
    let name = customer.name.as_deref().unwrap_or(&customer.customer);
    let stage = customer.stage.as_deref().map_or_else(String::new, |stage| {
        let (en, zh) = stage_words(stage);
        format!("<span class=\"badge open\">{}</span>", both(&escape(&en), &escape(&zh)))
    });
    let bought = if customer.bought.is_empty() {
        both("Nothing bought yet", "尚未购买")
    } else {
        let list: Vec<String> = customer.bought.iter().map(|item| escape(item)).collect();
        let list = list.join(", ");
        both(&format!("Bought lately: {list}"), &format!("最近购买：{list}"))
    };
    let items: String = customer.items.iter().map(item).collect();
    format!(
        "<article class=\"card person\"><header><h3>{} <small>{}</small></h3>{stage}</header><p class=\"note\">{bought}</p><ol>{items}</ol></article>",
        escape(name),
        escape(&customer.customer),
    )
}

fn item(item: &RecommendedItem) -> String {
    format!(
        "<li><b>{}</b><span class=\"reason\">{}</span></li>",
        named(&item.name, item.name_zh.as_deref()),
        named(&item.reason, item.reason_zh.as_deref())
    )
}
