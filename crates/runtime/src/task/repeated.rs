//! Keys that come again within one read of a whole stream: merged by such a key, one row takes the place of another, and
//! nothing but the count of rows would tell.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::row::{RowConverter, SortField};
use flywheel_base::{Error, Result};

/// Keys that are remembered at most; of further ones only those that came among them are found.
const KEYS_MAX: usize = 2_000_000;

/// The keys of a read so far, each by a hash.
#[derive(Debug)]
pub(super) struct Repeated {
    key: Vec<String>,
    seen: HashSet<u64>,
    hasher: RandomState,
    again: u64,
}

impl Repeated {
    /// Begins a read of rows that are merged by `key`.
    pub(super) fn new(key: Vec<String>) -> Self {
        Self { key, seen: HashSet::new(), hasher: RandomState::new(), again: 0 }
    }

    /// Takes the keys of rows; rows without the columns of the key are for others to refuse.
    pub(super) fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns: Option<Vec<ArrayRef>> =
            self.key.iter().map(|name| batch.column_by_name(name).map(Arc::clone)).collect();
        let Some(columns) = columns.filter(|columns| !columns.is_empty()) else { return Ok(()) };
        let failed =
            |error| Error::internal("the keys of rows cannot be compared").caused_by(error);
        let fields = columns.iter().map(|column| SortField::new(column.data_type().clone()));
        let converter = RowConverter::new(fields.collect()).map_err(failed)?;
        let rows = converter.convert_columns(&columns).map_err(failed)?;
        for row in &rows {
            let bytes: &[u8] = row.as_ref();
            let hash = self.hasher.hash_one(bytes);
            if self.seen.contains(&hash) {
                self.again += 1;
            } else if self.seen.len() < KEYS_MAX {
                self.seen.insert(hash);
            }
        }
        Ok(())
    }

    /// What a person should know; none if each key came once.
    pub(super) fn notice(&self) -> Option<String> {
        (self.again > 0).then(|| {
            format!(
                "{} rows have a key that another row of the same read has, and one took the place of the other: {} is not \
                 unique in the source; set `key` to columns that identify a row",
                self.again,
                self.key.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn rows(ids: &[i64], places: &[&str]) -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
        let places: ArrayRef = Arc::new(StringArray::from(places.to_vec()));
        RecordBatch::try_from_iter([("id", ids), ("place", places)]).unwrap()
    }

    #[test]
    fn a_key_that_comes_again_is_counted_over_batches() {
        let (first, second) = (rows(&[1, 1], &["a", "b"]), rows(&[1, 2], &["a", "a"]));
        for (key, again) in [(vec!["id"], 2), (vec!["id", "place"], 1), (vec!["nobody"], 0)] {
            let mut repeated = Repeated::new(key.iter().map(|name| (*name).to_owned()).collect());
            repeated.take(&first).unwrap();
            repeated.take(&second).unwrap();
            assert_eq!(repeated.again, again, "{key:?}");
            assert_eq!(repeated.notice().is_some(), again > 0, "{key:?}");
        }
    }
}
