//! The open write: one transaction from the first row after a commit to the next commit.
//!
//! ```text
//!          write            commit
//! (idle) ───────► (open) ───────────► (idle)      an error of the system in any state: (broken),
//!   └── commit without rows ──────────►│          whose connection is dropped and rolled back
//! ```

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use flywheel_base::{Error, ErrorKind, Result};
use futures::{SinkExt, pin_mut};

use super::batch::{Columns, Encoded, Statements, pieces};
use super::refuse::{copied_column, refused};
use super::state::State;
use super::swap;
use super::target::{Fit, TableName, Target, create, keyed, retype, widen};
use crate::destination::{
    Checkpoint, NewTargetColumns, Refused, WriteMode, WriteRequest, Writer, Written, cannot_widen,
};
use crate::postgres::{Session, fail, field, is_data_error};

/// What the driver answers where the server may refuse a row.
type Answer<T> = Result<T, tokio_postgres::Error>;

/// Rows that were moved into the table.
#[derive(Clone, Copy, Debug, Default)]
struct Moved {
    written: u64,
    updated: u64,
    deleted: u64,
}

/// How rows of the present schema are written in the present transaction.
struct Ready {
    fit: Fit,
    statements: Statements,
    target: Option<Target>,
    /// Whether the table exists that rows wait in.
    waiting: bool,
}

/// A write into one table.
pub(super) struct PgWriter {
    session: Session,
    name: TableName,
    request: WriteRequest,
    state: State,
    /// Whether the staging table of a replacement holds committed rows that are continued.
    staged: bool,
    open: bool,
    broken: bool,
    ready: Option<Ready>,
    /// Numbers the waiting tables.
    number: u32,
    counts: Written,
}

impl PgWriter {
    /// Opens a write; proves that the known columns fit.
    pub(super) async fn open(
        session: Session,
        name: TableName,
        request: WriteRequest,
    ) -> Result<Self> {
        if keyed(request.mode) && request.key.is_empty() {
            return Err(Error::invalid(format!("mode {} needs a key", request.mode))
                .hint("Set `key` to the columns that identify a row."));
        }
        let state = State::new(&request.app, &name);
        state.prepare(&session).await?;
        let target = Target::find(&session, &name).await?;
        let fit = Fit::of(&session, &request, &name, target.as_ref(), &request.schema).await?;
        drop(fit);
        if let (Some(target), true) = (&target, keyed(request.mode)) {
            prove_key(&session, target, &name, &request).await?;
        }
        let progress = state.progress(&session).await?;
        let staging = Target::find(&session, &name.staging()).await?;
        let staged = progress.staged.is_some() && staging.is_some();
        Ok(Self {
            session,
            name,
            request,
            state,
            staged,
            open: false,
            broken: false,
            ready: None,
            number: 0,
            counts: Written::default(),
        })
    }

    /// The table that rows go into before the write is finished.
    fn table(&self) -> TableName {
        match self.request.mode {
            WriteMode::Replace => self.name.staging(),
            _ => self.name.clone(),
        }
    }

    async fn begin(&mut self) -> Result<()> {
        if self.open {
            return Ok(());
        }
        // Constraints that wait for the commit would not tell which row they mean.
        self.session.execute("BEGIN; SET CONSTRAINTS ALL IMMEDIATE").await?;
        self.open = true;
        Ok(())
    }

    /// Begins the staging table of a replacement, unless it has rows that are continued.
    async fn stage(&mut self) -> Result<()> {
        if self.request.mode == WriteMode::Replace && !self.staged {
            swap::start(&self.session, &self.name, &self.name.staging()).await?;
            self.state.forget_staged(&self.session).await?;
            self.staged = true;
        }
        Ok(())
    }

