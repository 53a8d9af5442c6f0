//! BG/NBD and MBG/NBD: after each purchase (and in MBG at once after the first, too) a coin decides whether
//! the customer leaves.

use super::history::{History, Row, Table};
use super::special::ln_sum;
use crate::stats::special::ln_gamma;

/// Terms of a sum of purchase counts after which it stops in any case.
pub(super) const TERMS_MAX: u32 = 4_000_000;

/// The share of the sum below which what is left out may lie.
const EPSILON: f64 = 1e-14;

/// When the coin is thrown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Coin {
    /// After repeat purchases: BG/NBD. Whoever never came again counts as alive for sure.
    Repeats,
    /// After the first purchase, too: MBG/NBD.
    All,
}

impl Coin {
    /// How many coins fell well for a customer who is alive.
    fn survived(self, frequency: f64) -> f64 {
        match self {
            Self::Repeats => frequency,
            Self::All => frequency + 1.0,
        }
    }
}

/// The mean log-likelihood of `[r, alpha, a, b]`.
pub(super) fn likelihood(table: &Table, coin: Coin, parameters: &[f64]) -> f64 {
    let &[r, alpha, a, b] = parameters else { return f64::NAN };
    // ln of Γ(r+x)αʳ/Γ(r) · B(a, b+n)/B(a, b) for n survived coins.
    let head = table.by_level(|x| {
        let coins = coin.survived(x);
        ln_gamma(r + x) - ln_gamma(r) + r * alpha.ln() + ln_gamma(a + b) + ln_gamma(b + coins)
            - ln_gamma(b)
            - ln_gamma(a + b + coins)
    });
    table.mean(|row| {
        let alive = -(r + row.frequency) * (alpha + row.age).ln();
        let gone = ln_gone(row, coin, parameters);
        head[row.level] + ln_sum(alive, gone)
    })
}

/// The logarithm of the part of the likelihood in which the last coin fell badly, beside that of `alive`.
fn ln_gone(row: &Row, coin: Coin, parameters: &[f64]) -> f64 {
    let &[r, alpha, a, b] = parameters else { return f64::NAN };
    let coins = coin.survived(row.frequency);
    if coins == 0.0 {
        return f64::NEG_INFINITY;
    }
    a.ln() - (b + coins - 1.0).ln() - (r + row.frequency) * (alpha + row.recency).ln()
}

/// The probability that a customer is still alive.
pub(super) fn alive(history: &History, coin: Coin, parameters: &[f64]) -> f64 {
    let &[r, alpha, a, b] = parameters else { return f64::NAN };
    let coins = coin.survived(history.frequency);
    if coins == 0.0 {
        return 1.0;
    }
    let silence = ((history.age - history.recency) / (alpha + history.recency)).ln_1p();
    let odds = a.ln() - (b + coins - 1.0).ln() + (r + history.frequency) * silence;
    1.0 / (1.0 + odds.exp())
}

/// The expected purchases in the next `horizon`.
///
/// With a customer alive, the tries (purchases if nobody ever left) are negative binomial, and the j-th
/// is made if the coins before it fell well: a sum of positive terms, finite and exact also where the
/// closed form divides zero by zero (a = 1) or overflows. `None` beyond [`TERMS_MAX`] tries.
pub(super) fn expected(
    history: &History,
    coin: Coin,
    parameters: &[f64],
    horizon: f64,
) -> Option<f64> {
    let &[r, alpha, a, b] = parameters else { return None };
    let size = r + history.frequency;
    let pace = horizon / (alpha + history.age);
    let (share, mean) = (pace / (1.0 + pace), size * pace);
    if !mean.is_finite() || mean > f64::from(TERMS_MAX) / 16.0 {
        return None;
    }
    let coins = coin.survived(history.frequency);
    let mut ln_tries = -size * pace.ln_1p();
    let (mut made, mut well, mut sum) = (0.0, 1.0, 0.0);
    for n in 0..TERMS_MAX {
        // Here `made` is the expected number of purchases among n tries.
        let n = f64::from(n);
        let term = ln_tries.exp() * made;
        sum += term;
        let ratio = (size + n) / (n + 1.0) * share;
        // What is left of the sum is less than a geometric series with this ratio.
        let next = ratio.max(share) * (1.0 + well / f64::max(made, well));
        if n > mean && next < 1.0 && term * next / (1.0 - next) <= EPSILON * sum {
            return Some(alive(history, coin, parameters) * sum);
        }
        ln_tries += ratio.ln();
        made += well;
        well *= (b + coins + n) / (a + b + coins + n);
    }
    None
}
