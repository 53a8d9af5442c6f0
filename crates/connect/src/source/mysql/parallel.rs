//! A full read by several connections.
//!
//! One connection finds where pages begin, the others read them in turn, and the pages come out in
//! the order of the key: the position is as small as that of a single connection, and a read that
//! broke off can go on with another number of connections. MySQL cannot give one snapshot to two
//! connections; MariaDB tells which place of the binary log a snapshot stands at, so it is taken
//! again until all stand at the same.
//!
//! ```text
//! bounds ──key 1──► worker A ──page 1──┐
//!        ──key 2──► worker B ──page 2──┼──► pages in order
//!        ──key 3──► worker A ──page 3──┘
//! ```

use std::sync::Arc;

use flywheel_base::task::TaskSet;
use flywheel_base::{Error, Result};
use serde_json::Value;
use tokio::sync::mpsc;

use super::connection::Connection;
use super::range::Range;
use super::read::{Plan, SNAPSHOT, fetch};
use super::value::to_json;
use crate::page::{Page, PageBuilder, Position};

/// The most connections of one read.
pub(super) const PARALLEL_MAX: usize = 16;

/// How often snapshots are taken again until they show one moment.
const SNAPSHOTS_MAX: usize = 20;

/// Pages that wait for each worker, and that each has ready.
const AHEAD: usize = 1;

/// A piece of a part: a page without position, how many rows it is made of, and the last one's key.
pub(super) struct Piece {
    pub(super) page: Page,
    pub(super) rows: u64,
    pub(super) after: Vec<Value>,
    /// Whether the part ends with it.
    pub(super) last: bool,
}

struct Worker {
    parts: mpsc::Sender<Range>,
    pieces: mpsc::Receiver<Result<Piece>>,
}

/// A read by several connections.
pub(super) struct Parallel {
    plan: Arc<Plan>,
    bounds: Connection,
    workers: Vec<Worker>,
    /// Where the next part begins; none after the last was handed out.
    next: Option<Range>,
    /// Parts handed out, and parts that came back.
    sent: usize,
    done: usize,
    /// Whether all connections are known to see one moment.
    pub(super) one_moment: bool,
    /// Dropping it ends the workers.
    _tasks: TaskSet,
}

impl Parallel {
    /// Opens the connections and their snapshots.
    pub(super) async fn start(
        plan: Arc<Plan>,
        mut bounds: Connection,
        count: usize,
        after: Vec<Value>,
    ) -> Result<Self> {
        let mut connections = Vec::with_capacity(count);
        while connections.len() < count
            && let Some(connection) = plan.server.connect_another().await?
        {
            connections.push(connection);
        }
        if connections.is_empty() {
            connections.push(plan.server.connect().await?);
        }
        let one_moment = snapshots(&mut bounds, &mut connections).await?;
        let mut tasks = TaskSet::default();
        let mut workers = Vec::with_capacity(connections.len());
        for connection in connections {
            let (parts, todo) = mpsc::channel(AHEAD);
            let (ready, pieces) = mpsc::channel(AHEAD);
            tasks.start(work(Arc::clone(&plan), connection, todo, ready));
            workers.push(Worker { parts, pieces });
        }
        let next = Some(Range { after, ..Range::default() });
        Ok(Self { plan, bounds, workers, next, sent: 0, done: 0, one_moment, _tasks: tasks })
    }

