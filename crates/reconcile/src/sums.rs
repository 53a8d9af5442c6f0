//! Whether two readings hold the same rows, in memory that does not grow with the rows.
//!
//! ```text
//! each side: rows ─► sums of digests by bucket of key ─┐
//!                                                      ├─ equal: done
//! each side: rows of differing buckets, again ─────────┴─ keys that are missing, extra or changed
//! ```
//! For sides that cannot sum up their rows themselves, so that all rows have to be read; where they can,
//! [`crate::bisect`] moves none.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result};
use serde::Serialize;

/// Buckets of keys: 1.5 MiB of sums a side, and one bad row has 1/65,536 of the rows read again.
const BUCKETS: usize = 1 << 16;
/// Rows of differing buckets that are kept to find the keys: about 200 MB.
const ROWS_MAX: usize = 2_000_000;
/// How many of those are kept column by column, to tell which columns differ.
const CELLS_MAX: usize = 20_000;
/// Keys that are told of each kind of difference.
pub const KEYS_TOLD: usize = 100;

/// Digests of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowDigest {
    /// Of its key.
    pub key: u128,
    /// Of all compared values.
    pub row: u128,
}

/// The sums of one side.
#[derive(Clone, Debug)]
pub struct Sums {
    buckets: Vec<(u64, u128)>,
    rows: u64,
}

impl Default for Sums {
    fn default() -> Self {
        Self { buckets: vec![(0, 0); BUCKETS], rows: 0 }
    }
}

impl Sums {
    /// Adds a row; the order of rows does not matter.
    pub fn add(&mut self, digest: RowDigest) {
        if let Some((rows, sum)) = self.buckets.get_mut(bucket(digest.key)) {
            *rows += 1;
            *sum = sum.wrapping_add(digest.row);
        }
        self.rows += 1;
    }

    /// How many rows were added.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// One number for all rows: equal for sides with the same rows, in whatever order.
    #[must_use]
    pub fn checksum(&self) -> u128 {
        self.buckets.iter().fold(0, |sum, (_, of_bucket)| sum.wrapping_add(*of_bucket))
    }

    /// The buckets in which both sides differ; none if they hold the same rows.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Option<Buckets> {
        let pairs = self.buckets.iter().zip(&other.buckets);
        let wanted: Vec<bool> = pairs.map(|(a, b)| a != b).collect();
        wanted.contains(&true).then_some(Buckets(wanted))
    }
}

/// Buckets of keys.
#[derive(Clone, Debug)]
pub struct Buckets(Vec<bool>);

fn bucket(key: u128) -> usize {
    (key % BUCKETS as u128) as usize
}

/// How two sides differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Rows that only the left side has.
    pub missing: u64,
    /// Rows that only the right side has.
    pub extra: u64,
    /// Rows both sides have, with other values.
    pub changed: u64,
    /// The first keys that are missing, in the order of the digests.
    pub missing_keys: Vec<String>,
    /// The first keys that are extra.
    pub extra_keys: Vec<String>,
    /// The first keys with other values.
    pub changed_keys: Vec<String>,
    /// In how many of the keys with other values each column differs, as far as it is known.
    pub changed_columns: BTreeMap<String, u64>,
}

impl Difference {
    /// The columns that differ in rows both sides have, each with the number of its rows; none if none is
    /// known.
    #[must_use]
    pub fn in_columns(&self) -> Option<String> {
        let told = self.changed_columns.iter().map(|(name, rows)| format!("{name} ({rows})"));
        let told: Vec<String> = told.collect();
        (!told.is_empty()).then(|| told.join(", "))
    }
}

/// The rows of differing buckets, by key.
#[derive(Clone, Debug)]
pub struct Suspects {
    buckets: Buckets,
    columns: Vec<String>,
    rows: BTreeMap<u128, Suspect>,
    /// Of the first ones the digests of each column's values, on the left and on the right.
    cells: BTreeMap<u128, [Vec<u64>; 2]>,
}

#[derive(Clone, Debug)]
struct Suspect {
    key: String,
    /// Rows of this key and their sum, on the left and on the right.
    sides: [(u64, u128); 2],
}

/// A side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What is right by definition.
    Left,
    /// What shall be equal to it.
    Right,
}

impl Suspects {
    /// Looks for the keys that differ in `buckets`, and for the `columns` that differ.
    #[must_use]
    pub fn new(buckets: Buckets, columns: Vec<String>) -> Self {
        Self { buckets, columns, rows: BTreeMap::new(), cells: BTreeMap::new() }
    }

    /// Whether a row can differ.
    #[must_use]
    pub fn wants(&self, digest: RowDigest) -> bool {
        self.buckets.0.get(bucket(digest.key)).copied().unwrap_or(false)
    }

