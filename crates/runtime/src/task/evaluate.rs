//! Judging the last answers of every learner by what really happened.

use flywheel_base::{Error, Result};
use flywheel_decision::drift;
use flywheel_decision::evaluate::{self, Judged};
use flywheel_state::TaskOutcome;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};

use super::learn::is_its_own;
use crate::{Workspace, recorder::Recorder};

/// How many learners are judged at once.
const JUDGED_AT_ONCE: usize = 4;

/// Judges every learner that has answered before, and tells which got worse; returns why some could not be. What happened meanwhile is judged once
/// they can be, unless they are fitted anew before.
///
/// # Errors
/// What is not about one learner.
pub(crate) async fn run(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    turn: i64,
) -> Result<Vec<Error>> {
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
    let judged: Vec<Result<Judged>> = stream::iter(works).buffered(JUDGED_AT_ONCE).collect().await;
    let mut unjudged = Vec::new();
    for error in judged.into_iter().filter_map(Result::err) {
        if !is_its_own(&error) {
            return Err(error);
        }
        unjudged.push(error);
    }
    // Of all that is known now, this turn's judgements included.
    let context = workspace.context(turn, workspace.now()).await?;
    match Box::pin(drift::watch(&context)).await {
        Ok(worse) => worse.iter().for_each(|one| recorder.notice(drift::told(one))),
        Err(error) if is_its_own(&error) => unjudged.push(error),
        Err(error) => return Err(error),
    }
    Ok(unjudged)
}
