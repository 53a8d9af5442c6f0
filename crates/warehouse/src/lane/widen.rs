//! Columns that get a wider type.
//!
//! Delta's table feature for this is not known to all readers of a lake, so that the data files are
//! written anew with the wider types: whoever reads the table meets one type per column. That is a
//! commit of its own, which changes no row, before the one that needs it. A crash between the two
//! leaves a table that is wider than need be. Versions before it keep their files and types.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use flywheel_base::{Error, ErrorKind, Result};
use futures::TryStreamExt;

use super::{ATTEMPTS_MAX, Change, Lane, Waits};
use crate::data_file::{self, DataWriter};
use crate::shape;
use crate::snapshot::Snapshot;
use crate::write::Commit;

impl Lane {
    /// Gives columns the types that rows of `given` need, where those are wider; returns the head after
    /// it. No writer of this process may come in between: the caller holds the queue.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if no type holds the values of both; nothing is changed then.
    /// # Cost
    /// Reads and writes the whole table, if a column is widened.
    pub(super) async fn widen(&self, given: &Schema) -> Result<Option<Arc<Snapshot>>> {
        let mut last = None;
        for _ in 0..ATTEMPTS_MAX {
            let Some(head) = self.head().await? else { return Ok(None) };
            let Some(schema) = shape::wider(self.location(), &head.schema, given)? else {
                return Ok(Some(head));
            };
            head.require_writable()?;
            if head.waiting.is_some() {
                // Changes have the types of the files they are merged into.
                Box::pin(self.fold()).await?;
                continue;
            }
            tracing::info!(table = %self.location(), files = head.files.len(), "columns widen");
            let mut writer = DataWriter::new(
                Arc::clone(&self.around.store),
                self.log.folder.clone(),
                SchemaRef::clone(&schema),
                head.version + 1,
                self.now(),
            );
            match self.rewrite_wider(&head, schema, &mut writer).await {
                Ok(()) => return self.head().await,
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    writer.discard().await;
                    last = Some(error);
                }
                Err(error) => {
                    // A commit that failed after it got its name is visible: its files must stay.
                    if matches!(self.log.identity(head.version + 1).await, Ok(None)) {
                        writer.discard().await;
                    }
                    return Err(error.context(format!("table \"{}\"", self.location())));
                }
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!("table \"{}\" is written by another program all the time", self.location()),
        )
        .hint("Let one program write it, or try again when the other one pauses.")
        .caused_by(last.unwrap_or_else(|| Error::internal("no attempt was made"))))
    }

    /// As [`Lane::widen`], for a caller that does not hold the queue.
    pub(super) async fn widen_queued(&self, given: &Schema) -> Result<Option<Arc<Snapshot>>> {
        let _lane = self.queue.lock().await;
        self.widen(given).await
    }

    /// Writes every file anew with the wider types, one for one, so that ranges of keys stay apart.
    async fn rewrite_wider(
        &self,
        head: &Snapshot,
        schema: SchemaRef,
        writer: &mut DataWriter,
    ) -> Result<()> {
        for file in &head.files {
            let mut batches = data_file::read(&self.around.store, file, &schema).await?;
            while let Some(batch) = batches.try_next().await? {
                writer.write(batch).await?;
            }
            writer.end_file().await?;
        }
        let change = Change {
            adds: writer.finish().await?,
            removes: head.files.clone(),
            schema: Some(schema),
            commit: Commit::default(),
            delta_operation: "CHANGE COLUMN",
            data_change: false,
            always: false,
            waiting: Waits::Same,
        };
        self.publish_upkeep(head, &change, "widen columns").await.map(drop)
    }
}
