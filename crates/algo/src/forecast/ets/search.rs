//! The search: Levenberg–Marquardt over constants and first state together, inside a box.
//!
//! Each step takes one walk with slopes, so a model is found in some ten walks where a search without
//! slopes takes a thousand.

use super::form::{Noise, Seasonal, Trend};
use super::initial;
use super::layout::{Layout, WIDTH_MAX};
use super::walk::{Slopes, run};
use crate::forecast::smoothing::{Constants, State};

/// Steps after which a search stops.
const STEPS_MAX: usize = 40;

/// Refused steps in a row after which it stops.
const REFUSED_MAX: usize = 8;

/// The improvement of the deviance below which it stops.
const GAIN_MIN: f64 = 1e-4;

/// The damping it starts from, the least one, and how it moves after a good and a bad step.
const DAMPING: f64 = 1e-3;
const DAMPING_MIN: f64 = 1e-9;
const DAMPING_DOWN: f64 = 0.2;
const DAMPING_UP: f64 = 8.0;

/// A squared error of this share of the series' own is a perfect fit.
const PERFECT: f64 = 1e-18;

/// The constants that are tried before the search, as alpha, share of beta, share of gamma.
const STARTS: [[f64; 3]; 8] = [
    [0.02, 0.02, 0.02],
    [0.1, 0.05, 0.05],
    [0.3, 0.02, 0.1],
    [0.3, 0.3, 0.1],
    [0.5, 0.05, 0.3],
    [0.7, 0.02, 0.05],
    [0.9, 0.2, 0.3],
    [0.98, 0.02, 0.02],
];

/// What is left of a damped trend at the start.
const PHI_START: f64 = 0.95;

/// What a search found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) constants: Constants,
    pub(super) first: State,
    pub(super) last: State,
    pub(super) squares: f64,
    pub(super) deviance: f64,
}

/// Searches from the best of the starting constants; `None` if the form cannot follow the series.
pub(super) fn search(values: &[f64], layout: &Layout) -> Option<Found> {
    let first = initial::state(values, layout.form);
    let problem = Problem::new(values, layout, &first.season);
    let mut best: Option<(Vec<f64>, f64)> = None;
    for [alpha, beta, gamma] in STARTS {
        let phi = if layout.form.trend == Trend::Damped { PHI_START } else { 1.0 };
        let constants = Constants { alpha, beta: alpha * beta, gamma: (1.0 - alpha) * gamma, phi };
        let row = layout.row(constants, &first);
        let Some(deviance) = problem.deviance(&row) else { continue };
        if best.as_ref().is_none_or(|best| deviance < best.1) {
            best = Some((row, deviance));
        }
    }
    let (row, deviance) = best?;
    problem.descend(row, deviance)
}

/// Searches from where an earlier search over nearly the same values ended.
pub(super) fn search_near(
    values: &[f64],
    layout: &Layout,
    constants: Constants,
    first: &State,
) -> Option<Found> {
    let problem = Problem::new(values, layout, &first.season);
    let row = layout.row(constants, first);
    let deviance = problem.deviance(&row)?;
    problem.descend(row, deviance)
}

struct Problem<'a> {
    values: &'a [f64],
    layout: &'a Layout,
    kept: &'a [f64],
    floor: f64,
}

impl<'a> Problem<'a> {
    fn new(values: &'a [f64], layout: &'a Layout, kept: &'a [f64]) -> Self {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let square: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let relative = layout.form.noise == Noise::Multiplicative;
        let scale = if relative { square / (mean * mean) } else { square };
        Self { values, layout, kept, floor: (PERFECT * scale).max(f64::MIN_POSITIVE) }
    }

    fn first(&self, row: &[f64]) -> State {
        self.layout.first(row, self.kept)
    }

    fn deviance(&self, row: &[f64]) -> Option<f64> {
        let constants = self.layout.constants(row);
        let (seen, _) = run(self.values, self.layout.form, constants, self.first(row))?;
        Some(seen.deviance(self.values.len(), self.floor))
    }

    fn descend(&self, mut row: Vec<f64>, mut deviance: f64) -> Option<Found> {
        let mut slopes = Slopes::new(self.layout);
        let mut damping = DAMPING;
        'steps: for _ in 0..STEPS_MAX {
            slopes.walk(self.values, self.layout, &row, self.first(&row));
            if slopes.squares <= self.floor {
                break;
            }
            let mut refused = 0;
            loop {
                let next = self.step(&slopes, &row, damping);
                let reached = next.as_ref().and_then(|next| self.deviance(next));
                match (next, reached) {
                    (Some(next), Some(reached)) if reached < deviance => {
                        let gain = deviance - reached;
                        (row, deviance) = (next, reached);
                        damping = (damping * DAMPING_DOWN).max(DAMPING_MIN);
                        if gain < GAIN_MIN {
                            break 'steps;
                        }
                        break;
                    }
                    _ => {
                        refused += 1;
                        damping *= DAMPING_UP;
                        if refused > REFUSED_MAX {
                            break 'steps;
                        }
                    }
                }
            }
        }
        let constants = self.layout.constants(&row);
        let first = self.first(&row);
        let (seen, last) = run(self.values, self.layout.form, constants, first.clone())?;
        let deviance = seen.deviance(self.values.len(), self.floor);
        Some(Found { constants, first, last, squares: seen.squares, deviance })
    }

    /// The damped Gauss–Newton step; numbers that stand at an end of their range and would leave it
    /// stay there.
    fn step(&self, slopes: &Slopes, row: &[f64], damping: f64) -> Option<Vec<f64>> {
        let held = |at: &usize| {
            let (low, high) = self.layout.range(*at);
            let out = slopes.gradient[*at];
            (row[*at] <= low && out > 0.0) || (row[*at] >= high && out < 0.0)
        };
        let free: Vec<usize> = (0..row.len()).filter(|at| !held(at)).collect();
        let moves = solve(slopes, &free, damping)?;
        let mut next = row.to_vec();
        for (at, by) in free.iter().zip(moves) {
            let (low, high) = self.layout.range(*at);
            next[*at] = (row[*at] - by).clamp(low, high);
        }
        let whole = self.layout.form.season != Seasonal::Multiplicative
            || self.first(&next).season.iter().all(|factor| *factor > 0.0);
        whole.then_some(next)
    }
}

/// Solves `(H + damping · diag H) x = g` over the free numbers by Cholesky; `None` if that fails.
fn solve(slopes: &Slopes, free: &[usize], damping: f64) -> Option<Vec<f64>> {
    let n = free.len();
    let mut lower = [[0.0; WIDTH_MAX]; WIDTH_MAX];
    let mut x = vec![0.0; n];
    for (i, at) in free.iter().enumerate() {
        let mut known = slopes.gradient[*at];
        for (k, other) in free[..=i].iter().enumerate() {
            let mut left = slopes.matrix[*at][*other];
            if i == k {
                left += damping * left + f64::MIN_POSITIVE;
            }
            let (own, others) = (&lower[i][..k], &lower[k][..k]);
            left -= own.iter().zip(others).map(|(a, b)| a * b).sum::<f64>();
            if i == k {
                if left <= 0.0 || !left.is_finite() {
                    return None;
                }
                lower[i][i] = left.sqrt();
            } else {
                lower[i][k] = left / lower[k][k];
            }
        }
        known -= lower[i][..i].iter().zip(&x).map(|(a, b)| a * b).sum::<f64>();
        x[i] = known / lower[i][i];
    }
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|later| lower[later][i] * x[later]).sum();
        x[i] = (x[i] - known) / lower[i][i];
    }
    Some(x)
}
