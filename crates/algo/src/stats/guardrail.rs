//! Guardrails: metrics that a change must not harm, watched at every look.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::lift::Arm;
use super::{Interval, finite, sequence};

/// Which way harm lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// More is better: revenue, retention.
    Higher,
    /// Less is better: complaints, returns, waiting time.
    Lower,
}

/// A guardrail.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guardrail {
    /// Which way is better.
    pub better: Better,
    /// The harm that is put up with, as a share of the holdout's rate.
    pub harm_max: f64,
    /// How the always-valid interval is made.
    #[serde(default)]
    pub sequence: sequence::Options,
}

/// Where a guardrail stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The harm surely exceeds what is put up with: roll back.
    Breached,
    /// The harm is surely less: go on without fear.
    Safe,
    /// Not known yet: go on, but do not widen.
    Open,
}

/// A guardrail's standing and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// The standing.
    pub standing: Standing,
    /// Treatment less holdout, always valid; `None` while an arm has fewer than two units, or all units are alike.
    pub difference: Option<Interval>,
    /// The difference beyond which the guardrail is breached.
    pub limit: Option<f64>,
}

/// Looks at a guardrail; it may be looked at as often as one likes.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the guardrail is out of range.
/// # Cost
/// O(1).
/// # Source
/// Non-inferiority by a confidence sequence, see [`sequence::careful_difference`].
pub fn watch(treatment: &Arm, holdout: &Arm, guardrail: &Guardrail) -> Result<Watch> {
    finite::all_finite("harm_max", &[guardrail.harm_max])?;
    if guardrail.harm_max < 0.0 {
        return Err(Error::invalid(format!("harm_max is {}", guardrail.harm_max))
            .hint("Give a share of 0 or more, for example 0.02."));
    }
    let difference = sequence::careful_difference(treatment, holdout, &guardrail.sequence)?;
    let allowed = holdout.rate().map(|rate| guardrail.harm_max * rate.abs());
    let (Some(found), Some(allowed)) = (difference, allowed) else {
        return Ok(Watch { standing: Standing::Open, difference: None, limit: None });
    };
    // harm from least to most, whichever way it lies
    let (least, most, limit) = match guardrail.better {
        Better::Higher => (-found.high, -found.low, -allowed),
        Better::Lower => (found.low, found.high, allowed),
    };
    let standing = if least > allowed {
        Standing::Breached
    } else if most < allowed {
        Standing::Safe
    } else {
        Standing::Open
    };
    Ok(Watch { standing, difference, limit: Some(limit) })
}
