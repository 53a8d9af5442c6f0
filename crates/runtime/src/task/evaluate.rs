//! Judging the last answers of every learner by what really happened.

use flywheel_base::Result;
use flywheel_decision::evaluate::{self, Judged};
use flywheel_state::TaskOutcome;

use crate::{Workspace, recorder::Recorder};

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
    let mut all = Vec::new();
    for name in workspace.project.learners.keys() {
        let timer = recorder.started("evaluate", name);
        let result = evaluate::judge(&context, name).await;
        all.push(recorder.settled(timer, result, |judged| {
            let outcome =
                TaskOutcome { rows_out: Some(judged.measures as u64), ..TaskOutcome::default() };
            ("succeeded".to_owned(), outcome)
        })?);
    }
    Ok(all)
}
