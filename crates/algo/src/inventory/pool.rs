//! Levels of stock for many items together: what each will be asked for, learned from the pasts of all, and which
//! units are worth their place when the shop as a whole shall serve a share of demand.
//!
//! The past of one slow item says little: a year without a sale may be chance or the end. The pasts of all items say
//! what followed on pasts like this one. And the same fill rate for every item buys dear safety where demand comes in
//! heaps; it costs less to serve the wanted share on average, and to hold a unit wherever one more saves the most
//! demand for what it costs to hold. One number, the rate that is asked for, says how much that must be.

use flywheel_base::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::calibrate::Ladder;
use crate::online::linear::cholesky_solve;
use crate::stats::finite;

/// By how much a block counts less than the next younger one, for each mean that is looked at.
const DECAYS: [f64; 7] = [0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0];
/// The decay of the spread.
const SPREAD_DECAY: f64 = 0.97;
/// Units by which the spread of one item is drawn to that of all. It, the decay of moments and the ridge are those that
/// cost the least on car parts in the year before the one that `cargo xtask bench inventory` judges; what of a past is
/// looked at was chosen with both years in sight, so that its figure flatters a little.
const UNITS_OF_POOL: f64 = 8.0;
/// Further things that are looked at: how long ago, how often, how much at a time, the most, the last three blocks.
const OTHERS: usize = 7;
/// Numbers of a past, and the constant.
const WIDTH: usize = 2 * DECAYS.len() + OTHERS + 1;
/// Numbers of a lower triangle.
const TRIANGLE: usize = WIDTH * (WIDTH + 1) / 2;
/// What is added before a logarithm is taken, so that no demand has one.
const LEAST: f64 = 0.05;
/// Blocks that a largest demand is looked for in.
const MOST_OF: usize = 12;
/// Blocks that must be known before a past is learned from.
const KNOWN_MIN: usize = 12;
/// Past moments that are learned from, and by how much an older one counts less.
const MOMENTS: usize = 18;
const MOMENT_DECAY: f64 = 0.9;
/// Fewer pasts teach nothing that holds for others.
const ROWS_MIN: usize = 20 * WIDTH;
/// The pull of the weights towards 0, a row.
const RIDGE: f64 = 1e-4;
/// Newton steps and halvings of one at most.
const STEPS_MAX: usize = 30;
const HALVINGS_MAX: usize = 20;
/// Exponents beyond this are cut off.
const EXPONENT_MAX: f64 = 25.0;
/// The least variance of demand as a multiple of its mean: a Poisson's, and a little.
const SPREAD_MIN: f64 = 1.05;
/// How far the spread of the forecasts' errors may lie from that of demand itself.
const FACTOR_RANGE: (f64, f64) = (0.5, 5.0);
/// How finely levels are looked at, in parts of the deviation of demand.
const PARTS_OF_DEVIATION: f64 = 16.0;
/// Rungs beyond this rate are not worked out, and never more than so many.
const RATE_MAX: f64 = 0.9985;
const RUNGS_MAX: usize = 4_000;
/// Deviations above the mean that all rungs together reach.
const DEVIATIONS_MAX: f64 = 12.0;
/// Covers of demand by which a unit's share of its item is told.
const COVERS: f64 = 6.0;

/// How often the stock is looked at, and how long an order takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// Periods from an order to its arrival.
    pub lead: usize,
    /// Periods between two looks, 1 or more.
    pub review: usize,
}

impl Times {
    fn cover(self) -> usize {
        self.lead + self.review.max(1)
    }

    /// Periods that are added up before they are looked at: half of what an order covers, so that the daily noise of
    /// long lead times does not hide what matters.
    fn block(self) -> usize {
        self.cover().div_ceil(2)
    }
}

/// What an item will be asked for: a negative binomial for any number of periods.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Belief {
    /// The mean of a period.
    pub mean: f64,
    /// The variance as a multiple of the mean, above 1.
    pub spread: f64,
}

