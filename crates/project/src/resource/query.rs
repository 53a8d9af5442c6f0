//! `queries/*.yaml`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::quantity::Duration;

/// Rows of one answer unless the file says otherwise.
pub const ROWS_DEFAULT: u32 = 1_000;

/// Rows of one answer at most.
pub const ROWS_MAX: u32 = 100_000;

/// How long an answer may take unless the file says otherwise.
pub const TIMEOUT_DEFAULT: Duration = Duration { micros: 30_000_000 };

/// How long an answer may take at most.
pub const TIMEOUT_MAX: Duration = Duration { micros: 600_000_000 };

/// What stands after the `?` of an address beside parameters, so that no parameter is called so.
pub const RESERVED: [&str; 4] = ["limit", "offset", "format", "as"];

/// A query that programs call by an address: `GET /v1/queries/NAME/rows?country=DE`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishedQuery {
    /// The query's name, which its address has.
    pub query: String,
    /// What it answers.
    #[serde(default)]
    pub description: Option<String>,
    /// Who answers for it.
    #[serde(default)]
    pub owner: Option<String>,
    /// One `SELECT` over models (`ref`), landed tables (`source`) and `metrics.*`. Where a value comes from who calls,
    /// it says `$name`. The value is bound there as what it is and never becomes a part of the text.
    pub sql: String,
    /// What callers give, each once.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub parameters: Vec<QueryParameter>,
    /// Rows of one answer at most, 1 to 100,000; 1,000 if absent. What comes after them is asked for with `offset`.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100_000))]
    pub rows: Option<u32>,
    /// How long an answer may take, up to `10m`; `30s` if absent.
    #[serde(default)]
    pub timeout: Option<Duration>,
}

/// A value that callers give.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryParameter {
    /// Its name: `$name` in the SQL, `?name=` in the address.
    pub name: String,
    /// Its type, as that of a column: `text`, `int64`, `int32`, `float64`, `decimal(p,s)`, `bool`, `date`, `timestamp` or
    /// `json`.
    #[serde(rename = "type")]
    pub column_type: String,
    /// The value where callers give none; without it they have to.
    #[serde(default)]
    pub default: Option<Json>,
    /// What it means.
    #[serde(default)]
    pub description: Option<String>,
}

impl PublishedQuery {
    /// Rows of one answer at most.
    #[must_use]
    pub fn rows_max(&self) -> u32 {
        self.rows.unwrap_or(ROWS_DEFAULT).clamp(1, ROWS_MAX)
    }

    /// How long an answer may take, in milliseconds.
    #[must_use]
    pub fn timeout_ms(&self) -> u64 {
        let micros = self.timeout.unwrap_or(TIMEOUT_DEFAULT).min(TIMEOUT_MAX).micros;
        (micros / 1_000).max(1).unsigned_abs()
    }

    /// The parameter of that name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&QueryParameter> {
        self.parameters.iter().find(|one| one.name == name)
    }
}

impl QueryParameter {
    /// The default as a caller would write it; none if callers have to give a value, or it is no single one.
    #[must_use]
    pub fn default_text(&self) -> Option<String> {
        match self.default.as_ref()? {
            Json::String(text) => Some(text.clone()),
            value @ (Json::Number(_) | Json::Bool(_)) => Some(value.to_string()),
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        }
    }

    /// Whether callers have to give it.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.default.is_none()
    }

    /// A value that its type has, as an address writes it.
    #[must_use]
    pub fn example(&self) -> &'static str {
        match self.column_type.as_str() {
            "int64" | "int32" => "42",
            "float64" => "1.5",
            "bool" => "true",
            "date" => "2025-03-31",
            "timestamp" => "2025-03-31T12:00:00Z",
            "json" => "%7B%22a%22:1%7D",
            kind if kind.starts_with("decimal") => "12",
            _ => "abc",
        }
    }
}
