//! Initial states: by rule, or solved by least squares for given constants.

use flywheel_base::{Error, Result};

use super::SEASONS_MIN;
use super::state::{Constants, Shape, State, walk};
use crate::stats::finite;

/// Values that the heuristic line is drawn through.
const LINE_VALUES: usize = 10;

/// Seasons that the heuristic averages at most.
const CYCLES_MAX: usize = 5;

/// A pivot below this share of its diagonal says that the columns depend on each other.
const PIVOT_MIN: f64 = 1e-13;

/// The same for the normal equations, which square the condition.
const NORMAL_PIVOT_MIN: f64 = 1e-9;

/// Refuses series that have no initial state.
pub(super) fn check(values: &[f64], shape: Shape) -> Result<()> {
    finite::all_finite("series value", values)?;
    let seasonal = if shape.season > 1 { SEASONS_MIN * shape.season } else { 1 };
    let needed = seasonal.max(if shape.trend { 2 } else { 1 });
    if values.len() >= needed {
        return Ok(());
    }
    Err(Error::invalid(format!("a series of {} values has no initial state", values.len()))
        .hint(format!("This model needs {needed} values; use \"auto\" or \"naive\".")))
}

/// The first value, the first difference, the first season's deviations from its level.
///
/// # Source
/// statsmodels `initialization_method="legacy-heuristic"`.
pub(super) fn legacy(values: &[f64], shape: Shape) -> State {
    let m = shape.season;
    if m <= 1 {
        let trend = if shape.trend { values[1] - values[0] } else { 0.0 };
        return State { level: values[0], trend, season: Vec::new() };
    }
    let starts: Vec<f64> = values.iter().step_by(m).copied().collect();
    let level = starts.iter().sum::<f64>() / starts.len() as f64;
    let step = |at: usize| (values[at + m] - values[at]) / m as f64;
    let trend = if shape.trend { (0..m).map(step).sum::<f64>() / m as f64 } else { 0.0 };
    State { level, trend, season: values[..m].iter().map(|value| value - level).collect() }
}

/// A line through the first ten values, after taking out the mean season.
///
/// # Source
/// Hyndman et al. 2008, §2.6.1; statsmodels `initialization_method="heuristic"`, which refuses fewer
/// than ten values where this uses what there is.
pub(super) fn heuristic(values: &[f64], shape: Shape) -> State {
    if shape.season <= 1 {
        let (level, trend) = line(values, shape.trend);
        return State { level, trend, season: Vec::new() };
    }
    let m = shape.season;
    let wanted = (LINE_VALUES + 2 * (m / 2)).div_ceil(m);
    let cycles = (values.len() / m).min(CYCLES_MAX).max(wanted).min(values.len() / m);
    let part = &values[..m * cycles];
    let average = moving_average(part, m);
    let offset = m / 2;
    let mut sums = vec![(0.0, 0.0); m];
    for (index, trend) in average.iter().enumerate() {
        let at = index + offset;
        sums[at % m].0 += part[at] - trend;
        sums[at % m].1 += 1.0;
    }
    let mut season: Vec<f64> =
        sums.iter().map(|(sum, count)| if *count > 0.0 { sum / count } else { 0.0 }).collect();
    let mean = season.iter().sum::<f64>() / m as f64;
    season.iter_mut().for_each(|effect| *effect -= mean);
    let (level, trend) = line(&average, shape.trend);
    State { level, trend, season }
}

/// The centred moving average of one season; `values.len() − 2·(m/2)` long.
fn moving_average(values: &[f64], m: usize) -> Vec<f64> {
    let plain: Vec<f64> = values.windows(m).map(|w| w.iter().sum::<f64>() / m as f64).collect();
    if m % 2 == 1 {
        return plain;
    }
    plain.windows(2).map(|pair| f64::midpoint(pair[0], pair[1])).collect()
}

/// The least-squares line at period 0 through the first ten values at periods 1, 2, …
fn line(values: &[f64], trend: bool) -> (f64, f64) {
    let used = &values[..values.len().min(LINE_VALUES)];
    let n = used.len() as f64;
    let mean = used.iter().sum::<f64>() / n;
    let middle = f64::midpoint(n, 1.0);
    let (mut product, mut square) = (0.0, 0.0);
    for (index, value) in used.iter().enumerate() {
        let x = (index + 1) as f64 - middle;
        product += x * (value - mean);
        square += x * x;
    }
    let slope = if square > 0.0 { product / square } else { 0.0 };
    (mean - slope * middle, if trend { slope } else { 0.0 })
}