impl Belief {
    /// Works out from which rate on each unit is worth holding.
    ///
    /// A unit saves the demand that comes after the lead time of this order and before the next can arrive; it costs
    /// its place whenever it is left. Units of items that are asked for seldom count up to twice, as they are a larger
    /// share of their item's demand. At the rate r a unit is held if it saves (1 − r)/r of what it costs.
    #[must_use]
    pub fn ladder(&self, times: Times) -> Ladder {
        let cover = self.mean * times.cover() as f64;
        let lead = self.mean * times.lead as f64;
        if cover <= 0.0 || !cover.is_finite() {
            return Ladder::by_unit(1.0, Vec::new());
        }
        let spread = self.spread.max(SPREAD_MIN);
        let deviation = (cover * spread).sqrt();
        let coarse = (cover + DEVIATIONS_MAX * deviation) / RUNGS_MAX as f64;
        let unit = (deviation / PARTS_OF_DEVIATION).max(coarse).ceil().max(1.0);
        let season = COVERS * cover;
        let weight = 1.0 + (1.0 - (-season).exp()) / season;
        let (mut until_next, mut until_this) = (Tail::new(cover, spread), Tail::new(lead, spread));
        let (mut rates, mut last) = (Vec::new(), 0.0_f64);
        while rates.len() < RUNGS_MAX {
            let stock = unit * rates.len() as f64;
            let (next, this) = (until_next.above(stock), until_this.above(stock));
            let saved = weight * (next - this).max(0.0);
            let left = 1.0 - next;
            // A level is reached through those below it, so its rate is at least theirs.
            last = if saved + left > 0.0 { last.max(left / (saved + left)) } else { last };
            if last > RATE_MAX {
                break;
            }
            rates.push(last);
        }
        Ladder::by_unit(unit, rates)
    }
}

/// The probability that negative binomial demand exceeds a stock that only grows.
struct Tail {
    size: f64,
    log_rest: f64,
    log_now: f64,
    next: f64,
    within: f64,
}

impl Tail {
    fn new(mean: f64, spread: f64) -> Self {
        let size = mean / (spread - 1.0);
        Self {
            size,
            log_rest: (1.0 - 1.0 / spread).ln(),
            log_now: -size * spread.ln(),
            next: 0.0,
            within: 0.0,
        }
    }

    fn above(&mut self, stock: f64) -> f64 {
        if self.size <= 0.0 {
            return 0.0;
        }
        while self.next <= stock {
            self.within += self.log_now.exp();
            self.next += 1.0;
            self.log_now += ((self.next - 1.0 + self.size) / self.next).ln() + self.log_rest;
        }
        (1.0 - self.within).max(0.0)
    }
}

/// What each item will be asked for, learned from the pasts of all; `None` if they are too few or too short.
///
/// # Shape
/// One past an item, a value a period, oldest first, ending at the same moment; they may begin at different ones. The
/// answer has the items' order.
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a value is not finite or negative.
/// # Cost
/// O(items · 18 · (periods + 22²) · Newton steps): about a third of a second for 2,500 items of 50 periods.
/// # Source
/// Poisson regression on what followed earlier pasts (Cameron & Trivedi 2013, ch. 3), over exponentially weighted means
/// of amounts and of occurrences as in Croston 1972 and Teunter et al. 2011; negative binomial with the variance that
/// the regression's own errors had, as Snyder et al. 2012 found best for slow parts.
pub fn beliefs(pasts: &[&[f64]], times: Times) -> Result<Option<Vec<Belief>>> {
    for (item, past) in pasts.iter().enumerate() {
        finite::all_finite(&format!("past demand of item {item}"), past)?;
        if let Some(wrong) = past.iter().find(|value| **value < 0.0) {
            return Err(Error::invalid(format!("a past demand of item {item} is {wrong}"))
                .hint("Give what was asked for in each period, 0 or more."));
        }
    }
    let (cover, block) = (times.cover(), times.block());
    let shared = pooled_spread(pasts, block);
    let rows: Vec<Row> = pasts
        .par_iter()
        .flat_map_iter(|past| {
            (0..MOMENTS).filter_map(move |moment| {
                let known = past.len().checked_sub(cover + moment * block)?;
                if known < KNOWN_MIN * block {
                    return None;
                }
                let (before, after) = past.split_at(known);
                Some(Row {
                    numbers: numbers(before, block),
                    came: after.iter().take(cover).sum(),
                    weight: MOMENT_DECAY.powf(moment as f64),
                    spread: spread(before, block, shared),
                })
            })
        })
        .collect();
    if rows.len() < ROWS_MIN || rows.iter().all(|row| row.came == 0.0) {
        return Ok(None);
    }
    let weights = regression(&rows);
    let factor = spread_factor(&rows, &weights);
    let believed = |past: &&[f64]| Belief {
        mean: expected(&weights, &numbers(past, block)) / cover as f64,
        spread: (1.0 + factor * (spread(past, block, shared) - 1.0)).max(SPREAD_MIN),
    };
    Ok(Some(pasts.par_iter().map(believed).collect()))
}

