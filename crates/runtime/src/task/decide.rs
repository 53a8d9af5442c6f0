//! Deciding: every policy that is due and not paused.

use flywheel_base::Result;
use flywheel_decision::decide::{Decided, Status, decide};
use flywheel_decision::learner::awaited;
use flywheel_state::TaskOutcome;
use serde_json::json;

use crate::{Workspace, recorder::Recorder};

/// Asks the policies `names`.
///
/// # Errors
/// The first policy's error; those before it have decided.
pub(crate) async fn run(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    turn: i64,
    names: &[String],
) -> Result<Vec<Decided>> {
    let context = workspace.context(turn, workspace.now()).await?;
    let mut all = Vec::new();
    for name in names {
        let timer = recorder.started("decide", name);
        let result = decide(&context, name).await;
        let decided = recorder.settled(timer, result, |decided| {
            let (status, why) = match &decided.status {
                Status::Decided => ("succeeded", None),
                Status::NotDue => ("skipped", Some("not due".to_owned())),
                Status::Paused(reason) => ("skipped", Some(format!("paused: {reason}"))),
            };
            let outcome = TaskOutcome {
                rows_out: Some(decided.decisions as u64),
                detail: json!({"holdout": decided.held_out, "queued": decided.queued, "why": why}),
                ..TaskOutcome::default()
            };
            (status.to_owned(), outcome)
        })?;
        if decided.status == Status::Decided
            && let Some(learner) = awaited(&context, name)?
        {
            recorder.notice(format!(
                "policy \"{name}\" decides for nobody: its learner \"{learner}\" was never fitted; `flywheel learn {learner}` says why"
            ));
        }
        all.push(decided);
    }
    Ok(all)
}
