//! What each policy changed: a chart of the lift with its interval, and the sentence that it allows.

use super::axis::{self, Frame};
use super::data::{Compared, LiftPoint, PolicyReport, ReportData};
use super::markup::{
    both, details, escape, named, number, or_dash, percent, points, section, sideways, table, whole,
};

const FRAME: Frame =
    Frame { width: 980.0, height: 280.0, left: 64.0, right: 20.0, top: 18.0, bottom: 34.0 };

/// What the newest interval says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The interval lies above 0.
    Helps,
    /// The interval lies below 0.
    Harms,
    /// It holds 0.
    Open,
    /// Nothing is measured yet.
    Unknown,
}

/// The newest point with a lift.
pub(super) fn newest(policy: &PolicyReport) -> Option<&LiftPoint> {
    policy.lifts.iter().rev().find(|point| point.lift.is_some())
}

/// What the newest interval of a policy says.
pub(super) fn verdict(policy: &PolicyReport) -> Verdict {
    let bounds = newest(policy).and_then(|point| Some((point.lower?, point.upper?)));
    match bounds {
        Some((lower, _)) if lower > 0.0 => Verdict::Helps,
        Some((_, upper)) if upper < 0.0 => Verdict::Harms,
        Some(_) => Verdict::Open,
        None => Verdict::Unknown,
    }
}

/// The verdict as a sentence about the policy.
pub(super) fn sentence(policy: &PolicyReport) -> String {
    let name = escape(&policy.policy);
    let days = policy.window_days;
    let Some(point) = newest(policy) else {
        return both(
            &format!(
                "<b>{name}</b>: nothing is measured yet; the first {days}-day window is still open."
            ),
            &format!("<b>{name}</b>：尚无可测结果，首个 {days} 天窗口还未结束。"),
        );
    };
    let lift = or_dash(point.lift, points);
    let (lower, upper) = (or_dash(point.lower, points), or_dash(point.upper, points));
    let (en, zh) = match verdict(policy) {
        Verdict::Helps => (
            format!(
                "<b>{name}</b> raises the share of customers who buy within {days} days by <b>{lift} points</b>, 95 % interval {lower} to {upper}."
            ),
            format!(
                "<b>{name}</b> 使 {days} 天内购买的客户占比提高 <b>{lift} 个百分点</b>，95% 区间 {lower} 至 {upper}。"
            ),
        ),
        Verdict::Harms => (
            format!("<b>{name}</b> does harm: {lift} points, 95 % interval {lower} to {upper}."),
            format!("<b>{name}</b> 起了反作用：{lift} 个百分点，95% 区间 {lower} 至 {upper}。"),
        ),
        Verdict::Open | Verdict::Unknown => (
            format!(
                "<b>{name}</b>: no evidence yet. {lift} points, but the 95 % interval {lower} to {upper} holds 0."
            ),
            format!(
                "<b>{name}</b>：尚无证据。{lift} 个百分点，但 95% 区间 {lower} 至 {upper} 包含 0。"
            ),
        ),
    };
    both(&en, &zh)
}

/// The section on all policies with an outcome.
pub(super) fn render(data: &ReportData) -> String {
    let measured = data.policies.iter().filter(|policy| !policy.lifts.is_empty());
    let cards: Vec<String> = measured
        .map(|policy| {
            let truth = data.truth.as_ref().and_then(|truth| {
                truth.policies.iter().find(|truth| truth.policy == policy.policy).map(|t| t.lift)
            });
            card(policy, truth)
        })
        .collect();
    if cards.is_empty() {
        return String::new();
    }
    section(
        "lift",
        ("What the policies changed", "策略带来了什么"),
        (
            "Share of customers with an order after the decision, treated minus held out, over all decisions whose window has closed. The band is the 95 % interval with customers as clusters.",
            "决策之后下单的客户占比：干预组减去留出组，统计窗口已结束的全部决策。色带为以客户聚类的 95% 区间。",
        ),
        &cards.concat(),
    )
}

