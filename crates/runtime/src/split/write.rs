//! The run: every table is read once more and written into both parts, each part's table at once.
//!
//! A table is committed in one act with a checkpoint that names the rows and rules it was made of. So
//! what is staged is always whole: a run that finds it swaps it in, and then writes what is newer.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use flywheel_base::{Error, Result, digest, task};
use flywheel_connect::Position;
use flywheel_connect::destination::{
    Checkpoint, Destination, NewTargetColumns, WriteMode, WriteRequest, Writer,
};
use flywheel_connect::source::Source;
use flywheel_project::resource::split::{SplitTable, SplitWrite};
use flywheel_reconcile::order::{Relation, order};
use flywheel_reconcile::record::{Pair, Side};
use flywheel_reconcile::split::{Placed, place};
use flywheel_state::{SplitPhase, TaskOutcome};
use futures::StreamExt;
use serde::Serialize;
use serde_json::{Value, json};

use super::Splitting;
use super::part::{PartOf, changed};
use super::rows::{Content, Spec};
use super::scan::{Scanned, is_there, refuse_rejected};
use crate::Workspace;
use crate::recorder::{Observer, Recorder};
use crate::run::start;
use crate::task::deliver::{CHECKPOINT_BYTES, CHECKPOINT_ROWS, open};

/// What a run is allowed to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether tables are written that stand already, and rows replaced that this split did not write.
    pub overwrite: bool,
}

/// What became of one table in one part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SplitTableWritten {
    /// The table.
    pub table: String,
    /// The part.
    pub part: String,
    /// Rows of the part.
    pub rows: u64,
    /// Rows written by this run.
    pub rows_written: u64,
    /// References that were emptied in them.
    pub cleared: u64,
    /// Whether it stood already, so that nothing was written.
    pub stood: bool,
}

/// Takes the system apart; run again, it writes only what does not stand yet.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Blocked`] if a row has no place, a reference leads out that may not be
/// emptied, a target holds rows of somebody else, or a target refuses a row;
/// [`flywheel_base::ErrorKind::Conflict`] if the source was written meanwhile; those of the scan and
/// of the systems. Tables that were written before the error stand.
pub async fn run(
    workspace: &Workspace,
    name: &str,
    options: Options,
    observer: &dyn Observer,
) -> Result<Vec<SplitTableWritten>> {
    let splitting = Splitting::named(workspace, name)?;
    let recorder = start(workspace, observer, "split")?;
    let timer = recorder.started("scan", name);
    let scanned = splitting.scan().await;
    let scanned = recorder.settled(timer, scanned, |scanned| {
        let rows = scanned.tables.iter().map(|table| table.content.rows).sum();
        ("succeeded".to_owned(), TaskOutcome { rows_in: Some(rows), ..TaskOutcome::default() })
    });
    let result = match scanned {
        Ok(scanned) => Box::pin(all(&splitting, &scanned, options, &recorder)).await,
        Err(error) => Err(error),
    };
    recorder.finish(result.as_ref().err())?;
    result
}

async fn all(
    splitting: &Splitting<'_>,
    scanned: &Scanned<'_>,
    options: Options,
    recorder: &Recorder<'_>,
) -> Result<Vec<SplitTableWritten>> {
    let placed = place(&scanned.scan)?;
    splitting.require_whole(&placed).await?;
    let work = Work { splitting, scanned, placed: &placed, tag: splitting.tag(scanned)?, options };
    work.require_own().await?;
    let before = splitting.workspace.store.split(splitting.name())?;
    splitting.record(SplitPhase::Loading, json!({}))?;
    let source = splitting.source()?;
    let mut written = Vec::new();
    for at in splitting.write_order()? {
        let Some(table) = splitting.tables().get(at) else { continue };
        let timer = recorder.started("split", &format!("{}.{}", splitting.name(), table.table));
        let result = Box::pin(work.table(source.as_ref(), at, table)).await;
        let mut of_table = recorder.settled(timer, result, |parts| {
            let outcome = TaskOutcome {
                rows_in: scanned.tables.get(at).map(|table| table.content.rows),
                rows_out: Some(parts.iter().map(|part| part.rows_written).sum()),
                detail: json!({ "parts": parts }),
                ..TaskOutcome::default()
            };
            ("succeeded".to_owned(), outcome)
        })?;
        written.append(&mut of_table);
    }
    match before {
        // What was proved still stands.
        Some(before)
            if before.phase == SplitPhase::Verified && written.iter().all(|one| one.stood) =>
        {
            splitting.record(before.phase, before.detail)?;
        }
        _ => splitting.record(SplitPhase::Loaded, json!({ "tables": written }))?,
    }
    Ok(written)
}

