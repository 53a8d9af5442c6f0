//! Running the wheel: opening a project, the tasks of a turn, the turn itself, replay and status.
//!
//! ```text
//! turn = sync ─► build ─► evaluate ─► learn ─► decide ─► act ─► outcome ─► lift
//! ```
//! Invariants: a turn is begun before it does anything and completed after it did everything; one
//! that was cut off is completed first, for the same moment; every task can be run again without
//! losing or doubling a row, because its position or turn is committed with its rows.

pub mod access;
pub mod alert;
pub mod approval;
pub mod backup;
pub mod catalogue;
pub mod compare;
pub mod connectors;
pub mod dashboard;
pub mod databases;
pub mod declaration;
pub mod draft;
pub mod edit;
pub mod environment;
pub mod erase;
pub mod events;
pub mod feedback;
pub mod follow;
pub mod forget;
pub mod halt;
pub mod lag;
pub mod lineage;
pub mod link;
pub mod merge;
pub mod metadata;
pub mod metrics;
pub mod migrate;
pub mod openlineage;
pub mod outbox;
pub mod pin;
pub mod plan;
pub mod policy;
pub mod postgres;
pub mod profile;
pub mod published;
pub mod quality;
pub mod quarantine;
pub mod quota;
pub mod replay;
pub mod rows;
pub mod run;
pub mod run_log;
pub mod schedule;
pub mod split;
pub mod status;
pub mod suggest;
pub mod system;
pub mod task;
pub mod topic;
pub mod turn;
pub mod upkeep;

mod item_names;
mod lake_source;
mod mapping;
mod recorder;
mod side_by_side;
mod telemetry;
mod workspace;

pub use flywheel_transform::{
    BuildOptions, BuildReport, Changes, FreshnessOutcome, FreshnessStatus, Interval, LineageStep,
    ModelDiff, TestOutcome, Touched,
};
pub use item_names::item_names;
pub use recorder::{Event, Observer, Silent};
pub use workspace::{Access, At, Workspace};
