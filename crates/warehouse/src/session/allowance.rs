//! What the queries of one reader may take: memory, time, rows, and places beside each other.
//!
//! It is a part of the [`Catalog`](super::Catalog), so that every session that is opened on behalf of a reader has it, at
//! whatever door. A query that wants more ends alone.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use datafusion::common::Result as EngineResult;
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use flywheel_base::{Error, ErrorKind, QuotaExceeded, QuotaKind, Result};
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::RowStream;
use crate::engine::sort_reserve;
use crate::failure::TOO_MUCH_MEMORY;

/// How long a query waits for a place before it is refused. Whoever waits here may keep others from asking, so it is short.
const PLACE_WAIT: Duration = Duration::from_secs(5);

/// Places of queries beside each other.
#[derive(Clone, Debug)]
pub struct Places {
    /// How many there are.
    pub most: u32,
    /// Those that are free.
    pub free: Arc<Semaphore>,
}

/// What the queries of one reader may take. What is absent has no limit but the lake's.
#[derive(Clone)]
pub struct Allowance {
    /// Whose it is, for messages.
    pub whose: String,
    /// Memory of one query.
    pub memory_bytes: Option<u64>,
    /// How long one query may work; the time in which its rows are taken does not count.
    pub time: Option<Duration>,
    /// Rows of one answer.
    pub rows: Option<u64>,
    /// Queries beside each other.
    pub places: Option<Places>,
    /// Is told of each query that wanted more, when it ends.
    pub told: Arc<dyn Fn(&QuotaExceeded) + Send + Sync>,
}

impl fmt::Debug for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allowance").field("whose", &self.whose).finish_non_exhaustive()
    }
}

impl Allowance {
    /// The same for queries that are steps of something that has its place already, such as a change of rows: what they find
    /// is no answer.
    #[must_use]
    pub fn of_steps(&self) -> Self {
        Self { rows: None, places: None, ..self.clone() }
    }

    fn refusal(&self, kind: QuotaKind, most: u64) -> Error {
        let exceeded = QuotaExceeded { kind, most, whose: self.whose.clone() };
        (self.told)(&exceeded);
        exceeded.into()
    }

    /// A place beside the reader's other queries.
    async fn place(&self) -> Result<Option<OwnedSemaphorePermit>> {
        let Some(places) = &self.places else { return Ok(None) };
        let free = Arc::clone(&places.free);
        match tokio::time::timeout(PLACE_WAIT, free.acquire_owned()).await {
            Ok(place) => place
                .map(Some)
                .map_err(|error| Error::internal("queries have no places").caused_by(error)),
            Err(_) => Err(self.refusal(QuotaKind::Queries, places.most.into())),
        }
    }
}

/// What one run of a query has left.
pub(super) struct Budget {
    allowance: Arc<Allowance>,
    pool: Arc<dyn MemoryPool>,
    left: Option<Duration>,
    /// Rows that were found.
    rows: u64,
    _place: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// Takes a place; `pool` is the one of the query.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`] if there is none for a while.
    pub(super) async fn begin(
        allowance: &Arc<Allowance>,
        pool: &Arc<dyn MemoryPool>,
    ) -> Result<Self> {
        let place = allowance.place().await?;
        let (allowance, pool) = (Arc::clone(allowance), Arc::clone(pool));
        let left = allowance.time;
        Ok(Self { allowance, pool, left, rows: 0, _place: place })
    }

    /// Works within what is left.
    ///
    /// # Errors
    /// Those of the work; [`ErrorKind::Exhausted`] if it takes more than there is.
    pub(super) async fn spend<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let done = match self.left {
            None => work.await,
            Some(left) => {
                let watch = Instant::now();
                let done = tokio::time::timeout(left, work).await;
                self.left = Some(left.saturating_sub(watch.elapsed()));
                match done {
                    Ok(done) => done,
                    Err(_) => return Err(self.too_long()),
                }
            }
        };
        done.map_err(|error| self.explained(error))
    }

    fn too_long(&self) -> Error {
        let most = self.allowance.time.map_or(0, |time| time.as_millis());
        self.allowance.refusal(QuotaKind::Time, u64::try_from(most).unwrap_or(u64::MAX))
    }

    /// Says so if it was the quota that refused memory, and not the lake.
    fn explained(&self, error: Error) -> Error {
        let own = self.pool.downcast_ref::<QuotaPool>();
        match own {
            Some(own)
                if error.kind() == ErrorKind::Exhausted
                    && error.message().contains(TOO_MUCH_MEMORY)
                    && own.refused.load(Ordering::Relaxed) =>
            {
                self.allowance.refusal(QuotaKind::Memory, own.most)
            }
            _ => error,
        }
    }

    /// The next rows; one more than there may be is still found, so that who takes fewer learns that there are more.
    pub(super) async fn next(&mut self, rows: &mut RowStream) -> Option<Result<RecordBatch>> {
        if let Some(most) = self.allowance.rows
            && self.rows > most
        {
            return Some(Err(self.allowance.refusal(QuotaKind::Rows, most)));
        }
        let found = self.spend(async { rows.next().await.transpose() }).await.transpose()?;
        Some(found.map(|batch| self.counted(batch)))
    }

    fn counted(&mut self, batch: RecordBatch) -> RecordBatch {
        let Some(most) = self.allowance.rows else { return batch };
        let left = usize::try_from(most.saturating_add(1) - self.rows).unwrap_or(usize::MAX);
        let taken = batch.num_rows().min(left);
        self.rows += taken as u64;
        batch.slice(0, taken)
    }
}

/// The state of a query that may use so much memory, beside what all queries of the lake may use together.
pub(super) fn within_memory(state: SessionState, most: u64) -> SessionState {
    let bytes = usize::try_from(most).unwrap_or(usize::MAX);
    let mut runtime = RuntimeEnv::clone(state.runtime_env());
    let shared = Arc::clone(&runtime.memory_pool);
    let own = FairSpillPool::new(bytes);
    runtime.memory_pool =
        Arc::new(QuotaPool { own, shared, most, refused: AtomicBool::new(false) });
    let mut config = state.config().clone();
    let reserve = sort_reserve(bytes, config.target_partitions().max(1));
    let execution = &mut config.options_mut().execution;
    execution.sort_spill_reservation_bytes = execution.sort_spill_reservation_bytes.min(reserve);
    SessionStateBuilder::new_from_existing(state)
        .with_config(config)
        .with_runtime_env(Arc::new(runtime))
        .build()
}

/// The memory of one query, taken from what all share.
#[derive(Debug)]
struct QuotaPool {
    own: FairSpillPool,
    shared: Arc<dyn MemoryPool>,
    most: u64,
    /// Whether it ever refused something that all together could have had.
    refused: AtomicBool,
}

impl fmt::Display for QuotaPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "quota of {} bytes within {}", self.most, self.shared)
    }
}

impl MemoryPool for QuotaPool {
    fn name(&self) -> &str {
        "quota"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
        self.shared.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
        self.shared.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.shared.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.shared.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> EngineResult<()> {
        if let Err(error) = self.own.try_grow(reservation, additional) {
            self.refused.store(true, Ordering::Relaxed);
            return Err(error);
        }
        let shared = self.shared.try_grow(reservation, additional);
        if shared.is_err() {
            self.own.shrink(reservation, additional);
        }
        shared
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(usize::try_from(self.most).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests;