fn card(policy: &PolicyReport, truth: Option<f64>) -> String {
    let holdout = percent(policy.holdout);
    let badge = match verdict(policy) {
        Verdict::Helps => ("good", both("interval above 0", "区间高于 0")),
        Verdict::Harms => ("bad", both("interval below 0", "区间低于 0")),
        Verdict::Open => ("open", both("no evidence yet", "尚无证据")),
        Verdict::Unknown => ("open", both("not measured yet", "尚未测得")),
    };
    let paused = policy.paused.as_ref().map_or_else(String::new, |why| {
        format!("<p class=\"warn\">{}: {}</p>", both("Paused", "已暂停"), escape(why))
    });
    let key = truth.map_or_else(String::new, |_| {
        format!(
            "<span><i class=\"key dash\"></i>{}</span>",
            both("true lift (simulator)", "真实提升（模拟器）")
        )
    });
    format!(
        "<article class=\"card\"><header><h3>{}</h3><span class=\"badge {}\">{}</span></header><p class=\"note\">{}</p><p>{}</p>{paused}{}<div class=\"legend\"><span><i class=\"key line\"></i>{}</span><span><i class=\"key band\"></i>{}</span>{key}</div>{}{}</article>",
        escape(&policy.policy),
        badge.0,
        badge.1,
        named(&policy.description, policy.description_zh.as_deref()),
        sentence(policy),
        chart(policy, truth),
        both("measured lift", "测得提升"),
        both(&format!("95 % interval; {holdout} held out"), &format!("95% 区间；留出 {holdout}")),
        compared(policy),
        details(("Every turn as a table", "逐轮数据表"), &turns(policy)),
    )
}

/// How the variants of an experiment stand, if the policy is one.
fn compared(policy: &PolicyReport) -> String {
    if policy.compared.is_empty() {
        return String::new();
    }
    let row = |one: &Compared| {
        let figure = |value: Option<f64>| match one.share {
            true => or_dash(value, percent),
            false => or_dash(value, |value| number(value, 2)),
        };
        let difference = |value: Option<f64>| match one.share {
            true => or_dash(value, points),
            false => or_dash(value, |value| number(value, 2)),
        };
        vec![
            escape(&one.metric),
            format!("{} / {}", escape(&one.variant), escape(&one.control)),
            figure(one.rate),
            figure(one.control_rate),
            difference(one.difference),
            match one.lower.or(one.upper) {
                Some(_) => format!("{} … {}", difference(one.lower), difference(one.upper)),
                None => "–".to_owned(),
            },
            standing(&one.standing),
        ]
    };
    let rows: Vec<Vec<String>> = policy.compared.iter().map(row).collect();
    let headings = [
        ("measured", "测量项", false),
        ("variant / control", "变体 / 对照", false),
        ("variant", "变体", true),
        ("control", "对照", true),
        ("difference", "差异", true),
        ("interval", "区间", true),
        ("standing", "结论", false),
    ];
    let shown = table(("Variants beside the control", "变体与对照"), &headings, &rows);
    details(("Variants of the experiment", "实验的各变体"), &shown)
}

/// What is known of a comparison, in both languages; unknown ones as they are.
fn standing(standing: &str) -> String {
    let zh = match standing {
        "open" => "尚不明确",
        "better" => "更好",
        "worse" => "更差",
        "safe" => "安全",
        "breached" => "越界",
        "balanced" => "一致",
        "biased" => "此前已有差异",
        "split-broken" => "分组异常",
        "unmeasured" => "无法读取",
        _ => return escape(standing),
    };
    both(standing, zh)
}

