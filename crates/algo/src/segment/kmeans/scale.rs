//! Bringing columns to one scale and back.

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
        let column = |at: usize| rows.iter().skip(at).step_by(columns);
        let mean: Vec<f64> = (0..columns).map(|at| column(at).sum::<f64>() / n).collect();
        let spread = |at: usize| {
            let square = column(at).map(|value| (value - mean[at]).powi(2)).sum::<f64>() / n;
            let rounding = f64::EPSILON * mean[at].abs();
            if square.sqrt() > rounding { square.sqrt() } else { 1.0 }
        };
        Self { deviation: (0..columns).map(spread).collect(), mean }
    }

    pub(super) fn columns(&self) -> usize {
        self.mean.len()
    }

    pub(super) fn apply(&self, rows: &[f64]) -> Vec<f64> {
        let scales = self.mean.iter().zip(&self.deviation).cycle();
        rows.iter()
            .zip(scales)
            .map(|(value, (mean, deviation))| (value - mean) / deviation)
            .collect()
    }

    pub(super) fn undo(&self, row: &[f64]) -> Vec<f64> {
        let scales = self.mean.iter().zip(&self.deviation);
        row.iter().zip(scales).map(|(value, (mean, deviation))| value * deviation + mean).collect()
    }
}