    /// The next piece in order; none after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>> {
        while self.sent < self.done + self.workers.len() && self.next.is_some() {
            self.hand_out().await?;
        }
        if self.done == self.sent {
            return Ok(None);
        }
        let count = self.workers.len();
        let worker = self.workers.get_mut(self.done % count);
        let worker = worker.ok_or_else(|| Error::internal("a parallel read has no connection"))?;
        let piece = worker.pieces.recv().await;
        let piece = piece.ok_or_else(|| Error::internal("a connection of a read stopped"))??;
        if piece.last {
            self.done += 1;
        }
        Ok(Some(piece))
    }

    /// Whether every part came back.
    pub(super) fn is_done(&self) -> bool {
        self.done == self.sent && self.next.is_none()
    }

    /// Finds where the next part ends and gives it to the worker whose turn it is.
    async fn hand_out(&mut self) -> Result<()> {
        let Some(mut part) = self.next.take() else { return Ok(()) };
        let Plan { relation, order, page_rows, .. } = &*self.plan;
        let (sql, arguments) = part.bound(relation, order, *page_rows)?;
        let bound: Option<mysql_async::Row> = self.bounds.first(&sql, arguments).await?;
        if let Some(row) = bound {
            let values = row.unwrap();
            let values = values.iter().zip(order).map(|(value, order)| to_json(value, order.wire));
            part.up_to = values.collect::<Result<_>>()?;
            self.next = Some(Range { after: part.up_to.clone(), ..Range::default() });
        }
        let count = self.workers.len();
        let worker = self.workers.get(self.sent % count);
        let worker = worker.ok_or_else(|| Error::internal("a parallel read has no connection"))?;
        // A worker that failed says so with its last piece.
        if worker.parts.send(part).await.is_err() {
            tracing::debug!("a connection of a parallel read has ended");
        }
        self.sent += 1;
        Ok(())
    }
}

/// Reads parts until there are no more or one fails.
async fn work(
    plan: Arc<Plan>,
    mut connection: Connection,
    mut todo: mpsc::Receiver<Range>,
    ready: mpsc::Sender<Result<Piece>>,
) -> Result<()> {
    while let Some(part) = todo.recv().await {
        if let Err(error) = read_part(&plan, &mut connection, part, &ready).await {
            // Nobody listens any more if the read was dropped.
            drop(ready.send(Err(error)).await);
            return Ok(());
        }
    }
    connection.close().await;
    Ok(())
}

async fn read_part(
    plan: &Plan,
    connection: &mut Connection,
    mut part: Range,
    ready: &mpsc::Sender<Result<Piece>>,
) -> Result<()> {
    loop {
        // One more than a part has, so that only very large rows fill it before the part ends.
        let mut page =
            PageBuilder::new("mysql", &plan.schema, plan.page_rows + 1).limited(plan.page_bytes);
        let query = part.rows(&plan.relation, &plan.order, None)?;
        let fetched = fetch(plan, connection, query, &mut page, 0).await?;
        let position = Position(Value::Null);
        let last = !fetched.full;
        if let Some(after) = &fetched.after {
            part.after.clone_from(after);
        }
        let page = page.finish(&plan.schema, position)?;
        let piece = Piece { page, rows: fetched.count as u64, after: part.after.clone(), last };
        if ready.send(Ok(piece)).await.is_err() || last {
            return Ok(());
        }
    }
}

/// Begins the snapshots of all connections; tells whether they are proven to show one moment.
async fn snapshots(bounds: &mut Connection, workers: &mut [Connection]) -> Result<bool> {
    for _ in 0..SNAPSHOTS_MAX {
        let first = snapshot(bounds).await?;
        let mut same = first.is_some();
        for worker in &mut *workers {
            same &= snapshot(worker).await? == first;
        }
        if same {
            return Ok(true);
        }
        if first.is_none() {
            break;
        }
    }
    Ok(false)
}

/// Begins a snapshot; tells where it stands in the binary log, if the server does.
async fn snapshot(connection: &mut Connection) -> Result<Option<Vec<(String, String)>>> {
    for statement in SNAPSHOT {
        connection.run(statement).await?;
    }
    if !connection.mariadb {
        return Ok(None);
    }
    let sql =
        "SHOW STATUS WHERE Variable_name IN ('binlog_snapshot_file', 'binlog_snapshot_position')";
    let place: Vec<(String, String)> = connection.all(sql, ()).await?;
    let known = place.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("binlog_snapshot_file") && !value.is_empty()
    });
    Ok(known.then_some(place))
}
