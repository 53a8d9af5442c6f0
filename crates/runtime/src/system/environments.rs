//! `system.environments`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Integer, Moment, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use crate::Workspace;
use crate::environment::{self, Listed};

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "environments",
    about: "One row per environment, production first. Key: environment.",
    columns: &[
        ("environment", Text, "the environment"),
        ("made_from", Text, "the environment it was made from; none for prod"),
        ("created_at", Moment, "the logical moment at which it was made; none for prod"),
        ("models", Integer, "how many models its readers see"),
        ("differing", Integer, "how many models of prod change if it is promoted"),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let row = |Listed { environment, differing }: Listed| {
        json!({
            "environment": environment.name, "made_from": environment.made_from,
            "created_at": environment.created_at, "models": environment.models, "differing": differing,
        })
    };
    Ok(environment::list(workspace)?.into_iter().map(row).collect())
}
