//! Pareto/NBD: customers buy at their own rate until they leave, unseen, at their own rate.
//!
//! All logarithms are beside `r·ln(alpha) + s·ln(beta)`: where the data do not hold a parameter these run into the
//! millions, and what is left after they cancel would be noise.

use super::elementary::ln_1p;
use super::history::{History, Row, Table};
use super::integral::{AREA, MOMENTS, Range, Sums};
use super::maximum::Shape;
use super::special::{ln_gamma_slopes, ln_sum};
use crate::stats::special::ln_gamma;
use crate::wide::{Work, widest_of};

/// Value, slope and curvature of a likelihood of four parameters, the latter as the lower triangle row by row.
const SHAPE: usize = 1 + 4 + 10;

/// The mean log-likelihood of `[r, alpha, s, beta]`.
pub(super) fn likelihood(table: &Table, parameters: &[f64]) -> f64 {
    let &[r, alpha, s, beta] = parameters else { return f64::NAN };
    let heads = table.by_level(|x| [ln_gamma(r + x) - ln_gamma(r), 0.0, 0.0]);
    let rates = Rates { r, alpha, s, beta };
    let [mean] = table.means(|rows| widest_of(Heights { rows, heads: &heads, rates }));
    mean
}

/// How [`likelihood`] rises and bends in the logarithms of the parameters.
///
/// # Cost
/// Less than twice that of [`likelihood`].
pub(super) fn shape(table: &Table, parameters: &[f64]) -> Shape {
    let &[r, alpha, s, beta] = parameters else { return Shape::nowhere() };
    let (first, second) = ln_gamma_slopes(r);
    let heads = table.by_level(|x| {
        let (first_of_sum, second_of_sum) = ln_gamma_slopes(r + x);
        let slope = r * (first_of_sum - first);
        [ln_gamma(r + x) - ln_gamma(r), slope, slope + r * r * (second_of_sum - second)]
    });
    let rates = Rates { r, alpha, s, beta };
    let means = table.means(|rows| widest_of(Shapes { rows, heads: &heads, rates }));
    let down = |row: usize, column: usize| -means[5 + triangle(row.max(column), row.min(column))];
    Shape {
        height: means[0],
        slope: means[1..5].to_vec(),
        down: (0..4).map(|row| (0..4).map(|column| down(row, column)).collect()).collect(),
        exact: true,
    }
}

/// The probability that a customer is still alive.
pub(super) fn alive(history: &History, parameters: &[f64]) -> f64 {
    let &[r, alpha, s, beta] = parameters else { return f64::NAN };
    widest_of(Alive { history, rates: Rates { r, alpha, s, beta } })
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

/// The parameters.
#[derive(Clone, Copy)]
struct Rates {
    r: f64,
    alpha: f64,
    s: f64,
    beta: f64,
}

/// A history as both clocks (`alpha` and `beta`, each plus the moment) show it, that of buying first.
struct Seen<const COUNT: usize> {
    /// `ln(1 + t/clock)` at the last purchase, and from there to the end.
    before: [f64; 2],
    since: [f64; 2],
    /// The logarithm of the weight of a customer who is there at the last purchase.
    start: f64,
    /// Beside it, that of one who is there at the end, and that of one who is not.
    stayed: f64,
    gone: f64,
    /// The moments of leaving.
    sums: Sums<COUNT>,
}

impl<const COUNT: usize> Seen<COUNT> {
    #[inline(always)]
    fn new(history: &History, rates: Rates) -> Self {
        let Rates { r, alpha, s, beta } = rates;
        let History { frequency, recency, age } = *history;
        let clocks = [alpha + recency, beta + recency];
        let silence = age - recency;
        let ratios = [recency / alpha, recency / beta, silence / clocks[0], silence / clocks[1]];
        let mut logs = [0.0; 4];
        for at in 0..4 {
            logs[at] = ln_1p(ratios[at]);
        }
        let (before, since) = ([logs[0], logs[1]], [logs[2], logs[3]]);
        let bought = r + frequency;
        let sums = Range::new([bought, s + 1.0], clocks, since).sums::<COUNT>();
        // The integral is in units of the lesser clock, over that of leaving.
        let unit = s * (clocks[0] / clocks[1]).min(1.0);
        Self {
            before,
            since,
            start: -bought * before[0] - frequency * alpha.ln() - s * before[1],
            stayed: -bought * since[0] - s * since[1],
            gone: (unit * sums.values[0]).ln() + sums.height,
            sums,
        }
    }

    /// The probability of being still there.
    #[inline(always)]
    fn alive(&self) -> f64 {
        1.0 / (1.0 + (self.gone - self.stayed).exp())
    }
}

/// The weighted sum of some rows' logarithms, beginning with those that depend on nothing but the frequency.
struct Heights<'a> {
    rows: &'a [Row],
    heads: &'a [[f64; 3]],
    rates: Rates,
}

impl Work for Heights<'_> {
    type Made = [f64; 1];

    #[inline(always)]
    fn work(self) -> [f64; 1] {
        let mut sum = 0.0;
        for row in self.rows {
            let seen = Seen::<AREA>::new(&row.history(), self.rates);
            let value = self.heads[row.level][0] + seen.start + ln_sum(seen.stayed, seen.gone);
            sum += row.weight * value;
        }
        [sum]
    }
}

/// As [`Heights`], with slopes and curvatures.
struct Shapes<'a> {
    rows: &'a [Row],
    heads: &'a [[f64; 3]],
    rates: Rates,
}

