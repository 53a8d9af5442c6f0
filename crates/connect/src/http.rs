//! The one outbound HTTP client of sources and destinations.
//!
//! ```text
//! call ─► wait for the limits ─► authenticate ─► send ─► answer
//!            ▲                       ▲             │
//!            └── 408 425 429 5xx ────┼── wait ◄────┤
//!                                    └── 401, once ┘
//! ```
//! A client belongs to one connection. It follows redirects only to its own host and only for reads,
//! refuses addresses of the own network unless they are allowed, and reads answers up to a limit.
//! Secrets are sent and never shown: what a server says is searched for them before it is repeated.
//! Time and randomness come from a [`Pace`] and a seed, so that tests wait for nothing.

mod address;
mod answer;
mod auth;
mod client;
#[cfg(test)]
pub(crate) mod fake;
mod limit;
mod pace;
mod path;
mod without;

use std::collections::BTreeMap;

use flywheel_base::Secret;
use serde::{Deserialize, Deserializer};

pub use address::is_private_place;
pub(crate) use address::{PrivateAddress, PublicOnly, is_private, is_private_host};
pub(crate) use answer::{Answer, asked_wait};
pub use auth::Auth;
pub(crate) use client::{Call, Client, HttpSettings, Quota, Unanswered, form};
pub use limit::Limits;
pub(crate) use pace::{Pace, real_pace};
pub(crate) use path::JsonPath;
pub(crate) use without::without;

/// Reads a secret that need not be there.
pub(crate) fn secret<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}

/// Reads a secret.
pub(crate) fn needed_secret<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

/// Reads secrets by name.
pub(crate) fn secrets<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Secret>, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
    Ok(texts.into_iter().map(|(name, value)| (name, Secret::new(value))).collect())
}

#[cfg(test)]
mod tests;
