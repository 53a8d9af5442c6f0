//! Scales, ticks and the frame of a chart.

use super::markup::{escape, number};

/// A drawing area in pixels of its own coordinate system.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

impl Frame {
    /// The place of `value` of `domain` from left to right.
    pub(super) fn x(&self, value: f64, domain: (f64, f64)) -> f64 {
        self.left + share(value, domain) * (self.width - self.left - self.right)
    }

    /// The place of `value` of `domain` from bottom to top.
    pub(super) fn y(&self, value: f64, domain: (f64, f64)) -> f64 {
        self.height - self.bottom - share(value, domain) * (self.height - self.top - self.bottom)
    }

    /// Opens the drawing with an accessible name in both languages.
    pub(super) fn open(&self, class: &str, label: (&str, &str)) -> String {
        format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{} · {}\">",
            self.width,
            self.height,
            escape(label.0),
            escape(label.1)
        )
    }

    /// Horizontal grid lines with labels.
    pub(super) fn grid(&self, domain: (f64, f64), label: impl Fn(f64) -> String) -> String {
        let mut svg = String::new();
        for tick in ticks(domain, 4) {
            let y = self.y(tick, domain);
            let class = if tick == 0.0 { "zero" } else { "grid" };
            svg.push_str(&format!(
                "<line class=\"{class}\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                self.left,
                self.width - self.right
            ));
            svg.push_str(&format!(
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                self.left - 8.0,
                y + 4.0,
                escape(&label(tick))
            ));
        }
        svg
    }

    /// A label under the drawing area.
    pub(super) fn below(&self, x: f64, anchor: &str, text: &str) -> String {
        format!(
            "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            self.height - self.bottom + 18.0,
            escape(text)
        )
    }
}

/// Where `value` lies in `domain`, from 0 to 1; the middle of an empty domain.
fn share(value: f64, (low, high): (f64, f64)) -> f64 {
    if high <= low {
        return 0.5;
    }
    ((value - low) / (high - low)).clamp(0.0, 1.0)
}

/// Round numbers within `domain`, about `count` of them.
pub(super) fn ticks((low, high): (f64, f64), count: usize) -> Vec<f64> {
    if high <= low || !low.is_finite() || !high.is_finite() {
        return vec![low];
    }
    let rough = (high - low) / count.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * power);
    let first = (low / step).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|n| n as f64 * step).collect()
}

/// A domain that holds all `values` and 0, with a little room.
pub(super) fn domain(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut low, mut high) = (0.0_f64, 0.0_f64);
    for value in values.filter(|value| value.is_finite()) {
        low = low.min(value);
        high = high.max(value);
    }
    if low == high {
        return (0.0, 1.0);
    }
    let room = (high - low) * 0.06;
    (if low < 0.0 { low - room } else { 0.0 }, if high > 0.0 { high + room } else { 0.0 })
}

/// The points of a line.
pub(super) fn points(places: impl Iterator<Item = (f64, f64)>) -> String {
    let texts: Vec<String> = places.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    texts.join(" ")
}

/// A count for an axis: 1,200.
pub(super) fn count_label(value: f64) -> String {
    number(value, if value.fract() == 0.0 { 0 } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks((0.0, 100.0), 4), [0.0, 25.0, 50.0, 75.0, 100.0]);
        assert_eq!(ticks((-0.02, 0.11), 4), [0.0, 0.05, 0.1]);
        assert_eq!(ticks((3.0, 3.0), 4), [3.0]);
    }

    #[test]
    fn domains_hold_zero_and_never_collapse() {
        assert_eq!(domain(std::iter::empty()), (0.0, 1.0));
        assert_eq!(domain([f64::NAN].into_iter()), (0.0, 1.0));
        let (low, high) = domain([-1.0, 3.0].into_iter());
        assert!(low < -1.0 && high > 3.0);
    }
}
