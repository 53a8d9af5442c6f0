//! Reading: some connections fill pages, one stream hands them over in order.
//!
//! ```text
//! connection 0: range 0, 2, 4 … ─► queue 0 ─┐
//! connection 1: range 1, 3, 5 … ─► queue 1 ─┴─► range 0, then 1, then 2 … ─► pages with positions
//! ```
//! Each queue holds one part at most, so that a connection which is ahead waits, and with it the
//! server. The last page is known as such before it is handed over, because its position says that
//! the read is complete.

use std::num::NonZeroUsize;
use std::sync::Arc;

use flywheel_base::task::TaskSet;
use flywheel_base::{Error, Result};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, pin_mut};
use tokio::sync::mpsc;

use super::plan::{Plan, Stored};
use super::relation::Relation;
use super::rows::{Part, Rows};
use super::{CHUNK_ROWS, PARALLEL, PARALLEL_MAX, PostgresStream};
use crate::marks::Marks;
use crate::page::{Column, Notice, Page, Position, TableSchema};
use crate::postgres::{Server, Session, fail, field, literal};
use crate::source::{ReadMode, ReadRequest, settings};

/// Parts that wait in a queue.
const PARTS_WAITING: usize = 1;

/// Pages that a reader of ours has taken and not yet made durable, and what a connection has beyond its whole ones.
const PAGES_BEHIND: usize = 6;

/// Pages of a connection: one in its queue, one that it makes.
const PAGES_OF_CONNECTION: usize = PARTS_WAITING + 1;

/// A page may have as many rows as this, however small the chunks are.
const PAGE_ROWS_SMALL: usize = 1_000;

/// What a connection puts into its queue.
enum Item {
    Part(Box<Part>),
    RangeEnd,
}

/// The pages of a read.
pub(super) fn pages<'a>(
    server: &'a Server,
    request: &'a ReadRequest,
) -> BoxStream<'a, Result<Page>> {
    futures::stream::try_unfold(None::<Read>, move |read| async move {
        let mut read = match read {
            Some(read) => read,
            None => Read::start(server, request).await?,
        };
        Ok(read.next().await?.map(|page| (page, Some(read))))
    })
    .boxed()
}

/// A read under way.
pub(super) struct Read {
    stored: Stored,
    was_complete: bool,
    keyed: bool,
    queues: Vec<mpsc::Receiver<Result<Item>>>,
    range: usize,
    ranges: usize,
    schema: TableSchema,
    notices: Vec<Notice>,
    /// The page that may be the last one.
    pending: Option<Page>,
    failed: Option<Error>,
    ended: bool,
    /// The rows whose cursor no others can follow, of which each read meets all.
    met: Marks,
    _tasks: TaskSet,
}

impl Read {
    /// Opens the connections and plans the read.
    pub(super) async fn start(server: &Server, request: &ReadRequest) -> Result<Self> {
        let stream: PostgresStream = settings("stream", request.stream.clone())?;
        let session = server.connect().await?;
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let relation = Relation::of(&session, &stream, &request.columns).await?;
        let plan = Plan::new(&session, &stream, request, relation).await?;
        let columns: Vec<Column> =
            plan.relation.columns.iter().map(|column| column.column.clone()).collect();
        let schema = TableSchema::new(columns, false);
        let wanted = match request.mode {
            ReadMode::Full => {
                let most = request.parallel.map_or(PARALLEL_MAX, NonZeroUsize::get);
                stream.parallel.unwrap_or(PARALLEL).clamp(1, PARALLEL_MAX).min(most)
            }
            ReadMode::Incremental { .. } => 1,
        };
        let mut sessions = vec![session];
        let mut notices = join(&mut sessions, wanted.min(plan.chunks.len()), &plan).await?;
        if let Some(missing) = &plan.missing {
            let (code, file) = (missing.code.to_owned(), plan.relation.origin.clone());
            notices.push(Notice { code, file, message: missing.message.clone() });
        }
        let plan = Arc::new(plan);
        let mut tasks = TaskSet::default();
        let mut queues = Vec::with_capacity(sessions.len());
        let step = sessions.len();
        for (first, session) in sessions.into_iter().enumerate() {
            let (send, receive) = mpsc::channel(PARTS_WAITING);
            queues.push(receive);
            let page_rows = match request.mode {
                ReadMode::Full => page_rows(request.page_rows, stream.chunk_rows, step),
                ReadMode::Incremental { .. } => request.page_rows,
            };
            let limits = (page_rows, request.page_bytes);
            let rows = Rows::new(Arc::clone(&plan), schema.clone(), limits, stream.allow_nan);
            tasks.start(work(session, Arc::clone(&plan), rows, first, step, send));
        }
        Ok(Self {
            was_complete: plan.stored.complete,
            keyed: !plan.order.is_empty(),
            stored: plan.stored.clone(),
            queues,
            range: 0,
            ranges: plan.chunks.len(),
            schema,
            notices,
            pending: None,
            failed: None,
            ended: false,
            met: Marks::default(),
            _tasks: tasks,
        })
    }

