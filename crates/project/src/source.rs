//! Tables that syncs land or property files declare.

use serde::Serialize;

use crate::model::ModelTest;
use crate::resource::properties::{ColumnProperties, Freshness};

/// A table that models read with `source()`.
#[derive(Clone, Debug)]
pub struct Source {
    /// The lake schema.
    pub schema: String,
    /// The table.
    pub table: String,
    /// The stream that lands it; none if it is written from outside.
    pub landed_by: Option<Landing>,
    /// The property file that declares it, relative to the project folder, and the line.
    pub declared_in: Option<(String, usize)>,
    /// What one row means.
    pub description: Option<String>,
    /// Columns described in property files.
    pub columns: Vec<ColumnProperties>,
    /// Generic tests declared in property files, in their order.
    pub tests: Vec<ModelTest>,
    /// How old its newest row may be.
    pub freshness: Option<Freshness>,
}

/// The stream that lands a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Landing {
    /// The sync.
    pub sync: String,
    /// Its stream.
    pub stream: String,
}

impl Source {
    /// A table of which only the name is known.
    pub(crate) fn new(schema: &str, table: &str) -> Self {
        Self {
            schema: schema.to_owned(),
            table: table.to_owned(),
            landed_by: None,
            declared_in: None,
            description: None,
            columns: Vec::new(),
            tests: Vec::new(),
            freshness: None,
        }
    }

    /// The SQL name, `schema.table`.
    #[must_use]
    pub fn relation(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }
}