/// A past moment of an item and what came after it.
struct Row {
    numbers: [f64; WIDTH],
    came: f64,
    weight: f64,
    spread: f64,
}

/// A past in numbers: logarithms of what tells how much comes next.
fn numbers(past: &[f64], block: usize) -> [f64; WIDTH] {
    let blocks: Vec<f64> = past.rchunks_exact(block).map(|part| part.iter().sum()).collect();
    let mut made = [0.0; WIDTH];
    for (place, decay) in DECAYS.iter().enumerate() {
        let (mut amount, mut often, mut whole, mut weight) = (0.0, 0.0, 0.0_f64, 1.0_f64);
        for value in &blocks {
            amount += weight * value;
            often += if *value > 0.0 { weight } else { 0.0 };
            whole += weight;
            weight *= decay;
        }
        let whole = whole.max(1.0);
        (made[place], made[DECAYS.len() + place]) = (amount / whole, often / whole);
    }
    let times = blocks.iter().filter(|value| **value > 0.0).count() as f64;
    let since = blocks.iter().position(|value| *value > 0.0).unwrap_or(blocks.len()) as f64;
    let at = |place: usize| blocks.get(place).copied().unwrap_or_default();
    made[2 * DECAYS.len()..WIDTH - 1].copy_from_slice(&[
        since + 1.0,
        times,
        (blocks.iter().sum::<f64>() + 1.0) / (times + 1.0),
        blocks.iter().take(MOST_OF).copied().fold(0.0, f64::max),
        at(0),
        at(1),
        at(2),
    ]);
    made.iter_mut().for_each(|number| *number = (*number + LEAST).ln());
    made[WIDTH - 1] = 1.0;
    made
}

/// The squares around the own mean and the sum of a past, the younger the more.
fn squares(past: &[f64], block: usize) -> (f64, f64) {
    let (mut sum, mut square, mut whole, mut weight) = (0.0, 0.0_f64, 0.0, 1.0_f64);
    for part in past.rchunks_exact(block) {
        let value: f64 = part.iter().sum();
        sum += weight * value;
        square += weight * value * value;
        whole += weight;
        weight *= SPREAD_DECAY;
    }
    if whole > 0.0 { ((square - sum * sum / whole).max(0.0), sum) } else { (0.0, 0.0) }
}

/// The variance of demand over its mean, of all items together.
fn pooled_spread(pasts: &[&[f64]], block: usize) -> f64 {
    let sums: Vec<(f64, f64)> = pasts.par_iter().map(|past| squares(past, block)).collect();
    let (square, sum) = sums.iter().fold((0.0, 0.0), |(a, b), (square, sum)| (a + square, b + sum));
    if sum > 0.0 { (square / sum).max(SPREAD_MIN) } else { SPREAD_MIN }
}

/// That of one item, drawn to the pool's as if it had sold some units more with the pool's.
fn spread(past: &[f64], block: usize, shared: f64) -> f64 {
    let (square, sum) = squares(past, block);
    ((square + UNITS_OF_POOL * shared) / (sum + UNITS_OF_POOL)).max(SPREAD_MIN)
}

fn expected(weights: &[f64; WIDTH], numbers: &[f64; WIDTH]) -> f64 {
    let sum: f64 = weights.iter().zip(numbers).map(|(weight, number)| weight * number).sum();
    sum.clamp(-EXPONENT_MAX, EXPONENT_MAX).exp()
}

/// How much more the demand that came spread around what was expected than items spread around their own means.
fn spread_factor(rows: &[Row], weights: &[f64; WIDTH]) -> f64 {
    let (mut errors, mut means, mut own) = (0.0, 0.0, 0.0);
    for row in rows {
        let mean = expected(weights, &row.numbers);
        errors += row.weight * (row.came - mean).powi(2);
        means += row.weight * mean;
        own += row.weight * mean * (row.spread - 1.0);
    }
    let factor = if own > 0.0 { (errors - means) / own } else { 1.0 };
    factor.clamp(FACTOR_RANGE.0, FACTOR_RANGE.1)
}

