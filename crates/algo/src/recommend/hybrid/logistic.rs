//! Weighted logistic regression by Newton's method, for a handful of features.

use rayon::prelude::*;

use super::features::{FEATURES, Row};

/// One observation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Example {
    /// Its features.
    pub(super) row: Row,
    /// Whether it happened.
    pub(super) positive: bool,
    /// How many observations it stands for.
    pub(super) weight: f64,
}

/// Weights and intercept.
const SIZE: usize = FEATURES.len() + 1;
/// Newton steps at most; ten are usual.
const STEPS_MAX: usize = 50;
/// Halvings of one step at most.
const HALVINGS_MAX: usize = 20;
/// Stop when the loss falls by less than this share.
const TOLERANCE: f64 = 1e-9;
/// Examples per parallel part; fixed, so that sums do not depend on the number of threads.
const PART: usize = 8_192;

/// The loss, its gradient and its curvature at one point.
#[derive(Clone)]
struct Local {
    loss: f64,
    gradient: [f64; SIZE],
    curvature: [[f64; SIZE]; SIZE],
}

/// Finds the weights (without the intercept) on the features' own scales; `penalty` · ½‖w‖² is
/// applied on standardised ones.
///
/// # Source
/// Hastie, Tibshirani & Friedman 2009, §4.4.1 (iteratively reweighted least squares).
pub(super) fn fit(examples: &[Example], penalty: f64) -> Vec<f64> {
    let (means, scales) = standard(examples);
    let standardised: Vec<Example> = examples
        .par_iter()
        .map(|example| {
            let mut row = example.row;
            for (feature, value) in row.iter_mut().enumerate() {
                *value = (*value - means[feature]) / scales[feature];
            }
            Example { row, ..*example }
        })
        .collect();
    let mut point = [0.0; SIZE];
    let mut here = local(&standardised, &point, penalty);
    for _ in 0..STEPS_MAX {
        let Some(step) = solve(here.curvature, here.gradient) else { break };
        let mut size = 1.0;
        let mut next = None;
        for _ in 0..HALVINGS_MAX {
            let tried = std::array::from_fn(|i| point[i] - size * step[i]);
            let there = local(&standardised, &tried, penalty);
            if there.loss <= here.loss {
                next = Some((tried, there));
                break;
            }
            size /= 2.0;
        }
        let Some((tried, there)) = next else { break };
        let fallen = here.loss - there.loss;
        (point, here) = (tried, there);
        if fallen <= TOLERANCE * here.loss {
            break;
        }
    }
    point.iter().zip(&scales).map(|(weight, scale)| weight / scale).collect()
}

/// Mean and deviation of each feature; a constant one gets an infinite scale, hence weight 0.
fn standard(examples: &[Example]) -> (Row, Row) {
    let count = examples.len().max(1) as f64;
    let (mut means, mut squares) = ([0.0; FEATURES.len()], [0.0; FEATURES.len()]);
    for example in examples {
        means.iter_mut().zip(&example.row).for_each(|(mean, value)| *mean += value / count);
    }
    for example in examples {
        for feature in 0..FEATURES.len() {
            squares[feature] += (example.row[feature] - means[feature]).powi(2) / count;
        }
    }
    let scale = |square: f64| if square > 1e-18 { square.sqrt() } else { f64::INFINITY };
    (means, squares.map(scale))
}

