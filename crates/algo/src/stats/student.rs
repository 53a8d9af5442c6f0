//! Student's t distribution, for intervals from few units.

use super::normal;
use super::special::{beta_regularised, ln_gamma};

/// Steps of the safeguarded Newton search for a quantile.
const STEPS_MAX: usize = 100;

/// Above this many degrees of freedom the normal distribution is used.
const NORMAL_FROM: f64 = 1e7;

/// The probability of a value up to `x` with `freedom` degrees of freedom.
///
/// # Source
/// Incomplete beta function; parity with `scipy.stats.t` in `tests/parity/stats.json` to 1e-10.
#[must_use]
pub fn cdf(x: f64, freedom: f64) -> f64 {
    if freedom > NORMAL_FROM {
        return normal::cdf(x);
    }
    let tail = beta_regularised(freedom / 2.0, 0.5, freedom / (freedom + x * x)) / 2.0;
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// The value below which a share `p` lies, with `freedom` degrees of freedom.
///
/// # Source
/// Newton steps on [`cdf`] kept inside a bracket; parity with scipy to 1e-9.
#[must_use]
pub fn quantile(p: f64, freedom: f64) -> f64 {
    if p.is_nan() || freedom.is_nan() || freedom <= 0.0 || !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    if p == 0.5 {
        return 0.0;
    }
    if p < 0.5 {
        return -quantile(1.0 - p, freedom);
    }
    let start = normal::quantile(p);
    if freedom > NORMAL_FROM || start.is_infinite() {
        return start;
    }
    let (mut low, mut high) = (0.0, start.max(1.0));
    while cdf(high, freedom) < p {
        low = high;
        high *= 2.0;
    }
    let mut x = start.clamp(low, high);
    for _ in 0..STEPS_MAX {
        let miss = cdf(x, freedom) - p;
        if miss > 0.0 {
            high = x;
        } else {
            low = x;
        }
        let mut next = x - miss / density(x, freedom);
        if !(low..=high).contains(&next) {
            next = f64::midpoint(low, high);
        }
        if (next - x).abs() <= 1e-14 * x.abs() {
            return next;
        }
        x = next;
    }
    x
}

fn density(x: f64, freedom: f64) -> f64 {
    let log = ln_gamma(f64::midpoint(freedom, 1.0))
        - ln_gamma(freedom / 2.0)
        - 0.5 * (freedom * std::f64::consts::PI).ln()
        - f64::midpoint(freedom, 1.0) * (x * x / freedom).ln_1p();
    log.exp()
}
