//! The lake: Delta tables that keep what they acknowledge, and SQL over them.
//!
//! The only crate that names `deltalake` and opens engine sessions. A [`Lake`] is a folder; a table is
//! a folder in it ([`Location`]). [`Lake::write`] publishes rows and a source's position as one
//! durable commit; [`Lake::session`] reads over a [`Catalog`] of names, and [`Session::edit`] changes
//! rows by an SQL statement.
//!
//! Invariants: a commit is durable before it is acknowledged; it is visible in full or not at all;
//! a checkpoint commits with its rows; one version never changes.

mod data_file;
mod disk;
mod engine;
mod failure;
mod function;
mod lake;
mod lake_table;
mod lane;
mod location;
mod log;
mod maintain;
pub mod postgres;
mod rows;
mod served;
mod session;
mod shape;
mod snapshot;
mod spill;
mod state;
mod store;
mod text;
mod write;

#[cfg(test)]
mod testing;

pub use disk::{Disk, disk};
pub use function::{FUNCTIONS, Function};
pub use lake::{Lake, LakeOptions};
pub use lane::{DELETED, Load, Reading, VALID_FROM, VALID_TO, Verb, dated};
pub use location::{Location, TableName};
pub use maintain::{Maintain, Maintained};
pub use rows::RowStream;
pub use served::{Feature, FeatureKind, Learners, Scorer, Served};
pub use session::{
    Allowance, Catalog, ColumnChange, ColumnMask, Definition, Edit, Edited, Expression, MaskValues,
    Parameter, Parameters, Places, Query, Reads, Seen, Session, Sight, as_cast, check_chains,
    check_expression, is_definition, is_edit, reads,
};
pub use shape::{NAME_FORBIDDEN, conform, union};
pub use state::{Checkpoint, CommitRecord, Frozen, FrozenFile, Notice, TableState, WaitingChanges};
pub use text::{csv_line, texts, values};
pub use write::{Commit, Duplicates, SchemaChange, Write, WriteMode};
