//! BG/BB: at each of a row of opportunities (a yearly appeal, a weekly market) a customer who is alive buys
//! or not, and may leave before the next.

use super::history::{History, Table};
use super::special::{ln_beta, ln_sum};

/// The most opportunities, seen or to come.
pub(super) const OPPORTUNITIES_MAX: f64 = 10_000.0;

/// The mean log-likelihood of `[alpha, beta, gamma, delta]`.
pub(super) fn likelihood(table: &Table, parameters: &[f64]) -> f64 {
    table.mean(|row| ln_likelihood(&row.history(), parameters))
}

/// The log-likelihood of one history, up to nothing: the binomial coefficient has no place in an ordered history.
fn ln_likelihood(history: &History, parameters: &[f64]) -> f64 {
    let &[alpha, beta, gamma, delta] = parameters else { return f64::NAN };
    let History { frequency: x, recency, age: n } = *history;
    let base = ln_beta(alpha, beta) + ln_beta(gamma, delta);
    let stayed = ln_beta(alpha + x, beta + n - x) + ln_beta(gamma, delta + n);
    // The customer left after opportunity `recency + i`; each term follows from the one before.
    let first = ln_beta(alpha + x, beta + recency - x) + ln_beta(gamma + 1.0, delta + recency);
    let (mut term, mut sum) = (1.0, 0.0);
    for i in 0..count(n - recency) {
        sum += term;
        let i = f64::from(i);
        term *= (beta + recency - x + i) / (alpha + beta + recency + i);
        term *= (delta + recency + i) / (gamma + 1.0 + delta + recency + i);
    }
    ln_sum(stayed, first + f64::ln(sum)) - base
}

/// The probability that a customer is still there at the next opportunity.
pub(super) fn alive(history: &History, parameters: &[f64]) -> f64 {
    let &[alpha, beta, gamma, delta] = parameters else { return f64::NAN };
    let History { frequency: x, age: n, .. } = *history;
    let there = ln_beta(alpha + x, beta + n - x) + ln_beta(gamma, delta + n + 1.0);
    let base = ln_beta(alpha, beta) + ln_beta(gamma, delta);
    (there - base - ln_likelihood(history, parameters)).exp()
}

/// The expected purchases at the next `horizon` opportunities.
pub(super) fn expected(history: &History, parameters: &[f64], horizon: f64) -> f64 {
    let &[alpha, beta, gamma, delta] = parameters else { return f64::NAN };
    let History { frequency: x, age: n, .. } = *history;
    // Alive at the next opportunity, times the mean chance to buy, times the chance to be there for each later one.
    let chance = (alpha + x) / (alpha + beta + n);
    let (mut there, mut sum) = (1.0, 0.0);
    for i in 1..=count(horizon) {
        sum += there;
        let i = f64::from(i);
        there *= (delta + n + i) / (gamma + delta + n + i);
    }
    alive(history, parameters) * chance * sum
}

/// A checked number of opportunities as an integer.
fn count(opportunities: f64) -> u32 {
    opportunities.clamp(0.0, OPPORTUNITIES_MAX) as u32
}
