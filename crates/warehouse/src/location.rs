//! Names: where a table lies in the lake, and what SQL calls it.

use std::fmt;

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

/// Longest segment of a location in bytes (the limit of common file systems).
const SEGMENT_BYTES_MAX: usize = 200;

/// A table's folder relative to the lake's root, such as `raw/orders` or `mart/orders/3fa9c1`.
///
/// Segments consist of letters, digits, `_`, `-` and `.`, and do not begin with `_` or `.`, so that
/// a location can neither leave the lake nor meet a table's own folders.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Location(String);

impl Location {
    /// Checks and takes a location.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a segment is empty, too long or has a forbidden character.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        match text.split('/').find_map(segment_fault) {
            None => Ok(Self(text)),
            Some(fault) => Err(Error::invalid(format!("table location \"{text}\" {fault}"))
                .hint("Write folders of letters, digits, _ - and . such as raw/orders.")),
        }
    }

    /// The location as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What people call the table: `schema.table` for a folder of two segments, else the folder.
    #[must_use]
    pub fn table(&self) -> String {
        match self.0.split_once('/') {
            Some((schema, table)) if !table.contains('/') => format!("{schema}.{table}"),
            _ => self.0.clone(),
        }
    }
}

fn segment_fault(segment: &str) -> Option<&'static str> {
    if segment.is_empty() {
        return Some("has an empty segment");
    }
    if segment.len() > SEGMENT_BYTES_MAX {
        return Some("has a segment of more than 200 bytes");
    }
    if segment.starts_with(['_', '.']) {
        return Some("has a segment that begins with _ or .");
    }
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    (!segment.chars().all(allowed)).then_some("has a character that is not allowed")
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Location {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.0
    }
}

/// A table's name in SQL: `schema.name`.
///
/// SQL folds unquoted names to lower case; a name with capitals is reached as `"schema"."Name"`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName {
    /// The schema, such as `raw` or `mart`.
    pub schema: String,
    /// The table in it.
    pub name: String,
}

impl TableName {
    /// Joins a schema and a name.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }

    /// Parses `schema.name`; only the first dot separates.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if one of both is missing.
    pub fn parse(text: &str) -> Result<Self> {
        match text.split_once('.') {
            Some((schema, name)) if !schema.is_empty() && !name.is_empty() => {
                Ok(Self::new(schema, name))
            }
            _ => Err(Error::invalid(format!("\"{text}\" is not a table name"))
                .hint("Write schema.name, for example mart.orders.")),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

impl std::str::FromStr for TableName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<String> for TableName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_cannot_leave_the_lake() {
        for text in ["", "/etc", "a//b", "../x", "a/../b", "raw/_delta_log", "a b", "a/", ".git"] {
            assert!(Location::new(text).unwrap_err().hint_text().is_some(), "{text}");
        }
        for text in ["raw/orders", "mart/orders/3fa9c1", "原始/订单", "a-b_c.d"] {
            assert_eq!(Location::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_landed_table_is_called_as_in_sql() {
        assert_eq!(Location::new("raw/orders").unwrap().table(), "raw.orders");
        assert_eq!(Location::new("mart/orders/3fa9c1").unwrap().table(), "mart/orders/3fa9c1");
        assert_eq!(Location::new("orders").unwrap().table(), "orders");
    }

    #[test]
    fn a_table_name_needs_both_parts() {
        assert_eq!(TableName::parse("mart.orders").unwrap(), TableName::new("mart", "orders"));
        assert!(TableName::parse("orders").is_err());
        assert!(TableName::parse(".orders").is_err());
    }
}
