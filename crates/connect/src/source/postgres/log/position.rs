//! Where a stream of changes stands.

use std::collections::BTreeMap;
use std::fmt;

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::column::{ColumnType, DeclaredColumn};
use crate::page::{Column, Position};
use crate::stop::Stop;

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Lsn(pub(super) u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> Self {
        lsn.to_string()
    }
}

impl TryFrom<String> for Lsn {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let parts = text.split_once('/');
        let number = |part: &str| u32::from_str_radix(part, 16).ok().map(u64::from);
        parts
            .and_then(|(high, low)| Some(Self(number(high)? << 32 | number(low)?)))
            .ok_or_else(|| Error::corrupt(format!("\"{text}\" is no place in a log")))
    }
}

/// What is kept between two reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    /// Where the first read of the whole table stands; none once it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) snapshot: Option<Value>,
    /// Everything committed before it is stored, or was there when the whole read began.
    pub(super) lsn: Lsn,
    /// The columns of the pages and their types, which only ever become wider whatever happens to the
    /// table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) columns: Vec<(String, ColumnType)>,
    /// The numbers by which the server knows them, whatever they are called; 0 for a name whose column
    /// is gone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) numbers: BTreeMap<String, i16>,
    /// The columns by which rows are told apart, in the order of their names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<Vec<String>>,
    /// Columns whose values have another type than the pages, and which it was when that was told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) retyped: BTreeMap<String, ColumnType>,
    /// The numbers of the partitions that the table had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) partitions: Option<Vec<u32>>,
    /// What names the table in the publication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) published: Option<String>,
    /// The publication's number, the transaction that wrote its settings, and its owner's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) publication: Option<(u32, String, u32)>,
    /// Why the table is followed no further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stopped: Option<Stop>,
}

impl Stored {
    /// Reads a position.
    pub(super) fn of(position: &Position) -> Result<Self> {
        serde_json::from_value(position.0.clone()).map_err(|error| {
            Error::invalid("the stored position is not one of a log of PostgreSQL")
                .caused_by(error)
                .hint("Delete the stream's position to read it whole again.")
        })
    }

    /// The position that it is.
    pub(super) fn position(&self) -> Result<Position> {
        serde_json::to_value(self)
            .map(Position)
            .map_err(|error| Error::internal("a position cannot be written").caused_by(error))
    }

    /// The columns of the pages, with those that are declared as they are declared.
    pub(super) fn page_columns(&self, declared: &[DeclaredColumn]) -> Vec<Column> {
        let column = |(name, kind): &(String, ColumnType)| match declared
            .iter()
            .find(|column| column.name == *name)
        {
            Some(declared) => Column::declared(declared),
            None => Column::inferred(name, *kind),
        };
        self.columns.iter().map(column).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn positions_survive_their_text_form() {
        for value in [
            json!({ "lsn": "16/B374D848", "columns": [["id", "int32"], ["n", "decimal(9,2)"]] }),
            json!({ "snapshot": { "rows": 7 }, "lsn": "0/0" }),
            json!({ "lsn": "0/7", "stopped": { "why": "it was truncated", "hint": "Read it." } }),
            json!({ "lsn": "0/1", "columns": [["id", "int32"]], "numbers": { "id": 2 },
                    "key": ["id"], "retyped": { "n": "text" }, "partitions": [16400],
                    "published": "table/16402", "publication": [16401, "742", 10] }),
        ] {
            let stored = Stored::of(&Position(value.clone())).unwrap();
            assert_eq!(stored.position().unwrap().0, value);
        }
        for value in [json!({ "lsn": "16" }), json!({ "rows": 7 }), json!(null)] {
            assert!(Stored::of(&Position(value)).unwrap_err().hint_text().is_some());
        }
    }
}
