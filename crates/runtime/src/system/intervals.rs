//! `system.intervals`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Moment, Text};
use flywheel_decision::table::SystemTable;
use flywheel_transform::IntervalRow;
use serde_json::{Value, json};

use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "intervals",
    about: "One row per stretch of time of a model with batches, built or missing. Key: environment, model, from_at.",
    columns: &[
        ("environment", Text, "the environment"),
        ("model", Text, "the model, schema.name"),
        ("from_at", Moment, "its first moment"),
        ("to_at", Moment, "the first moment after it"),
        (
            "status",
            Text,
            "built, or missing: the next build of the model builds it; a batch counts once it is over",
        ),
        (
            "built_at",
            Moment,
            "the logical moment at which it was last built; none if it is missing",
        ),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let row = |row: IntervalRow| {
        json!({
            "environment": row.environment, "model": row.model, "from_at": row.interval.from,
            "to_at": row.interval.to, "status": if row.built_at.is_some() { "built" } else { "missing" },
            "built_at": row.built_at,
        })
    };
    let world = workspace.world();
    let rows = flywheel_transform::intervals(world.project, world.store, world.now)?;
    Ok(rows.into_iter().map(row).collect())
}
