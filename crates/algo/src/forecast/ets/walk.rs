//! The recursion over the values, with and without its slopes.
//!
//! With errors of either kind the states move alike; only the likelihood differs. A multiplicative
//! season has its own recursion.

use super::form::{Form, Noise, Seasonal};
use super::layout::{Layout, WIDTH_MAX};
use crate::forecast::smoothing::{Constants, State};

/// Numbers that are added at once.
const LANES: usize = 4;

type Row = [f64; WIDTH_MAX];

/// What a walk has seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    /// The sum of squared errors; of relative errors if they are multiplicative.
    pub(super) squares: f64,
    /// The sum of the logarithms of the expected values if errors are multiplicative.
    pub(super) logarithms: f64,
}

impl Seen {
    /// −2 log likelihood up to a constant: `n log Σe² + 2 Σ log f`.
    pub(super) fn deviance(self, length: usize, floor: f64) -> f64 {
        length as f64 * self.squares.max(floor).ln() + 2.0 * self.logarithms
    }
}

/// Runs the recursion; `None` if an expected value, level or factor is not positive where it must be.
pub(super) fn run(
    values: &[f64],
    form: Form,
    constants: Constants,
    mut state: State,
) -> Option<(Seen, State)> {
    let Constants { alpha, beta, gamma, phi } = constants;
    let relative = form.noise == Noise::Multiplicative;
    let mut seen = Seen { squares: 0.0, logarithms: 0.0 };
    let mut product = 1.0_f64;
    let mut at = 0;
    for value in values {
        let trend = phi * state.trend;
        let base = state.level + trend;
        let (expected, of_level) = match form.season {
            Seasonal::None => (base, value - base),
            Seasonal::Additive => {
                let effect = &mut state.season[at];
                let expected = base + *effect;
                *effect += gamma * (value - expected);
                (expected, value - expected)
            }
            Seasonal::Multiplicative => {
                let factor = state.season[at];
                if base <= 0.0 || factor <= 0.0 {
                    return None;
                }
                state.season[at] = factor + gamma * (value / base - factor);
                (base * factor, value / factor - base)
            }
        };
        if relative {
            if expected <= 0.0 {
                return None;
            }
            let error = (value - expected) / expected;
            seen.squares += error * error;
            // One logarithm for many factors: they are taken before the product leaves its range.
            product *= expected;
            if !(1e-200..1e200).contains(&product) {
                seen.logarithms += product.ln();
                product = 1.0;
            }
        } else {
            seen.squares += (value - expected) * (value - expected);
        }
        state.level = base + alpha * of_level;
        state.trend = trend + beta * of_level;
        at += 1;
        if at >= form.period {
            at = 0;
        }
    }
    seen.logarithms += product.ln();
    if form.season != Seasonal::None {
        state.season.rotate_left(at);
    }
    let finite = seen.squares.is_finite() && seen.logarithms.is_finite();
    finite.then_some((seen, state))
}

/// The walk's Gauss–Newton matrix and gradient, reused between steps.
pub(super) struct Slopes {
    /// Row by row, the lower triangle.
    pub(super) matrix: Vec<Row>,
    pub(super) gradient: Row,
    /// The sum of squares they belong to.
    pub(super) squares: f64,
    level: Row,
    trend: Row,
    season: Vec<Row>,
}

impl Slopes {
    pub(super) fn new(layout: &Layout) -> Self {
        let periods = if layout.form.season == Seasonal::None { 0 } else { layout.form.period };
        Self {
            matrix: vec![[0.0; WIDTH_MAX]; layout.count],
            gradient: [0.0; WIDTH_MAX],
            squares: 0.0,
            level: [0.0; WIDTH_MAX],
            trend: [0.0; WIDTH_MAX],
            season: vec![[0.0; WIDTH_MAX]; periods],
        }
    }

    fn reset(&mut self, layout: &Layout) {
        self.matrix.iter_mut().for_each(|row| row.fill(0.0));
        self.season.iter_mut().for_each(|row| row.fill(0.0));
        for row in [&mut self.gradient, &mut self.level, &mut self.trend] {
            row.fill(0.0);
        }
        self.squares = 0.0;
        self.level[layout.level] = 1.0;
        if let Some(at) = layout.trend {
            self.trend[at] = 1.0;
        }
        let (from, free) = layout.effects;
        if let Some((last, others)) = self.season.split_last_mut().filter(|_| free > 0) {
            others.iter_mut().zip(from..).for_each(|(row, at)| row[at] = 1.0);
            last[from..from + free].fill(-1.0);
        }
    }