impl Work for Shapes<'_> {
    type Made = [f64; SHAPE];

    #[inline(always)]
    fn work(self) -> [f64; SHAPE] {
        let mut sums = [0.0; SHAPE];
        for row in self.rows {
            let history = row.history();
            let seen = Seen::<MOMENTS>::new(&history, self.rates);
            let head = self.heads[row.level];
            let mut shape = seen.shape(&history, self.rates);
            shape[0] += head[0];
            shape[1] += head[1];
            shape[5] += head[2];
            for at in 0..SHAPE {
                sums[at] += row.weight * shape[at];
            }
        }
        sums
    }
}

/// The probability of [`alive`].
struct Alive<'a> {
    history: &'a History,
    rates: Rates,
}

impl Work for Alive<'_> {
    type Made = f64;

    #[inline(always)]
    fn work(self) -> f64 {
        Seen::<AREA>::new(self.history, self.rates).alive()
    }
}

impl Seen<MOMENTS> {
    /// The logarithm of the weight, its slope and its curvature in the logarithms of the parameters.
    ///
    /// The weight is a sum over what may have happened: the customer stayed, or left at some moment. So the slope is the
    /// mean of the slopes of these, and the curvature the mean of theirs plus the covariance of their slopes.
    #[inline(always)]
    fn shape(&self, history: &History, rates: Rates) -> [f64; SHAPE] {
        let Rates { r, alpha, s, beta } = rates;
        let History { frequency: x, recency, age } = *history;
        let mut shape = [0.0; SHAPE];
        shape[0] = self.start + ln_sum(self.stayed, self.gone);
        let alive = self.alive();
        let stayed = Fate {
            logs: [self.before[0] + self.since[0], self.before[1] + self.since[1]],
            shares: [age / (alpha + age), age / (beta + age)],
            spreads: [0.0; 2],
            rates: [r, s],
            events: [x, 0.0],
        };
        stayed.add(&mut shape, alive);
        let lost = 1.0 - alive;
        if lost == 0.0 {
            return shape;
        }
        let mut means = self.sums.values;
        for at in 1..MOMENTS {
            means[at] /= means[0];
        }
        // What the clocks show since the last purchase is a part of what they then had left.
        let passed = [recency / (alpha + recency), recency / (beta + recency)];
        let left = [alpha / (alpha + recency), beta / (beta + recency)];
        let factors = [-r, (r + x) * left[0], -s, (s + 1.0) * left[1]];
        let mut covariance = [0.0; 10];
        for row in 0..4 {
            for column in 0..=row {
                let at = triangle(row, column);
                covariance[at] = means[5 + at] - means[1 + row] * means[1 + column];
            }
        }
        let gone = Fate {
            logs: [self.before[0] + means[1], self.before[1] + means[3]],
            shares: [passed[0] + left[0] * means[2], passed[1] + left[1] * means[4]],
            spreads: [
                left[0] * left[0] * covariance[triangle(1, 1)],
                left[1] * left[1] * covariance[triangle(3, 3)],
            ],
            rates: [r, s],
            events: [x, 1.0],
        };
        gone.add(&mut shape, lost);
        let (there, away) = (stayed.slope(), gone.slope());
        for row in 0..4 {
            for column in 0..=row {
                let at = triangle(row, column);
                let within = factors[row] * factors[column] * covariance[at];
                let between = (away[row] - there[row]) * (away[column] - there[column]);
                shape[5 + at] += lost * (within + alive * between);
            }
        }
        shape
    }
}

/// What the clocks show, on the mean, to those who stayed or to those who left: the weight of such a customer is the product of
/// `(1 + t/clock)^(−rate) · (clock + t)^(−events)` of both clocks.
struct Fate {
    /// `ln(1 + t/clock)`.
    logs: [f64; 2],
    /// `t/(clock + t)`, and its variance.
    shares: [f64; 2],
    spreads: [f64; 2],
    rates: [f64; 2],
    /// Purchases, and whether the customer left.
    events: [f64; 2],
}

impl Fate {
    #[inline(always)]
    fn slope(&self) -> [f64; 4] {
        let mut slope = [0.0; 4];
        for clock in 0..2 {
            let (rate, events) = (self.rates[clock], self.events[clock]);
            slope[2 * clock] = -rate * self.logs[clock];
            slope[2 * clock + 1] = (rate + events) * self.shares[clock] - events;
        }
        // Who leaves does so at a rate that grows with `s`.
        slope[2] += self.events[1];
        slope
    }

    /// Adds the mean slope and the mean curvature, times the share of customers with this fate.
    #[inline(always)]
    fn add(&self, shape: &mut [f64; SHAPE], weight: f64) {
        let slope = self.slope();
        for at in 0..4 {
            shape[1 + at] += weight * slope[at];
        }
        for clock in 0..2 {
            let (rate, share) = (self.rates[clock], self.shares[clock]);
            let bend = share * (1.0 - share) - self.spreads[clock];
            let (of_rate, of_clock) = (2 * clock, 2 * clock + 1);
            shape[5 + triangle(of_rate, of_rate)] -= weight * rate * self.logs[clock];
            shape[5 + triangle(of_clock, of_rate)] += weight * rate * share;
            shape[5 + triangle(of_clock, of_clock)] -= weight * (rate + self.events[clock]) * bend;
        }
    }
}

/// The place of a number in the lower triangle of a matrix, row by row.
#[inline(always)]
fn triangle(row: usize, column: usize) -> usize {
    row * (row + 1) / 2 + column
}
