//! Why a ranker is not used.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::offpolicy::verdict::Refusal as Weak;
use crate::stats::Interval;

/// Why the order of the sources stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Refusal {
    /// Too few places were filled by a draw.
    FewExposures {
        /// How many there are, of those learned from or held back the fewer.
        exposures: usize,
        /// How many are asked for.
        least: usize,
    },
    /// Too few were answered.
    FewAnswers {
        /// How many there are, of those learned from or held back the fewer.
        answers: usize,
        /// How many are asked for.
        least: usize,
    },
    /// Too few answers, held back, to what the ranker would have shown.
    FewOwnAnswers {
        /// How many there are.
        answers: usize,
        /// How many are asked for.
        least: usize,
    },
    /// The logged chances do not carry a judgement.
    Weak {
        /// Why.
        why: Weak,
    },
    /// It is not shown to be better.
    NoGain {
        /// The gain a place over the order of the sources.
        gain: Interval,
    },
}

impl Refusal {
    /// A few words for a row of measures.
    #[must_use]
    pub fn words(&self) -> &'static str {
        match self {
            Self::FewExposures { .. } => "not ranked: too few places drawn",
            Self::FewAnswers { .. } => "not ranked: too few answers",
            Self::FewOwnAnswers { .. } => "not ranked: too few answers to its own order",
            Self::Weak { .. } => "not ranked: logged chances say too little",
            Self::NoGain { .. } => "not ranked: no gain shown",
        }
    }

    /// What there is, and what it would have to be.
    #[must_use]
    pub fn figures(&self) -> (Option<f64>, Option<f64>) {
        match self {
            Self::FewExposures { exposures: have, least }
            | Self::FewAnswers { answers: have, least }
            | Self::FewOwnAnswers { answers: have, least } => {
                (Some(*have as f64), Some(*least as f64))
            }
            Self::Weak { why: Weak::FewEffective { effective, least } } => {
                (Some(*effective), Some(*least))
            }
            Self::Weak { .. } => (None, None),
            Self::NoGain { gain } => (Some(gain.low), Some(0.0)),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FewExposures { exposures, least } => write!(
                f,
                "{exposures} places were filled by a draw, {least} are asked for to learn from and {least} to judge by"
            ),
            Self::FewAnswers { answers, least } => write!(
                f,
                "{answers} of them were answered, {least} are asked for to learn from and {least} to judge by"
            ),
            Self::FewOwnAnswers { answers, least } => write!(
                f,
                "{answers} held-back answers were to what the ranker would have shown, {least} are asked for"
            ),
            Self::Weak { why } => why.fmt(f),
            Self::NoGain { gain } => write!(
                f,
                "the gain a place over the order of the sources is {:.5} ({:.5} to {:.5}), whose lower end must exceed 0",
                gain.estimate, gain.low, gain.high
            ),
        }
    }
}
