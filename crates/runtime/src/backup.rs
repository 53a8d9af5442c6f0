//! Backups: a copy of declarations, metadata and lake as they were together, and the way back.
//!
//! ```text
//! BACKUPS/.lock                  held by whoever makes one
//!         .unfinished/           what a kill leaves; the next backup goes on with it
//!         20240501T120000Z/      a whole backup: it got this name when everything in it was on disk
//!           backup.json          every file with size and digest, sealed by a digest of its own
//!           project/…            the project's folder, `.flywheel/meta.db` and artifacts included
//!           lake/…               each table at the version that was frozen, and the versions it keeps
//! ```
//! Invariants: no lock of the project is taken, so that a server goes on; a backup has a name or it is none; the lake
//! is never older than the metadata that points at it, nor the journal older than the positions in the lake; a file
//! that is not what was committed is told; no file that a `${file:…}` names is taken.

mod copy;
mod make;
mod manifest;
mod restore;
mod walk;

use std::sync::Arc;

pub use make::{Made, Making, backups, make};
pub use manifest::{Entry, LeftOut, Manifest, Table};
pub use restore::{Restored, restore, verify};

/// Sees how far a copy is: bytes that are done, of all.
pub type Watch = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// The folder of the project's files in a backup.
const PROJECT: &str = "project";
/// The folder of the lake in a backup.
const LAKE: &str = "lake";