/// Weights of the largest likelihood of Poisson counts with a log link and a small ridge, by Newton steps.
fn regression(rows: &[Row]) -> [f64; WIDTH] {
    let total: f64 = rows.iter().map(|row| row.weight).sum();
    let scales = scales(rows, total);
    let ridge =
        |place: usize| if place + 1 == WIDTH { 1e-9 } else { RIDGE * total * scales[place] };
    let loss = |weights: &[f64; WIDTH]| {
        let fit: Vec<f64> = rows
            .par_chunks(4096)
            .map(|part| {
                part.iter()
                    .map(|row| {
                        let mean = expected(weights, &row.numbers);
                        row.weight * (mean - row.came * mean.ln())
                    })
                    .sum::<f64>()
            })
            .collect();
        let pull: f64 = weights.iter().enumerate().map(|(at, w)| 0.5 * ridge(at) * w * w).sum();
        fit.iter().sum::<f64>() + pull
    };
    let mut weights = [0.0; WIDTH];
    let came: f64 = rows.iter().map(|row| row.weight * row.came).sum();
    weights[WIDTH - 1] = (came / total).max(1e-9).ln();
    let mut there = loss(&weights);
    for _ in 0..STEPS_MAX {
        let (mut slope, mut curve) = slope_and_curve(rows, &weights);
        for place in 0..WIDTH {
            slope[place] += ridge(place) * weights[place];
            curve[place * (place + 1) / 2 + place] += ridge(place);
        }
        let step = cholesky_solve(&mut curve, slope);
        let mut size = 1.0;
        let mut next = None;
        for _ in 0..HALVINGS_MAX {
            let mut tried = weights;
            tried.iter_mut().zip(&step).for_each(|(weight, step)| *weight -= size * step);
            let reached = loss(&tried);
            if reached <= there {
                next = Some((tried, reached));
                break;
            }
            size /= 2.0;
        }
        let Some((tried, reached)) = next else { break };
        let fallen = there - reached;
        (weights, there) = (tried, reached);
        if fallen <= 1e-9 * there.abs() {
            break;
        }
    }
    weights
}

/// The variance of each number, so that the ridge pulls all alike.
fn scales(rows: &[Row], total: f64) -> [f64; WIDTH] {
    let (mut means, mut squares) = ([0.0; WIDTH], [0.0; WIDTH]);
    for row in rows {
        for place in 0..WIDTH {
            means[place] += row.weight * row.numbers[place] / total;
            squares[place] += row.weight * row.numbers[place].powi(2) / total;
        }
    }
    std::array::from_fn(|place| (squares[place] - means[place].powi(2)).max(1e-12))
}

/// The first derivatives of the likelihood and the lower triangle of the second, summed by chunks of rows in their order.
fn slope_and_curve(rows: &[Row], weights: &[f64; WIDTH]) -> (Vec<f64>, Vec<f64>) {
    let parts: Vec<(Vec<f64>, Vec<f64>)> = rows
        .par_chunks(4096)
        .map(|part| {
            let (mut slope, mut curve) = (vec![0.0; WIDTH], vec![0.0; TRIANGLE]);
            for row in part {
                let mean = expected(weights, &row.numbers);
                let (error, bend) = (row.weight * (mean - row.came), row.weight * mean);
                let mut rest = curve.as_mut_slice();
                for (place, number) in row.numbers.iter().enumerate() {
                    slope[place] += error * number;
                    let (line, after) = rest.split_at_mut(place + 1);
                    rest = after;
                    line.iter_mut()
                        .zip(&row.numbers)
                        .for_each(|(sum, b)| *sum += bend * number * b);
                }
            }
            (slope, curve)
        })
        .collect();
    let (mut slope, mut curve) = (vec![0.0; WIDTH], vec![0.0; TRIANGLE]);
    for (some_slope, some_curve) in &parts {
        slope.iter_mut().zip(some_slope).for_each(|(sum, part)| *sum += part);
        curve.iter_mut().zip(some_curve).for_each(|(sum, part)| *sum += part);
    }
    (slope, curve)
}

#[cfg(test)]
mod tests;
