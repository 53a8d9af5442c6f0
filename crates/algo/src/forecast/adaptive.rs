//! Intervals that learn from each truth: missed too often they widen, missed too seldom they narrow.
//!
//! ```text
//! truth ─► missed? ─► level ← level + γ · (asked − missed) ─► the next interval is asked for at that level
//! ```
//! Past errors say how wide an interval has to be as long as the future is like the past. When a series moves to another
//! level it is not, and intervals of past errors are missed day after day. Here the level that is asked for follows what
//! was missed, so that over time as many truths lie outside as should, whatever the series does.
//!
//! Invariants: a state is a plain value, made of the truths in their order alone, so that a replay gives the same bits; over
//! n truths the share of missed ones is off by at most (1 + γ) / (γ · n) plus what the widest interval leaves out.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::stats::finite;

/// The step that is taken if nobody says. The paper's own is half of it; a day's forecast has fewer truths than its hours.
pub const GAMMA: f64 = 0.01;

/// The least share outside that quantiles are asked for: less is said by widening them.
const OUTSIDE_MIN: f64 = 0.001;

/// The most share outside: an interval narrower than this says nothing.
const OUTSIDE_MAX: f64 = 0.9;

/// How much of the widest interval's width each share of one below the least level adds.
const WIDENING: f64 = 20.0;

/// How much of the truths an interval is to miss now, and what it has missed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adaptive {
    /// The share that quantiles are asked for outside of the interval; below 0 none is wide enough.
    level: f64,
    /// How many truths were seen.
    seen: u64,
    /// How many of them lay outside.
    missed: u64,
}

/// What an interval is made with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asked {
    /// The lower quantile level; the upper one is 1 less it.
    pub tail: f64,
    /// How many times as far from the mean as these quantiles its ends are.
    pub widened: f64,
}

/// How intervals adapt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steps {
    /// The share of truths that should lie outside, such as 0.1.
    outside: f64,
    /// How far each truth moves the level.
    gamma: f64,
}

impl Steps {
    /// Takes the share of truths that intervals should hold, such as 0.9, and how far each truth moves the level; with 0
    /// nothing ever moves.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the share is not inside (0, 1) or γ is not from 0 to 1.
    pub fn new(inside: f64, gamma: f64) -> Result<Self> {
        finite::open_unit("interval", inside)?;
        if !(0.0..=1.0).contains(&gamma) {
            return Err(Error::invalid(format!("gamma is {gamma}"))
                .hint("Give a number from 0, which adapts nothing, to 1; 0.01 is usual."));
        }
        Ok(Self { outside: 1.0 - inside, gamma })
    }

    /// The state before any truth.
    #[must_use]
    pub fn start(&self) -> Adaptive {
        Adaptive { level: self.outside, seen: 0, missed: 0 }
    }
}

impl Adaptive {
    /// Learns from one truth.
    ///
    /// # Source
    /// Gibbs & Candès 2021, (2); parity with numpy in `tests/parity/adaptive.json`.
    pub fn learn(&mut self, missed: bool, steps: &Steps) {
        self.learn_share(f64::from(u8::from(missed)), steps);
        self.seen += 1;
        self.missed += u64::from(missed);
    }

    /// Learns from the truths of one moment, of many series at once: one step by the share that was missed.
    pub fn learn_pooled(&mut self, missed: usize, of: usize, steps: &Steps) {
        if of == 0 {
            return;
        }
        self.learn_share(missed as f64 / of as f64, steps);
        self.seen += of as u64;
        self.missed += missed as u64;
    }

    fn learn_share(&mut self, missed: f64, steps: &Steps) {
        self.level += steps.gamma * (steps.outside - missed);
    }

    /// The state of one that begins where `other` is, with its own counts.
    #[must_use]
    pub fn at_level_of(self, other: &Self) -> Self {
        Self { level: other.level, ..self }
    }

    /// How many truths were seen.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// How many truths lay outside.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The share outside that is asked for now; may be below 0 or above 1.
    #[must_use]
    pub fn level(&self) -> f64 {
        self.level
    }

    /// What the next interval is made with.
    ///
    /// Where the paper's interval is everything, at a level of 0 and below, this one is the widest that quantiles give,
    /// widened in proportion: nobody can plan with everything, and a few more misses lead as far.
    #[must_use]
    pub fn asked(&self) -> Asked {
        let tail = self.level.clamp(OUTSIDE_MIN, OUTSIDE_MAX) / 2.0;
        let below = (OUTSIDE_MIN - self.level).max(0.0);
        Asked { tail, widened: 1.0 + WIDENING * below }
    }
}

impl Asked {
    /// What it is without adapting: the two quantiles that leave `outside` out.
    #[must_use]
    pub fn plain(outside: f64) -> Self {
        Self { tail: outside / 2.0, widened: 1.0 }
    }

