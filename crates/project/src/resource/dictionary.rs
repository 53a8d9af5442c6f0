//! `dictionaries/*.yaml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::semantic::Label;

/// A data standard: the codes a column may hold, declared once and named by checks.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dictionary {
    /// The dictionary's name.
    pub dictionary: String,
    /// What the codes mean together, and where they come from.
    #[serde(default)]
    pub description: Option<String>,
    /// Who answers for it.
    #[serde(default)]
    pub owner: Option<String>,
    /// The codes: texts, numbers or booleans. `[CN, DE, US]`
    pub values: Vec<serde_json::Value>,
    /// What people call a code, by the code. `{CN: {en: China, zh: 中国}}`
    #[serde(default)]
    pub labels: BTreeMap<String, Label>,
}
