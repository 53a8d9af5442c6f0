//! The kinds of task, one file each; a new one is a file and a line in [`TASKS`].

pub mod act;
pub(crate) mod balance;
pub mod build;
pub mod canary;
pub mod changes;
pub mod decide;
pub mod deliver;
pub mod evaluate;
pub mod learn;
pub(crate) mod new_columns;
pub(crate) mod null_keys;
pub mod outcome;
mod repeated;
mod resume;
pub(crate) mod share;
mod source_types;
pub mod sync;

/// The kinds of task in the order of a turn.
pub const TASKS: &[&str] =
    &["sync", "build", "evaluate", "learn", "canary", "decide", "act", "outcome"];
