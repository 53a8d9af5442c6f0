//! The ring: the stations of a turn with what each of them counted.

use std::f64::consts::{FRAC_PI_2, TAU};

use super::data::{ReportData, Totals};
use super::markup::{escape, svg_both, whole};

/// The size of the drawing.
const SIZE: (f64, f64) = (560.0, 500.0);

/// The middle of the ring and its radius.
const CENTRE: (f64, f64) = (280.0, 250.0);
const RADIUS: f64 = 168.0;

/// The radius of a station.
const STATION: f64 = 47.0;

struct Station {
    name: (&'static str, &'static str),
    count: u64,
    unit: (&'static str, &'static str),
}

fn stations(totals: &Totals) -> [Station; 6] {
    let station = |name, count, unit| Station { name, count, unit };
    [
        station(("land", "落地"), totals.rows_landed, ("rows", "行")),
        station(("model", "建模"), totals.models, ("models", "个模型")),
        station(("learn", "学习"), totals.fits, ("fits", "次拟合")),
        station(("decide", "决策"), totals.decisions, ("decisions", "个决策")),
        station(("act", "行动"), totals.actions, ("actions", "次行动")),
        station(("outcome", "结果"), totals.outcomes, ("outcomes", "个结果")),
    ]
}

/// Draws the ring; `centre` is the number in the middle.
pub(super) fn draw(data: &ReportData, centre: &str) -> String {
    let (width, height) = SIZE;
    let (cx, cy) = CENTRE;
    let mut svg = format!(
        "<svg class=\"ring\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"The ring: {} · 飞轮\">",
        escape("land, model, learn, decide, act, outcome")
    );
    svg.push_str(&format!(
        "<circle class=\"track\" cx=\"{cx}\" cy=\"{cy}\" r=\"{RADIUS}\"/><circle class=\"flow\" cx=\"{cx}\" cy=\"{cy}\" r=\"{RADIUS}\"/>"
    ));
    svg.push_str(&middle(data, centre));
    for (place, station) in stations(&data.totals).iter().enumerate() {
        svg.push_str(&draw_station(place, station));
    }
    svg.push_str("</svg>");
    svg
}

fn middle(data: &ReportData, centre: &str) -> String {
    let (cx, cy) = CENTRE;
    let turns = data.turns.len();
    let at = |y: f64, class: &str| {
        format!("x=\"{cx}\" y=\"{:.0}\" text-anchor=\"middle\" data-k=\"{class}\"", cy + y)
    };
    let unit = if turns == 1 { "turn" } else { "turns" };
    let below = svg_both(&at(42.0, "small"), &format!("{turns} {unit}"), &format!("{turns} 轮"));
    let points = svg_both(&at(-42.0, "small"), "lift, points", "提升（百分点）");
    format!("{points}<text {}>{}</text>{below}", at(12.0, "big"), escape(centre))
}

fn draw_station(place: usize, station: &Station) -> String {
    let angle = TAU * place as f64 / 6.0 - FRAC_PI_2;
    let (x, y) = (CENTRE.0 + RADIUS * angle.cos(), CENTRE.1 + RADIUS * angle.sin());
    let arrow = angle + TAU / 12.0;
    let (ax, ay) = (CENTRE.0 + RADIUS * arrow.cos(), CENTRE.1 + RADIUS * arrow.sin());
    let turn = arrow.to_degrees() + 90.0;
    let at = |dy: f64, kind: &str| {
        format!("x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" data-k=\"{kind}\"", y + dy)
    };
    let mut svg = format!(
        "<path class=\"arrow\" d=\"M-6,-7 L7,0 L-6,7 Z\" transform=\"translate({ax:.1},{ay:.1}) rotate({turn:.1})\"/>"
    );
    svg.push_str(&format!(
        "<g class=\"station s{place}\"><circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{STATION}\"/>"
    ));
    svg.push_str(&svg_both(&at(-15.0, "name"), station.name.0, station.name.1));
    svg.push_str(&format!("<text {}>{}</text>", at(7.0, "count"), whole(station.count)));
    svg.push_str(&svg_both(&at(24.0, "unit"), station.unit.0, station.unit.1));
    svg.push_str("</g>");
    svg
}
