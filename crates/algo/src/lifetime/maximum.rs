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

/// Damping at the start, the same where the shape is exact, and the damping beyond which no step is sought.
const DAMPING: f64 = 1e-6;
const DAMPING_EXACT: f64 = 1e-12;
const DAMPING_MAX: f64 = 1e8;

/// Steps along a ridge whose slope has vanished, and how short the last one is, in logarithms.
const RIDGE_STEPS_MAX: usize = 8;
const RIDGE_STEP_MIN: f64 = 1e-8;

/// Where a search ended.
pub(super) struct Top {
    /// Logarithms of the parameters.
    pub(super) logs: Vec<f64>,
    /// The mean log-likelihood there.
    pub(super) value: f64,
    /// How it falls off there: the negative matrix of second derivatives.
    pub(super) down: Vec<Vec<f64>>,
    /// Whether the slope vanished inside the bounds, at a top.
    pub(super) converged: bool,
    /// Whether it vanished at all: then no search finds more.
    flat: bool,
}

impl Top {
    fn new(logs: Vec<f64>, shape: Shape, flat: bool) -> Self {
        // An exact shape tells a top, which falls off in all directions, from an endless ridge.
        let top = !shape.exact || inverse(&shape.down).is_some();
        let converged = flat && top && logs.iter().all(|x| HELD.contains(x));
        Self { logs, value: shape.height, down: shape.down, converged, flat }
    }
}

/// A mean log-likelihood as a function of the logarithms of the parameters.
pub(super) trait Hill {
    fn height(&self, logs: &[f64]) -> f64;

    /// How it rises and bends, by central differences unless known better.
    fn shape(&self, logs: &[f64]) -> Shape {
        differences(&|logs| self.height(logs), logs)
    }
}

impl<F: Fn(&[f64]) -> f64> Hill for F {
    fn height(&self, logs: &[f64]) -> f64 {
        self(logs)
    }
}

/// How a hill rises and bends at a place.
pub(super) struct Shape {
    pub(super) height: f64,
    pub(super) slope: Vec<f64>,
    /// The negative matrix of second derivatives.
    pub(super) down: Vec<Vec<f64>>,
    /// Whether both are derivatives, not differences.
    pub(super) exact: bool,
}

impl Shape {
    /// Of a place that the hill does not have.
    pub(super) fn nowhere() -> Self {
        Self { height: f64::NAN, slope: vec![f64::NAN], down: Vec::new(), exact: false }
    }

    fn flat(&self, slope_max: f64) -> bool {
        self.slope.iter().all(|slope| slope.abs() < slope_max)
    }

    fn steepest(&self) -> f64 {
        self.slope.iter().map(|slope| slope.abs()).fold(0.0, f64::max)
    }

    fn damping_min(&self) -> f64 {
        if self.exact { DAMPING_EXACT } else { DAMPING }
    }

    /// The damped step to the top of the parabola with this shape; `None` if it has none.
    fn step(&self, damping: f64) -> Option<Vec<f64>> {
        let mut damped = self.down.clone();
        for (at, row) in damped.iter_mut().enumerate() {
            row[at] += damping * row[at].abs().max(1e-6);
        }
        let along = |row: &Vec<f64>| row.iter().zip(&self.slope).map(|(i, s)| i * s).sum();
        Some(inverse(&damped)?.iter().map(along).collect())
    }
}

/// Finds the hill from several starts.
pub(super) fn explore(hill: &dyn Hill, starts: &[Vec<f64>]) -> Vec<f64> {
    let cost = |x: &[f64]| -bounded(hill, x);
    let found = starts.iter().map(|start| minimise(&cost, start, EDGE, COARSE));
    let best = found.reduce(|best, next| if next.1 < best.1 { next } else { best });
    best.map(|(x, _)| x).unwrap_or_default()
}

/// Climbs to the top from nearby.
pub(super) fn climb(hill: &dyn Hill, start: &[f64]) -> Top {
    let top = newton(hill, start);
    if top.flat {
        return top;
    }
    let (x, _) = minimise(&|x: &[f64]| -bounded(hill, x), &top.logs, EDGE / 4.0, FINE);
    let again = newton(hill, &x);
    if again.value >= top.value { again } else { top }
}