    /// Adds a row of one side if it can differ; `key` and `cells`, the digests of its values in the order of
    /// the columns, are only called then.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Exhausted`] if too many rows differ to find out which.
    pub fn add(
        &mut self,
        side: Side,
        digest: RowDigest,
        key: impl FnOnce() -> String,
        cells: impl FnOnce() -> Vec<u64>,
    ) -> Result<()> {
        if !self.wants(digest) {
            return Ok(());
        }
        if self.rows.len() >= ROWS_MAX && !self.rows.contains_key(&digest.key) {
            return Err(Error::exhausted(format!(
                "more than {ROWS_MAX} rows would have to be kept to find out which differ"
            ))
            .hint("The sides have little in common: check that the mapping and the tables are the right ones."));
        }
        let suspect = self
            .rows
            .entry(digest.key)
            .or_insert_with(|| Suspect { key: key(), sides: Default::default() });
        let (rows, sum) = match side {
            Side::Left => &mut suspect.sides[0],
            Side::Right => &mut suspect.sides[1],
        };
        *rows += 1;
        *sum = sum.wrapping_add(digest.row);
        if self.cells.len() < CELLS_MAX || self.cells.contains_key(&digest.key) {
            let [left, right] = self.cells.entry(digest.key).or_default();
            let kept = match side {
                Side::Left => left,
                Side::Right => right,
            };
            let given = cells();
            kept.resize(given.len(), 0);
            for (sum, cell) in kept.iter_mut().zip(given) {
                *sum = sum.wrapping_add(cell);
            }
        }
        Ok(())
    }

    /// What differs.
    #[must_use]
    pub fn difference(self) -> Difference {
        let Self { columns, rows, cells, .. } = self;
        let mut found = Difference::default();
        for (digest, Suspect { key, sides: [left, right] }) in rows {
            if left == right {
                continue;
            }
            if left.0 == right.0
                && let Some([here, there]) = cells.get(&digest)
            {
                let pairs = columns.iter().zip(here.iter().zip(there));
                for (column, _) in pairs.filter(|(_, (here, there))| here != there) {
                    *found.changed_columns.entry(column.clone()).or_default() += 1;
                }
            }
            let (count, keys, by) = match left.0.cmp(&right.0) {
                std::cmp::Ordering::Greater => {
                    (&mut found.missing, &mut found.missing_keys, left.0 - right.0)
                }
                std::cmp::Ordering::Less => {
                    (&mut found.extra, &mut found.extra_keys, right.0 - left.0)
                }
                std::cmp::Ordering::Equal => (&mut found.changed, &mut found.changed_keys, left.0),
            };
            *count += by;
            if keys.len() < KEYS_TOLD {
                keys.push(key);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of a key and a value; both stand for digests of them.
    fn digest(key: u64, value: u64) -> RowDigest {
        let spread = |n: u64| u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        RowDigest { key: spread(key), row: spread(key ^ (value << 32)) }
    }

    fn compare(left: &[(u64, u64)], right: &[(u64, u64)]) -> Option<Difference> {
        let sums = |rows: &[(u64, u64)]| {
            let mut sums = Sums::default();
            rows.iter().for_each(|(key, value)| sums.add(digest(*key, *value)));
            sums
        };
        let columns = vec!["key".to_owned(), "value".to_owned()];
        let mut suspects = Suspects::new(sums(left).differing(&sums(right))?, columns);
        for (side, rows) in [(Side::Left, left), (Side::Right, right)] {
            for (key, value) in rows {
                let cells = || vec![*key, *value];
                suspects.add(side, digest(*key, *value), || key.to_string(), cells).unwrap();
            }
        }
        Some(suspects.difference())
    }

    #[test]
    fn equal_rows_in_any_order_are_equal_without_a_second_look() {
        let rows: Vec<(u64, u64)> = (0..10_000).map(|n| (n, n * 7)).collect();
        let mut turned = rows.clone();
        turned.reverse();
        assert_eq!(compare(&rows, &turned), None);
    }

    #[test]
    fn each_kind_of_difference_is_found_by_key() {
        let left: Vec<(u64, u64)> = (0..10_000).map(|n| (n, 1)).collect();
        let mut right = left.clone();
        right[77].1 = 2;
        right.remove(500);
        right.push((123_456, 1));
        let found = compare(&left, &right).unwrap();
        assert_eq!((found.missing, found.extra, found.changed), (1, 1, 1));
        assert_eq!(found.missing_keys, ["500"]);
        assert_eq!(found.extra_keys, ["123456"]);
        assert_eq!(found.changed_keys, ["77"]);
        assert_eq!(found.in_columns().as_deref(), Some("value (1)"));
    }

    #[test]
    fn a_row_that_is_there_twice_is_extra() {
        let found = compare(&[(1, 1), (2, 2)], &[(1, 1), (2, 2), (2, 2)]).unwrap();
        assert_eq!((found.missing, found.extra, found.changed), (0, 1, 0));
    }

    #[test]
    fn two_changes_that_cancel_out_in_rows_do_not_hide() {
        // The same values under swapped keys: the sum of all rows would be equal without keys in it.
        let found = compare(&[(1, 10), (2, 20)], &[(1, 20), (2, 10)]).unwrap();
        assert_eq!(found.changed, 2);
    }
}
