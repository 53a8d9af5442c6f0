//! Rows of a load that was cut off, as far as they can be taken over by the next one.

use std::io::Cursor;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use flywheel_base::{Clock as _, Error, Result, SystemClock, digest};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::from_store;
use crate::log::action::Add;
use crate::snapshot::Snapshot;

/// How long after its last rows a load is taken up again, by the machine's clock: what was read long ago says little about the
/// source of today. Its files are swept away only later.
const TAKEN_UP_WITHIN_US: i64 = 6 * 3_600 * 1_000_000;

/// What tells whether a load goes on where an earlier one was cut off.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The application whose checkpoint the load commits.
    pub app: String,
    /// Its sequence.
    pub sequence: i64,
    /// A digest of all that says what is read, and how it becomes rows.
    pub digest: String,
}

/// The rows so far of a load that is not committed yet, and how far the read behind them had come.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Parked {
    sequence: i64,
    digest: String,
    replace: bool,
    /// When, by the machine's clock, in microseconds.
    at: i64,
    /// What the caller said of the read so far.
    pub(super) reached: Value,
    pub(super) rows: u64,
    pub(super) files: Vec<Add>,
    /// The columns given so far, and those of the files, as streams of Arrow's without rows.
    given: Vec<u8>,
    columns: Vec<u8>,
}

impl Parked {
    pub(super) fn new(
        reading: &Reading,
        replace: bool,
        (given, columns): (&Schema, &Schema),
        (rows, files): (u64, Vec<Add>),
        reached: Value,
    ) -> Result<Self> {
        Ok(Self {
            sequence: reading.sequence,
            digest: reading.digest.clone(),
            replace,
            at: SystemClock.now().micros(),
            reached,
            rows,
            files,
            given: encoded(given)?,
            columns: encoded(columns)?,
        })
    }

    /// What the next load can take over; none if there is nothing, or it is of another read, or too old, or its files are not
    /// what they were.
    pub(super) async fn find(
        store: &Arc<dyn ObjectStore>,
        folder: &Path,
        (reading, replace): (&Reading, bool),
        head: Option<&Arc<Snapshot>>,
    ) -> Result<Option<Self>> {
        let failed = |error| from_store("read what is left of a load that was cut off", error);
        let bytes = match store.get(&place(folder, reading)).await {
            Ok(found) => found.bytes().await.map_err(failed)?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let Ok(parked) = serde_json::from_slice::<Self>(&bytes) else { return Ok(None) };
        let age = SystemClock.now().micros() - parked.at;
        let same = parked.sequence == reading.sequence
            && parked.digest == reading.digest
            && parked.replace == replace
            && (0..=TAKEN_UP_WITHIN_US).contains(&age);
        if !same || parked.files.is_empty() {
            return Ok(None);
        }
        for file in &parked.files {
            // A file that a commit names belongs to a load that was not cut off.
            let named =
                head.is_some_and(|head| head.files.iter().any(|of| of.add.path == file.path));
            let there = store.head(&folder.clone().join(file.path.as_str())).await;
            let whole = there.is_ok_and(|there| there.size == file.size.unsigned_abs());
            if named || !whole {
                return Ok(None);
            }
        }
        Ok(Some(parked))
    }

    pub(super) fn given(&self) -> Result<SchemaRef> {
        decoded(&self.given)
    }

    pub(super) fn columns(&self) -> Result<SchemaRef> {
        decoded(&self.columns)
    }

    pub(super) async fn keep(
        &self,
        store: &Arc<dyn ObjectStore>,
        folder: &Path,
        reading: &Reading,
    ) -> Result<()> {
        let text = serde_json::to_vec(self)
            .map_err(|error| Error::internal("a load cannot be described").caused_by(error))?;
        let kept = store.put(&place(folder, reading), text.into()).await;
        kept.map(|_| ()).map_err(|error| from_store("note how far a load has come", error))
    }

    /// Forgets the load; the files stay as they are.
    pub(super) async fn forget(store: &Arc<dyn ObjectStore>, folder: &Path, reading: &Reading) {
        match store.delete(&place(folder, reading)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => {
                tracing::debug!(error = %error, "what is left of a load stays until it is swept");
            }
        }
    }
}

/// Where it is kept: a file of the table's folder that no reader of tables looks at, and that is swept as its data files are.
fn place(folder: &Path, reading: &Reading) -> Path {
    folder.clone().join(format!("_load-{}.json", digest::short(&[reading.app.as_bytes()])))
}

fn unreadable(error: ArrowError) -> Error {
    Error::internal("the columns of a load cannot be described").caused_by(error)
}

fn encoded(schema: &Schema) -> Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema).map_err(unreadable)?;
    writer.finish().map_err(unreadable)?;
    writer.into_inner().map_err(unreadable)
}

fn decoded(bytes: &[u8]) -> Result<SchemaRef> {
    Ok(StreamReader::try_new(Cursor::new(bytes), None).map_err(unreadable)?.schema())
}
