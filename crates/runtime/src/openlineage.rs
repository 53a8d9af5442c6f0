//! Telling other tools of runs and of lineage, in OpenLineage's words, and hearing from them.
//!
//! ```text
//! run ─► Teller ─► plain/ ─ settle: columns, lineage, SQL ─► action/ ─► webhook
//!            └──────────────────────────────────────────────► file/  ─► a line each
//! ```
//! Folders are below `.flywheel/openlineage`, one file for events that belong together, on disk before the run goes on.
//! Invariants: telling never fails a run and never waits for a receiver for longer than three seconds; an event is removed
//! only once its receiver has taken it, so that it may arrive twice after a crash and is never lost but by the limit
//! of a queue; a run that was cut off is told as aborted by the next one.

mod dataset;
mod event;
pub mod foreign;
mod import;
mod queue;
mod send;
mod settle;
mod teller;

use std::time::Duration;

use flywheel_project::resource::project_file::OpenLineage;

pub use self::import::{Imported, import};
pub(crate) use self::settle::settle;
pub(crate) use self::teller::{ModelTimes, Teller};
use crate::Workspace;

/// How long the end of a run waits for events to be delivered; what is left is sent by the next run.
const GRACE: Duration = Duration::from_secs(3);

/// What is declared, if anybody is to be told.
fn declared(workspace: &Workspace) -> Option<&OpenLineage> {
    workspace.project.file.openlineage.as_ref()
}
