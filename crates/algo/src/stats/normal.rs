//! The standard normal distribution.

use super::special::gamma_pq;

/// The probability of a value up to `x`.
///
/// # Cost
/// A few dozen floating-point operations; tails keep their relative accuracy down to 1e-300.
/// # Source
/// `Φ(x) = erfc(−x/√2)/2` with `erfc` as an incomplete gamma function; parity with scipy in
/// `tests/parity/stats.json` to 1e-12.
#[must_use]
pub fn cdf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let (lower, upper) = gamma_pq(0.5, x * x / 2.0);
    if x < 0.0 { upper / 2.0 } else { 0.5 + lower / 2.0 }
}

/// The density at `x`.
#[must_use]
pub fn density(x: f64) -> f64 {
    (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt()
}

/// The value below which a share `p` lies; −∞ at 0, +∞ at 1, NaN outside `[0, 1]`.
///
/// # Source
/// Acklam's rational approximation (1.15e-9) and two Halley steps on [`cdf`]; parity with scipy
/// in `tests/parity/stats.json` to 1e-11 for p from 1e-12 to 1 − 1e-12.
#[must_use]
pub fn quantile(p: f64) -> f64 {
    if p.is_nan() || !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    if p == 0.0 {
        return f64::NEG_INFINITY;
    }
    if p == 1.0 {
        return f64::INFINITY;
    }
    if p > 0.5 {
        return -quantile_lower(1.0 - p);
    }
    quantile_lower(p)
}

fn quantile_lower(p: f64) -> f64 {
    let mut x = acklam(p);
    for _ in 0..2 {
        let step = (cdf(x) - p) / density(x);
        x -= step / (1.0 + x * step / 2.0);
    }
    x
}

const A: [f64; 6] = [
    -3.969_683_028_665_376e1,
    2.209_460_984_245_205e2,
    -2.759_285_104_469_687e2,
    1.383_577_518_672_69e2,
    -3.066_479_806_614_716e1,
    2.506_628_277_459_239,
];
const B: [f64; 5] = [
    -5.447_609_879_822_406e1,
    1.615_858_368_580_409e2,
    -1.556_989_798_598_866e2,
    6.680_131_188_771_972e1,
    -1.328_068_155_288_572e1,
];
const C: [f64; 6] = [
    -7.784_894_002_430_293e-3,
    -3.223_964_580_411_365e-1,
    -2.400_758_277_161_838,
    -2.549_732_539_343_734,
    4.374_664_141_464_968,
    2.938_163_982_698_783,
];
const D: [f64; 4] = [
    7.784_695_709_041_462e-3,
    3.224_671_290_700_398e-1,
    2.445_134_137_142_996,
    3.754_408_661_907_416,
];

/// Where Acklam's tail formula takes over.
const TAIL: f64 = 0.024_25;

fn acklam(p: f64) -> f64 {
    if p < TAIL {
        let q = (-2.0 * p.ln()).sqrt();
        return horner(&C, q) / (horner(&D, q) * q + 1.0);
    }
    let q = p - 0.5;
    let r = q * q;
    horner(&A, r) * q / (horner(&B, r) * r + 1.0)
}

fn horner(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().fold(0.0, |sum, coefficient| sum * x + coefficient)
}
