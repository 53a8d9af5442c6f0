//! The probabilities with which actions are chosen, from what is believed of them.

/// Nodes an action brings to the integral, on each side of its middle: at few actions and at many.
const NODES: (usize, usize) = (12, 4);

/// Above so many nodes of all actions together each brings fewer.
const NODES_TOTAL: usize = 1600;

/// How many deviations from its middle an action's outermost node lies.
const REACH: f64 = 6.0;

/// A deviation below this share of the largest size counts as this.
const DEVIATION_MIN: f64 = 1e-12;

/// All to the best; those that are equally good share.
pub(super) fn best(scores: &[f64]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let ties = scores.iter().filter(|score| **score == most).count().max(1);
    let share = 1.0 / ties as f64;
    scores.iter().map(|score| if *score == most { share } else { 0.0 }).collect()
}

/// Shares that fall with the gap to the best, which gets what is left.
pub(super) fn inverse_gap(means: &[f64], sharpness: f64) -> Vec<f64> {
    let most = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let leader = means.iter().position(|mean| *mean == most).unwrap_or_default();
    let count = means.len() as f64;
    let mut made: Vec<f64> =
        means.iter().map(|mean| 1.0 / (count + sharpness * (most - mean))).collect();
    let others: f64 = made.iter().enumerate().filter(|(at, _)| *at != leader).map(|(_, p)| p).sum();
    if let Some(first) = made.get_mut(leader) {
        *first = 1.0 - others;
    }
    made
}

/// Gives the share `explore` evenly to all, and makes the sum 1.
pub(super) fn mix(chances: &mut [f64], explore: f64) {
    let total: f64 = chances.iter().sum();
    let even = 1.0 / chances.len().max(1) as f64;
    for chance in chances {
        let own = if total > 0.0 { *chance / total } else { even };
        *chance = (1.0 - explore) * own + explore * even;
    }
}

/// The position that `draw` in `[0, 1)` falls on, and its chance.
pub(super) fn drawn(chances: &[f64], draw: f64) -> Option<(usize, f64)> {
    let mut left = draw;
    let mut last = None;
    for (position, chance) in chances.iter().enumerate().filter(|(_, chance)| **chance > 0.0) {
        last = Some((position, *chance));
        left -= chance;
        if left < 0.0 {
            break;
        }
    }
    last
}

/// The probability of each normal value `(mean, deviation)` to be the largest of all.
pub(super) fn largest_normal(values: &[(f64, f64)]) -> Vec<f64> {
    let size = values.iter().fold(0.0, |most: f64, (mean, _)| most.max(mean.abs()));
    let floor = DEVIATION_MIN * size.max(DEVIATION_MIN);
    let values: Vec<(f64, f64)> =
        values.iter().map(|(mean, deviation)| (*mean, deviation.max(floor))).collect();
    // Below every value's reach of the best one nobody wins.
    let start = values.iter().map(|(m, d)| m - REACH * d).fold(f64::NEG_INFINITY, f64::max);
    let mut nodes = nodes(&values);
    nodes.retain(|node| *node >= start);
    winners(&nodes, values.len(), |below, node| {
        for (cell, (mean, deviation)) in below.iter_mut().zip(&values) {
            *cell = normal_cdf((node - mean) / deviation);
        }
    })
}

/// The probability of each share with a Beta posterior `(a, b)` to be the largest of all.
pub(super) fn largest_beta(values: &[(f64, f64)]) -> Vec<f64> {
    // On the scale of log-odds every Beta density is smooth and falls off on both sides.
    let middles: Vec<(f64, f64)> =
        values.iter().map(|(a, b)| ((a / b).ln(), (1.0 / a + 1.0 / b).sqrt())).collect();
    let nodes = nodes(&middles);
    let mut sums = vec![0.0; values.len() * nodes.len()];
    for (value, (a, b)) in values.iter().enumerate() {
        let log_density = |odds: f64| {
            let (no, yes) = (-softplus(odds), -softplus(-odds));
            a * yes + b * no
        };
        let peak = log_density((a / b).ln());
        let mut sum = 0.0;
        let mut before: Option<(f64, f64)> = None;
        for (row, node) in nodes.iter().enumerate() {
            let density = (log_density(*node) - peak).exp();
            if let Some((last, height)) = before {
                sum += (node - last) * f64::midpoint(height, density);
            }
            before = Some((*node, density));
            sums[row * values.len() + value] = sum;
        }
        let whole = if sum > 0.0 { sum } else { 1.0 };
        for row in 0..nodes.len() {
            sums[row * values.len() + value] /= whole;
        }
    }
    let mut rows = sums.chunks_exact(values.len().max(1));
    winners(&nodes, values.len(), |below, _| {
        if let Some(row) = rows.next() {
            below.copy_from_slice(row);
        }
    })
}

/// Where to look at values with these middles and deviations, in order.
fn nodes(values: &[(f64, f64)]) -> Vec<f64> {
    let sides = (NODES_TOTAL / (2 * values.len().max(1))).clamp(NODES.1, NODES.0);
    let step = REACH / sides as f64;
    let mut made = Vec::with_capacity(values.len() * (2 * sides + 1));
    for (middle, deviation) in values {
        made.push(*middle);
        for side in 1..=sides {
            let away = step * side as f64 * deviation;
            made.extend([middle - away, middle + away]);
        }
    }
    made.sort_by(f64::total_cmp);
    made.dedup();
    made
}

/// Sums over the cells between nodes: the value falls into the cell and all others lie below it.
///
/// `fill` writes the chances of all values to lie below a node; it is called for each node in order.
fn winners(nodes: &[f64], count: usize, mut fill: impl FnMut(&mut [f64], f64)) -> Vec<f64> {
    let mut made = vec![0.0; count];
    let (mut below, mut others) = (vec![0.0; count], vec![0.0; count]);
    let (mut below_before, mut others_before) = (vec![0.0; count], vec![0.0; count]);
    for (number, node) in nodes.iter().enumerate() {
        fill(&mut below, *node);
        products_without_one(&below, &mut others);
        if number > 0 {
            for value in 0..count {
                let inside = (below[value] - below_before[value]).max(0.0);
                made[value] += inside * f64::midpoint(others[value], others_before[value]);
            }
        }
        std::mem::swap(&mut below, &mut below_before);
        std::mem::swap(&mut others, &mut others_before);
    }
    made
}

/// For each place the product of all other values.
fn products_without_one(values: &[f64], made: &mut [f64]) {
    let mut product = 1.0;
    for (value, cell) in values.iter().zip(made.iter_mut()) {
        *cell = product;
        product *= value;
    }
    product = 1.0;
    for (value, cell) in values.iter().zip(made.iter_mut()).rev() {
        *cell *= product;
        product *= value;
    }
}

/// `ln(1 + eˣ)` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The normal distribution, to 1e-7: what is drawn from is what is written down, so more is not needed.
///
/// # Source
/// Abramowitz & Stegun 7.1.26.
fn normal_cdf(z: f64) -> f64 {
    let x = z.abs() * std::f64::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let polynomial = t
        * (0.254_829_592
            + t * (-0.284_496_736
                + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let tail = 0.5 * polynomial * (-x * x).exp();
    if z < 0.0 { tail } else { 1.0 - tail }
}
