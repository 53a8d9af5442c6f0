//! The `openlineage:` of `flywheel.yaml`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who is told of runs and of lineage, by events of OpenLineage 2-0-2. At least one of `action` and `file` is given.
/// An event is kept on disk until it is delivered, in the order of the runs; a receiver that is down delays no run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenLineage {
    /// The namespace of jobs, and of tables as `flywheel://<namespace>`; the project's name if absent.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The action that every event is sent by. One of type `webhook` with `batch` 1 has the URL of Marquez or another
    /// receiver, such as `https://marquez.example/api/v1/lineage`; one of type `kafka` with `key: run.runId` keeps the
    /// events of a run in their order.
    #[serde(default)]
    pub action: Option<String>,
    /// A file that every event is added to as a line of JSON, relative to the project.
    #[serde(default)]
    pub file: Option<String>,
    /// Whether the SQL of models is part of the events.
    #[serde(default = "yes")]
    pub sql: bool,
}

fn yes() -> bool {
    true
}