    /// Makes the table fit for rows of `schema`.
    async fn make_ready(&mut self, schema: &SchemaRef) -> Result<()> {
        if self.ready.as_ref().is_some_and(|ready| ready.fit.schema == *schema) {
            return Ok(());
        }
        self.stage().await?;
        let table = self.table();
        let mut target = Target::find(&self.session, &table).await?;
        let fit = self.fit(&table, target.as_ref(), schema).await?;
        let change = match target {
            None => Some(create(&table, &self.request, &fit)),
            Some(_) => widen(&table, &fit),
        };
        let mut fit = fit;
        if let Some(change) = change {
            self.session.execute(&change).await?;
            target = Target::find(&self.session, &table).await?;
            fit = self.fit(&table, target.as_ref(), schema).await?;
        }
        if let (Some(target), true) = (&target, keyed(self.request.mode)) {
            prove_key(&self.session, target, &table, &self.request).await?;
        }
        self.number += 1;
        let statements = Statements::new(&table, &fit, self.number);
        self.ready = Some(Ready { fit, statements, target, waiting: false });
        Ok(())
    }

    async fn fit(
        &self,
        table: &TableName,
        target: Option<&Target>,
        schema: &SchemaRef,
    ) -> Result<Fit> {
        Fit::of(&self.session, &self.request, table, target, schema).await
    }

    /// Gives columns of the table the types that the rows have from here on.
    async fn retype(&mut self, columns: &[String], schema: &SchemaRef) -> Result<()> {
        self.begin().await?;
        self.stage().await?;
        let table = self.table();
        let Some(target) = Target::find(&self.session, &table).await? else { return Ok(()) };
        let Some(sql) = retype(&table, &target, columns, schema) else { return Ok(()) };
        match self.request.new_columns {
            NewTargetColumns::Ignore => return Ok(()),
            NewTargetColumns::Fail => return Err(cannot_widen(&table.text(), columns, &sql)),
            NewTargetColumns::Add => {}
        }
        let altered = self.session.execute(&sql).await;
        altered.map_err(|error| match error.kind() {
            ErrorKind::Unavailable => error,
            _ => cannot_widen(&table.text(), columns, &sql).caused_by(error),
        })?;
        self.ready = None;
        Ok(())
    }

    async fn take(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        self.begin().await?;
        self.make_ready(&batch.schema()).await?;
        let Some(ready) = &mut self.ready else {
            return Err(Error::internal("a batch is written before its table is ready"));
        };
        let columns = Columns::of(&ready.fit, batch)?;
        let plain =
            !keyed(self.request.mode) && ready.fit.columns.iter().all(|column| !column.converted);
        let mut rows = Rows { session: &self.session, ready, mode: self.request.mode };
        let (moved, mut refused) = if plain {
            rows.add(&columns).await?
        } else {
            rows.move_waiting(columns.waiting(&rows.ready.fit), false).await?
        };
        self.counts.rows_written += moved.written;
        self.counts.rows_updated += moved.updated;
        self.counts.rows_deleted += moved.deleted;
        refused.sort_by_key(|refused| refused.row);
        Ok(refused)
    }

    async fn store(&mut self, checkpoint: &Checkpoint) -> Result<Written> {
        self.begin().await?;
        let replace = self.request.mode == WriteMode::Replace;
        let sequences = self.state.lock(&self.session).await?;
        let staged = if replace && self.staged { sequences.staged } else { None };
        let newest = sequences.committed.max(staged);
        if newest.is_some_and(|newest| checkpoint.sequence <= newest) {
            self.session.execute("ROLLBACK").await?;
            // What was made for these rows is gone with them.
            (self.open, self.ready) = (false, None);
            self.staged = replace && sequences.staged.is_some();
            self.counts = Written::default();
            return Ok(Written { skipped: true, ..Written::default() });
        }
        if self.ready.is_none() {
            let schema = SchemaRef::clone(&self.request.schema);
            self.make_ready(&schema).await?;
        }
        self.state.store(&self.session, checkpoint, replace).await?;
        self.session.execute("COMMIT").await?;
        self.open = false;
        if let Some(ready) = &mut self.ready {
            ready.waiting = false;
        }
        Ok(std::mem::take(&mut self.counts))
    }