impl Splitting<'_> {
    /// The tables, each after those it refers to as far as there is such an order.
    pub(super) fn write_order(&self) -> Result<Vec<usize>> {
        let tables = self.rules.tables();
        let names: Vec<String> = tables.iter().map(|table| table.name.clone()).collect();
        let relations: Vec<Relation> = tables
            .iter()
            .flat_map(|table| table.references.iter().map(move |reference| (table, reference)))
            .filter_map(|(table, reference)| {
                Some(Relation {
                    child: table.name.clone(),
                    field: reference.field.clone(),
                    parent: tables.get(reference.parent)?.name.clone(),
                    // A circle is no reason to stop: tables are swapped in whole.
                    required: false,
                })
            })
            .collect();
        order(&names, &relations)?.creates.iter().map(|name| self.rules.table(name)).collect()
    }

    /// What the rows of this run are made of: every rule and every row of the source.
    fn tag(&self, scanned: &Scanned<'_>) -> Result<String> {
        let mut parts = vec![self.fingerprint()?.into_bytes()];
        for table in &scanned.tables {
            parts.push(table.content.rows.to_le_bytes().to_vec());
            parts.push(table.content.sum.to_le_bytes().to_vec());
        }
        Ok(digest::hex(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>()))
    }

    fn write_request(&self, table: &SplitTable, side: Side) -> WriteRequest {
        WriteRequest {
            target: Value::Object(table.target_of(self.part(side))),
            app: format!("split/{}/{}/{}", self.name(), self.part(side), table.table),
            schema: Arc::new(Schema::empty()),
            mode: match self.declared.write {
                SplitWrite::Replace => WriteMode::Replace,
                SplitWrite::Merge => WriteMode::Merge,
            },
            key: table.key.clone(),
            deleted: None,
            new_columns: NewTargetColumns::Add,
            now: self.workspace.now(),
        }
    }
}

/// A run.
struct Work<'a> {
    splitting: &'a Splitting<'a>,
    scanned: &'a Scanned<'a>,
    placed: &'a Placed<'a>,
    tag: String,
    options: Options,
}

impl Work<'_> {
    /// Refuses to replace rows that this split did not write: a wrong connection would lose them.
    async fn require_own(&self) -> Result<()> {
        let splitting = self.splitting;
        if self.options.overwrite || splitting.declared.write == SplitWrite::Merge {
            return Ok(());
        }
        for side in Side::BOTH {
            let connection = &splitting.parts.of(side).connection;
            let (_, destination) = open(splitting.workspace, connection)?;
            let (_, source) = splitting.workspace.source(connection)?;
            let listed = splitting.listed(side).await?;
            for table in splitting.tables() {
                let request = splitting.part_request(table, side)?;
                if !is_there(&listed, &request) {
                    continue;
                }
                let progress = destination.progress(&splitting.write_request(table, side)).await?;
                if progress.committed.is_some() || progress.staged.is_some() {
                    continue;
                }
                let mut pages = source.read(&request);
                let mut rows = 0;
                while rows == 0
                    && let Some(page) = pages.next().await
                {
                    let page = page?;
                    rows = page.batch.num_rows() + page.rejected.len();
                }
                if rows > 0 {
                    return Err(Error::blocked(format!(
                        "table \"{}\" of part \"{}\" holds rows that this split did not write",
                        table.table,
                        splitting.part(side)
                    ))
                    .hint("Nothing was written. If they may go, run again with --overwrite; else give the part another target."));
                }
            }
        }
        Ok(())
    }

    /// Writes one table into both parts.
    async fn table(
        &self,
        source: &dyn Source,
        at: usize,
        table: &SplitTable,
    ) -> Result<Vec<SplitTableWritten>> {
        let about = |error: Error| error.context(format!("table \"{}\"", table.table));
        let targets = Pair {
            left: open(self.splitting.workspace, &self.splitting.parts.left.connection)?.1,
            right: open(self.splitting.workspace, &self.splitting.parts.right.connection)?.1,
        };
        let mut sinks = Vec::new();
        let mut done = Vec::new();
        for side in Side::BOTH {
            let sink = Sink::open(self, at, table, side, targets.of(side).as_ref());
            let sink = Box::pin(sink).await.map_err(about)?;
            if sink.written.stood {
                done.push(sink.written);
            } else {
                sinks.push(sink);
            }
        }
        if !sinks.is_empty() {
            Box::pin(self.copy(source, at, table, &mut sinks)).await.map_err(about)?;
        }
        for sink in sinks {
            done.push(Box::pin(sink.finish(&self.tag)).await.map_err(about)?);
        }
        done.sort_by_key(|written| written.part != self.splitting.part(Side::Left));
        Ok(done)
    }

    /// Reads the table and hands each part its rows.
    async fn copy(
        &self,
        source: &dyn Source,
        at: usize,
        table: &SplitTable,
        sinks: &mut [Sink<'_>],
    ) -> Result<()> {
        let spec = self.splitting.spec(at)?;
        let request = self.splitting.request(table)?;
        let mut content = Content::default();
        let mut pages = source.read(&request);
        while let Some(page) = pages.next().await {
            let page = page?;
            refuse_rejected(&page, &table.table)?;
            if page.batch.num_columns() == 0 {
                continue;
            }
            let (own, batch) = (Arc::clone(spec), page.batch);
            let (batch, keys, of_page) = task::compute(move || {
                let mut content = Content::default();
                content.add(&batch)?;
                let keys = own.keys(&batch)?;
                Ok((batch, keys, content))
            })
            .await?;
            content.rows += of_page.rows;
            content.sum = content.sum.wrapping_add(of_page.sum);
            for sink in sinks.iter_mut() {
                let part = PartOf { placed: self.placed, spec, table: at, side: sink.side };
                let chosen = part.choose(&batch, &keys)?;
                sink.written.cleared += chosen.cleared.len() as u64;
                sink.write(spec, &chosen.rows).await?;
            }
        }
        let expected = self.scanned.tables.get(at).map(|table| table.content);
        if expected != Some(content) {
            return Err(changed(&table.table));
        }
        Ok(())
    }
}

