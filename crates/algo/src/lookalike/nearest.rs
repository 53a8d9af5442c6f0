//! Likeness by distance.

use serde::{Deserialize, Serialize};

use crate::score::trees::Examples;

/// How many of the nearest seeds count.
const NEAREST: usize = 5;
/// Seeds that are kept; of more, evenly many are.
const SEEDS_MAX: usize = 2_000;

/// Seeds in columns that are measured in deviations from their means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nearest {
    means: Vec<f64>,
    /// 0 for a column that has one value only: it tells nobody apart.
    scales: Vec<f64>,
    /// Row after row.
    seeds: Vec<f64>,
}

impl Nearest {
    /// Keeps the seeds of examples, whose targets are 1 for seeds.
    pub(super) fn fit(examples: &Examples<'_>) -> Self {
        let width = examples.width.max(1);
        let rows = || examples.features.chunks_exact(width);
        let known =
            |column: usize| rows().map(move |row| row[column]).filter(|value| !value.is_nan());
        let mean = |column| {
            let (sum, count) =
                known(column).fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
            if count > 0.0 { sum / count } else { 0.0 }
        };
        let means: Vec<f64> = (0..width).map(mean).collect();
        // A missing value stands at the mean, so it counts as no deviation.
        let scale = |column: usize| {
            let squares: f64 = known(column).map(|value| (value - means[column]).powi(2)).sum();
            let deviation = (squares / examples.targets.len().max(1) as f64).sqrt();
            if deviation > f64::EPSILON * means[column].abs() { deviation.recip() } else { 0.0 }
        };
        let scales: Vec<f64> = (0..width).map(scale).collect();
        let mut made = Self { means, scales, seeds: Vec::new() };
        let seeds: Vec<&[f64]> = rows()
            .zip(examples.targets)
            .filter(|(_, target)| **target > 0.5)
            .map(|(row, _)| row)
            .collect();
        let step = seeds.len().div_ceil(SEEDS_MAX).max(1);
        for row in seeds.into_iter().step_by(step) {
            let scaled: Vec<f64> = made.scaled(row).collect();
            made.seeds.extend(scaled);
        }
        made
    }

    fn scaled<'a>(&'a self, row: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        row.iter()
            .zip(&self.means)
            .zip(&self.scales)
            .map(|((value, mean), scale)| if value.is_nan() { 0.0 } else { (value - mean) * scale })
    }

    /// 1 for a row that is a seed's, less the farther the nearest seeds are: 1 / (1 + their mean distance).
    pub(super) fn score(&self, row: &[f64]) -> f64 {
        let row: Vec<f64> = self.scaled(row).collect();
        // The nearest so far, nearest first.
        let mut nearest: Vec<f64> = Vec::with_capacity(NEAREST + 1);
        for seed in self.seeds.chunks_exact(self.means.len().max(1)) {
            let square: f64 = row.iter().zip(seed).map(|(a, b)| (a - b).powi(2)).sum();
            if nearest.len() < NEAREST || nearest.last().is_some_and(|farthest| square < *farthest)
            {
                let at = nearest.partition_point(|known| *known <= square);
                nearest.insert(at, square);
                nearest.truncate(NEAREST);
            }
        }
        let mean =
            nearest.iter().map(|square| square.sqrt()).sum::<f64>() / nearest.len().max(1) as f64;
        1.0 / (1.0 + mean)
    }

    /// The same with the mean seed in the place of all.
    pub(super) fn mean(&self) -> Self {
        let width = self.means.len().max(1);
        let count = (self.seeds.len() / width).max(1) as f64;
        let mut sum = vec![0.0; width];
        for seed in self.seeds.chunks_exact(width) {
            sum.iter_mut().zip(seed).for_each(|(sum, value)| *sum += value);
        }
        let seeds = sum.into_iter().map(|sum| sum / count).collect();
        Self { seeds, ..self.clone() }
    }
}
