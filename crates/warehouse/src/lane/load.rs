//! A load: more rows than memory holds, written into data files as they come and committed at the
//! end, when all of their columns and the position after them are known.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use flywheel_base::{Error, Result};
use futures::{StreamExt, TryStreamExt, stream};

use serde_json::Value;

use super::Lane;
use super::decide::Prepared;
use super::parked::{Parked, Reading};
use crate::data_file::{self, DataWriter};
use crate::log::action::Add;
use crate::shape::{self, Fit};
use crate::snapshot::{DataFile, Snapshot};
use crate::write::{Commit, SchemaChange, Write, WriteMode};
use crate::{Checkpoint, Location, RowStream};

/// An open load into one table. Its files mean nothing until [`Load::commit`]; after a crash the next load of the same
/// read takes over those that were parked, and what nobody refers to is swept away.
#[derive(Debug)]
pub struct Load {
    lane: Arc<Lane>,
    mode: WriteMode,
    /// The table as it was when the load began.
    head: Option<Arc<Snapshot>>,
    /// What the buffers of the file being written may hold, if that is limited.
    buffer_bytes: Option<usize>,
    open: Option<Open>,
    /// What the load can be taken up by, if it can.
    reading: Option<Reading>,
    /// How many of its files are parked.
    parked: usize,
}

/// The rows so far.
#[derive(Debug)]
struct Open {
    /// The columns given so far.
    given: SchemaRef,
    fit: Fit,
    writer: DataWriter,
    /// Whether files have narrower types than those that were written last.
    narrow: bool,
}

impl Load {
    pub(crate) async fn start(lane: Arc<Lane>, mode: WriteMode) -> Result<Self> {
        if let WriteMode::DeleteWhere { .. } = mode {
            return Err(Error::internal("a deletion has no rows to load"));
        }
        let head = lane.head().await?;
        if let Some(head) = &head {
            head.require_writable()?;
        }
        Ok(Self { lane, mode, head, buffer_bytes: None, open: None, reading: None, parked: 0 })
    }

    /// Lets the load be parked, and takes over the rows of one of the same read that was parked and cut off; returns what
    /// that one said of how far it had come. Only loads that append or replace are taken up: others have to see all rows.
    ///
    /// # Errors
    /// If the table's folder cannot be read.
    pub async fn resume(&mut self, reading: Reading) -> Result<Option<Value>> {
        if !matches!(self.mode, WriteMode::Append | WriteMode::Replace) {
            return Ok(None);
        }
        let replace = self.mode == WriteMode::Replace;
        let (store, folder) = (&self.lane.around.store, &self.lane.log.folder);
        let found = Parked::find(store, folder, (&reading, replace), self.head.as_ref()).await?;
        self.reading = Some(reading);
        let Some(parked) = found else { return Ok(None) };
        let given = parked.given()?;
        // The table's columns may have become others meanwhile.
        let fit = match self.fit(&given) {
            Ok(fit) if fit.schema == parked.columns()? => fit,
            _ => return Ok(None),
        };
        let mut writer = self.lane.new_writer(self.head.as_ref(), &fit).within(self.buffer_bytes);
        self.parked = parked.files.len();
        writer.take_over(parked.files, parked.rows);
        self.open = Some(Open { given, fit, writer, narrow: false });
        Ok(Some(parked.reached))
    }

    /// Lets the load be parked, whatever was parked before.
    #[must_use]
    pub fn anew(self, reading: Reading) -> Self {
        Self { reading: Some(reading), ..self }
    }

