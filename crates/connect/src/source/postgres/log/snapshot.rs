//! The whole reads that come before the log, one table after the other.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use flywheel_base::{Error, Result};

use super::position::{Lsn, Stored};
use super::table::{Table, with_deleted};
use super::{identity, partitions};
use crate::page::{Page, Position};
use crate::postgres::{Server, Session, field};
use crate::source::postgres::read::Read;
use crate::source::postgres::relation::Relation;
use crate::source::{ChangesPage, ReadMode, ReadRequest};

/// How often a read begins anew because the columns changed just then.
const STARTS_MAX: u32 = 5;

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
        session: &Session,
        tables: &mut [Table],
    ) -> Result<Option<ChangesPage>> {
        while let Some(table) = tables.get_mut(self.table) {
            if !table.reads_whole() || !table.goes_on() {
                self.table += 1;
                continue;
            }
            let page = match &mut self.read {
                Some(read) => read.next().await?,
                None => {
                    let (read, page, relation) = begin(server, session, table).await?;
                    identity::check_resumed(&relation, &table.stored)?;
                    table.relation = relation;
                    table.begin(read.columns());
                    self.read = Some(read);
                    page
                }
            };
            let Some(page) = page else {
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

    /// Gives up the read under way, whose table is then passed over; gives its place.
    pub(super) fn give_up(&mut self) -> usize {
        self.read = None;
        self.table
    }
}

/// Begins a whole read and reads its first page. From then on the server keeps the columns as they
/// are; whether they changed between the plan and the first row is seen by looking before and after.
async fn begin(
    server: &Server,
    session: &Session,
    table: &mut Table,
) -> Result<(Box<Read>, Option<Page>, Relation)> {
    let from = table.stored.snapshot.clone().filter(|value| !value.is_null()).map(Position);
    let request = ReadRequest { mode: ReadMode::Full, from, ..table.request.clone() };
    let mut starts = 0;
    loop {
        starts += 1;
        let before = columns_now(session, table).await?;
        // Parts can be attached while the read goes on.
        partitions::check(session, &table.relation, &mut table.stored).await?;
        let begun = async {
            let mut read = Box::new(Read::start(server, &request).await?);
            let page = read.next().await?;
            let relation = Relation::of(session, &table.settings, &[]).await?;
            Ok::<_, Error>((read, page, relation))
        };
        let begun = begun.await;
        let same = before == columns_now(session, table).await?;
        if same || starts == STARTS_MAX {
            return begun;
        }
    }
}

/// The columns of a table and their types, to be compared.
async fn columns_now(session: &Session, table: &Table) -> Result<Option<String>> {
    let sql = "SELECT string_agg(format('%s %s %s', attname, atttypid, atttypmod), ',' \
                                 ORDER BY attnum) \
               FROM pg_catalog.pg_attribute \
               WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped";
    field(&session.row(sql, &[&table.oid()]).await?, 0)
}

impl Table {
    /// Begins with a whole read; the log follows from `place` on.
    pub(super) fn start_at(&mut self, place: Lsn) {
        let snapshot = Some(serde_json::Value::Null);
        self.stored = Stored { snapshot, lsn: place, ..Stored::default() };
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
        Ok(ChangesPage {
            stream: self.stream,
            page,
            committed_at: None,
            widened: Vec::new(),
            stopped: None,
        })
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