    async fn end(&mut self) -> Result<Written> {
        if self.open {
            self.session.execute("ROLLBACK").await?;
            self.open = false;
        }
        if self.request.mode != WriteMode::Replace {
            return Ok(Written::default());
        }
        self.session.execute("BEGIN").await?;
        if self.state.lock(&self.session).await?.staged.is_none() {
            self.session.execute("ROLLBACK").await?;
            return Ok(Written::default());
        }
        swap::finish(&self.session, &self.name, &self.name.staging()).await?;
        self.state.promote(&self.session).await?;
        self.session.execute("COMMIT").await?;
        Ok(Written::default())
    }

    fn usable(&self) -> Result<()> {
        if self.broken {
            return Err(Error::unavailable(format!(
                "the write into \"{}\" failed before",
                self.name.text()
            ))
            .hint("Open a new writer; it goes on from the last commit."));
        }
        Ok(())
    }
}

/// A key that no unique index has would double rows instead of changing them.
pub(super) async fn prove_key(
    session: &Session,
    target: &Target,
    name: &TableName,
    request: &WriteRequest,
) -> Result<()> {
    if target.has_key(session, &request.key).await? {
        return Ok(());
    }
    let key: Vec<String> = request.key.iter().map(|key| crate::postgres::quoted(key)).collect();
    Err(Error::invalid(format!(
        "the table \"{}\" has no unique index over {}",
        name.text(),
        request.key.join(", ")
    ))
    .hint(format!("Make one: CREATE UNIQUE INDEX ON {} ({});", name.sql(), key.join(", "))))
}

/// Rows of one batch on their way.
struct Rows<'a> {
    session: &'a Session,
    ready: &'a mut Ready,
    mode: WriteMode,
}

