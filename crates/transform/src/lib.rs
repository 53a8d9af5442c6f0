//! SQL models: built when what they read changed, tested, and only then shown to readers.
//!
//! ```text
//! project ─→ plan ─→ wave of models ─→ tests ─→ next wave … ─→ one publication
//!             │        │                │
//!             │        │                └ an error: the model and what reads it keep the last good version
//!             │        └ writes a candidate: a version of <schema>/<name>/<fingerprint>
//!             └ fingerprint and inputs as at the last passed build: nothing is done
//! ```
//!
//! Invariants: readers only ever see versions whose tests passed, and move to all new ones at once;
//! an increment starts from the last version that passed, never from what a failed or interrupted
//! build left behind; the same project, lake and time give the same result.

mod build;
mod catalog;
mod freshness;
mod inputs;
mod intervals;
mod lineage;
mod metric;
mod names;
mod order;
mod owned;
mod published;
mod report;
mod shelf;
mod testing;

use flywheel_base::Timestamp;
use flywheel_project::Project;
use flywheel_state::Store;
use flywheel_warehouse::Lake;

pub use build::{
    BuildOptions, Change, Changes, ColumnDiff, Impact, ModelChange, ModelDiff, RowChange,
    RowSample, SAMPLES_MAX, Touched, ValueSample, build, changes, diff, diff_where, test,
};
pub use catalog::{At, catalog, catalog_at};
pub use freshness::{FreshnessOutcome, FreshnessStatus, freshness};
pub use intervals::{Interval, IntervalRow, intervals};
pub use lineage::{
    AssetKind, ColumnEdge, ColumnGraph, ColumnKey, ColumnLineage, ColumnNode, ColumnOrigins,
    Direction, EdgeKind, Influence, Influenced, Lineage, LineageEdge, LineageNode, LineageStep,
    Mark, Origin, Part, TableColumn, Transform, column_graph, column_lineage, lineage,
    model_columns, traced_edges,
};
pub use metric::{
    CompiledMetrics, MetricColumn, MetricMistake, MetricQuery, compile_metrics, expand_metrics,
    metric_error, metric_mistakes,
};
pub use owned::{refuse_ours, refuse_owned};
pub use published::{published_plan, published_sql, published_value};
pub use report::{
    BuildReport, Event, Failure, ModelOutcome, ModelStatus, Sample, TestOutcome, TestScope,
    TestStatus,
};

/// What every call works on.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The declarations.
    pub project: &'a Project,
    /// The tables.
    pub lake: &'a Lake,
    /// What was built and what readers see.
    pub store: &'a Store,
    /// The logical time of this run.
    pub now: Timestamp,
}

#[cfg(test)]
mod tests;
