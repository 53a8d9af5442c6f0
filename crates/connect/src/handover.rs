//! Handing rows over to programs that write them somewhere: what destinations which start one share.
//!
//! ```text
//! write()   start ─► columns, rows …                the program has them, and has promised nothing
//! commit()  mark ─► the mark comes back ─► (its end, with exit code 0) ─► checkpoint on disk
//! ```
//! A program keeps no position for us. The checkpoint is kept in the project, and moves only behind a
//! mark that the program gave back: by that it says that all rows before it are stored. What a crash
//! leaves: rows after the last mark may be stored or not, and are handed over again.
//!
//! Most programs give a mark back only when their input ends, so a commit ends the run and the next
//! rows start another one; those that stay say so.

mod schema;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use flywheel_base::{Error, Result, task};
use serde_json::{Value, json};

use crate::destination::{
    Checkpoint, DestinationContext, NewTargetColumns, Refused, WriteMode, WriteRequest, Writer,
    Written, check_mode,
};
use crate::ledger::{Ledger, open_ledger};
use crate::process::{Line, Running};

pub(crate) use self::schema::{Decimals, Words, properties};

/// The write modes of programs that take rows one by one.
pub(crate) const MODES: &[WriteMode] = &[WriteMode::Append, WriteMode::Merge];

/// Lines of a run that mean nothing to us; more of them come from another program.
const FOREIGN_LINES_MAX: u64 = 1_000;

/// What tells a commit, or a part of one, from all others of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    app: String,
    sequence: i64,
    part: u32,
}

impl Mark {
    /// The number of the commit.
    pub(crate) fn sequence(&self) -> i64 {
        self.sequence
    }

    /// The mark as JSON, for a protocol's state.
    pub(crate) fn value(&self) -> Value {
        json!({ "flywheel": { "sync": self.app, "commit": self.sequence, "part": self.part } })
    }
}

/// What a line of a program says.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A mark comes back, as JSON.
    Mark(Value),
    /// The program says that it failed.
    Failed(Error),
    /// Something of the protocol that does not matter here.
    Nothing,
    /// A line that is no message.
    Foreign,
}

/// How programs of one kind take rows.
pub(crate) trait Receiver: Send + Sync {
    /// What the program is called.
    fn name(&self) -> &str;

    /// Whether it gives marks back while it runs; otherwise its input ends with each commit.
    fn stays(&self) -> bool {
        false
    }

    /// Starts the program for rows of these columns; `input` gets what comes before them.
    ///
    /// # Errors
    /// As [`crate::process::Program::start`].
    fn start(&self, columns: &SchemaRef, input: &mut Vec<u8>) -> Result<Running>;

    /// Rows as input; returns those that the program cannot be given, and how many it is.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a column of the key is not there.
    fn rows(&self, batch: &RecordBatch, input: &mut Vec<u8>) -> Result<(Vec<Refused>, Written)>;

    /// What asks for a mark.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if it cannot be written.
    fn ask(&self, mark: &Mark, input: &mut Vec<u8>) -> Result<()>;

    /// What the program gives back for a mark.
    fn answer(&self, mark: &Mark) -> Value {
        mark.value()
    }

    /// What a line of its output says.
    fn hear(&self, line: &str) -> Heard;
}

/// Proves that a program can be asked to write this way.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] with what to do instead.
pub(crate) fn check_request(kind: &str, modes: &[WriteMode], request: &WriteRequest) -> Result<()> {
    check_mode(kind, modes, request.mode)?;
    if request.mode != WriteMode::Append && request.key.is_empty() {
        return Err(Error::invalid(format!("mode {} needs a key", request.mode))
            .hint("Set `key` to the columns that identify a row."));
    }
    if request.new_columns != NewTargetColumns::Add {
        return Err(Error::invalid(
            "a program does not tell which columns it has, so that new ones cannot be left out or refused",
        )
        .hint("Leave `new_columns` out; choose columns by `columns` with `keep: declared`, or `drop`."));
    }
    Ok(())
}

