//! Where customers stand, and who moved.

use std::collections::{BTreeMap, BTreeSet};

use super::axis::{self, Frame};
use super::data::{ReportData, StageCounts};
use super::markup::{both, escape, section, sideways, stage_words, table, whole};

const FRAME: Frame =
    Frame { width: 980.0, height: 280.0, left: 64.0, right: 20.0, top: 14.0, bottom: 34.0 };

/// The order in which stages are stacked, from the bottom.
const ORDER: [&str; 6] = ["champion", "active", "new", "prospect", "at-risk", "churned"];

/// The section on lifecycles.
pub(super) fn render(data: &ReportData) -> String {
    if data.stages.is_empty() {
        return String::new();
    }
    let stages = stages(&data.stages);
    let legend: String = stages
        .iter()
        .map(|stage| {
            let (en, zh) = stage_words(stage);
            let last =
                data.stages.last().and_then(|day| day.counts.get(stage)).copied().unwrap_or(0);
            format!(
                "<span><i class=\"key {}\"></i>{} <b>{}</b></span>",
                class(stage),
                both(&escape(&en), &escape(&zh)),
                whole(last)
            )
        })
        .collect();
    let body = format!(
        "<div class=\"card\">{}<div class=\"legend\">{legend}</div></div>{}",
        chart(&data.stages, &stages),
        moves(data, &stages)
    );
    section(
        "segments",
        ("Where customers stand", "客户处于哪个阶段"),
        (
            "Stages follow each customer’s own rhythm: a weekly buyer is at risk after weeks of silence, a yearly one is not.",
            "阶段按每位客户自己的购买节奏判定：每周购买的人沉默数周即有流失风险，每年购买一次的则不然。",
        ),
        &body,
    )
}

/// Every stage that occurs, known ones first in stacking order.
fn stages(days: &[StageCounts]) -> Vec<String> {
    let seen: BTreeSet<&String> = days.iter().flat_map(|day| day.counts.keys()).collect();
    let known =
        ORDER.iter().filter(|stage| seen.iter().any(|s| s == *stage)).map(|s| (*s).to_owned());
    let others = seen.iter().filter(|stage| !ORDER.contains(&stage.as_str())).map(|s| (*s).clone());
    known.chain(others).collect()
}

fn class(stage: &str) -> String {
    match ORDER.iter().position(|known| *known == stage) {
        Some(place) => format!("stage{place}"),
        None => "stage9".to_owned(),
    }
}

fn chart(days: &[StageCounts], stages: &[String]) -> String {
    let total = |day: &StageCounts| day.counts.values().sum::<u64>() as f64;
    let domain = axis::domain(days.iter().map(total));
    let span = (0.0, (days.len().max(2) - 1) as f64);
    let mut svg =
        FRAME.open("chart wide", ("Customers by stage over time", "各阶段客户数随时间变化"));
    svg.push_str(&FRAME.grid(domain, axis::count_label));
    let mut floor = vec![0.0; days.len()];
    for stage in stages {
        let ceiling: Vec<f64> = days
            .iter()
            .zip(&floor)
            .map(|(day, floor)| floor + day.counts.get(stage).copied().unwrap_or(0) as f64)
            .collect();
        let place =
            |(index, value): (usize, &f64)| (FRAME.x(index as f64, span), FRAME.y(*value, domain));
        let upper = ceiling.iter().enumerate().map(place);
        let lower = floor.iter().enumerate().rev().map(place);
        let (en, zh) = stage_words(stage);
        svg.push_str(&format!(
            "<polygon class=\"{}\" points=\"{}\"><title>{} · {}</title></polygon>",
            class(stage),
            axis::points(upper.chain(lower)),
            escape(&en),
            escape(&zh)
        ));
        floor = ceiling;
    }
    if let (Some(first), Some(last)) = (days.first(), days.last()) {
        svg.push_str(&FRAME.below(FRAME.left, "start", &first.date));
        svg.push_str(&FRAME.below(FRAME.width - FRAME.right, "end", &last.date));
    }
    svg.push_str("</svg>");
    sideways(&svg)
}

/// A matrix of moves, from rows to columns.
fn moves(data: &ReportData, stages: &[String]) -> String {
    if data.moves.is_empty() {
        return String::new();
    }
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for step in &data.moves {
        *counts.entry((&step.from, &step.to)).or_default() += step.customers;
    }
    let most = counts.values().copied().max().unwrap_or(1).max(1) as f64;
    let words: Vec<(String, String)> = stages
        .iter()
        .map(|stage| {
            let (en, zh) = stage_words(stage);
            (format!("→ {}", escape(&en)), format!("→ {}", escape(&zh)))
        })
        .collect();
    let mut headings = vec![("from", "从", false)];
    headings.extend(words.iter().map(|(en, zh)| (en.as_str(), zh.as_str(), true)));
    let rows: Vec<Vec<String>> = stages
        .iter()
        .map(|from| {
            let (en, zh) = stage_words(from);
            let mut row = vec![both(&escape(&en), &escape(&zh))];
            row.extend(stages.iter().map(|to| match counts.get(&(from.as_str(), to.as_str())) {
                Some(count) => format!(
                    "<span class=\"heat\" style=\"--h:{:.2}\">{}</span>",
                    (*count as f64 / most).sqrt(),
                    whole(*count)
                ),
                None => "<span class=\"mute\">·</span>".to_owned(),
            }));
            row
        })
        .collect();
    let title = both("Moves over all turns", "全部轮次中的阶段变动");
    format!("<h3>{title}</h3>{}", table(("Moves between stages", "阶段变动"), &headings, &rows))
}
