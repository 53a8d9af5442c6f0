//! Whether a challenger may replace the current one, or why not.

use std::fmt;

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Estimates, Row, estimate};
use crate::stats::normal;

/// How far the mean weight may lie from 1 whatever its interval says: a hundredth of support is not the matter.
const WEIGHT_TOLERANCE: f64 = 0.01;

/// How many standard errors the mean weight may lie from 1: with full support it does so once in a thousand times.
const WEIGHT_DEVIATIONS: f64 = 3.29;

/// What a promotion asks for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// How the estimates are made.
    pub estimates: super::Options,
    /// Decisions at least.
    pub rows_min: usize,
    /// Effective decisions at least.
    pub effective_min: f64,
    /// Decisions at least that earned something and that the challenger might have made: with fewer, a normal interval
    /// promises too much.
    pub rewarded_min: usize,
    /// The gain a decision that the lower end of its interval must exceed.
    pub gain_min: f64,
    /// The share of decisions whose weight may be cut.
    pub cut_max: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            estimates: super::Options { weight_max: Some(100.0), ..super::Options::default() },
            rows_min: 1000,
            effective_min: 300.0,
            rewarded_min: 30,
            gain_min: 0.0,
            cut_max: 0.01,
        }
    }
}

/// Why a challenger is not promoted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Refusal {
    /// Too few decisions.
    FewDecisions {
        /// How many there are.
        rows: usize,
        /// How many are asked for.
        least: usize,
    },
    /// Too few decisions that the challenger would have made too.
    FewEffective {
        /// How many there are, in effect.
        effective: f64,
        /// How many are asked for.
        least: f64,
    },
    /// Too few decisions that earned something.
    FewRewarded {
        /// How many there are.
        rewarded: usize,
        /// How many are asked for.
        least: usize,
    },
    /// The weights do not average 1: the challenger takes actions that were never tried, or propensities are wrong.
    NoSupport {
        /// The mean weight.
        weight: f64,
        /// The lower end of its interval.
        low: f64,
        /// The upper end of its interval.
        high: f64,
    },
    /// Too many weights were cut for the estimate to be near the truth.
    ManyCut {
        /// The share that was cut.
        share: f64,
        /// The share that is allowed.
        most: f64,
    },
    /// The gain's interval does not lie above what is asked for.
    NoGain {
        /// The name of the estimate.
        estimate: String,
        /// The gain a decision.
        gain: f64,
        /// The lower end of its interval.
        low: f64,
        /// The upper end of its interval.
        high: f64,
        /// The gain that the lower end must exceed.
        least: f64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FewDecisions { rows, least } => {
                write!(f, "{rows} decisions have propensity and outcome, {least} are asked for")
            }
            Self::FewEffective { effective, least } => write!(
                f,
                "the decisions amount to {effective:.0} of the challenger's own, {least:.0} are asked for"
            ),
            Self::FewRewarded { rewarded, least } => write!(
                f,
                "{rewarded} decisions that the challenger might have made earned something, {least} are asked for"
            ),
            Self::NoSupport { weight, low, high } => write!(
                f,
                "the weights average {weight:.3} ({low:.3} to {high:.3}) instead of 1: the challenger takes actions that were not tried, or logged propensities are wrong"
            ),
            Self::ManyCut { share, most } => write!(
                f,
                "{:.2} % of the weights are cut, {:.2} % may be",
                100.0 * share,
                100.0 * most
            ),
            Self::NoGain { estimate, gain, low, high, least } => write!(
                f,
                "the gain a decision by {estimate} is {gain:.5} ({low:.5} to {high:.5}), whose lower end must exceed {least:.5}"
            ),
        }
    }
}

/// The verdict with what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Why not; empty if the challenger may be promoted.
    pub refusals: Vec<Refusal>,
    /// The estimates.
    pub estimates: Estimates,
}

impl Verdict {
    /// Whether the challenger may be promoted: there is evidence, support and a gain.
    #[must_use]
    pub fn promotes(&self) -> bool {
        self.refusals.is_empty()
    }
}

/// Judges a challenger by logged decisions: every reason against it is given, not the first alone.
///
/// # Errors
/// As [`estimate`]; also if a rule is out of range.
pub fn verdict(rows: &[Row], rules: &Rules) -> Result<Verdict> {
    let Rules { rows_min, effective_min, rewarded_min, gain_min, cut_max, .. } = *rules;
    let sane = effective_min.is_finite() && effective_min >= 0.0 && gain_min.is_finite();
    if !(sane && (0.0..=1.0).contains(&cut_max)) {
        return Err(Error::invalid(format!(
            "effective_min is {effective_min}, gain_min {gain_min} and cut_max {cut_max}"
        ))
        .hint("Give a number of decisions, a gain a decision and a share from 0 to 1."));
    }
    let estimates = estimate(rows, &rules.estimates)?;
    let mut refusals = Vec::new();
    if estimates.rows < rows_min {
        refusals.push(Refusal::FewDecisions { rows: estimates.rows, least: rows_min });
    }
    if estimates.effective < effective_min {
        refusals
            .push(Refusal::FewEffective { effective: estimates.effective, least: effective_min });
    }
    let counts = |row: &&Row| row.reward != 0.0 && row.challenger > 0.0;
    let rewarded = rows.iter().filter(counts).count();
    if rewarded < rewarded_min {
        refusals.push(Refusal::FewRewarded { rewarded, least: rewarded_min });
    }
    let weight = estimates.weight;
    let z = normal::quantile(f64::midpoint(1.0, rules.estimates.confidence));
    let away = (weight.estimate - 1.0).abs();
    if away > WEIGHT_TOLERANCE.max(WEIGHT_DEVIATIONS * (weight.high - weight.estimate) / z) {
        refusals.push(Refusal::NoSupport {
            weight: weight.estimate,
            low: weight.low,
            high: weight.high,
        });
    }
    let share = estimates.cut as f64 / estimates.rows as f64;
    if share > cut_max {
        refusals.push(Refusal::ManyCut { share, most: cut_max });
    }
    let (name, best) = estimates.best();
    if best.gain.low <= gain_min || best.gain.low.is_nan() {
        refusals.push(Refusal::NoGain {
            estimate: name.to_owned(),
            gain: best.gain.estimate,
            low: best.gain.low,
            high: best.gain.high,
            least: gain_min,
        });
    }
    Ok(Verdict { refusals, estimates })
}
