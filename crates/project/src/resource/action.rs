//! `actions/*.yaml`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::Duration;

/// A way for decisions to leave.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// The action's name.
    pub action: String,
    /// The connector: `file`, `webhook`, `kafka`, `chat` or `email`.
    #[serde(rename = "type")]
    pub connector: String,
    /// What the action does.
    #[serde(default)]
    pub description: Option<String>,
    /// The connector's own settings. Secrets only by reference: `${env:NAME}`, `${file:path}`.
    #[serde(default)]
    pub options: serde_json::Map<String, serde_json::Value>,
    /// How often a delivery is tried, the first time included, before it goes to the dead letters.
    #[serde(default = "attempts_default")]
    #[schemars(range(min = 1, max = 100))]
    pub attempts: u32,
    /// The wait before the second attempt, `30s` if absent; it doubles with each further one, up to an hour, and is
    /// shortened by up to a half by chance. What a receiver asks for by `Retry-After` is waited for, too.
    #[serde(default = "backoff_default")]
    pub backoff: Duration,
    /// What is promised where it is not known whether a delivery arrived.
    #[serde(default)]
    pub guarantee: Guarantee,
}

/// What is promised where it is not known whether a delivery arrived: the receiver hung up, answered with a failure of
/// its own, or this program was killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// It is sent again with the same idempotency key until it is acknowledged: a receiver that honours keys acts
    /// exactly once.
    #[default]
    AtLeastOnce,
    /// It is never sent a second time: for receivers without keys. What is not acknowledged goes to the dead letters
    /// with the reason, for a person to look at. Only a delivery that cannot have reached the receiver, because there
    /// was no connection, is tried again.
    AtMostOnce,
}

fn attempts_default() -> u32 {
    8
}

fn backoff_default() -> Duration {
    Duration { micros: 30_000_000 }
}
