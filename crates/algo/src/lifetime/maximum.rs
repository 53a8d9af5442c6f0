//! Maximum likelihood in the logarithms of positive parameters: several coarse simplex searches, then
//! damped Newton steps, and the curvature at the top for the standard errors.

use std::ops::Range;

use crate::forecast::simplex::{COARSE, FINE, minimise};

/// Beyond ±this a logarithm counts as run away: the data do not hold the parameter.
pub(super) const LOG_MAX: f64 = 14.0;

/// Logarithms outside of this are on their way to a bound, where everything is flat: no top, however small the slope.
const HELD: Range<f64> = -13.0..12.0;

/// Newton steps at most.
const STEPS_MAX: usize = 60;

/// The slope (per customer and log unit) below which the top is reached.
const SLOPE_MIN: f64 = 1e-8;

/// Steps of the central differences for slopes and for curvatures, in logarithms.
const SLOPE_STEP: f64 = 1e-5;
const CURVATURE_STEP: f64 = 1e-3;

/// The first edge of the simplex.
const EDGE: f64 = 0.7;

/// Damping at the start and beyond which no step is sought.
const DAMPING: f64 = 1e-6;
const DAMPING_MAX: f64 = 1e8;

/// Where a search ended.
pub(super) struct Top {
    /// Logarithms of the parameters.
    pub(super) logs: Vec<f64>,
    /// The mean log-likelihood there.
    pub(super) value: f64,
    /// Whether the slope vanished inside the bounds.
    pub(super) converged: bool,
    /// Whether it vanished at all: then no search finds more.
    flat: bool,
}

impl Top {
    fn new(logs: Vec<f64>, value: f64, flat: bool) -> Self {
        let converged = flat && logs.iter().all(|x| HELD.contains(x));
        Self { logs, value, converged, flat }
    }
}

/// A mean log-likelihood as a function of the logarithms of the parameters.
pub(super) type Likelihood<'a> = &'a dyn Fn(&[f64]) -> f64;

/// Finds the hill from several starts.
pub(super) fn explore(f: Likelihood<'_>, starts: &[Vec<f64>]) -> Vec<f64> {
    let cost = |x: &[f64]| -bounded(f, x);
    let found = starts.iter().map(|start| minimise(&cost, start, EDGE, COARSE));
    let best = found.reduce(|best, next| if next.1 < best.1 { next } else { best });
    best.map(|(x, _)| x).unwrap_or_default()
}

/// Climbs to the top from nearby.
pub(super) fn climb(f: Likelihood<'_>, start: &[f64]) -> Top {
    let top = newton(f, start);
    if top.flat {
        return top;
    }
    let (x, _) = minimise(&|x: &[f64]| -bounded(f, x), &top.logs, EDGE / 4.0, FINE);
    let again = newton(f, &x);
    if again.value >= top.value { again } else { top }
}

fn newton(f: Likelihood<'_>, start: &[f64]) -> Top {
    let mut logs = start.to_vec();
    let mut value = bounded(f, &logs);
    let mut damping = DAMPING;
    for _ in 0..STEPS_MAX {
        let slope = slope(f, &logs);
        if slope.iter().all(|s| s.abs() < SLOPE_MIN) {
            return Top::new(logs, value, true);
        }
        let down = curvature(f, &logs);
        let mut moved = false;
        while damping < DAMPING_MAX {
            if let Some((next, better)) = step(f, &logs, value, &slope, &down, damping) {
                moved = better > value;
                (logs, value) = (next, better);
                damping = (damping / 10.0).max(DAMPING);
                break;
            }
            damping *= 10.0;
        }
        if !moved {
            break;
        }
    }
    // Rounding may keep the slope of a flat top from falling further.
    let flat = slope(f, &logs).iter().all(|s| s.abs() < 1e2 * SLOPE_MIN);
    Top::new(logs, value, flat)
}