fn chart(policy: &PolicyReport, truth: Option<f64>) -> String {
    let known: Vec<(&LiftPoint, f64, f64, f64)> = policy
        .lifts
        .iter()
        .filter_map(|point| Some((point, point.lift?, point.lower?, point.upper?)))
        .collect();
    let (Some(first), Some(last)) = (policy.lifts.first(), policy.lifts.last()) else {
        return String::new();
    };
    if known.is_empty() {
        return String::new();
    }
    let span = (first.turn as f64, last.turn as f64);
    let values = known.iter().flat_map(|(_, lift, lower, upper)| [*lift, *lower, *upper]);
    let domain = axis::domain(clipped(values, &known).into_iter().chain(truth));
    let x = |point: &LiftPoint| FRAME.x(point.turn as f64, span);
    let y = |value: f64| FRAME.y(value, domain);
    let mut svg = FRAME.open("chart wide", ("Lift per turn with interval", "每轮提升及区间"));
    svg.push_str(&FRAME.grid(domain, points));
    let upper = known.iter().map(|(p, _, _, upper)| (x(p), y(*upper)));
    let lower = known.iter().rev().map(|(p, _, lower, _)| (x(p), y(*lower)));
    svg.push_str(&format!(
        "<polygon class=\"band\" points=\"{}\"/>",
        axis::points(upper.chain(lower))
    ));
    if let Some(truth) = truth {
        let at = y(truth);
        svg.push_str(&format!(
            "<line class=\"truth\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
            FRAME.left,
            FRAME.width - FRAME.right
        ));
    }
    let line = known.iter().map(|(p, lift, _, _)| (x(p), y(*lift)));
    svg.push_str(&format!("<polyline class=\"line\" points=\"{}\"/>", axis::points(line)));
    for (point, lift, lower, upper) in &known {
        svg.push_str(&format!(
            "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>{}: {} ({} … {})</title></circle>",
            x(point),
            y(*lift),
            escape(&point.date),
            points(*lift),
            points(*lower),
            points(*upper)
        ));
    }
    svg.push_str(&FRAME.below(FRAME.left, "start", &first.date));
    svg.push_str(&FRAME.below(FRAME.width - FRAME.right, "end", &last.date));
    svg.push_str("</svg>");
    sideways(&svg)
}

/// Early intervals can be so wide that they flatten everything after them: the axis follows the
/// later ones, and what lies beyond is cut at its edge.
fn clipped(values: impl Iterator<Item = f64>, known: &[(&LiftPoint, f64, f64, f64)]) -> Vec<f64> {
    let late = known.len() / 3;
    let reach = known
        .iter()
        .skip(late)
        .map(|(_, _, lower, upper)| lower.abs().max(upper.abs()))
        .fold(0.0, f64::max);
    values.map(|value| value.clamp(-1.5 * reach, 1.5 * reach)).collect()
}

fn turns(policy: &PolicyReport) -> String {
    let rows: Vec<Vec<String>> = policy
        .lifts
        .iter()
        .map(|point| {
            vec![
                point.turn.to_string(),
                escape(&point.date),
                whole(point.measured),
                or_dash(point.treated_rate, percent),
                or_dash(point.holdout_rate, percent),
                or_dash(point.lift, points),
                match (point.lower, point.upper) {
                    (Some(lower), Some(upper)) => format!("{} … {}", points(lower), points(upper)),
                    _ => "–".to_owned(),
                },
                point.artifact.as_ref().map_or_else(
                    || "–".to_owned(),
                    |artifact| format!("<code>{}</code>", escape(&short(artifact))),
                ),
            ]
        })
        .collect();
    let headings = [
        ("turn", "轮次", true),
        ("date", "日期", false),
        ("measured", "已测决策", true),
        ("treated", "干预组", true),
        ("held out", "留出组", true),
        ("lift", "提升", true),
        ("95 % interval", "95% 区间", true),
        ("artifact", "模型版本", false),
    ];
    table(("Lift by turn", "逐轮提升"), &headings, &rows)
}

/// The first letters of a digest.
fn short(digest: &str) -> String {
    digest.chars().take(10).collect()
}