/// A table of a part that is being written.
struct Sink<'a> {
    side: Side,
    target: &'a dyn Destination,
    request: WriteRequest,
    writer: Option<Box<dyn Writer>>,
    sequence: i64,
    /// Rows and bytes since the last commit.
    waiting: (u64, usize),
    written: SplitTableWritten,
}

impl<'a> Sink<'a> {
    async fn open(
        work: &Work<'_>,
        at: usize,
        table: &SplitTable,
        side: Side,
        target: &'a dyn Destination,
    ) -> Result<Self> {
        let splitting = work.splitting;
        let request = splitting.write_request(table, side);
        let mut progress = target.progress(&request).await?;
        if progress.staged.is_some() {
            // The only commit of a replacement is its last one, so what is staged is whole.
            target.writer(&request).await?.finish().await?;
            progress = target.progress(&request).await?;
        }
        let stands =
            progress.committed.as_ref().is_some_and(|last| last.position == mark(&work.tag));
        let rows = work.placed.counted().get(at).map_or(0, |counted| *counted.parts.of(side));
        Ok(Self {
            side,
            target,
            request,
            writer: None,
            sequence: progress.committed.map_or(0, |last| last.sequence),
            waiting: (0, 0),
            written: SplitTableWritten {
                table: table.table.clone(),
                part: splitting.part(side).to_owned(),
                rows,
                stood: stands && !work.options.overwrite,
                ..SplitTableWritten::default()
            },
        })
    }

    async fn write(&mut self, spec: &Spec, rows: &RecordBatch) -> Result<()> {
        let replaces = self.request.mode == WriteMode::Replace;
        if rows.num_rows() == 0 && !replaces {
            return Ok(());
        }
        if self.writer.is_none() {
            self.request.schema = rows.schema();
            self.writer = Some(self.target.writer(&self.request).await?);
        }
        let Some(writer) = self.writer.as_mut() else {
            return Err(Error::internal("a writer that was opened is gone"));
        };
        let refused = writer.write(rows).await?;
        if let Some(first) = refused.first() {
            let key = spec.shown(rows, first.row)?;
            let column =
                first.column.as_ref().map_or_else(String::new, |c| format!(", column \"{c}\""));
            return Err(Error::blocked(format!(
                "part \"{}\" does not take {} rows; the first has the key {key}{column}: {}",
                self.written.part,
                refused.len(),
                first.reason
            ))
            .hint("Nothing of this table was swapped in. Change the target, or declare the column's type under `types`."));
        }
        self.written.rows_written += rows.num_rows() as u64;
        self.waiting.0 += rows.num_rows() as u64;
        self.waiting.1 += rows.get_array_memory_size();
        let much = self.waiting.0 >= CHECKPOINT_ROWS || self.waiting.1 >= CHECKPOINT_BYTES;
        if !replaces && much {
            // Merged rows are merged again after a crash, with no other effect.
            self.commit(Position(Value::Null)).await?;
        }
        Ok(())
    }

    async fn commit(&mut self, position: Position) -> Result<()> {
        self.sequence += 1;
        self.waiting = (0, 0);
        if let Some(writer) = self.writer.as_mut() {
            writer.commit(&Checkpoint { sequence: self.sequence, position }).await?;
        }
        Ok(())
    }

    /// Makes the rows visible, together with what they are made of.
    async fn finish(mut self, tag: &str) -> Result<SplitTableWritten> {
        self.commit(mark(tag)).await?;
        if let Some(writer) = self.writer.take() {
            writer.finish().await?;
        }
        Ok(self.written)
    }
}

/// The position of a table that stands.
fn mark(tag: &str) -> Position {
    Position(json!({ "split": tag }))
}