#[expect(clippy::needless_range_loop, reason = "a triangle of a matrix reads best by its indexes")]
fn local(examples: &[Example], point: &[f64; SIZE], penalty: f64) -> Local {
    let empty = Local { loss: 0.0, gradient: [0.0; SIZE], curvature: [[0.0; SIZE]; SIZE] };
    let parts: Vec<Local> = examples
        .par_chunks(PART)
        .map(|part| {
            let mut sum = empty.clone();
            part.iter().for_each(|example| observe(&mut sum, example, point));
            sum
        })
        .collect();
    let mut total = empty;
    for part in parts {
        total.loss += part.loss;
        for i in 0..SIZE {
            total.gradient[i] += part.gradient[i];
            for j in 0..=i {
                total.curvature[i][j] += part.curvature[i][j];
            }
        }
    }
    for i in 0..SIZE {
        // The intercept gets a trace of penalty only, to keep the system solvable.
        let ridge = if i + 1 == SIZE { 1e-9 } else { penalty };
        total.loss += 0.5 * ridge * point[i] * point[i];
        total.gradient[i] += ridge * point[i];
        total.curvature[i][i] += ridge;
    }
    total
}

#[expect(clippy::needless_range_loop, reason = "a triangle of a matrix reads best by its indexes")]
fn observe(sum: &mut Local, example: &Example, point: &[f64; SIZE]) {
    let mut inputs = [1.0; SIZE];
    inputs[..FEATURES.len()].copy_from_slice(&example.row);
    let logit: f64 = inputs.iter().zip(point).map(|(input, weight)| input * weight).sum();
    let margin = if example.positive { logit } else { -logit };
    sum.loss += example.weight * ((-margin.abs()).exp().ln_1p() + (-margin).max(0.0));
    let chance = 1.0 / (1.0 + (-logit).exp());
    let error = example.weight * (chance - if example.positive { 1.0 } else { 0.0 });
    let curve = example.weight * chance * (1.0 - chance);
    for i in 0..SIZE {
        sum.gradient[i] += error * inputs[i];
        let scaled = curve * inputs[i];
        for j in 0..=i {
            sum.curvature[i][j] += scaled * inputs[j];
        }
    }
}

/// Solves the symmetric positive system by Cholesky; `None` if it is not positive.
fn solve(mut matrix: [[f64; SIZE]; SIZE], mut right: [f64; SIZE]) -> Option<[f64; SIZE]> {
    for i in 0..SIZE {
        for j in 0..=i {
            let inner: f64 = (0..j).map(|k| matrix[i][k] * matrix[j][k]).sum();
            let left = matrix[i][j] - inner;
            if i == j {
                if left <= 0.0 || !left.is_finite() {
                    return None;
                }
                matrix[i][i] = left.sqrt();
            } else {
                matrix[i][j] = left / matrix[j][j];
            }
        }
    }
    for i in 0..SIZE {
        let inner: f64 = (0..i).map(|k| matrix[i][k] * right[k]).sum();
        right[i] = (right[i] - inner) / matrix[i][i];
    }
    for i in (0..SIZE).rev() {
        let inner: f64 = (i + 1..SIZE).map(|k| matrix[k][i] * right[k]).sum();
        right[i] = (right[i] - inner) / matrix[i][i];
    }
    Some(right)
}

#[cfg(test)]
mod tests {
    use flywheel_base::Rng;

    use super::*;

    #[test]
    fn known_weights_are_found_again_and_a_constant_feature_gets_none() {
        let mut rng = Rng::new(3);
        let mut truth = [0.0; FEATURES.len()];
        truth[0] = 1.5;
        truth[3] = -2.0;
        let examples: Vec<Example> = (0..40_000)
            .map(|_| {
                let mut row: Row = std::array::from_fn(|_| rng.normal());
                row[5] = 7.0;
                let logit: f64 = row.iter().zip(&truth).map(|(a, b)| a * b).sum::<f64>() - 1.0;
                let positive = rng.chance(1.0 / (1.0 + (-logit).exp()));
                Example { row, positive, weight: 1.0 }
            })
            .collect();
        let weights = fit(&examples, 1.0);
        assert_eq!(weights.len(), FEATURES.len());
        for (feature, weight) in weights.iter().enumerate() {
            assert!((weight - truth[feature]).abs() < 0.1, "{feature}: {weight}");
        }
        assert_eq!(weights[5], 0.0);
    }
}