    /// Whether all rows so far lie in files that are complete, so that to park costs nothing.
    #[must_use]
    pub fn is_between_files(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.writer.is_between_files())
    }

    /// Makes the rows so far durable, with `reached`, what the read behind them needs to go on. If the load is cut off,
    /// [`Load::resume`] gives that back. Does nothing for a load that cannot be taken up.
    ///
    /// # Errors
    /// As [`Load::write`].
    pub async fn park(&mut self, reached: Value) -> Result<()> {
        let (Some(reading), Some(open)) = (&self.reading, &mut self.open) else { return Ok(()) };
        // Files of narrower types are written anew before the commit.
        if open.narrow {
            return Ok(());
        }
        let files = open.writer.finish().await?;
        if files.is_empty() {
            return Ok(());
        }
        let (rows, count) = (open.writer.rows, files.len());
        let columns = (open.given.as_ref(), open.fit.schema.as_ref());
        let replace = self.mode == WriteMode::Replace;
        let parked = Parked::new(reading, replace, columns, (rows, files), reached)?;
        parked.keep(&self.lane.around.store, &self.lane.log.folder, reading).await?;
        self.parked = count;
        Ok(())
    }

    /// The load with buffers of about `bytes` at most; for the batches that follow.
    #[must_use]
    pub fn within(self, bytes: Option<usize>) -> Self {
        Self { buffer_bytes: bytes, ..self }
    }

    /// Adds rows. A batch may have columns that those before it did not have; earlier rows are NULL
    /// there, and so are this batch's rows in columns it lacks. A column can have a wider type than before.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if no type holds a column's values or one does not fit the table,
    /// [`flywheel_base::ErrorKind::Exhausted`] if the disk is full.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let written = self.take(batch).await;
        written.map_err(|error| error.context(format!("table \"{}\"", self.location())))
    }

    async fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let given = match &self.open {
            Some(open) => shape::union(&open.given, batch.schema_ref())?,
            None => batch.schema(),
        };
        if self.open.as_ref().is_none_or(|open| open.given != given) {
            let fit = self.fit(&given)?;
            self.open = Some(match self.open.take() {
                Some(mut open) => {
                    open.writer.change_columns(Arc::clone(&fit.schema)).await?;
                    let narrow = open.narrow || retyped(&open.fit.schema, &fit.schema);
                    Open { given, fit, writer: open.writer, narrow }
                }
                None => {
                    let writer = self.lane.new_writer(self.head.as_ref(), &fit);
                    let writer = writer.within(self.buffer_bytes);
                    Open { given, fit, writer, narrow: false }
                }
            });
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let batch = shape::convert(&open.fit, &shape::conform(&open.given, batch)?)?;
        open.writer.write(batch).await
    }

    /// How the given columns become those of the table, or of the files that wait to be merged.
    fn fit(&self, given: &Schema) -> Result<Fit> {
        let fresh = !matches!(self.mode, WriteMode::Append);
        let table = self.head.as_ref().map(|head| &head.schema).filter(|_| !fresh);
        let mut fit = shape::fit(self.location(), table, given, SchemaChange::Add)?;
        if let Some(head) = self.head.as_ref().filter(|head| fresh && head.schema == fit.schema) {
            fit.schema = Arc::clone(&head.schema);
            fit.changed = false;
        }
        Ok(fit)
    }

    fn location(&self) -> &Location {
        &self.lane.log.location
    }

    /// Publishes everything as one commit, together with the checkpoint after it. A load without
    /// rows must not be committed: it has no columns.
    ///
    /// # Errors
    /// As [`crate::Lake::write`]; nothing is published then.
    pub async fn commit(
        self,
        operation: &str,
        app: &str,
        checkpoint: Checkpoint,
    ) -> Result<Commit> {
        let (lane, reading) = (Arc::clone(&self.lane), self.reading.clone());
        // Boxed, so that callers' futures stay small.
        let commit = Box::pin(self.publish(operation, app, checkpoint)).await?;
        if let Some(reading) = reading {
            Parked::forget(&lane.around.store, &lane.log.folder, &reading).await;
        }
        Ok(commit)
    }

    async fn publish(
        mut self,
        operation: &str,
        app: &str,
        checkpoint: Checkpoint,
    ) -> Result<Commit> {
        let Some(mut open) = self.open.take() else {
            return Err(Error::internal(format!("a load of \"{}\" has no rows", self.location())));
        };
        let adds = match open.writer.finish().await {
            Ok(adds) => adds,
            Err(error) => {
                open.writer.discard().await;
                return Err(error.context(format!("table \"{}\"", self.location())));
            }
        };
        if matches!(self.mode, WriteMode::Append | WriteMode::Replace) {
            let replace = self.mode == WriteMode::Replace;
            let adds = match open.narrow {
                false => adds,
                true => {
                    let rows = self.read_back(adds, &open.fit.schema)?;
                    let writer = self.lane.new_writer(self.head.as_ref(), &open.fit);
                    let written = write_wider(&mut open, rows, writer.within(self.buffer_bytes));
                    written.await.map_err(|error| {
                        error.context(format!("table \"{}\"", self.lane.log.location))
                    })?
                }
            };
            let Open { fit, mut writer, given, .. } = open;
            if fit.widens {
                match self.lane.widen_queued(&given).await {
                    Ok(head) => self.head = head,
                    Err(error) => {
                        writer.discard().await;
                        return Err(error);
                    }
                }
            }
            let base = self.head.as_ref().map(|head| head.metadata.schema_string.clone());
            let prepared = Prepared::files(&self.lane, writer, adds, fit, replace, base);
            let checkpoint = Some((app.to_owned(), checkpoint));
            return self.lane.commit_prepared(prepared, checkpoint, operation).await;
        }
        let rows = self.read_back(adds, &open.fit.schema)?;
        let write = Write::new(self.mode.clone(), rows, operation)
            .checkpoint(app, checkpoint)
            .add_columns();
        let commit = self.lane.write(write).await;
        open.writer.discard().await;
        commit
    }

    /// The loaded rows again, in the order in which they came.
    fn read_back(&self, adds: Vec<Add>, schema: &SchemaRef) -> Result<RowStream> {
        let files = adds
            .into_iter()
            .map(|add| DataFile::new(&self.lane.log.folder, add))
            .collect::<Result<Vec<_>>>()?;
        let store = Arc::clone(&self.lane.around.store);
        let wanted = SchemaRef::clone(schema);
        let rows = stream::iter(files)
            .then(move |file| {
                let (store, schema) = (Arc::clone(&store), SchemaRef::clone(&wanted));
                async move { data_file::read(&store, &file, &schema).await }
            })
            .try_flatten();
        Ok(RowStream::new(SchemaRef::clone(schema), rows))
    }

    /// Gives the load up and removes its files.
    pub async fn discard(mut self) {
        if let Some(reading) = self.reading.take() {
            Parked::forget(&self.lane.around.store, &self.lane.log.folder, &reading).await;
        }
        if let Some(mut open) = self.open.take() {
            open.writer.discard().await;
        }
    }

    /// Leaves the load to be taken up later, as far as it is parked; removes the other files.
    pub async fn leave(mut self) {
        if let Some(mut open) = self.open.take() {
            open.writer.discard_behind(self.parked).await;
        }
    }
}

/// The files written anew with the types of the last ones, after a column became wider meanwhile.
async fn write_wider(open: &mut Open, mut rows: RowStream, writer: DataWriter) -> Result<Vec<Add>> {
    // The writer of the narrow files, and with it those, goes only after they were read.
    let mut narrow = std::mem::replace(&mut open.writer, writer);
    let mut written = Ok(());
    while let (Ok(()), Some(batch)) = (&written, rows.next().await) {
        written = match batch {
            Ok(batch) => open.writer.write(batch).await,
            Err(error) => Err(error),
        };
    }
    let adds = match written {
        Ok(()) => open.writer.finish().await,
        Err(error) => Err(error),
    };
    narrow.discard().await;
    if adds.is_err() {
        open.writer.discard().await;
    }
    adds
}

/// Whether a column has another type than before.
fn retyped(before: &Schema, now: &Schema) -> bool {
    let other = |field: &FieldRef| {
        now.field_with_name(field.name()).is_ok_and(|now| now.data_type() != field.data_type())
    };
    before.fields().iter().any(other)
}
