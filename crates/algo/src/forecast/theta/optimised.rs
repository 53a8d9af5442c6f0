//! Theta with an optimised share of the slope, over a line of the whole series or one that grows with it.
//!
//! For a given smoothing constant the errors are linear in the first level and in the share of the
//! slope, so both are solved exactly and only the constant is searched.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::forecast::season::Season;
use crate::forecast::{Model, Spread, save};
use crate::stats::finite;

/// Values that a fit needs: the first three are not judged.
pub(super) const LENGTH_MIN: usize = 7;

/// The first value whose error counts; before, the line is not known.
const JUDGED_FROM: usize = 3;

/// The range of the smoothing constant.
const ALPHA: (f64, f64) = (0.1, 0.99);

/// Points of the range on which the way down starts in the middle.
const GRID: usize = 12;

/// Steps of the golden-section search; each leaves 62 % of the range.
const STEPS: usize = 18;

/// A column whose square is below this share of its part tells nothing.
const DETERMINANT_MIN: f64 = 1e-10;

/// Which values the slope is drawn through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// All values of the series.
    Whole,
    /// At each moment those until then.
    Growing,
}

/// A fitted Theta model with an optimised share of the slope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Optimised {
    /// How the line is drawn.
    pub line: Line,
    /// The smoothing constant.
    pub alpha: f64,
    /// The share of the slope, `1 − 1/θ`.
    pub share: f64,
    /// The mean squared one-step error from the fourth value on, without the season.
    pub mean_square: f64,
    length: usize,
    end: State,
    season: Season,
}

/// What is known at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    level: f64,
    mean: f64,
    intercept: f64,
    slope: f64,
}

/// The best first level and share for one constant.
#[derive(Clone, Copy, Debug)]
struct Solved {
    square: f64,
    first: f64,
    share: f64,
}

impl Optimised {
    /// Fits a finite series of at least `LENGTH_MIN` values, adjusted for a season that is real.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a value is not finite or the series too short.
    /// # Cost
    /// About thirty passes over the series: 20 µs for 100 values.
    /// # Source
    /// Fiorucci et al. 2016 (OTM and DOTM); parity with statsforecast 2.1.1 in
    /// `tests/parity/forecast_ets.json`: squared error never larger, forecasts alike where it is equal.
    pub fn fit(values: &[f64], season: usize, line: Line) -> Result<Self> {
        finite::all_finite("series value", values)?;
        if values.len() < LENGTH_MIN {
            let length = values.len();
            return Err(Error::invalid(format!(
                "a series of {length} values is too short for theta"
            ))
            .hint(format!("It needs {LENGTH_MIN}; use \"auto\" or \"naive\".")));
        }
        let season = Season::tested(values, season);
        let adjusted = season.removed(values);
        let lines = lines(&adjusted, line);
        let (alpha, solved) = search(&adjusted, &lines);
        let level = adjusted.iter().fold(solved.first, |l, value| l + alpha * (value - l));
        let last = lines.last().copied().unwrap_or_default();
        let judged = adjusted.len().saturating_sub(JUDGED_FROM).max(1) as f64;
        Ok(Self {
            line,
            alpha,
            share: solved.share,
            mean_square: solved.square / judged,
            length: values.len(),
            end: State { level, ..last },
            season: season.starting_after(values.len()),
        })
    }
}

impl Model for Optimised {
    fn mean(&self, horizon: usize) -> Vec<f64> {
        let mut state = self.end;
        let left = 1.0 - self.alpha;
        let mut plain = Vec::with_capacity(horizon);
        for step in 0..horizon {
            let known = (self.length + step) as f64;
            let power = left.powf(known);
            let ahead = (1.0 - power * left) / self.alpha;
            let value = state.level + self.share * (power * state.intercept + ahead * state.slope);
            plain.push(value);
            state.level += self.alpha * (value - state.level);
            if self.line == Line::Growing {
                state.see(value, known);
            }
        }
        self.season.returned(plain.into_iter())
    }