/// A damped step that does not go down.
fn step(
    f: Likelihood<'_>,
    logs: &[f64],
    value: f64,
    slope: &[f64],
    down: &[Vec<f64>],
    damping: f64,
) -> Option<(Vec<f64>, f64)> {
    let mut damped = down.to_vec();
    for (at, row) in damped.iter_mut().enumerate() {
        row[at] += damping * row[at].abs().max(1e-6);
    }
    let inverse = inverse(&damped)?;
    let next: Vec<f64> = logs
        .iter()
        .zip(&inverse)
        .map(|(x, row)| x + row.iter().zip(slope).map(|(i, s)| i * s).sum::<f64>())
        .collect();
    let better = bounded(f, &next);
    (better >= value).then_some((next, better))
}

fn bounded(f: Likelihood<'_>, logs: &[f64]) -> f64 {
    if logs.iter().any(|x| x.abs() > LOG_MAX) {
        return f64::NEG_INFINITY;
    }
    let value = f(logs);
    if value.is_nan() { f64::NEG_INFINITY } else { value }
}

/// Central differences of any function.
pub(super) fn slope(f: &dyn Fn(&[f64]) -> f64, at: &[f64]) -> Vec<f64> {
    let moved = |index: usize, by: f64| {
        let mut x = at.to_vec();
        x[index] += by;
        f(&x)
    };
    (0..at.len())
        .map(|index| (moved(index, SLOPE_STEP) - moved(index, -SLOPE_STEP)) / (2.0 * SLOPE_STEP))
        .collect()
}

/// The negative matrix of second derivatives.
#[expect(
    clippy::needless_range_loop,
    reason = "rows and columns of a matrix read best by their numbers"
)]
pub(super) fn curvature(f: Likelihood<'_>, at: &[f64]) -> Vec<Vec<f64>> {
    let n = at.len();
    let moved = |changes: &[(usize, f64)]| {
        let mut x = at.to_vec();
        changes.iter().for_each(|(index, by)| x[*index] += by * CURVATURE_STEP);
        f(&x)
    };
    let centre = f(at);
    let square = CURVATURE_STEP * CURVATURE_STEP;
    let mut made = vec![vec![0.0; n]; n];
    for i in 0..n {
        made[i][i] = (2.0 * centre - moved(&[(i, 1.0)]) - moved(&[(i, -1.0)])) / square;
        for j in 0..i {
            let same = moved(&[(i, 1.0), (j, 1.0)]) + moved(&[(i, -1.0), (j, -1.0)]);
            let other = moved(&[(i, 1.0), (j, -1.0)]) + moved(&[(i, -1.0), (j, 1.0)]);
            made[i][j] = (other - same) / (4.0 * square);
            made[j][i] = made[i][j];
        }
    }
    made
}

/// The inverse of a positive definite matrix by Cholesky's factors; `None` for any other.
#[expect(
    clippy::needless_range_loop,
    reason = "rows and columns of a matrix read best by their numbers"
)]
pub(super) fn inverse(matrix: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let n = matrix.len();
    let mut lower = vec![vec![0.0; n]; n];
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| lower[i][k] * lower[j][k]).sum();
            let left: f64 = matrix[i][j] - dot;
            if i != j {
                lower[i][j] = left / lower[j][j];
            } else if left > 0.0 && left.is_finite() {
                lower[i][i] = left.sqrt();
            } else {
                return None;
            }
        }
    }
    let mut made = vec![vec![0.0; n]; n];
    for column in 0..n {
        let mut x = vec![0.0; n];
        for i in 0..n {
            let known: f64 = (0..i).map(|k| lower[i][k] * x[k]).sum();
            x[i] = (f64::from(u8::from(i == column)) - known) / lower[i][i];
        }
        for i in (0..n).rev() {
            let known: f64 = (i + 1..n).map(|k| lower[k][i] * x[k]).sum();
            x[i] = (x[i] - known) / lower[i][i];
        }
        x.iter().enumerate().for_each(|(row, value)| made[row][column] = *value);
    }
    Some(made)
}
