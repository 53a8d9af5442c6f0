//! The gamma and beta functions as logarithms, so that thousands of purchases overflow nothing.

use crate::stats::special::ln_gamma;

/// Where the series of Stirling's kind are taken; below, the functions are led back to there.
const LARGE: f64 = 10.0;

/// Bernoulli's numbers B₂ … B₁₄, last first.
const BERNOULLI: [f64; 7] =
    [7.0 / 6.0, -691.0 / 2_730.0, 5.0 / 66.0, -1.0 / 30.0, 1.0 / 42.0, -1.0 / 30.0, 1.0 / 6.0];

/// The logarithm of the beta function for positive `p` and `q`.
pub(super) fn ln_beta(p: f64, q: f64) -> f64 {
    ln_gamma(p) + ln_gamma(q) - ln_gamma(p + q)
}

/// The first and the second derivative of the logarithm of the gamma function for a positive `x`.
///
/// # Source
/// DLMF 5.5.2, 5.11.2 and 5.15.8.
pub(super) fn ln_gamma_slopes(x: f64) -> (f64, f64) {
    let (mut x, mut first, mut second) = (x, 0.0, 0.0);
    while x < LARGE {
        first -= 1.0 / x;
        second += 1.0 / (x * x);
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let (mut rest, mut rest_of_second) = (0.0, 0.0);
    for (at, bernoulli) in BERNOULLI.iter().enumerate() {
        let order = 2.0 * (BERNOULLI.len() - at) as f64;
        rest = (rest + bernoulli / order) * inverse;
        rest_of_second = (rest_of_second + bernoulli) * inverse;
    }
    first += x.ln() - 0.5 / x - rest;
    second += (1.0 + 0.5 / x + rest_of_second) / x;
    (first, second)
}

/// `ln(eᵃ + eᵇ)` without overflow; either may be −∞.
pub(super) fn ln_sum(a: f64, b: f64) -> f64 {
    let (large, small) = if a < b { (b, a) } else { (a, b) };
    if large == f64::NEG_INFINITY { large } else { large + (small - large).exp().ln_1p() }
}
