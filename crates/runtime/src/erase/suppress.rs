//! Keeping those out who were erased: their rows do not land again.
//!
//! What is kept of them is a salted digest of the key, so the list tells nobody who is on it without trying keys.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use flywheel_base::{Error, Result, digest};
use flywheel_connect::Page;
use flywheel_project::resource::sync::{Column, Stream};

use super::meant::{cells, fields};
use crate::Workspace;

/// Who is kept out of one table.
#[derive(Debug)]
pub(crate) struct Suppression {
    salt: String,
    digests: HashSet<String>,
    /// The columns of the table that hold keys.
    columns: Vec<String>,
    /// What they are called in the source, or in the table.
    names: BTreeSet<String>,
    /// How many rows were left out.
    left_out: AtomicU64,
}

/// The digest of a key.
pub(super) fn digest_of(salt: &str, key: &str) -> String {
    digest::hex(&[salt.as_bytes(), key.as_bytes()])
}

impl Suppression {
    /// Who is kept out of the table of a stream; none if nobody is, or if no column of the table holds keys.
    ///
    /// # Errors
    /// Those of the metadata.
    pub(crate) fn of(workspace: &Workspace, stream: &Stream) -> Result<Option<Self>> {
        let keys = &workspace.project.file.erasure.keys;
        let Some(columns) = keys.get(&stream.table()) else { return Ok(None) };
        let Some(salt) = workspace.store.erasure_salt()? else { return Ok(None) };
        let digests: HashSet<String> = workspace.store.suppressed_digests()?.into_iter().collect();
        if digests.is_empty() {
            return Ok(None);
        }
        let declared = stream.columns.iter().filter(|column| columns.contains(&column.name));
        let mut names: BTreeSet<String> =
            declared.map(|column: &Column| column.source_name().to_owned()).collect();
        names.extend(columns.iter().cloned());
        let left_out = AtomicU64::new(0);
        Ok(Some(Self { salt, digests, columns: columns.clone(), names, left_out }))
    }

    /// What tells who is kept out from others who might be.
    pub(crate) fn mark(&self) -> String {
        let digests: BTreeSet<&str> = self.digests.iter().map(String::as_str).collect();
        let parts: Vec<&[u8]> = digests.into_iter().map(str::as_bytes).collect();
        digest::hex(&parts)
    }

    /// How many rows were left out so far.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Leaves the rows of those out who are kept out: of the rows that land, and of those that are set aside.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if a column of keys has no text.
    pub(crate) fn sift(&self, page: &mut Page) -> Result<()> {
        let before = page.batch.num_rows() + page.rejected.len();
        if let Some(kept) = self.kept(&page.batch)? {
            page.keep(&kept)?;
        }
        page.rejected.retain(|row| !self.is_in(&row.raw));
        let left = before - (page.batch.num_rows() + page.rejected.len());
        self.left_out.fetch_add(left as u64, Ordering::Relaxed);
        Ok(())
    }

    fn has(&self, key: &str) -> bool {
        self.digests.contains(&digest_of(&self.salt, key))
    }

    /// Which rows stay; none if all do.
    fn kept(&self, batch: &RecordBatch) -> Result<Option<BooleanArray>> {
        let mut kept = vec![true; batch.num_rows()];
        for name in &self.columns {
            let Some(column) = batch.column_by_name(name) else { continue };
            let texts = cast(column, &DataType::Utf8).map_err(|error| {
                Error::internal(format!("the column \"{name}\" of keys has no text"))
                    .caused_by(error)
            })?;
            for (kept, key) in kept.iter_mut().zip(texts.as_string::<i32>()) {
                *kept &= !key.is_some_and(|key| self.has(key));
            }
        }
        Ok(kept.contains(&false).then(|| kept.into()))
    }

    /// Whether a row that is set aside is about somebody who is kept out.
    fn is_in(&self, raw: &str) -> bool {
        fields(raw, &self.names).iter().any(|key| self.has(key))
            || cells(raw).any(|cell| self.has(cell))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use flywheel_connect::{Position, Rejected};
    use serde_json::json;

    use super::*;

    fn out(keys: &[&str]) -> Suppression {
        Suppression {
            salt: "salt".to_owned(),
            digests: keys.iter().map(|key| digest_of("salt", key)).collect(),
            columns: vec!["id".to_owned(), "payer".to_owned()],
            names: BTreeSet::from(["ID".to_owned(), "id".to_owned()]),
            left_out: AtomicU64::new(0),
        }
    }

    fn rejected(raw: &str) -> Rejected {
        Rejected {
            source: "csv".into(),
            file: "a.csv".to_owned(),
            line: Some(1),
            column: None,
            code: "bad".into(),
            reason: "bad".to_owned(),
            raw: raw.to_owned(),
            destination: None,
        }
    }

    #[test]
    fn rows_of_those_who_are_kept_out_are_left_out_wherever_their_key_stands() {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(4)]));
        let payers: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "2"]));
        let raws = ["{\"ID\":2}", "2,x", "3,x", "{\"ID\":20}"];
        let mut page = Page {
            batch: RecordBatch::try_from_iter([("id", ids), ("payer", payers)]).unwrap(),
            origin: Vec::new(),
            rejected: raws.map(rejected).into(),
            notices: Vec::new(),
            position: Position(json!(null)),
        };
        let out = out(&["2"]);
        out.sift(&mut page).unwrap();
        let left: Vec<&str> = page.rejected.iter().map(|row| row.raw.as_str()).collect();
        assert_eq!((page.batch.num_rows(), left), (2, vec!["3,x", "{\"ID\":20}"]));
        assert_eq!(out.left_out(), 4);
    }

    #[test]
    fn a_digest_tells_nothing_without_its_salt() {
        assert_ne!(digest_of("one", "17"), digest_of("other", "17"));
    }
}
