//! Challengers on trial: judged, tried, promoted or taken back.

use flywheel_base::Result;
use flywheel_decision::canary::advance;
use flywheel_decision::champion::end_old_piles;
use flywheel_project::resource::policy::Choose;
use flywheel_state::{CanaryMove, Move, TaskOutcome};
use serde_json::{Map, Value, json};

use crate::{Workspace, recorder::Recorder};

/// Ends promotions of files that name another learner or declare another experiment now, and moves the canaries of all policies on; without a policy
/// that has one there is no task.
///
/// # Errors
/// Those of [`end_old_piles`] and [`advance`].
pub(crate) async fn run(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    turn: i64,
) -> Result<Vec<CanaryMove>> {
    for end in end_old_piles(&workspace.project, &workspace.store, workspace.now())? {
        // An experiment has variants and no learner.
        recorder.notice(match end.learner.as_str() {
            "" => format!("policy \"{}\" is no longer concluded: {}", end.policy, end.reason),
            learner => format!(
                "policy \"{}\" is decided by learner \"{learner}\": {}",
                end.policy, end.reason
            ),
        });
    }
    let declares = |choose: &Choose| matches!(choose, Choose::Bandit(one) if one.canary.is_some());
    let declared = workspace.project.policies.values().any(|policy| declares(&policy.choose));
    if !declared && workspace.store.canaries()?.last().is_none_or(|last| !last.kind.runs()) {
        return Ok(Vec::new());
    }
    let context = workspace.context(turn, workspace.now()).await?;
    let timer = recorder.started("canary", "policies");
    let result = advance(&context).await;
    recorder.settled(timer, result, |moves| {
        let taken_back = moves.iter().any(|one| one.kind == Move::RolledBack);
        let each = moves.iter().map(|one| {
            let what = json!({"move": one.kind.name(), "learner": one.learner, "share": one.share, "reason": one.reason});
            (one.policy.clone(), what)
        });
        let detail = Value::Object(each.collect::<Map<_, _>>());
        let outcome = TaskOutcome { detail, ..TaskOutcome::default() };
        (if taken_back { "warned" } else { "succeeded" }.to_owned(), outcome)
    })
}