    /// An end of an interval around a mean.
    #[must_use]
    pub fn end(&self, mean: f64, quantile: f64) -> f64 {
        // Without widening the quantile is left as it is, to the last bit.
        if self.widened == 1.0 { quantile } else { mean + self.widened * (quantile - mean) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use flywheel_base::Rng;

    use super::super::interval::conformal;
    use super::*;

    #[derive(Deserialize)]
    struct Reference {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        inside: f64,
        gamma: f64,
        missed: Vec<bool>,
        levels: Vec<f64>,
    }

    #[test]
    fn levels_are_those_of_numpy() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/adaptive.json");
        let reference: Reference =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(reference.cases.len() >= 3);
        for case in &reference.cases {
            let steps = Steps::new(case.inside, case.gamma).unwrap();
            let mut state = steps.start();
            for (missed, level) in case.missed.iter().zip(&case.levels) {
                assert!((state.level() - level).abs() < 1e-12);
                state.learn(*missed, &steps);
            }
            assert_eq!(state.seen(), case.missed.len() as u64);
        }
    }

    /// How often values lie outside of intervals from fixed past errors of deviation 1, in each hundred of days.
    fn outside(values: &[f64], gamma: f64) -> Vec<f64> {
        let mut rng = Rng::new(3);
        let mut errors: Vec<f64> = (0..200).map(|_| rng.normal()).collect();
        errors.sort_by(f64::total_cmp);
        let steps = Steps::new(0.9, gamma).unwrap();
        let mut state = steps.start();
        let mut missed = Vec::new();
        for value in values {
            let asked = state.asked();
            let end = |level: f64| asked.end(0.0, conformal(&errors, level));
            let (lower, upper) = (end(asked.tail), end(1.0 - asked.tail));
            let miss = !(lower..=upper).contains(value);
            state.learn(miss, &steps);
            missed.push(miss);
        }
        let hundreds = missed.chunks(100);
        hundreds.map(|days| days.iter().filter(|miss| **miss).count() as f64 / 100.0).collect()
    }

    #[test]
    fn after_a_shift_of_level_as_many_lie_inside_as_are_asked_for_again() {
        let mut rng = Rng::new(8);
        let values: Vec<f64> =
            (0..1_500).map(|day| rng.normal() + if day < 500 { 0.0 } else { 3.0 }).collect();
        let adapted = outside(&values, 0.05);
        let fixed = outside(&values, 0.0);
        let mean = |shares: &[f64]| shares.iter().sum::<f64>() / shares.len() as f64;
        assert!((mean(&adapted[..5]) - 0.1).abs() < 0.03, "{adapted:?}");
        assert!(mean(&fixed[5..]) > 0.8, "fixed intervals stay wrong: {fixed:?}");
        assert!((mean(&adapted[6..]) - 0.1).abs() < 0.03, "{adapted:?}");
        // The bound of the paper, over all days.
        let bound = 1.05 / (0.05 * 1_500.0);
        assert!((mean(&adapted) - 0.1).abs() <= bound + 0.01, "{adapted:?}");
    }

    #[test]
    fn calm_days_narrow_an_interval_and_the_state_survives_a_store_to_the_bit() {
        let steps = Steps::new(0.8, GAMMA).unwrap();
        let mut state = steps.start();
        (0..30).for_each(|day| state.learn(day % 7 == 0, &steps));
        assert!(state.level() > 0.2 && state.asked().tail > 0.1);
        let text = serde_json::to_string(&state).unwrap();
        let mut again: Adaptive = serde_json::from_str(&text).unwrap();
        for day in 0..50 {
            state.learn(day % 3 == 0, &steps);
            again.learn(day % 3 == 0, &steps);
        }
        assert_eq!((again, again.level().to_bits()), (state, state.level().to_bits()));
        assert_eq!((state.seen(), state.missed()), (80, 22));
    }

    #[test]
    fn pooled_truths_of_a_moment_are_one_step() {
        let steps = Steps::new(0.9, 0.1).unwrap();
        let mut pooled = steps.start();
        pooled.learn_pooled(0, 0, &steps);
        assert_eq!(pooled, steps.start());
        pooled.learn_pooled(3, 10, &steps);
        assert!((pooled.level() - 0.08).abs() < 1e-12);
        assert_eq!((pooled.seen(), pooled.missed()), (10, 3));
        let own = steps.start().at_level_of(&pooled);
        assert_eq!((own.seen(), own.level()), (0, pooled.level()));
    }

    #[test]
    fn below_no_level_the_widest_interval_is_widened_and_senseless_steps_are_refused() {
        let steps = Steps::new(0.9, 1.0).unwrap();
        let mut state = steps.start();
        state.learn(true, &steps);
        let asked = state.asked();
        assert!(asked.widened > 10.0 && (asked.tail - OUTSIDE_MIN / 2.0).abs() < 1e-12);
        assert!((asked.end(10.0, 8.0) - (10.0 - 2.0 * asked.widened)).abs() < 1e-9);
        assert_eq!(Asked::plain(0.2).end(10.0, 8.3), 8.3);
        for wrong in [Steps::new(1.0, 0.1), Steps::new(0.9, -0.1), Steps::new(0.9, f64::NAN)] {
            assert!(wrong.unwrap_err().hint_text().is_some());
        }
    }
}
