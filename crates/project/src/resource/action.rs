//! `actions/*.yaml`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A way for decisions to leave.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// The action's name.
    pub action: String,
    /// The connector: `file` or `webhook`.
    #[serde(rename = "type")]
    pub connector: String,
    /// What the action does.
    #[serde(default)]
    pub description: Option<String>,
    /// The connector's own settings. Secrets only by reference: `${env:NAME}`, `${file:path}`.
    #[serde(default)]
    pub options: serde_json::Map<String, serde_json::Value>,
    /// How often a failed delivery is tried again before it goes to the dead letters.
    #[serde(default = "attempts_default")]
    #[schemars(range(min = 1, max = 100))]
    pub attempts: u32,
}

fn attempts_default() -> u32 {
    8
}