    /// The next page, none after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Page>> {
        if let Some(error) = self.failed.take() {
            self.ended = true;
            return Err(error);
        }
        if self.ended {
            return Ok(None);
        }
        while self.range < self.ranges {
            let queue = self.range % self.queues.len();
            let Some(queue) = self.queues.get_mut(queue) else { break };
            match queue.recv().await {
                Some(Ok(Item::RangeEnd)) => self.range += 1,
                Some(Ok(Item::Part(mut part))) => {
                    self.met.renew(std::mem::take(&mut part.met));
                    // Nothing is in it but rows that an earlier read set aside.
                    if part.rows == 0 {
                        continue;
                    }
                    let page = self.page(*part)?;
                    if let Some(before) = self.pending.replace(page) {
                        return Ok(Some(before));
                    }
                }
                Some(Err(error)) => return self.fail(error),
                None => return self.fail(Error::internal("a reader stopped before its end")),
            }
        }
        self.ended = true;
        self.stored.complete = true;
        self.stored.aside = std::mem::take(&mut self.met);
        let Some(mut last) = self.pending.take() else {
            if self.was_complete && self.notices.is_empty() {
                return Ok(None);
            }
            let batch =
                arrow::record_batch::RecordBatch::new_empty(Arc::clone(self.schema.arrow()));
            let (origin, rejected, after) = (Vec::new(), Vec::new(), self.stored.after.clone());
            let met = Marks::default();
            let part = Part { batch, origin, rejected, rows: 0, after, met };
            return self.page(part).map(Some);
        };
        last.position = self.position()?;
        Ok(Some(last))
    }

    /// The columns of the pages.
    pub(super) fn columns(&self) -> &[Column] {
        self.schema.columns()
    }

    /// Hands over the page before the error first.
    fn fail(&mut self, error: Error) -> Result<Option<Page>> {
        match self.pending.take() {
            None => {
                self.ended = true;
                Err(error)
            }
            Some(page) => {
                self.failed = Some(error);
                Ok(Some(page))
            }
        }
    }

    /// The page of a part, now that the rows before it are known.
    fn page(&mut self, part: Part) -> Result<Page> {
        let Part { batch, mut origin, mut rejected, rows, after, met: _ } = part;
        let before = self.stored.rows;
        origin.iter_mut().for_each(|run| run.line += before);
        rejected.iter_mut().for_each(|row| row.line = row.line.map(|line| line + before));
        self.stored.rows += rows;
        // Rows without a cursor that come again move nothing.
        let back =
            matches!((after.first(), self.stored.after.first()), (Some(None), Some(Some(_))));
        if self.keyed && !after.is_empty() && !back {
            self.stored.after = after;
        }
        if !self.ended {
            self.stored.aside.renew(self.met.clone());
        }
        // Nor do they take from the next read that it begins with them, and looks back, if this one breaks off.
        if rows > 0 && !back {
            self.stored.complete = false;
        }
        let notices = std::mem::take(&mut self.notices);
        let position = self.position()?;
        Ok(Page { batch, origin, rejected, notices, position })
    }

    fn position(&self) -> Result<Position> {
        serde_json::to_value(&self.stored)
            .map(Position)
            .map_err(|error| Error::internal("a position cannot be written").caused_by(error))
    }
}

