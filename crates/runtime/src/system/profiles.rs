//! `system.profiles`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Flag, Integer, Moment, Number, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use crate::{Workspace, profile};

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "profiles",
    about: "One row per column of a table that was profiled. Key: table, column.",
    columns: &[
        ("table", Text, "the table"),
        ("version", Integer, "the version that was looked at; none for a view"),
        ("profiled_at", Moment, "when"),
        ("position", Integer, "the column's place, from 1"),
        ("column", Text, "the column"),
        ("type", Text, "its type"),
        ("rows", Integer, "rows of the table"),
        ("nulls", Integer, "rows without a value"),
        ("distincts", Integer, "different values"),
        ("distincts_exact", Flag, "whether they were counted; estimated within about 1 % if not"),
        ("masked", Flag, "whether its values are not shown"),
        ("min", Text, "the smallest value"),
        ("max", Text, "the largest value"),
        ("mean", Number, "the mean of its numbers"),
        ("q05", Number, "5 % of its numbers are not above it"),
        ("q25", Number, "25 % of its numbers are not above it"),
        ("median", Number, "half of its numbers are not above it"),
        ("q75", Number, "75 % of its numbers are not above it"),
        ("q95", Number, "95 % of its numbers are not above it"),
        ("histogram", Text, "ten equal steps from the smallest to the largest number, as JSON"),
        ("top", Text, "the most frequent values with their rows, as JSON"),
        (
            "sample_rows",
            Integer,
            "rows by which quantiles, histogram and top were found; all if it is rows",
        ),
        ("digest", Text, "a digest of the table's rows, whatever their order"),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for kept in workspace.store.profiles()? {
        let profile = profile::Profile::kept(&kept)?;
        for (at, column) in profile.columns.iter().enumerate() {
            let quantile = |at: usize| column.quantiles.get(at).copied();
            rows.push(json!({
                "table": kept.asset, "version": kept.version, "profiled_at": kept.profiled_at, "position": at + 1,
                "column": column.name, "type": column.kind, "rows": profile.rows, "nulls": column.nulls,
                "distincts": column.distincts, "distincts_exact": column.distincts_exact, "masked": column.masked,
                "min": column.min, "max": column.max, "mean": column.mean, "q05": quantile(0), "q25": quantile(1),
                "median": quantile(2), "q75": quantile(3), "q95": quantile(4),
                "histogram": json!(column.histogram).to_string(), "top": json!(column.top).to_string(),
                "sample_rows": profile.sample_rows, "digest": kept.digest,
            }));
        }
    }
    Ok(rows)
}