/// The columns by which a program shall find a row; none if it shall only add.
pub(crate) fn merge_key(request: &WriteRequest) -> Vec<String> {
    if request.mode == WriteMode::Append { Vec::new() } else { request.key.clone() }
}

/// The name of the stream as the program sees it, if the target gives it none.
pub(crate) fn stream_name(app: &str) -> &str {
    app.rsplit_once('/').map_or(app, |(_, stream)| stream)
}

/// Opens a write.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Conflict`] if another process has it open.
pub(crate) async fn open_handover(
    ctx: &DestinationContext,
    request: &WriteRequest,
    receiver: Arc<dyn Receiver>,
) -> Result<Box<dyn Writer>> {
    let ledger = open_ledger(ctx, request).await?;
    let sequence = ledger.committed().map_or(0, |committed| committed.sequence);
    Ok(Box::new(Handover {
        receiver,
        committed: sequence,
        ledger: Some(ledger),
        running: None,
        columns: None,
        mark: Mark { app: request.app.clone(), sequence, part: 0 },
        ear: Ear::default(),
        counts: Written::default(),
    }))
}

/// What was heard of a run.
#[derive(Debug, Default)]
struct Ear {
    mark: Option<Value>,
    foreign: u64,
}

impl Ear {
    fn hear(&mut self, receiver: &dyn Receiver, line: &[u8], kind: Line) -> Result<()> {
        let heard = match (std::str::from_utf8(line), kind) {
            (Ok(text), Line::Whole) if text.trim().is_empty() => Heard::Nothing,
            (Ok(text), Line::Whole) => receiver.hear(text),
            _ => Heard::Foreign,
        };
        match heard {
            Heard::Mark(mark) => self.mark = Some(mark),
            Heard::Failed(error) => return Err(error),
            Heard::Nothing => {}
            Heard::Foreign => self.foreign += 1,
        }
        if self.foreign > FOREIGN_LINES_MAX {
            return Err(Error::invalid(format!(
                "{} writes other things than messages: more than {FOREIGN_LINES_MAX} lines of them",
                receiver.name()
            ))
            .hint("Is it a program that takes rows, and of this protocol? What it has to tell people belongs on stderr."));
        }
        Ok(())
    }
}

/// An open write.
struct Handover {
    receiver: Arc<dyn Receiver>,
    /// The sequence of the last checkpoint.
    committed: i64,
    /// Where checkpoints are kept; gone after a failure.
    ledger: Option<Ledger>,
    running: Option<Running>,
    /// The columns of the run.
    columns: Option<SchemaRef>,
    /// The mark that the program was last asked for.
    mark: Mark,
    ear: Ear,
    counts: Written,
}

impl Handover {
    async fn take(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        let (receiver, rows) = (Arc::clone(&self.receiver), batch.clone());
        let (refused, counts, input) = task::compute(move || {
            let mut input = Vec::new();
            let (refused, counts) = receiver.rows(&rows, &mut input)?;
            Ok((refused, counts, input))
        })
        .await?;
        if input.is_empty() {
            return Ok(refused);
        }
        let columns = batch.schema();
        if !self.receiver.stays() && self.columns.as_ref().is_some_and(|known| *known != columns) {
            self.settle().await?;
        }
        if self.running.is_none() {
            let mut head = Vec::new();
            self.running = Some(self.receiver.start(&columns, &mut head)?);
            self.columns = Some(columns);
            self.ear = Ear::default();
            self.feed(&head).await?;
        }
        self.feed(&input).await?;
        self.counts.rows_written += counts.rows_written;
        self.counts.rows_deleted += counts.rows_deleted;
        Ok(refused)
    }

