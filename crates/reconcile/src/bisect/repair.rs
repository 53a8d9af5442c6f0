//! What makes two tables equal again.

use serde::{Deserialize, Serialize};

use super::{Found, Kind, Range};
use crate::record::Side;

/// What to do to the side that is to be mended. Deletions among it go through
/// [`crate::deletes`] like any others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// The keys whose rows are copied from the side that is right.
    pub copy: Vec<String>,
    /// The keys whose rows are deleted.
    pub delete: Vec<String>,
    /// The ranges that are replaced as a whole.
    pub ranges: Vec<RangeRepair>,
}

/// What to do about a whole range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeRepair {
    /// The range.
    pub range: Range,
    /// How many rows are copied.
    pub copy_rows: u64,
    /// How many rows are deleted before.
    pub delete_rows: u64,
}

impl Found {
    /// Plans how the other side becomes what `truth` is.
    #[must_use]
    pub fn repair(&self, truth: Side) -> Repair {
        let mut repair = Repair::default();
        for difference in &self.keys {
            let surplus = match truth {
                Side::Left => Kind::Extra,
                Side::Right => Kind::Missing,
            };
            if difference.kind == surplus {
                repair.delete.push(difference.key.clone());
            } else {
                repair.copy.push(difference.key.clone());
            }
        }
        for found in &self.ranges {
            let (copy_rows, delete_rows) = match truth {
                Side::Left => (found.left_rows, found.right_rows),
                Side::Right => (found.right_rows, found.left_rows),
            };
            repair.ranges.push(RangeRepair { range: found.range, copy_rows, delete_rows });
        }
        repair
    }
}
