//! What will sell: past, forecast and interval of a few products.

use super::axis::{self, Frame};
use super::data::{ForecastSeries, ReportData};
use super::markup::{both, escape, named, number, percent, section};

const FRAME: Frame =
    Frame { width: 460.0, height: 210.0, left: 40.0, right: 12.0, top: 12.0, bottom: 30.0 };

/// The section on forecasts.
pub(super) fn render(data: &ReportData) -> String {
    let cards: String =
        data.forecasts.iter().filter(|series| !series.ahead.is_empty()).map(card).collect();
    if cards.is_empty() {
        return String::new();
    }
    section(
        "forecast",
        ("What will sell", "将会卖出多少"),
        (
            "Pieces per day: what happened, what is expected, and the interval that should hold it. Each product gets the method that was best in its own past.",
            "每日件数：实际、预期及应当覆盖它的区间。每个商品使用在其历史上表现最好的方法。",
        ),
        &format!("<div class=\"cards\">{cards}</div>"),
    )
}

fn card(series: &ForecastSeries) -> String {
    let total: f64 = series.ahead.iter().map(|day| day.mean).sum();
    let days = series.ahead.len();
    let level = percent(series.interval).replace(".0", "");
    let known = series.ahead.iter().all(|day| day.lower.is_some());
    let range = if known {
        both(&format!("{level} interval"), &format!("{level} 区间"))
    } else {
        both("history too short for an interval", "历史太短，无法给出区间")
    };
    format!(
        "<article class=\"card\"><header><h3>{}</h3><code>{}</code></header>{}<div class=\"legend\"><span><i class=\"key past\"></i>{}</span><span><i class=\"key line\"></i>{}</span><span><i class=\"key band\"></i>{range}</span></div></article>",
        named(&series.name, series.name_zh.as_deref()),
        escape(&series.method),
        chart(series),
        both("sold", "已售"),
        both(
            &format!("expected: {} in {days} days", number(total, 0)),
            &format!("预期：{days} 天 {} 件", number(total, 0))
        ),
    )
}

fn chart(series: &ForecastSeries) -> String {
    let past = series.actual.len();
    let span = (0.0, (past + series.ahead.len()).max(2) as f64 - 1.0);
    let values = series.actual.iter().map(|day| day.value);
    let ahead = series.ahead.iter().flat_map(|day| [day.mean, day.upper.unwrap_or(day.mean)]);
    let domain = axis::domain(values.chain(ahead));
    let x = |index: usize| FRAME.x(index as f64, span);
    let y = |value: f64| FRAME.y(value.max(0.0), domain);
    let mut svg = FRAME.open("chart", ("Sales and forecast", "销量与预测"));
    svg.push_str(&FRAME.grid(domain, axis::count_label));
    let bounds =
        |index: usize| series.ahead.get(index).and_then(|day| Some((day.lower?, day.upper?)));
    let upper =
        (0..series.ahead.len()).filter_map(|i| bounds(i).map(|(_, high)| (x(past + i), y(high))));
    let lower = (0..series.ahead.len())
        .rev()
        .filter_map(|i| bounds(i).map(|(low, _)| (x(past + i), y(low))));
    svg.push_str(&format!(
        "<polygon class=\"band\" points=\"{}\"/>",
        axis::points(upper.chain(lower))
    ));
    let actual = series.actual.iter().enumerate().map(|(i, day)| (x(i), y(day.value)));
    svg.push_str(&format!("<polyline class=\"past\" points=\"{}\"/>", axis::points(actual)));
    let mean = series.ahead.iter().enumerate().map(|(i, day)| (x(past + i), y(day.mean)));
    svg.push_str(&format!("<polyline class=\"line\" points=\"{}\"/>", axis::points(mean)));
    let now = x(past);
    svg.push_str(&format!(
        "<line class=\"now\" x1=\"{now:.1}\" x2=\"{now:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
        FRAME.top,
        FRAME.height - FRAME.bottom
    ));
    let first = series.actual.first().map(|day| day.date.as_str());
    let first = first.or_else(|| series.ahead.first().map(|day| day.date.as_str()));
    if let (Some(first), Some(last)) = (first, series.ahead.last()) {
        svg.push_str(&FRAME.below(FRAME.left, "start", first));
        svg.push_str(&FRAME.below(FRAME.width - FRAME.right, "end", &last.date));
    }
    svg.push_str("</svg>");
    svg
}
