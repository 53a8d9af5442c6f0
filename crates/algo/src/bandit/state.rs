//! A bandit as bytes: what a checkpoint writes and a restart reads, bit for bit.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::belief::{Belief, Pace};
use super::counts::Counts;
use super::triangle::triangle;
use super::{Algorithm, Bandit, Known, Options, check_size};
use crate::recommend::codec::{Reader, Writer};

/// The name in the frame.
const NAME: &str = "bandit";

/// The small part of a state.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    options: Options,
    features: usize,
    rewards: u64,
    actions: usize,
    counts: Vec<Counts>,
    paces: Vec<Pace>,
}

impl Bandit {
    /// The whole state, with a digest.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if it has no byte form.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let (counts, beliefs): (&[Counts], &[Belief]) = match &self.known {
            Known::Counted(known) => (known, &[]),
            Known::Believed(known) => (&[], known),
        };
        let mut writer = Writer::new(NAME);
        writer.json(&Head {
            options: self.options,
            features: self.features,
            rewards: self.rewards,
            actions: self.actions(),
            counts: counts.to_vec(),
            paces: beliefs.iter().map(|belief| belief.pace).collect(),
        })?;
        for belief in beliefs {
            writer.f64s(&belief.precision);
            writer.f64s(&belief.covariance);
            writer.f64s(&belief.moment);
            writer.f64s(&belief.weights);
        }
        Ok(writer.finish())
    }

    /// Reads a state that [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if the bytes are cut, altered, or no bandit's.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        read(bytes).map_err(|error| error.context("bandit state"))
    }
}

fn read(bytes: &[u8]) -> Result<Bandit> {
    let (name, mut reader) = Reader::open(bytes)?;
    if name != NAME {
        return Err(damaged(format!("is of a \"{name}\"")));
    }
    let head: Head = reader.json()?;
    let Head { options, features, rewards, actions, counts, paces } = head;
    options
        .check()
        .and_then(|()| check_size(actions, features))
        .map_err(|error| damaged("has options out of range").caused_by(error))?;
    let counted = options.algorithm == Algorithm::BetaThompson;
    let listed = if counted { counts.len() } else { paces.len() };
    let sane = counts.iter().all(|one| {
        let numbers = [one.successes, one.failures];
        one.at <= rewards && numbers.iter().all(|number| number.is_finite() && *number >= 0.0)
    }) && paces.iter().all(|pace| pace.ridge == options.ridge && pace.at <= rewards);
    if listed != actions || counts.len() + paces.len() != actions || !sane {
        return Err(damaged("has parts that do not fit together"));
    }
    let known = if counted {
        Known::Counted(counts)
    } else {
        Known::Believed(
            paces
                .iter()
                .map(|pace| belief(&mut reader, *pace, features + 1))
                .collect::<Result<_>>()?,
        )
    };
    reader.finish()?;
    Ok(Bandit { options, features, rewards, known })
}

fn belief(reader: &mut Reader<'_>, pace: Pace, width: usize) -> Result<Belief> {
    let mut of_length = |length: usize| {
        let values = reader.f64s()?;
        if values.len() == length {
            Ok(values)
        } else {
            Err(damaged("has a matrix of another size"))
        }
    };
    Ok(Belief {
        precision: of_length(triangle(width))?,
        covariance: of_length(triangle(width))?,
        moment: of_length(width)?,
        weights: of_length(width)?,
        pace,
    })
}

fn damaged(how: impl Into<String>) -> Error {
    Error::corrupt(format!("the artifact {}", how.into())).hint(
        "Restore the artifact from a backup, or let the policy learn from its decision log again.",
    )
}
