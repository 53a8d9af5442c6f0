//! Ridge and ridge logistic regression on standardised columns, for rows of any width.

use serde::{Deserialize, Serialize};

use crate::online::linear::cholesky_solve;

/// Newton steps at most; seven are usual.
const STEPS_MAX: usize = 50;

/// Halvings of one step at most.
const HALVINGS_MAX: usize = 30;

/// Stop when the loss falls by less than this share.
const TOLERANCE: f64 = 1e-10;

/// The pull of the intercept, to keep the system solvable.
const INTERCEPT_RIDGE: f64 = 1e-9;

/// A linear score: weights on the features' own scales, and an intercept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Score {
    weights: Vec<f64>,
    intercept: f64,
}

impl Score {
    pub(crate) fn value(&self, row: &[f64]) -> f64 {
        let products = self.weights.iter().zip(row).map(|(weight, value)| weight * value);
        self.intercept + products.sum::<f64>()
    }

    /// The weights on the features' own scales.
    pub(crate) fn weights(&self) -> &[f64] {
        &self.weights
    }

    pub(crate) fn intercept(&self) -> f64 {
        self.intercept
    }

    pub(crate) fn chance(&self, row: &[f64]) -> f64 {
        1.0 / (1.0 + (-self.value(row)).exp())
    }
}

/// The rows of a fit, standardised; a constant column is 0 everywhere.
struct Standard {
    width: usize,
    means: Vec<f64>,
    scales: Vec<f64>,
    rows: Vec<f64>,
}

impl Standard {
    fn new(rows: &[&[f64]]) -> Self {
        let width = rows.first().map_or(0, |row| row.len());
        let count = rows.len().max(1) as f64;
        let (mut means, mut squares) = (vec![0.0; width], vec![0.0; width]);
        for row in rows {
            means.iter_mut().zip(*row).for_each(|(mean, value)| *mean += value / count);
        }
        for row in rows {
            let columns = squares.iter_mut().zip(&means).zip(*row);
            columns.for_each(|((square, mean), value)| *square += (value - mean).powi(2) / count);
        }
        let scale = |(square, mean): (&f64, &f64)| {
            if *square > (1e-9 * mean).powi(2) + 1e-300 { square.sqrt() } else { f64::INFINITY }
        };
        let scales: Vec<f64> = squares.iter().zip(&means).map(scale).collect();
        let mut made = Vec::with_capacity(rows.len() * (width + 1));
        for row in rows {
            let columns = row.iter().zip(&means).zip(&scales);
            made.extend(columns.map(|((value, mean), scale)| (value - mean) / scale));
            made.push(1.0);
        }
        Self { width, means, scales, rows: made }
    }

    fn rows(&self) -> std::slice::ChunksExact<'_, f64> {
        self.rows.chunks_exact(self.width + 1)
    }

    fn ridge(&self, at: usize, penalty: f64) -> f64 {
        if at == self.width { INTERCEPT_RIDGE } else { penalty }
    }

    fn score(&self, point: &[f64]) -> Score {
        let weights: Vec<f64> =
            point.iter().zip(&self.scales).map(|(weight, scale)| weight / scale).collect();
        let moved: f64 = weights.iter().zip(&self.means).map(|(weight, mean)| weight * mean).sum();
        Score { intercept: point.last().copied().unwrap_or_default() - moved, weights }
    }
}

/// Fits the chance of `happened`; `penalty` · ½‖w‖² is put on standardised weights.
///
/// # Source
/// Hastie, Tibshirani & Friedman 2009, §4.4.1; equals scikit-learn's `LogisticRegression(C=1/penalty)` on
/// standardised columns in `tests/parity/uplift.json`.
pub(crate) fn logistic(rows: &[&[f64]], happened: &[bool], penalty: f64) -> Score {
    logistic_weighted(rows, happened, None, penalty)
}

