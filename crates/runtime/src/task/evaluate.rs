//! Judging the last answers of every learner by what really happened.

use flywheel_base::Result;
use flywheel_decision::evaluate::{self, Judged};
use flywheel_state::TaskOutcome;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};

use crate::{Workspace, recorder::Recorder};

/// How many learners are judged at once.
const JUDGED_AT_ONCE: usize = 4;

/// Judges every learner that has answered before.
///
/// # Errors
/// The first learner's error.
pub(crate) async fn run(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    turn: i64,
) -> Result<Vec<Judged>> {
    let context = workspace.context(turn, workspace.now()).await?;
    let judged = async |name: &String| {
        let timer = recorder.started("evaluate", name);
        let result = evaluate::judge(&context, name).await;
        recorder.settled(timer, result, |judged| {
            let outcome =
                TaskOutcome { rows_out: Some(judged.measures as u64), ..TaskOutcome::default() };
            ("succeeded".to_owned(), outcome)
        })
    };
    let works = workspace.project.learners.keys();
    let works: Vec<BoxFuture<'_, Result<Judged>>> =
        works.map(|name| Box::pin(judged(name)) as BoxFuture<'_, _>).collect();
    stream::iter(works).buffered(JUDGED_AT_ONCE).try_collect().await
}
