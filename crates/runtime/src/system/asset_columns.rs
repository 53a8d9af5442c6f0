//! `system.asset_columns`.

use flywheel_decision::table::ColumnType::{Flag, Integer, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use crate::catalogue::Catalogue;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "asset_columns",
    about: "One row per column of an asset. Key: kind, name, column.",
    columns: &[
        ("kind", Text, "the kind of its asset"),
        ("name", Text, "its asset"),
        ("position", Integer, "its place, from 1"),
        ("column", Text, "its name"),
        ("type", Text, "its type, if known"),
        ("description", Text, "what it holds"),
        ("masked", Flag, "whether a profile shows no values of it"),
    ],
};

/// Its rows.
pub(super) fn rows(catalogue: &Catalogue) -> Vec<Value> {
    let columns = catalogue.assets.iter().flat_map(|asset| {
        asset.columns.iter().enumerate().map(move |(at, column)| {
            json!({
                "kind": asset.kind, "name": asset.name, "position": at + 1, "column": column.name,
                "type": column.kind, "description": column.description, "masked": column.masked,
            })
        })
    });
    columns.collect()
}
