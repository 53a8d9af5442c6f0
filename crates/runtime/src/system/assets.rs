//! `system.assets`.

use flywheel_decision::table::ColumnType::{Flag, Integer, Moment, Number, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use crate::catalogue::{Catalogue, health_sql};

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "assets",
    about: "One row per asset of the catalogue: tables, metrics, learners, policies and all else. Key: kind, name.",
    columns: &[
        ("kind", Text, "source, model, metric, learner, …; table for a table that nobody declares"),
        ("name", Text, "its name; schema.table for tables"),
        ("is_table", Flag, "whether SQL can read it"),
        ("owner", Text, "who answers for it"),
        ("tags", Text, "its tags, separated by commas"),
        ("description", Text, "what it is"),
        ("certification", Text, "certified, draft or deprecated"),
        ("file", Text, "the file that declares it"),
        ("version", Integer, "the version readers see"),
        ("rows", Integer, "how many rows, if known"),
        ("size_bytes", Integer, "the size of its data files"),
        ("committed_at", Moment, "when that version was committed, by the logical clock"),
        ("columns", Integer, "how many columns are known"),
        ("described_columns", Integer, "how many of them are described"),
        ("tests", Integer, "how many tests are declared"),
        ("tests_status", Text, "passed, warned or failed, once they were run"),
        ("age_s", Integer, "the age of its rows in seconds, or of the stalest it is made from"),
        ("fresh_limit_s", Integer, "how old they may be, in seconds"),
        ("contract", Flag, "whether its columns and their types are declared and enforced"),
        ("reads", Integer, "reads of the last 30 days"),
        ("readers", Integer, "different people who read it in the last 30 days"),
        ("last_read_at", Moment, "the last of these reads"),
        ("producers", Integer, "how many assets it is made from directly"),
        ("consumers", Integer, "how many assets are made from it directly"),
        ("work_s", Number, "seconds of work on it in the last 30 days"),
        ("cost_per_year", Number, "what it costs in a year, in the project's currency"),
        ("cost_with_upstream", Number, "that, and its share of the costs of what it is made from"),
        ("health", Number, "how healthy it is, from 0 to 100"),
        ("health_sql", Text, "the query that computes this score from this table"),
    ],
};

/// Its rows.
pub(super) fn rows(catalogue: &Catalogue) -> Vec<Value> {
    let row = |asset: &crate::catalogue::Asset| {
        json!({
            "kind": asset.kind, "name": asset.name, "is_table": asset.is_table, "owner": asset.owner,
            "tags": asset.tags.join(","), "description": asset.description, "certification": asset.certification,
            "file": asset.file, "version": asset.version, "rows": asset.rows, "size_bytes": asset.size_bytes,
            "committed_at": asset.committed_at, "columns": asset.columns.len(),
            "described_columns": asset.described_columns(), "tests": asset.tests, "tests_status": asset.tests_status,
            "age_s": asset.age_s, "fresh_limit_s": asset.fresh_limit_s, "contract": asset.contract,
            "reads": asset.reads, "readers": asset.readers, "last_read_at": asset.last_read_at,
            "producers": asset.upstream.len(), "consumers": asset.downstream.len(), "work_s": asset.work_s,
            "cost_per_year": asset.cost_per_year, "cost_with_upstream": asset.cost_with_upstream,
            "health": asset.health, "health_sql": health_sql(asset),
        })
    };
    catalogue.assets.iter().map(row).collect()
}