    fn spread(&self, horizon: usize) -> Option<Spread> {
        let judged = self.length.checked_sub(JUDGED_FROM)? as f64;
        let freedom = judged - 3.0;
        if freedom < 1.0 {
            return None;
        }
        let variance = self.mean_square * judged / freedom;
        let of_step = |step: usize| (variance * (1.0 + step as f64 * self.alpha.powi(2))).sqrt();
        let mut deviation: Vec<f64> = (0..horizon).map(of_step).collect();
        self.season.scale(&mut deviation);
        Some(Spread { deviation, freedom })
    }

    fn save(&self) -> Result<Value> {
        save(self)
    }
}

impl State {
    /// Moves mean and line by the value that follows `known` others.
    fn see(&mut self, value: f64, known: f64) {
        let count = known + 1.0;
        let from_mean = 6.0 * (value - self.mean) / count;
        self.slope = ((known - 1.0) * self.slope + from_mean) / (count + 1.0);
        self.mean += (value - self.mean) / count;
        self.intercept = self.mean - self.slope * f64::midpoint(count, 1.0);
    }
}

/// The line that is known after each value.
fn lines(values: &[f64], line: Line) -> Vec<State> {
    let first = values.first().copied().unwrap_or_default();
    let mut state = State { level: 0.0, mean: first, intercept: first, slope: 0.0 };
    let mut made = Vec::with_capacity(values.len());
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            state.see(*value, at as f64);
        }
        made.push(state);
    }
    if line == Line::Whole {
        made.fill(state);
    }
    made
}

/// The constant of the least squared error in the valley that holds the middle of its range.
///
/// Short series have a second valley at the end of the range, where the first level, which nothing
/// binds, explains the first values; forecasts from there are worse.
fn search(values: &[f64], lines: &[State]) -> (f64, Solved) {
    let width = (ALPHA.1 - ALPHA.0) / (GRID - 1) as f64;
    let point = |at: usize| {
        let alpha = ALPHA.0 + width * at as f64;
        (alpha, solve(values, lines, alpha))
    };
    let mut at = GRID / 2;
    let mut best = point(at);
    loop {
        let lower = at.checked_sub(1).map(|below| (below, point(below)));
        let upper = Some(at + 1).filter(|above| *above < GRID).map(|above| (above, point(above)));
        let next = lower.into_iter().chain(upper).find(|next| next.1.1.square < best.1.square);
        let Some(next) = next else { break };
        (at, best) = next;
    }
    let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = ((best.0 - width).max(ALPHA.0), (best.0 + width).min(ALPHA.1));
    let (mut left, mut right) = (high - golden * (high - low), low + golden * (high - low));
    let (mut at_left, mut at_right) = (solve(values, lines, left), solve(values, lines, right));
    for _ in 0..STEPS {
        let tried = if at_left.square < at_right.square {
            (high, right, at_right) = (right, left, at_left);
            left = high - golden * (high - low);
            at_left = solve(values, lines, left);
            (left, at_left)
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + golden * (high - low);
            at_right = solve(values, lines, right);
            (right, at_right)
        };
        if tried.1.square < best.1.square {
            best = tried;
        }
    }
    best
}

/// Solves first level and share for one constant; the share stays within 0 and 1.
fn solve(values: &[f64], lines: &[State], alpha: f64) -> Solved {
    let left = 1.0 - alpha;
    // The level without a first level, and what is left of that one.
    let (mut level, mut power) = (0.0, 1.0);
    let [mut cc, mut cd, mut dd, mut cr, mut dr, mut rr] = [0.0; 6];
    for (at, value) in values.iter().enumerate() {
        if at >= JUDGED_FROM {
            let line = lines[at - 1];
            let d = power * line.intercept + (1.0 - power * left) / alpha * line.slope;
            let rest = value - level;
            cc += power * power;
            cd += power * d;
            dd += d * d;
            cr += power * rest;
            dr += d * rest;
            rr += rest * rest;
        }
        level += alpha * (value - level);
        power *= left;
    }
    let with_share = |share: f64| {
        let first = (cr - share * cd) / cc;
        let square = rr + share * (share * dd - 2.0 * dr) - first * (cr - share * cd);
        Solved { square: square.max(0.0), first, share }
    };
    let determinant = dd * cc - cd * cd;
    let free = if determinant > DETERMINANT_MIN * dd * cc {
        (dr * cc - cr * cd) / determinant
    } else {
        0.0
    };
    with_share(free.clamp(0.0, 1.0))
}