impl Rows<'_> {
    /// Adds rows straight to the table; if the server refuses one, by way of the waiting table.
    async fn add(&mut self, columns: &Columns) -> Result<(Moved, Vec<Refused>)> {
        let Encoded { bytes, good, refused, .. } = columns.direct(&self.ready.fit);
        if good.is_empty() {
            return Ok((Moved::default(), refused));
        }
        self.session.execute("SAVEPOINT batch").await?;
        match self.copy(&self.ready.statements.copy_direct, bytes).await? {
            Ok(written) => {
                self.session.execute("RELEASE batch").await?;
                Ok((Moved { written, ..Moved::default() }, refused))
            }
            Err(error) if is_data_error(&error) => {
                tracing::debug!(column = ?error.as_db_error().and_then(copied_column), "refused");
                self.session.execute("ROLLBACK TO batch; RELEASE batch").await?;
                self.move_waiting(columns.waiting(&self.ready.fit), true).await
            }
            Err(error) => Err(fail(self.session.server(), error)),
        }
    }

    /// Sends rows; gives how many, or the server's answer.
    async fn copy(&self, sql: &str, bytes: Vec<u8>) -> Result<Answer<u64>> {
        let sink = match self.session.copy_in(sql).await? {
            Ok(sink) => sink,
            Err(error) => return Ok(Err(error)),
        };
        pin_mut!(sink);
        for piece in pieces(bytes) {
            if self.session.answer(sink.send(piece)).await?.is_err() {
                // The end says why.
                break;
            }
        }
        self.session.answer(sink.finish()).await
    }

    /// Moves rows by way of the waiting table, halving what the server refuses.
    async fn move_waiting(
        &mut self,
        encoded: Encoded,
        known_bad: bool,
    ) -> Result<(Moved, Vec<Refused>)> {
        let Encoded { bytes, good, mut refused, gone } = encoded;
        let mut moved = Moved::default();
        if good.is_empty() {
            return Ok((moved, refused));
        }
        let statements = &self.ready.statements;
        let prepare =
            if self.ready.waiting { &statements.clear_waiting } else { &statements.create_waiting };
        self.session.execute(prepare).await?;
        self.ready.waiting = true;
        let copied = self.copy(&self.ready.statements.copy_waiting, bytes).await?;
        copied.map_err(|error| fail(self.session.server(), error))?;
        let half = good.len() / 2;
        let mut ranges = if known_bad && half > 0 {
            vec![(half, good.len()), (0, half)]
        } else {
            vec![(0, good.len())]
        };
        while let Some((from, to)) = ranges.pop() {
            let places = good.get(from).copied().zip(good.get(to - 1).copied());
            let Some((first, last)) = places else { continue };
            self.session.execute("SAVEPOINT part").await?;
            match self.move_range(first, last, gone).await? {
                Ok(part) => {
                    self.session.execute("RELEASE part").await?;
                    moved.written += part.written;
                    moved.updated += part.updated;
                    moved.deleted += part.deleted;
                }
                Err(error) if is_data_error(&error) => {
                    self.session.execute("ROLLBACK TO part; RELEASE part").await?;
                    if to - from == 1 {
                        refused.push(self.refused(first, &error).await?);
                        continue;
                    }
                    let middle = from + (to - from) / 2;
                    ranges.push((middle, to));
                    ranges.push((from, middle));
                }
                Err(error) => return Err(fail(self.session.server(), error)),
            }
        }
        Ok((moved, refused))
    }

    /// Moves the rows of a range of places.
    async fn move_range(&self, first: usize, last: usize, gone: bool) -> Result<Answer<Moved>> {
        let statements = &self.ready.statements;
        let mut moved = Moved::default();
        if !keyed(self.mode) {
            let written = self.session.attempt_counted(&statements.insert(first, last)).await?;
            return Ok(written.map(|written| Moved { written, ..moved }));
        }
        if gone {
            match self.session.attempt_counted(&statements.delete(first, last)).await? {
                Ok(deleted) => moved.deleted = deleted,
                Err(error) => return Ok(Err(error)),
            }
        }
        if let Some(update) = statements.update(first, last) {
            match self.session.attempt_counted(&update).await? {
                Ok(updated) => (moved.updated, moved.written) = (updated, updated),
                Err(error) => return Ok(Err(error)),
            }
        }
        match self.session.attempt_rows(&statements.upsert(first, last)).await? {
            Ok(rows) => {
                if let Some(row) = rows.first() {
                    let (written, updated): (i64, i64) = (field(row, 0)?, field(row, 1)?);
                    moved.written += u64::try_from(written).unwrap_or(0);
                    moved.updated += u64::try_from(updated).unwrap_or(0);
                }
                Ok(Ok(moved))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    /// What is wrong with a row that the server refuses; finds the column if a conversion fails.
    async fn refused(&self, place: usize, error: &tokio_postgres::Error) -> Result<Refused> {
        let mut found = refused(self.session, self.ready.target.as_ref(), place, error).await?;
        if found.column.is_some() {
            return Ok(found);
        }
        for (at, column) in self.ready.fit.columns.iter().enumerate() {
            // The value is of no use, only whether there is one.
            let Some(sql) = self.ready.statements.conversion(at, place) else { continue };
            self.session.execute("SAVEPOINT conversion").await?;
            let failed = self.session.attempt(&sql).await?.is_err();
            self.session.execute("ROLLBACK TO conversion; RELEASE conversion").await?;
            if failed {
                found.column = Some(column.name.clone());
                break;
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl Writer for PgWriter {
    async fn write(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        self.usable()?;
        let taken = self.take(batch).await;
        self.broken = taken.is_err();
        taken
    }

    async fn widen(&mut self, columns: &[String], schema: &SchemaRef) -> Result<()> {
        self.usable()?;
        let widened = self.retype(columns, schema).await;
        self.broken = widened.is_err();
        widened
    }

    async fn commit(&mut self, checkpoint: &Checkpoint) -> Result<Written> {
        self.usable()?;
        let stored = self.store(checkpoint).await;
        self.broken = stored.is_err();
        stored
    }

    async fn finish(mut self: Box<Self>) -> Result<Written> {
        self.usable()?;
        self.end().await
    }
}
