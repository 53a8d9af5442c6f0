//! Columns as the numbers of bins, so that a split is looked for among few places.

use rayon::prelude::*;

use super::Examples;

/// The most bins of a column; one more number stands for a missing value.
pub(super) const BINS_MAX: usize = 255;

/// The number of a missing value.
pub(super) const MISSING: u8 = 255;

/// Rows that thresholds are chosen from, at most: evenly spaced ones.
const SAMPLE_MAX: usize = 200_000;

/// One column.
pub(super) struct Column {
    /// The bin of each row.
    pub(super) bins: Vec<u8>,
    /// The largest value of each bin but the last: values up to it lie in that bin or before.
    pub(super) thresholds: Vec<f64>,
    /// Whether a value is missing.
    pub(super) misses: bool,
}

/// All columns.
pub(super) struct Binned {
    pub(super) columns: Vec<Column>,
    pub(super) rows: usize,
}

impl Binned {
    pub(super) fn new(examples: &Examples<'_>) -> Self {
        let columns = (0..examples.width).into_par_iter().map(|at| column(examples, at)).collect();
        Self { columns, rows: examples.targets.len() }
    }
}

fn column(examples: &Examples<'_>, at: usize) -> Column {
    let values = || examples.rows().map(|row| row[at]);
    let step = examples.targets.len().div_ceil(SAMPLE_MAX).max(1);
    let mut sorted: Vec<f64> = values().step_by(step).filter(|value| !value.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let thresholds = thresholds(&sorted);
    let bins: Vec<u8> = values()
        .map(|value| match value.is_nan() {
            true => MISSING,
            false => thresholds.partition_point(|threshold| *threshold < value) as u8,
        })
        .collect();
    let misses = bins.contains(&MISSING);
    Column { bins, thresholds, misses }
}

/// Midpoints between all values if they are few, else between values of evenly spaced ranks.
fn thresholds(sorted: &[f64]) -> Vec<f64> {
    let mut distinct = sorted.to_vec();
    distinct.dedup();
    let between = |pair: &[f64]| {
        let middle = f64::midpoint(pair[0], pair[1]);
        // Of two neighbouring numbers the middle may round to the larger one, which belongs to the right.
        if middle < pair[1] { middle } else { pair[0] }
    };
    if distinct.len() <= BINS_MAX {
        return distinct.windows(2).map(between).collect();
    }
    let mut made: Vec<f64> = (1..BINS_MAX)
        .filter_map(|bin| {
            let rank = bin * sorted.len() / BINS_MAX;
            let value = sorted[rank];
            let next = distinct.partition_point(|other| *other <= value);
            distinct.get(next).map(|next| between(&[value, *next]))
        })
        .collect();
    made.dedup();
    made
}
