//! The position after bad rows of files were mended in place.

use std::collections::BTreeSet;

use flywheel_base::{Error, Result};

use super::state::Stored;
use crate::page::Position;

/// The position `before` with what `now`, a full read, knows of the mended `files`, so that the next
/// incremental read takes them as they are.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a file has more or fewer lines than were read before:
/// its rows could then not be told apart by their lines.
pub fn mended(before: &Position, now: &Position, files: &BTreeSet<String>) -> Result<Position> {
    let mut stored = Stored::from_position(before)?;
    let now = Stored::from_position(now)?;
    for name in files {
        let Some(state) = now.files.get(name) else { continue };
        if let Some(old) = stored.files.get(name).filter(|old| old.line != state.line) {
            return Err(Error::invalid(format!(
                "the file {name} had {} lines when its rows were set aside and has {} now",
                old.line.saturating_sub(1),
                state.line.saturating_sub(1)
            ))
            .hint("Mend rows in their lines; bring new rows in a new file."));
        }
        stored.files.insert(name.clone(), state.clone());
    }
    stored.schema = now.schema;
    stored.to_position()
}
