//! `connections/*.yaml`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An outside system and how to reach it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// The connection's name.
    pub connection: String,
    /// The connector: `csv`, `jsonl`, `parquet`, `excel` or `sqlite` (`flywheel schema` lists all).
    #[serde(rename = "type")]
    pub connector: String,
    /// What the connection is for.
    #[serde(default)]
    pub description: Option<String>,
    /// The connector's own settings. Secrets only by reference: `${env:NAME}`, `${file:path}`.
    #[serde(default)]
    pub options: serde_json::Map<String, serde_json::Value>,
}