fn newton(hill: &dyn Hill, start: &[f64]) -> Top {
    let mut logs = start.to_vec();
    let mut value = bounded(hill, &logs);
    let mut damping = 0.0;
    for _ in 0..STEPS_MAX {
        let shape = hill.shape(&logs);
        if shape.flat(SLOPE_MIN) {
            return ridge(hill, logs, shape);
        }
        let mut moved = false;
        damping = shape.damping_min().max(damping / 10.0);
        while damping < DAMPING_MAX {
            if let Some((next, better)) = step(hill, &logs, value, &shape, damping) {
                moved = better > value;
                (logs, value) = (next, better);
                break;
            }
            damping *= 10.0;
        }
        if !moved {
            break;
        }
    }
    // Rounding may keep the slope of a flat top from falling further.
    let shape = hill.shape(&logs);
    let flat = shape.flat(1e2 * SLOPE_MIN);
    Top::new(logs, shape, flat)
}

/// Goes on from where the slope has vanished: along a ridge that hardly bends, it does so far from the top.
///
/// The height does not tell any more here whether a step leads up, but an exact slope tells whether it leads to the top.
fn ridge(hill: &dyn Hill, logs: Vec<f64>, shape: Shape) -> Top {
    let (mut logs, mut shape) = (logs, shape);
    for _ in 0..RIDGE_STEPS_MAX {
        let Some(step) = shape.step(0.0).filter(|_| shape.exact) else { break };
        let next: Vec<f64> = logs.iter().zip(&step).map(|(x, step)| x + step).collect();
        if step.iter().all(|step| step.abs() < RIDGE_STEP_MIN) || outside(&next) {
            break;
        }
        let after = hill.shape(&next);
        if !after.flat(shape.steepest()) {
            break;
        }
        (logs, shape) = (next, after);
    }
    Top::new(logs, shape, true)
}

/// A damped step that does not go down.
fn step(
    hill: &dyn Hill,
    logs: &[f64],
    value: f64,
    shape: &Shape,
    damping: f64,
) -> Option<(Vec<f64>, f64)> {
    let step = shape.step(damping)?;
    let next: Vec<f64> = logs.iter().zip(&step).map(|(x, step)| x + step).collect();
    let better = bounded(hill, &next);
    (better >= value).then_some((next, better))
}

fn outside(logs: &[f64]) -> bool {
    logs.iter().any(|x| x.abs() > LOG_MAX)
}

fn bounded(hill: &dyn Hill, logs: &[f64]) -> f64 {
    if outside(logs) {
        return f64::NEG_INFINITY;
    }
    let value = hill.height(logs);
    if value.is_nan() { f64::NEG_INFINITY } else { value }
}

/// Slope and curvature by central differences.
pub(super) fn differences(f: &dyn Fn(&[f64]) -> f64, at: &[f64]) -> Shape {
    let height = f(at);
    Shape { height, slope: slope(f, at), down: curvature(f, at, height), exact: false }
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
fn curvature(f: &dyn Fn(&[f64]) -> f64, at: &[f64], centre: f64) -> Vec<Vec<f64>> {
    let n = at.len();
    let moved = |changes: &[(usize, f64)]| {
        let mut x = at.to_vec();
        changes.iter().for_each(|(index, by)| x[*index] += by * CURVATURE_STEP);
        f(&x)
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A ridge that bends so little that its slope vanishes long before its top at 5.
    struct Ridge {
        exact: bool,
    }

    impl Hill for Ridge {
        fn height(&self, logs: &[f64]) -> f64 {
            -logs[0] * logs[0] - 5e-10 * (logs[1] - 5.0) * (logs[1] - 5.0)
        }

        fn shape(&self, logs: &[f64]) -> Shape {
            Shape {
                height: self.height(logs),
                slope: vec![-2.0 * logs[0], -1e-9 * (logs[1] - 5.0)],
                down: vec![vec![2.0, 0.0], vec![0.0, 1e-9]],
                exact: self.exact,
            }
        }
    }

    #[test]
    fn a_ridge_is_followed_to_its_top_where_slopes_are_exact() {
        let top = climb(&Ridge { exact: true }, &[0.0, 0.0]);
        assert!(top.converged && (top.logs[1] - 5.0).abs() < 1e-6, "{:?}", top.logs);
        let near = climb(&Ridge { exact: false }, &[0.0, 0.0]);
        assert!(
            near.converged && near.logs[1] == 0.0,
            "differences do not see it: {:?}",
            near.logs
        );
    }
}