    /// Walks over the values at `row`, whose deviance is known to exist.
    ///
    /// With relative errors `e` the deviance is that of least squares over `G·e`, where `G` is the
    /// geometric mean of the expected values; matrix and gradient are those of `G·e`, over `G²`.
    pub(super) fn walk(&mut self, values: &[f64], layout: &Layout, row: &[f64], first: State) {
        self.reset(layout);
        let width = layout.count.div_ceil(LANES) * LANES;
        let form = layout.form;
        let Constants { alpha, beta, gamma, phi } = layout.constants(row);
        let beta_share = layout.beta.map_or(0.0, |at| row[at]);
        let gamma_share = layout.gamma.map_or(0.0, |at| row[at]);
        let relative = form.noise == Noise::Multiplicative;
        let mut state = first;
        let mut mean_log = [0.0; WIDTH_MAX];
        let mut slope = [0.0; WIDTH_MAX];
        let mut no_season = [0.0; WIDTH_MAX];
        let mut at = 0;
        for value in values {
            let trend = phi * state.trend;
            let base = state.level + trend;
            let level = &mut self.level[..width];
            let moved = &mut self.trend[..width];
            let season = self.season.get_mut(at).unwrap_or(&mut no_season);
            let season = &mut season[..width];
            // The slopes of trend and base before the value.
            for (level, moved) in level.iter_mut().zip(moved.iter_mut()) {
                *moved *= phi;
                *level += *moved;
            }
            if let Some(phi_at) = layout.phi {
                moved[phi_at] += state.trend;
                level[phi_at] += state.trend;
            }
            let effect = state.season.get(at).copied().unwrap_or_default();
            let (expected, of_level, of_season) = match form.season {
                Seasonal::None => (base, value - base, 0.0),
                Seasonal::Additive => (base + effect, value - base - effect, value - base - effect),
                Seasonal::Multiplicative => {
                    (base * effect, value / effect - base, value / base - effect)
                }
            };
            // How the innovations of level and season answer to the slopes of base and effect.
            let (by_base, by_effect, season_by_base, expected_by) = match form.season {
                Seasonal::None => (-1.0, 0.0, 0.0, (1.0, 0.0)),
                Seasonal::Additive => (-1.0, -1.0, -1.0, (1.0, 1.0)),
                Seasonal::Multiplicative => {
                    let own = (-value / (effect * effect), -value / (base * base));
                    (-1.0, own.0, own.1, (effect, base))
                }
            };
            let factor = if relative { -value / (expected * expected) } else { -1.0 };
            let rows = level.iter_mut().zip(moved.iter_mut()).zip(season.iter_mut());
            for (((level, moved), season), slope) in rows.zip(&mut slope) {
                let (of_base, of_effect) = (*level, *season);
                let of_expected = expected_by.0 * of_base + expected_by.1 * of_effect;
                *slope = factor * of_expected;
                let innovation = by_base * of_base + by_effect * of_effect;
                *level = of_base + alpha * innovation;
                *moved += beta * innovation;
                *season = of_effect + gamma * (season_by_base * of_base - of_effect);
            }
            level[0] += of_level;
            if let Some(beta_at) = layout.beta {
                moved[0] += if alpha < layout.beta_max { beta_share * of_level } else { 0.0 };
                moved[beta_at] += alpha.min(layout.beta_max) * of_level;
            }
            if let Some(gamma_at) = layout.gamma {
                season[0] -= gamma_share * of_season;
                season[gamma_at] += (1.0 - alpha) * of_season;
            }
            let error = if relative { (value - expected) / expected } else { value - expected };
            self.squares += error * error;
            self.add(&slope, error, width);
            if relative {
                let share = -expected / value;
                mean_log.iter_mut().zip(&slope[..width]).for_each(|(sum, s)| *sum += share * s);
            }
            state.level = base + alpha * of_level;
            state.trend = trend + beta * of_level;
            if let Some(kept) = state.season.get_mut(at) {
                *kept += gamma * of_season;
            }
            at += 1;
            if at >= form.period {
                at = 0;
            }
        }
        if relative {
            self.weigh(&mean_log, values.len() as f64, layout.count);
        }
    }

    /// Adds one error and its slopes.
    fn add(&mut self, slope: &Row, error: f64, width: usize) {
        for (i, row) in self.matrix.iter_mut().enumerate() {
            let own = slope[i];
            let upto = (i / LANES + 1) * LANES;
            row[..upto].iter_mut().zip(&slope[..upto]).for_each(|(sum, s)| *sum += own * s);
        }
        let gradient = &mut self.gradient[..width];
        gradient.iter_mut().zip(&slope[..width]).for_each(|(sum, s)| *sum += error * s);
    }

    /// Turns the sums over `e` into those over `G·e`.
    fn weigh(&mut self, mean_log: &Row, length: f64, count: usize) {
        let shares: Vec<f64> = mean_log[..count].iter().map(|sum| sum / length).collect();
        let (gradient, squares) = (&mut self.gradient[..count], self.squares);
        for (i, row) in self.matrix.iter_mut().enumerate() {
            let (own, share) = (gradient[i], shares[i]);
            let others = gradient.iter().zip(&shares);
            for (sum, (gradient, other)) in row[..=i].iter_mut().zip(others) {
                *sum += own * other + gradient * share + squares * share * other;
            }
        }
        gradient.iter_mut().zip(&shares).for_each(|(sum, share)| *sum += squares * share);
    }
}
