//! A statement that is planned and then run beside the connection, on the threads of queries.
//!
//! It holds one of the few turns of queries while it works, and none while its client reads: a slow client keeps nobody from
//! asking. When this is dropped the work ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use flywheel_base::{Error, Result as BaseResult};
use flywheel_runtime::access::Reading;
use flywheel_runtime::{Workspace, postgres};
use flywheel_warehouse::Parameters;
use flywheel_warehouse::postgres::{Kind, Planned, Relation, Told, mentions_catalogue, modifier};
use futures::StreamExt;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::app::{self, App};

/// How long a statement waits for the others of its user at most.
const PLACE_WAIT: Duration = Duration::from_secs(30);
/// Batches that wait to be sent.
const BATCHES_AHEAD: usize = 2;
/// How long what a client sees of the catalogue is taken for true: clients ask for it in many small statements.
const SEEN_TIME: Duration = Duration::from_secs(2);
/// For how many readers at once it is kept.
const SEEN_MAX: usize = 32;

/// A column as a client is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) modifier: i32,
}

impl Column {
    /// A column of texts.
    pub(super) fn text(name: &str) -> Self {
        Self { name: name.to_owned(), kind: Kind::Text, modifier: -1 }
    }
}

/// What a plan says.
pub(super) struct Outline {
    pub(super) columns: Vec<Column>,
    /// Whether rows of the lake are read, and not only the catalogue.
    pub(super) reads: bool,
}

/// What comes from a statement that runs.
pub(super) enum Piece {
    Rows(RecordBatch),
    Failed(Error),
    End,
}

/// How long a statement may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasts {
    /// Until its transaction ends.
    Transaction,
    /// Beyond it, as a cursor may, if it ends well.
    IfItEndsWell,
    /// Whatever becomes of a transaction, since the one it was opened in has ended well.
    Session,
}

/// A statement that is planned, and waits or runs.
pub(super) struct Running {
    pub(super) columns: Vec<Column>,
    pub(super) reads: bool,
    /// Lets it run.
    go: Option<oneshot::Sender<()>>,
    pub(super) pieces: mpsc::Receiver<Piece>,
    /// What was found and not sent yet.
    pub(super) rest: Option<RecordBatch>,
    /// Rows that were sent.
    pub(super) sent: usize,
    /// When its client last read from it.
    pub(super) read_at: Instant,
    /// When it was planned.
    pub(super) planned_at: Instant,
    /// Whether there is nothing more.
    pub(super) ended: bool,
    /// How long it may be read.
    pub(super) lasts: Lasts,
    /// On whose behalf it was planned.
    pub(super) reading: Reading,
    /// There until it needs no place among its user's statements any more.
    working: Weak<()>,
    _cancel: DropGuard,
}

impl Running {
    /// Whether it was not let run yet.
    pub(super) fn waits(&self) -> bool {
        self.go.is_some()
    }

    /// Whether it holds a place among its user's statements, or is about to take one.
    pub(super) fn holds(&self) -> bool {
        !self.waits() && self.working.strong_count() > 0
    }

    /// Lets it run, if it does not yet.
    pub(super) fn go(&mut self) {
        if let Some(go) = self.go.take()
            && go.send(()).is_err()
        {
            tracing::debug!("a statement ended before it ran");
        }
    }
}

/// What readers saw of the catalogue a moment ago, the oldest first: their sessions share it, since tools open many at once.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Vec<Sight>>);

#[derive(Debug)]
struct Sight {
    at: Instant,
    /// It keeps no declarations that were read anew since.
    of: Weak<Workspace>,
    reading: Reading,
    relations: Arc<[Relation]>,
}

impl Seen {
    fn find(&self, workspace: &Arc<Workspace>, reading: &Reading) -> Option<Arc<[Relation]>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = kept.iter().find(|one| {
            one.at.elapsed() < SEEN_TIME
                && std::ptr::eq(one.of.as_ptr(), Arc::as_ptr(workspace))
                && one.reading == *reading
        });
        one.map(|one| Arc::clone(&one.relations))
    }

    fn keep(&self, sight: Sight) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|one| one.at.elapsed() < SEEN_TIME && one.reading != sight.reading);
        if kept.len() >= SEEN_MAX {
            kept.remove(0);
        }
        kept.push(sight);
    }
}

/// Who asks, and what is told to their statements.
#[derive(Clone)]
pub(super) struct Asking {
    pub(super) app: Arc<App>,
    pub(super) reading: Reading,
    pub(super) settings: Arc<BTreeMap<String, String>>,
    pub(super) user: Arc<str>,
    pub(super) database: Arc<str>,
    pub(super) process: i32,
}

impl Asking {
    /// What the reader sees, if a statement may ask for it.
    async fn relations(
        &self,
        workspace: &Arc<Workspace>,
        sql: &str,
    ) -> BaseResult<Arc<[Relation]>> {
        if !mentions_catalogue(sql) {
            return Ok(Arc::from(Vec::new()));
        }
        let seen = &self.app.postgres.seen;
        if let Some(relations) = seen.find(workspace, &self.reading) {
            return Ok(relations);
        }
        let at = Instant::now();
        let relations: Arc<[Relation]> =
            Box::pin(postgres::relations(workspace, &self.reading)).await?.into();
        seen.keep(Sight {
            at,
            of: Arc::downgrade(workspace),
            reading: self.reading.clone(),
            relations: Arc::clone(&relations),
        });
        Ok(relations)
    }

