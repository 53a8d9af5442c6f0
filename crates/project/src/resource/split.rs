//! `splits/*.yaml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::sync::one_or_many;
use crate::model::OneOrMany;

/// One system that is taken apart into two: every row goes to the part it belongs to, with all that
/// hangs on it, and no part gets a row of the other one. The system itself is only read.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The split's name.
    pub split: String,
    /// What the split is for.
    #[serde(default)]
    pub description: Option<String>,
    /// The connection of the system that is taken apart.
    pub connection: String,
    /// The two parts. Each has a system of its own.
    pub parts: Vec<SplitPart>,
    /// The tables, with where their rows go. A table that is not listed is in neither part.
    pub tables: Vec<SplitTable>,
    /// How rows are written.
    #[serde(default)]
    pub write: SplitWrite,
}

/// One of the two parts.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitPart {
    /// The part's name.
    pub part: String,
    /// The connection its rows are written into.
    pub connection: String,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SplitWrite {
    /// The rows of a part take the place of everything in its table, at once.
    #[default]
    Replace,
    /// The rows replace those with the same key, others are added and nothing is removed; for systems
    /// whose tables cannot be swapped, such as CRMs.
    Merge,
}

impl SplitWrite {
    /// Its name in files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Merge => "merge",
        }
    }
}

/// A table of the system that is taken apart.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitTable {
    /// The table's name in this file, in plans and in reports.
    pub table: String,
    /// How it is read: a stream's settings; `{table: <name>}` if absent.
    #[serde(default)]
    pub options: Map<String, Value>,
    /// How it is written in both parts: a target's settings; `{table: <name>}` if absent.
    #[serde(default)]
    pub target: Map<String, Value>,
    /// The same for single parts, by their names; it goes before `target`.
    #[serde(default)]
    pub targets: BTreeMap<String, Map<String, Value>>,
    /// The column that identifies a row, or a list of them.
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub key: Vec<String>,
    /// The types of columns, as in a sync's columns; those not named are inferred.
    #[serde(default)]
    pub types: BTreeMap<String, String>,
    /// What its rows refer to. Only what is listed here is followed.
    #[serde(default)]
    pub references: Vec<SplitReference>,
    /// Where its rows go.
    pub place: Place,
}

impl SplitTable {
    /// How it is read.
    #[must_use]
    pub fn options(&self) -> Map<String, Value> {
        self.or_by_name(&self.options)
    }

    /// How it is written in the part `part`.
    #[must_use]
    pub fn target_of(&self, part: &str) -> Map<String, Value> {
        self.or_by_name(self.targets.get(part).unwrap_or(&self.target))
    }

    fn or_by_name(&self, settings: &Map<String, Value>) -> Map<String, Value> {
        match settings.is_empty() {
            true => Map::from_iter([("table".to_owned(), Value::from(self.table.as_str()))]),
            false => settings.clone(),
        }
    }
}

/// A column that holds the key of a row of another table, or of the same one.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitReference {
    /// The column.
    pub column: String,
    /// The table of this split it refers to, whose `key` is one column.
    pub to: String,
    /// Whether a row without it is refused by the system, so that it cannot be emptied.
    #[serde(default)]
    pub required: bool,
    /// What happens if it leads to a row that only the other part has.
    #[serde(default)]
    pub crossing: OnCrossing,
}

/// What happens to a reference that leads to a row of the other part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnCrossing {
    /// The split stops before anything is written.
    #[default]
    Refuse,
    /// The reference is emptied in the part, and listed.
    Clear,
}

/// Where the rows of a table go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Place {
    /// A condition decides each row.
    Divided {
        /// An SQL condition over the table's columns, `region = 'east'`. It has to be true or false for
        /// every row.
        #[serde(rename = "where")]
        condition: String,
        /// The part of the rows for which it is true; the others go to the other part.
        to: String,
    },
    /// With the row that a reference leads to.
    With {
        /// The column of the reference.
        reference: String,
        /// The part of rows whose reference is empty or leads nowhere; without it such a row stops the
        /// split.
        #[serde(default)]
        otherwise: Option<String>,
    },
    /// They are nobody's own, such as products: each part gets a copy of those its rows refer to.
    WhereNeeded {
        /// The part of the rows that nobody refers to.
        otherwise: String,
    },
    /// Both parts get all of them.
    Both,
    /// One part gets all of them.
    Only {
        /// That part.
        part: String,
    },
}

impl Place {
    /// The parts it names, with the keys that name them.
    #[must_use]
    pub fn parts(&self) -> Option<(&'static str, &'static str, &str)> {
        match self {
            Self::Divided { to, .. } => Some(("divided", "to", to)),
            Self::With { otherwise, .. } => {
                otherwise.as_deref().map(|part| ("with", "otherwise", part))
            }
            Self::WhereNeeded { otherwise } => Some(("where-needed", "otherwise", otherwise)),
            Self::Both => None,
            Self::Only { part } => Some(("only", "part", part)),
        }
    }

    /// Whether rows can be in both parts.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::WhereNeeded { .. } | Self::Both | Self::Only { .. })
    }
}