/// How many of the `wanted` rows a page has: so many that those of all pages on their way, which are read again if the read
/// breaks off, are not more than a chunk for each connection.
fn page_rows(wanted: usize, chunk_rows: Option<u64>, connections: usize) -> usize {
    let chunk = usize::try_from(chunk_rows.unwrap_or(CHUNK_ROWS)).unwrap_or(usize::MAX);
    let pages = PAGES_OF_CONNECTION * connections + PAGES_BEHIND;
    wanted.min((chunk.saturating_mul(connections) / pages).max(PAGE_ROWS_SMALL))
}

/// Opens connections up to `wanted` that see what the first one sees; fewer if the server has none
/// left.
async fn join(sessions: &mut Vec<Session>, wanted: usize, plan: &Plan) -> Result<Vec<Notice>> {
    let Some(first) = sessions.first() else { return Ok(Vec::new()) };
    if wanted < 2 {
        return Ok(Vec::new());
    }
    let row = first.row("SELECT pg_catalog.pg_export_snapshot()", &[]).await?;
    let snapshot: String = field(&row, 0)?;
    let server = first.server().clone();
    let sql = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
        literal(&snapshot)
    );
    while sessions.len() < wanted {
        match server.connect_another().await {
            // As many as the sync may have.
            Ok(None) => break,
            Ok(Some(session)) => {
                session.execute(&sql).await?;
                sessions.push(session);
            }
            Err(error) => {
                let message = format!(
                    "read with {} instead of {wanted} connections: {error}",
                    sessions.len()
                );
                tracing::warn!(%error, connections = sessions.len(), "fewer connections");
                let file = plan.relation.origin.clone();
                return Ok(vec![Notice { code: "fewer-connections".into(), file, message }]);
            }
        }
    }
    Ok(Vec::new())
}

/// Reads every `step`th range from `first` on into a queue.
async fn work(
    session: Session,
    plan: Arc<Plan>,
    mut rows: Rows,
    first: usize,
    step: usize,
    queue: mpsc::Sender<Result<Item>>,
) -> Result<()> {
    for sql in plan.chunks.iter().skip(first).step_by(step) {
        match range(&session, sql, &mut rows, &queue).await {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => {
                // Whoever reads the queue may be gone; then nobody misses the error.
                queue.send(Err(error)).await.unwrap_or_default();
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Reads one range; says whether somebody still reads the queue.
async fn range(
    session: &Session,
    sql: &str,
    rows: &mut Rows,
    queue: &mpsc::Sender<Result<Item>>,
) -> Result<bool> {
    let copy = session.copy_out(sql).await?;
    pin_mut!(copy);
    loop {
        // A timer for each row would cost more than the row.
        let arrived = match copy.next().now_or_never() {
            Some(arrived) => arrived,
            None => session.answer(copy.next()).await?,
        };
        let Some(arrived) = arrived else { break };
        let bytes = arrived.map_err(|error| fail(session.server(), error))?;
        for part in rows.push(&bytes)? {
            if queue.send(Ok(Item::Part(Box::new(part)))).await.is_err() {
                return Ok(false);
            }
        }
    }
    if let Some(part) = rows.end()?
        && queue.send(Ok(Item::Part(Box::new(part)))).await.is_err()
    {
        return Ok(false);
    }
    Ok(queue.send(Ok(Item::RangeEnd)).await.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_is_at_most_a_chunk_for_each_connection() {
        for (chunk, connections) in [(20_000, 2), (20_000, 1), (100_000, 2), (50_000, 8)] {
            let rows = page_rows(20_000, Some(chunk), connections);
            let pages = PAGES_OF_CONNECTION * connections + PAGES_BEHIND;
            assert!(rows * pages <= chunk as usize * connections, "{chunk} {connections}: {rows}");
        }
        assert_eq!(page_rows(20_000, None, 2), 20_000, "chunks as they are cut by themselves");
        assert_eq!(page_rows(20_000, Some(10), 2), PAGE_ROWS_SMALL);
        assert_eq!(page_rows(7, Some(10), 2), 7);
    }
}