/// As [`logistic`], each row counting as much as its weight says.
pub(crate) fn logistic_weighted(
    rows: &[&[f64]],
    happened: &[bool],
    weights: Option<&[f64]>,
    penalty: f64,
) -> Score {
    let happened = Happened { happened, weights };
    let standard = Standard::new(rows);
    let mut point = vec![0.0; standard.width + 1];
    let mut loss = loss_at(&standard, &happened, &point, penalty);
    for _ in 0..STEPS_MAX {
        let step = newton(&standard, &happened, &point, penalty);
        let mut size = 1.0;
        let mut next = None;
        for _ in 0..HALVINGS_MAX {
            let tried: Vec<f64> =
                point.iter().zip(&step).map(|(at, step)| at - size * step).collect();
            let there = loss_at(&standard, &happened, &tried, penalty);
            if there <= loss {
                next = Some((tried, there));
                break;
            }
            size /= 2.0;
        }
        let Some((tried, there)) = next else { break };
        let fallen = loss - there;
        (point, loss) = (tried, there);
        if fallen <= TOLERANCE * loss {
            break;
        }
    }
    standard.score(&point)
}

/// What happened in each row, and how much the row counts; all count 1 without weights.
struct Happened<'a> {
    happened: &'a [bool],
    weights: Option<&'a [f64]>,
}

impl Happened<'_> {
    fn rows(&self) -> impl Iterator<Item = (bool, f64)> {
        let weight = |at: usize| self.weights.and_then(|all| all.get(at)).copied().unwrap_or(1.0);
        self.happened.iter().enumerate().map(move |(at, happened)| (*happened, weight(at)))
    }
}

fn loss_at(standard: &Standard, happened: &Happened<'_>, point: &[f64], penalty: f64) -> f64 {
    let pulls = point.iter().enumerate();
    let pull: f64 =
        pulls.map(|(at, weight)| 0.5 * standard.ridge(at, penalty) * weight * weight).sum();
    let rows = standard.rows().zip(happened.rows()).map(|(row, (happened, weight))| {
        let odds = product(row, point);
        let margin = if happened { odds } else { -odds };
        weight * ((-margin.abs()).exp().ln_1p() + (-margin).max(0.0))
    });
    pull + rows.sum::<f64>()
}

fn newton(standard: &Standard, happened: &Happened<'_>, point: &[f64], penalty: f64) -> Vec<f64> {
    let size = standard.width + 1;
    let mut gradient: Vec<f64> =
        point.iter().enumerate().map(|(at, weight)| standard.ridge(at, penalty) * weight).collect();
    let mut curvature = diagonal(standard, penalty);
    for (row, (happened, weight)) in standard.rows().zip(happened.rows()) {
        let chance = 1.0 / (1.0 + (-product(row, point)).exp());
        let miss = weight * (chance - f64::from(u8::from(happened)));
        gradient.iter_mut().zip(row).for_each(|(sum, value)| *sum += miss * value);
        add_square(&mut curvature, row, weight * chance * (1.0 - chance), size);
    }
    cholesky_solve(&mut curvature, gradient)
}

/// Fits a number; `penalty` as in [`logistic`].
pub(crate) fn linear(rows: &[&[f64]], targets: &[f64], penalty: f64) -> Score {
    let standard = Standard::new(rows);
    let size = standard.width + 1;
    let mut moments = vec![0.0; size];
    let mut squares = diagonal(&standard, penalty);
    for (row, target) in standard.rows().zip(targets) {
        moments.iter_mut().zip(row).for_each(|(sum, value)| *sum += target * value);
        add_square(&mut squares, row, 1.0, size);
    }
    standard.score(&cholesky_solve(&mut squares, moments))
}

/// The lower triangle of the pulls.
fn diagonal(standard: &Standard, penalty: f64) -> Vec<f64> {
    let size = standard.width + 1;
    let mut made = vec![0.0; size * (size + 1) / 2];
    for at in 0..size {
        made[at * (at + 1) / 2 + at] = standard.ridge(at, penalty);
    }
    made
}

fn add_square(lower: &mut [f64], row: &[f64], scale: f64, size: usize) {
    let mut rest = lower;
    for at in 0..size {
        let (line, after) = rest.split_at_mut(at + 1);
        rest = after;
        let factor = scale * row[at];
        line.iter_mut().zip(row).for_each(|(sum, value)| *sum += factor * value);
    }
}

fn product(row: &[f64], point: &[f64]) -> f64 {
    row.iter().zip(point).map(|(value, weight)| value * weight).sum()
}