    async fn feed(&mut self, input: &[u8]) -> Result<()> {
        let (receiver, ear) = (&self.receiver, &mut self.ear);
        match &mut self.running {
            Some(running) => {
                running.feed(input, &mut |line, kind| ear.hear(receiver.as_ref(), line, kind)).await
            }
            None => Err(Error::internal("rows were handed to a program that does not run")),
        }
    }

    /// Waits until the program has given back the mark of what it was given.
    async fn settle(&mut self) -> Result<()> {
        if self.running.is_none() {
            return Ok(());
        }
        self.mark.part += 1;
        let mut input = Vec::new();
        self.receiver.ask(&self.mark, &mut input)?;
        self.feed(&input).await?;
        let wanted = Some(self.receiver.answer(&self.mark));
        let (receiver, ear) = (Arc::clone(&self.receiver), &mut self.ear);
        let Some(running) = &mut self.running else { return Ok(()) };
        if receiver.stays() {
            let mut line = Vec::new();
            while ear.mark != wanted {
                match running.line(&mut line).await? {
                    Some(kind) => ear.hear(receiver.as_ref(), &line, kind)?,
                    None => {
                        running.finish().await?;
                        break;
                    }
                }
            }
        } else {
            running.close(&mut |line, kind| ear.hear(receiver.as_ref(), line, kind)).await?;
            self.running = None;
            self.columns = None;
        }
        if ear.mark == wanted {
            return Ok(());
        }
        let name = receiver.name();
        Err(Error::unavailable(format!(
            "{name} ended without acknowledging the last rows, so that it is not known whether they are stored"
        ))
        .hint("The next run hands them over again. A program that never gives a state back cannot be used here."))
    }

    async fn note(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let Some(mut ledger) = self.ledger.take() else {
            return Err(Error::internal("a program was asked to commit after a failure"));
        };
        let checkpoint = checkpoint.clone();
        self.ledger = Some(
            task::compute(move || {
                ledger.commit(&checkpoint)?;
                Ok(ledger)
            })
            .await?,
        );
        Ok(())
    }

    /// Ends the program and what it was given since the last commit.
    fn drop_run(&mut self) {
        self.running = None;
        self.columns = None;
        self.counts = Written::default();
    }

    /// After a failure nothing more is taken.
    fn usable(&self) -> Result<()> {
        if self.ledger.is_some() {
            return Ok(());
        }
        Err(Error::unavailable(format!("the write by {} failed before", self.receiver.name()))
            .hint("Open a new writer; it goes on from the last commit."))
    }

    fn failed<T>(&mut self, outcome: Result<T>) -> Result<T> {
        if outcome.is_err() {
            self.drop_run();
            self.ledger = None;
        }
        outcome
    }
}

#[async_trait]
impl Writer for Handover {
    async fn write(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        self.usable()?;
        if batch.num_rows() == 0 || batch.num_columns() == 0 {
            return Ok(Vec::new());
        }
        let outcome = Box::pin(self.take(batch)).await;
        self.failed(outcome)
    }

    async fn commit(&mut self, checkpoint: &Checkpoint) -> Result<Written> {
        self.usable()?;
        if checkpoint.sequence <= self.committed {
            self.drop_run();
            return Ok(Written { skipped: true, ..Written::default() });
        }
        self.mark.sequence = checkpoint.sequence;
        let outcome = Box::pin(self.settle()).await;
        self.failed(outcome)?;
        let outcome = self.note(checkpoint).await;
        self.failed(outcome)?;
        self.committed = checkpoint.sequence;
        self.mark.part = 0;
        Ok(std::mem::take(&mut self.counts))
    }

    async fn finish(mut self: Box<Self>) -> Result<Written> {
        self.usable()?;
        let uncommitted = self.counts != Written::default();
        if let Some(mut running) = self.running.take().filter(|_| !uncommitted) {
            let (receiver, ear) = (&self.receiver, &mut self.ear);
            running.close(&mut |line, kind| ear.hear(receiver.as_ref(), line, kind)).await?;
        }
        Ok(Written::default())
    }
}