    fn told<'a>(&'a self, relations: &'a [Relation]) -> Told<'a> {
        Told {
            relations,
            settings: &self.settings,
            user: &self.user,
            database: &self.database,
            process: self.process,
        }
    }

    /// Plans a statement, once it is its reader's turn, and then its own among all.
    async fn plan(
        &self,
        workspace: &Arc<Workspace>,
        sql: &str,
        values: &Parameters,
    ) -> BaseResult<Planned> {
        let _place = self.reading.enter(workspace, PLACE_WAIT).await?;
        let _turn = self.app.querying.acquire().await.map_err(|_| app::ended("querying"))?;
        let relations = self.relations(workspace, sql).await?;
        let told = self.told(&relations);
        Box::pin(postgres::plan(workspace, &self.reading, sql, &told, values)).await
    }

    /// The numbers of the types that follow for the values of a statement, by their places.
    pub(super) async fn parameters(
        self,
        sql: Arc<str>,
    ) -> BaseResult<BTreeMap<String, Option<u32>>> {
        let app = Arc::clone(&self.app);
        let _place = self.reading.enter(&app.workspace(), PLACE_WAIT).await?;
        let _turn = app.querying.acquire().await.map_err(|_| app::ended("querying"))?;
        let work = move |workspace: Arc<Workspace>| async move {
            let relations = self.relations(&workspace, &sql).await?;
            let told = self.told(&relations);
            postgres::parameters(&workspace, &self.reading, &sql, &told).await
        };
        app.behind(work).await
    }

    /// Plans a statement; it runs once it is told to.
    pub(super) async fn start(self, sql: Arc<str>, values: Parameters) -> BaseResult<Running> {
        let (planned, outline) = oneshot::channel();
        let (go, told_to) = oneshot::channel();
        let (sender, pieces) = mpsc::channel(BATCHES_AHEAD);
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        let work = Arc::new(());
        let working = Arc::downgrade(&work);
        let reading = self.reading.clone();
        let handle = self.app.heavy.handle()?;
        let inside = handle.clone();
        // It is waited for by what it sends, and ends when that is dropped.
        drop(handle.spawn_blocking(move || {
            inside.block_on(async move {
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => {}
                    () = self.work(&sql, &values, planned, (told_to, work), sender) => {}
                }
            });
        }));
        let stopped = |_| Error::internal("a statement stopped unexpectedly");
        let Outline { columns, reads } = outline.await.map_err(stopped)??;
        Ok(Running {
            columns,
            reads,
            go: Some(go),
            pieces,
            rest: None,
            sent: 0,
            read_at: Instant::now(),
            planned_at: Instant::now(),
            ended: false,
            lasts: Lasts::Transaction,
            reading,
            working,
            _cancel: guard,
        })
    }

    async fn work(
        self,
        sql: &str,
        values: &Parameters,
        planned: oneshot::Sender<BaseResult<Outline>>,
        (go, work): (oneshot::Receiver<()>, Arc<()>),
        pieces: mpsc::Sender<Piece>,
    ) {
        let workspace = self.app.workspace();
        let (outline, plan) = match self.plan(&workspace, sql, values).await {
            Ok(plan) => (Ok(outline(&plan)), Some(plan)),
            Err(error) => (Err(error), None),
        };
        // Nobody waits any more, or it was only to be described.
        if planned.send(outline).is_err() {
            return;
        }
        let Some(plan) = plan else { return };
        if go.await.is_err() {
            return;
        }
        let last = match self.run(&workspace, &plan, &pieces).await {
            Ok(()) => Piece::End,
            Err(error) => Piece::Failed(error),
        };
        // Its place is free, though its last rows may not be read yet.
        drop(work);
        if pieces.send(last).await.is_err() {
            tracing::debug!("nobody reads the end of an answer");
        }
    }

    async fn run(
        &self,
        workspace: &Workspace,
        plan: &Planned,
        pieces: &mpsc::Sender<Piece>,
    ) -> BaseResult<()> {
        let _place = self.reading.enter(workspace, PLACE_WAIT).await?;
        let turn = || self.app.querying.acquire();
        let mut held = Some(turn().await.map_err(|_| app::ended("querying"))?);
        let mut rows = plan.query.stream().await?;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            match pieces.try_send(Piece::Rows(batch)) {
                Ok(()) => {}
                Err(TrySendError::Closed(_)) => return Ok(()),
                Err(TrySendError::Full(piece)) => {
                    // Others may work while the client reads.
                    drop(held.take());
                    if pieces.send(piece).await.is_err() {
                        return Ok(());
                    }
                    held = Some(turn().await.map_err(|_| app::ended("querying"))?);
                }
            }
        }
        drop(held);
        Ok(())
    }
}

fn outline(plan: &Planned) -> Outline {
    let schema = plan.query.schema();
    let catalogue = ["pg_catalog", "pg_information_schema"];
    let mut tables = plan.query.tables().into_iter();
    let reads = tables.any(|table| !catalogue.contains(&table.schema.as_str()));
    let kind = if reads { Kind::of } else { Kind::of_catalogue };
    let columns = schema.fields().iter().zip(&plan.names).map(|(field, name)| Column {
        name: name.clone(),
        kind: kind(field.data_type()),
        modifier: modifier(field.data_type()),
    });
    Outline { columns: columns.collect(), reads }
}
