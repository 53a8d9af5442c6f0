//! Pareto/NBD: customers buy at their own rate until they leave, unseen, at their own rate.

use super::history::{History, Table};
use super::special::{ln_difference, ln_hypergeometric, ln_sum};
use crate::stats::special::ln_gamma;

/// The mean log-likelihood of `[r, alpha, s, beta]`.
pub(super) fn likelihood(table: &Table, parameters: &[f64]) -> f64 {
    let &[r, alpha, s, beta] = parameters else { return f64::NAN };
    let head = table.by_level(|x| ln_gamma(r + x) - ln_gamma(r) + r * alpha.ln() + s * beta.ln());
    table.mean(|row| {
        let History { frequency, age, .. } = history(row);
        let alive = -(r + frequency) * (alpha + age).ln() - s * (beta + age).ln();
        let gone = s.ln() - (r + s + frequency).ln() + ln_gone(&history(row), parameters);
        head[row.level] + ln_sum(alive, gone)
    })
}

fn history(row: &super::history::Row) -> History {
    History { frequency: row.frequency, recency: row.recency, age: row.age }
}

/// ln A₀ of the paper: the weight of every moment since the last purchase at which the customer may have left.
fn ln_gone(history: &History, parameters: &[f64]) -> f64 {
    let &[r, alpha, s, beta] = parameters else { return f64::NAN };
    let total = r + s + history.frequency;
    let (most, b) = if alpha >= beta { (alpha, s + 1.0) } else { (beta, r + history.frequency) };
    let gap = (alpha - beta).abs();
    let until =
        |time: f64| ln_hypergeometric(total, b, gap / (most + time)) - total * (most + time).ln();
    ln_difference(until(history.recency), until(history.age))
}

/// The probability that a customer is still alive.
pub(super) fn alive(history: &History, parameters: &[f64]) -> f64 {
    let &[r, alpha, s, beta] = parameters else { return f64::NAN };
    let History { frequency, age, .. } = *history;
    let odds = s.ln() - (r + s + frequency).ln()
        + (r + frequency) * (alpha + age).ln()
        + s * (beta + age).ln()
        + ln_gone(history, parameters);
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
