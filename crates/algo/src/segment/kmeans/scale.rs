//! Bringing columns to one scale and back.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Scaling;

/// What is taken from and divided out of each column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Scale {
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

impl Scale {
    /// Measures the columns; a constant one keeps deviation 1, so that it stays at 0.
    pub(super) fn fit(rows: &[f64], columns: usize, scaling: Scaling) -> Self {
        if scaling == Scaling::Raw {
            return Self { mean: vec![0.0; columns], deviation: vec![1.0; columns] };
        }
        let n = (rows.len() / columns).max(1) as f64;
        let mut mean = vec![0.0; columns];
        for row in rows.chunks_exact(columns) {
            mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        mean.iter_mut().for_each(|sum| *sum /= n);
        let mut deviation = vec![0.0; columns];
        for row in rows.chunks_exact(columns) {
            let pairs = deviation.iter_mut().zip(row.iter().zip(&mean));
            pairs.for_each(|(sum, (value, mean))| *sum += (value - mean) * (value - mean));
        }
        for (spread, mean) in deviation.iter_mut().zip(&mean) {
            *spread = (*spread / n).sqrt();
            if *spread <= f64::EPSILON * mean.abs() {
                *spread = 1.0;
            }
        }
        Self { mean, deviation }
    }

    pub(super) fn columns(&self) -> usize {
        self.mean.len()
    }

    /// # Shape
    /// `rows` and what is made of them are `(n, columns)`.
    pub(super) fn apply<'a>(&self, rows: &'a [f64]) -> Cow<'a, [f64]> {
        if self.mean.iter().all(|mean| *mean == 0.0) && self.deviation.iter().all(|by| *by == 1.0) {
            return Cow::Borrowed(rows);
        }
        let mut scaled = Vec::with_capacity(rows.len());
        for row in rows.chunks_exact(self.columns()) {
            let scales = self.mean.iter().zip(&self.deviation);
            let values = row.iter().zip(scales);
            scaled.extend(values.map(|(value, (mean, deviation))| (value - mean) / deviation));
        }
        Cow::Owned(scaled)
    }

    pub(super) fn undo(&self, row: &[f64]) -> Vec<f64> {
        let scales = self.mean.iter().zip(&self.deviation);
        row.iter().zip(scales).map(|(value, (mean, deviation))| value * deviation + mean).collect()
    }
}