/// The initial state with the least squared one-step error for these constants.
///
/// The errors are affine in the initial state, so this is one ordinary least-squares problem: the
/// recursion is run once on the values from zero and once on zeros from each unit state.
pub(super) fn solve(values: &[f64], shape: Shape, constants: Constants) -> State {
    let (columns, target) = problem(values, shape, constants);
    let mut state = zero(shape);
    for (unit, weight) in least_squares(&columns, &target).iter().enumerate() {
        let one = unit_state(shape, unit);
        state.level += weight * one.level;
        state.trend += weight * one.trend;
        state.season.iter_mut().zip(&one.season).for_each(|(sum, s)| *sum += weight * s);
    }
    state
}

/// The squared error of [`solve`]'s state, by the faster normal equations while they are well-posed.
pub(super) fn least_error(values: &[f64], shape: Shape, constants: Constants) -> f64 {
    let (columns, mut rest) = problem(values, shape, constants);
    let weights =
        normal_equations(&columns, &rest).unwrap_or_else(|| least_squares(&columns, &rest));
    for (column, weight) in columns.iter().zip(&weights) {
        rest.iter_mut().zip(column).for_each(|(rest, value)| *rest -= weight * value);
    }
    dot(&rest, &rest)
}

/// The columns (one a free state) and the target of the least-squares problem.
fn problem(values: &[f64], shape: Shape, constants: Constants) -> (Vec<Vec<f64>>, Vec<f64>) {
    let n = values.len();
    let mut target = Vec::with_capacity(n);
    walk(values.iter().copied(), shape, constants, zero(shape), |error| target.push(error));
    let column = |unit| {
        let mut column = Vec::with_capacity(n);
        let zeros = std::iter::repeat_n(0.0, n);
        walk(zeros, shape, constants, unit_state(shape, unit), |error| column.push(-error));
        column
    };
    ((0..shape.states()).map(column).collect(), target)
}

/// Least squares by Cholesky; `None` if a column nearly depends on those before.
fn normal_equations(columns: &[Vec<f64>], target: &[f64]) -> Option<Vec<f64>> {
    let k = columns.len();
    let mut lower = vec![0.0; k * k];
    let mut weights: Vec<f64> = columns.iter().map(|column| dot(column, target)).collect();
    for row in 0..k {
        for column in 0..=row {
            let product = dot(&columns[row], &columns[column]);
            let known =
                dot(&lower[row * k..row * k + column], &lower[column * k..column * k + column]);
            let left = product - known;
            if row > column {
                lower[row * k + column] = left / lower[column * k + column];
            } else if left > NORMAL_PIVOT_MIN * product {
                lower[row * k + row] = left.sqrt();
            } else {
                return None;
            }
        }
        let known = dot(&lower[row * k..row * k + row], &weights[..row]);
        weights[row] = (weights[row] - known) / lower[row * k + row];
    }
    for row in (0..k).rev() {
        let known: f64 = (row + 1..k).map(|later| lower[later * k + row] * weights[later]).sum();
        weights[row] = (weights[row] - known) / lower[row * k + row];
    }
    Some(weights)
}

fn zero(shape: Shape) -> State {
    let season = if shape.season > 1 { vec![0.0; shape.season] } else { Vec::new() };
    State { level: 0.0, trend: 0.0, season }
}

/// Level, trend, then each effect against the last one, so that the effects sum to 0.
fn unit_state(shape: Shape, unit: usize) -> State {
    let mut state = zero(shape);
    let effects_from = 1 + usize::from(shape.trend);
    match unit {
        0 => state.level = 1.0,
        1 if shape.trend => state.trend = 1.0,
        _ => {
            state.season[unit - effects_from] = 1.0;
            state.season[shape.season - 1] = -1.0;
        }
    }
    state
}

/// Least squares by Gram–Schmidt twice over; a column that depends on those before gets weight 0.
fn least_squares(columns: &[Vec<f64>], target: &[f64]) -> Vec<f64> {
    let k = columns.len();
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(k);
    let mut upper = vec![vec![0.0; k]; k];
    let mut along = vec![0.0; k];
    let mut rest = target.to_vec();
    for (at, column) in columns.iter().enumerate() {
        let mut left = column.clone();
        for _ in 0..2 {
            for (row, known) in basis.iter().enumerate() {
                let share = dot(known, &left);
                upper[row][at] += share;
                left.iter_mut().zip(known).for_each(|(l, q)| *l -= share * q);
            }
        }
        let size = dot(&left, &left).sqrt();
        if size * size <= PIVOT_MIN * dot(column, column) {
            basis.push(vec![0.0; target.len()]);
            continue;
        }
        left.iter_mut().for_each(|value| *value /= size);
        upper[at][at] = size;
        along[at] = dot(&left, &rest);
        rest.iter_mut().zip(&left).for_each(|(r, q)| *r -= along[at] * q);
        basis.push(left);
    }
    let mut weights = vec![0.0; k];
    for at in (0..k).rev() {
        if upper[at][at] > 0.0 {
            let known: f64 = (at + 1..k).map(|later| upper[at][later] * weights[later]).sum();
            weights[at] = (along[at] - known) / upper[at][at];
        }
    }
    weights
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
