//! Pareto/NBD: customers buy at their own rate until they leave, unseen, at their own rate.
//!
//! All logarithms are beside `r·ln(alpha) + s·ln(beta)`: where the data do not hold a parameter these run into the
//! millions, and what is left after they cancel would be noise.

use super::history::{History, Table};
use super::integral::ln_area;
use super::special::{ln_difference, ln_reduced_hypergeometric, ln_sum};
use crate::stats::special::ln_gamma;

/// The ratio of the two clocks (`alpha` and `beta`, each plus the moment) below which the continued fraction, that takes
/// about 18 steps over its root, costs more than the integral.
const APART: f64 = 0.1;

/// The mean log-likelihood of `[r, alpha, s, beta]`.
pub(super) fn likelihood(table: &Table, parameters: &[f64]) -> f64 {
    let &[r, _, s, _] = parameters else { return f64::NAN };
    let head = table.by_level(|x| ln_gamma(r + x) - ln_gamma(r));
    table.mean(|row| {
        let history = History { frequency: row.frequency, recency: row.recency, age: row.age };
        let alive = ln_stayed(history.age, &history, parameters);
        let gone = s.ln() - (r + s + history.frequency).ln() + ln_gone(&history, parameters);
        head[row.level] + ln_sum(alive, gone)
    })
}

/// The weight of a customer with these purchases who is there at `moment`.
fn ln_stayed(moment: f64, history: &History, parameters: &[f64]) -> f64 {
    let &[r, alpha, s, beta] = parameters else { return f64::NAN };
    -r * (moment / alpha).ln_1p()
        - history.frequency * (alpha + moment).ln()
        - s * (moment / beta).ln_1p()
}

/// ln A₀ of the paper: the weight of every moment since the last purchase at which the customer may have left.
fn ln_gone(history: &History, parameters: &[f64]) -> f64 {
    let &[r, alpha, s, beta] = parameters else { return f64::NAN };
    let (bought, total) = (r + history.frequency, r + s + history.frequency);
    let (least, most) = (alpha.min(beta), alpha.max(beta));
    // What one of Euler's powers leaves over where `beta` is the greater one.
    let left = |time: f64| {
        let ratio = if beta > alpha { (alpha + time) / (beta + time) } else { 1.0 };
        ln_stayed(time, history, parameters) + ratio.ln()
    };
    let History { recency, age, .. } = *history;
    let ratio = (least + recency) / (most + recency);
    if ratio < APART {
        let (p, q) = if beta > alpha { (bought, s + 1.0) } else { (s + 1.0, bought) };
        let length = ((age - recency) / (least + recency)).ln_1p();
        return left(recency) + total.ln() + ln_area(p, q, ratio, length);
    }
    let b = if beta > alpha { bought } else { s + 1.0 };
    let until = |time: f64| {
        left(time) + ln_reduced_hypergeometric(total, b, (most - least) / (most + time))
    };
    ln_difference(until(recency), until(age))
}

/// The probability that a customer is still alive.
pub(super) fn alive(history: &History, parameters: &[f64]) -> f64 {
    let &[r, _, s, _] = parameters else { return f64::NAN };
    let odds = s.ln() - (r + s + history.frequency).ln() + ln_gone(history, parameters)
        - ln_stayed(history.age, history, parameters);
    1.0 / (1.0 + odds.exp())
}

/// The expected purchases in the next `horizon`; finite also at s = 1, where the closed form is 0/0.
pub(super) fn expected(history: &History, parameters: &[f64], horizon: f64) -> f64 {
    let &[r, alpha, s, beta] = parameters else { return f64::NAN };
    let History { frequency, age, .. } = *history;
    let longer = (horizon / (beta + age)).ln_1p();
    let power = s - 1.0;
    let years = if power == 0.0 { longer } else { -(-power * longer).exp_m1() / power };
    alive(history, parameters) * (r + frequency) * (beta + age) / (alpha + age) * years
}
