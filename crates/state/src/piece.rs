//! Pieces of long lists: each goes on after the last item of the one before it, whatever was added meanwhile.

use flywheel_base::{Error, Result};

use crate::Store;

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Piece<'a> {
    /// The key of the item after which it begins; from the first one if absent.
    pub after: Option<&'a str>,
    /// Items at most.
    pub limit: u32,
}

impl Piece<'_> {
    /// The beginning of a list.
    #[must_use]
    pub fn first(limit: u32) -> Self {
        Self { after: None, limit }
    }
}

impl Store {
    /// Refuses to go on after an item that is not in `table` (any more).
    pub(crate) fn check_place(&self, table: &str, key: &str, after: Option<&str>) -> Result<()> {
        let Some(after) = after else { return Ok(()) };
        let there = self.read("find a place in a list", |db| {
            db.prepare_cached(&format!("SELECT 1 FROM {table} WHERE {key} = ?"))?.exists([after])
        });
        match there? {
            true => Ok(()),
            false => Err(no_place(after)),
        }
    }
}

/// The error of a place in a list that is not there.
#[must_use]
pub fn no_place(after: &str) -> Error {
    Error::invalid(format!("the list has no \"{after}\" to go on after"))
        .hint("Begin again without `cursor`; what is old is dropped from lists.")
}
