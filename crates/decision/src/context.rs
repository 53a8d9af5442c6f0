//! What every step of the loop works with.

use arrow::array::RecordBatch;
use flywheel_base::{Error, ErrorKind, Result, Timestamp};
use flywheel_project::{Project, RenderContext};
use flywheel_state::Store;
use flywheel_warehouse::{Lake, Location, Session};
use tokio::task::JoinSet;

use crate::artifact::Artifacts;
use crate::frame::Frame;

/// How much sooner than declared what recurs is due at most, in microseconds.
const SOONER_MAX_US: i64 = 5 * 60_000_000;

/// One moment of one project: what is declared, what readers see, and where results go.
pub struct Context<'a> {
    /// What the user declared.
    pub project: &'a Project,
    /// The lake.
    pub lake: &'a Lake,
    /// The metadata.
    pub store: &'a Store,
    /// What readers see at this moment.
    pub session: Session,
    /// Bytes of fitted learners.
    pub artifacts: Artifacts,
    /// The logical moment.
    pub now: Timestamp,
    /// The turn.
    pub turn: i64,
}

impl Context<'_> {
    /// Runs a query that a resource declares; `what` names the resource and the key for messages.
    pub(crate) async fn frame<'w>(&self, what: &'w str, template: &str) -> Result<Frame<'w>> {
        let sql = self.render(template).map_err(|e| e.context(what))?;
        self.frame_of_sql(what, &sql).await
    }

    /// The SQL of a resource with its references and variables filled in, and answers in the place of metrics.
    pub(crate) fn render(&self, template: &str) -> Result<String> {
        let resolve_ref = |name: &str| self.project.ref_relation(name);
        let resolve_source =
            |source: &str, table: &str| Ok(self.project.source_relation(source, table));
        let context = RenderContext {
            vars: &self.project.file.vars,
            incremental: false,
            this: String::new(),
            resolve_ref: &resolve_ref,
            resolve_source: &resolve_source,
        };
        let sql = self.project.render_sql(template, &context)?;
        let expanded = flywheel_transform::expand_metrics(self.project, &sql)?;
        Ok(expanded.unwrap_or(sql))
    }

    /// Runs SQL of ours.
    pub(crate) async fn frame_of_sql<'w>(&self, what: &'w str, sql: &str) -> Result<Frame<'w>> {
        self.begin(what, sql.to_owned()).frame().await
    }

    /// Begins to run SQL of ours, beside what is done until its answer is asked for.
    pub(crate) fn begin<'w>(&self, what: &'w str, sql: String) -> Pending<'w> {
        let session = self.session.clone();
        let mut running = JoinSet::new();
        running.spawn(async move { answer(&session, &sql).await });
        Pending { what, running }
    }

    /// The sequence and position last committed to `at` under `app`.
    pub(crate) async fn checkpoint(
        &self,
        at: &Location,
        app: &str,
    ) -> Result<Option<flywheel_warehouse::Checkpoint>> {
        let head = self.lake.head(at).await?;
        Ok(head.and_then(|state| state.checkpoints.get(app).cloned()))
    }
}

/// A query that is under way; if nobody asks for its answer any more, it ends.
pub(crate) struct Pending<'w> {
    what: &'w str,
    running: JoinSet<Result<Vec<RecordBatch>>>,
}

impl<'w> Pending<'w> {
    /// Waits for its answer.
    pub(crate) async fn frame(mut self) -> Result<Frame<'w>> {
        match self.running.join_next().await {
            Some(Ok(batches)) => {
                Ok(Frame::new(self.what, batches.map_err(|e| e.context(self.what))?))
            }
            Some(Err(error)) => {
                Err(Error::internal(format!("{}: a query stopped unexpectedly", self.what))
                    .caused_by(error))
            }
            None => Err(Error::internal(format!("{}: no query", self.what))),
        }
    }
}

/// The whole answer, at least one batch, so that its columns are known.
async fn answer(session: &Session, sql: &str) -> Result<Vec<RecordBatch>> {
    let query = session.query(sql).await?;
    let mut batches = query.collect().await?;
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(query.schema()));
    }
    Ok(batches)
}

/// After how many microseconds that is due again which recurs every so many. A little sooner: runs of a schedule begin
/// some seconds after their moment, and one that begins with less delay than the last is no reason to leave a day out.
pub(crate) fn due_after(every: i64) -> i64 {
    every - (every / 20).min(SOONER_MAX_US)
}

/// Whether an error is about what somebody declared: its SQL or its rows. Then it stops that and nothing else; after any
/// other the run ends, so that it is taken up where it was.
pub(crate) fn is_its_own(error: &Error) -> bool {
    use ErrorKind::{Blocked, Denied, Invalid, NotFound};
    matches!(error.kind(), Invalid | NotFound | Denied | Blocked)
}

/// Makes a location of ours, which is valid by construction.
pub(crate) fn location(text: &str) -> Result<Location> {
    Location::new(text).map_err(|e| Error::internal(format!("location \"{text}\"")).caused_by(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_begins_with_less_delay_than_the_last_is_on_time() {
        const MINUTE: i64 = 60_000_000;
        let (day, hour) = (24 * 60 * MINUTE, 60 * MINUTE);
        assert_eq!(due_after(day), day - 5 * MINUTE);
        assert_eq!(due_after(hour), hour - 3 * MINUTE);
        assert_eq!((due_after(0), due_after(1), due_after(20)), (0, 1, 19));
        assert!(due_after(i64::MAX) > 0);
    }
}
