//! Learners that take one event at a time and can answer after each.
//!
//! Every learner is a plain serialisable value: storing it is a checkpoint, and a restored one goes on
//! bit for bit where the stored one stopped.

pub mod drift;
pub mod ftrl;
pub mod hashing;
pub mod linear;
pub mod logistic;
pub mod scaler;
pub mod seeds;
pub mod sgd;

use flywheel_base::{Error, Result};

use crate::stats::finite;

/// Refuses an event that is not finite or has another width.
fn check(features: &[f64], width: usize) -> Result<()> {
    if features.len() != width {
        return Err(Error::invalid(format!(
            "an event has {} features where the learner has {width}",
            features.len()
        ))
        .hint("Send the features the learner was made for, in the same order."));
    }
    finite::all_finite("feature", features)
}

/// Refuses a learner without features or with more than `most`.
fn check_width(width: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&width) {
        return Ok(());
    }
    Err(Error::invalid(format!("a learner of {width} features is asked for"))
        .hint(format!("Give 1 to {most} features.")))
}

/// Refuses what was read back as a learner's numbers, unless lengths are `alike` and all are finite.
fn sound<'a>(alike: bool, mut values: impl Iterator<Item = &'a f64>) -> Result<()> {
    if alike && values.all(|value| value.is_finite()) {
        return Ok(());
    }
    Err(Error::corrupt("the numbers are no learner's"))
}

/// The share of a weight that is left after one more event, for a half-life in events.
fn decay(half_life_events: Option<f64>) -> Result<f64> {
    match half_life_events {
        None => Ok(1.0),
        Some(events) if events.is_finite() && events >= 1.0 => Ok((-1.0 / events).exp2()),
        Some(events) => Err(Error::invalid(format!("half_life_events is {events}"))
            .hint("Give at least 1 event, or leave it out to never forget.")),
    }
}

/// The error of a learner that has nothing to go by.
fn unlearned() -> Error {
    Error::not_found("the learner has seen no event yet")
        .hint("Send it events first, or show the default until then.")
}

#[cfg(test)]
mod tests;
