//! The beta function and Gauss' hypergeometric function, as logarithms, so that thousands of purchases overflow nothing.

use crate::stats::special::ln_gamma;

/// Steps after which the continued fraction stops in any case.
const STEPS_MAX: u32 = 100_000;

/// The relative change at which it stops.
const EPSILON: f64 = 1e-15;

/// A number so small that it can stand for zero in a denominator (Lentz's method).
const TINY: f64 = 1e-300;

/// The logarithm of the beta function for positive `p` and `q`.
pub(super) fn ln_beta(p: f64, q: f64) -> f64 {
    ln_gamma(p) + ln_gamma(q) - ln_gamma(p + q)
}

/// The logarithm of `2F1(a, b; a + 1; z) · (1 − z)^(b − 1)` for `0 < b < a + 1` and `0 ≤ z < 1`.
///
/// By Euler's transformation this is `2F1(1, a + 1 − b; a + 1; z)`, whose continued fraction converges geometrically even
/// where the series would need millions of terms. Near `z = 1` it takes about 18 steps over `√(1 − z)`.
///
/// # Source
/// DLMF 15.8.1 and 15.7.1, modified Lentz; parity with mpmath in `tests/parity/lifetime.json` to 1e-11.
pub(super) fn ln_reduced_hypergeometric(a: f64, b: f64, z: f64) -> f64 {
    one_hypergeometric(a + 1.0 - b, a + 1.0, z).ln()
}

/// `2F1(1, b; c; z)` for `0 < b < c` and `0 ≤ z < 1`.
fn one_hypergeometric(b: f64, c: f64, z: f64) -> f64 {
    // 1 / (1 − d₁z / (1 − d₂z / …)); the denominator by Lentz.
    let (mut numerator, mut denominator, mut value) = (1.0, 0.0, 1.0);
    for step in 0..STEPS_MAX {
        let k = f64::from(step / 2);
        let partial = if step.is_multiple_of(2) {
            (c - 1.0 + k) * (b + k) / ((c - 1.0 + 2.0 * k) * (c + 2.0 * k))
        } else {
            (c - b + k) * (k + 1.0) / ((c + 2.0 * k) * (c + 1.0 + 2.0 * k))
        };
        let factor = -partial * z;
        denominator = 1.0 / away_from_zero(1.0 + factor * denominator);
        numerator = away_from_zero(1.0 + factor / numerator);
        let change = numerator * denominator;
        value *= change;
        if (change - 1.0).abs() < EPSILON {
            break;
        }
    }
    1.0 / value
}

fn away_from_zero(value: f64) -> f64 {
    if value.abs() < TINY { TINY } else { value }
}

/// `ln(eᵃ + eᵇ)` without overflow; either may be −∞.
pub(super) fn ln_sum(a: f64, b: f64) -> f64 {
    let (large, small) = if a < b { (b, a) } else { (a, b) };
    if large == f64::NEG_INFINITY { large } else { large + (small - large).exp().ln_1p() }
}

/// `ln(eᵃ − eᵇ)` for `a ≥ b`; −∞ where they are equal.
pub(super) fn ln_difference(a: f64, b: f64) -> f64 {
    if a <= b { f64::NEG_INFINITY } else { a + (-(b - a).exp_m1()).ln() }
}
