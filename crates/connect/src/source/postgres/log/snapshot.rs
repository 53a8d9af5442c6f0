//! The whole reads that come before the log, one table after the other.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use flywheel_base::{Error, Result};

use super::position::Stored;
use super::table::{Table, with_deleted};
use crate::page::{Page, Position};
use crate::postgres::Server;
use crate::source::postgres::read::Read;
use crate::source::{ChangesPage, ReadMode, ReadRequest};

/// The whole reads still to come, and the one under way.
#[derive(Default)]
pub(super) struct Snapshots {
    table: usize,
    read: Option<Box<Read>>,
}

impl Snapshots {
    /// The next page; none once every table has been read.
    pub(super) async fn next(
        &mut self,
        server: &Server,
        tables: &mut [Table],
    ) -> Result<Option<ChangesPage>> {
        while let Some(table) = tables.get_mut(self.table) {
            if !table.reads_whole() {
                self.table += 1;
                continue;
            }
            let read = match &mut self.read {
                Some(read) => read,
                None => {
                    let request = ReadRequest {
                        mode: ReadMode::Full,
                        from: table
                            .stored
                            .snapshot
                            .clone()
                            .filter(|value| !value.is_null())
                            .map(Position),
                        ..table.request.clone()
                    };
                    let read = Read::start(server, &request).await?;
                    table.begin(read.columns());
                    self.read.insert(Box::new(read))
                }
            };
            let Some(page) = read.next().await? else {
                return Err(Error::internal("a whole read ended before its last page"));
            };
            let page = table.whole_page(page)?;
            if !table.reads_whole() {
                self.read = None;
                self.table += 1;
            }
            return Ok(Some(page));
        }
        Ok(None)
    }
}

impl Table {
    /// Begins with a whole read; the log follows from `place` on.
    pub(super) fn start_at(&mut self, place: super::position::Lsn) {
        self.stored.lsn = place;
        self.stored.snapshot = Some(serde_json::Value::Null);
        self.told = place;
    }

    /// Whether the table is being read whole.
    pub(super) fn reads_whole(&self) -> bool {
        self.stored.snapshot.is_some()
    }

    /// A page of a whole read as one of changes.
    fn whole_page(&mut self, mut page: Page) -> Result<ChangesPage> {
        let complete = page.position.0.get("complete").and_then(serde_json::Value::as_bool);
        self.stored.snapshot = Some(page.position.0);
        page.position = if complete == Some(true) {
            self.stored.snapshot = None;
            self.log_position()?
        } else {
            Stored { columns: Vec::new(), ..self.stored.clone() }.position()?
        };
        page.batch = none_deleted(&page.batch, self)?;
        Ok(ChangesPage { stream: self.stream, page, committed_at: None })
    }
}

/// The rows with the column that says that none of them is gone.
fn none_deleted(batch: &RecordBatch, table: &Table) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let mut arrays = batch.columns().to_vec();
    arrays.push(Arc::new(BooleanArray::from(vec![false; rows])));
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let schema = with_deleted(table.columns());
    RecordBatch::try_new_with_options(Arc::clone(schema.arrow()), arrays, &options)
        .map_err(|error| Error::internal("a page's columns do not form a batch").caused_by(error))
}
