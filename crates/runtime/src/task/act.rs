//! Acting: emptying the outbox.

use flywheel_base::Result;
use flywheel_decision::act::{Acted, act};
use flywheel_state::TaskOutcome;
use serde_json::json;

use crate::{Workspace, recorder::Recorder};

/// Delivers what is due.
///
/// # Errors
/// Those of [`act`].
pub(crate) async fn run(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    turn: i64,
) -> Result<Acted> {
    let context = workspace.context(turn, workspace.now()).await?;
    let timer = recorder.started("act", "outbox");
    let result = act(&context).await;
    recorder.settled(timer, result, |acted| {
        let status = if acted.dead > 0 { "warned" } else { "succeeded" };
        let outcome = TaskOutcome {
            rows_out: Some(acted.delivered as u64),
            rows_rejected: Some(acted.dead as u64),
            detail: json!({"retried": acted.retried}),
            ..TaskOutcome::default()
        };
        (status.to_owned(), outcome)
    })
}
