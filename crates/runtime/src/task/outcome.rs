//! Outcomes and lift of every policy that says what counts as success.

use flywheel_base::Result;
use flywheel_decision::table::LiftRow;
use flywheel_decision::{lift, outcome};
use flywheel_state::TaskOutcome;
use serde_json::json;

use crate::{Workspace, recorder::Recorder};

/// Joins new outcomes of all policies.
///
/// # Errors
/// The first policy's error.
pub(crate) async fn join(
    workspace: &Workspace,
    recorder: &mut Recorder<'_>,
    turn: i64,
) -> Result<usize> {
    let context = workspace.context(turn, workspace.now()).await?;
    let mut joined = 0;
    for (name, policy) in &workspace.project.policies {
        let Some(declared) = &policy.outcome else { continue };
        let timer = recorder.started("outcome", name);
        let result = outcome::join(&context, name, declared).await;
        joined += recorder.settled(timer, result, |rows| {
            let outcome = TaskOutcome { rows_out: Some(*rows as u64), ..TaskOutcome::default() };
            ("succeeded".to_owned(), outcome)
        })?;
    }
    Ok(joined)
}

/// Measures the lift of all policies and pauses those that do harm.
///
/// # Errors
/// The first policy's error.
pub(crate) async fn measure(
    workspace: &Workspace,
    recorder: &mut Recorder<'_>,
    turn: i64,
) -> Result<Vec<LiftRow>> {
    let context = workspace.context(turn, workspace.now()).await?;
    let mut rows = Vec::new();
    for (name, policy) in
        workspace.project.policies.iter().filter(|(_, policy)| policy.outcome.is_some())
    {
        let timer = recorder.started("lift", name);
        let result = lift::measure(&context, name, policy).await;
        let row = recorder.settled(timer, result, |row| {
            let detail = row.as_ref().map_or(
                json!({}),
                |row| json!({"lift": row.lift, "lower": row.lower, "upper": row.upper}),
            );
            ("succeeded".to_owned(), TaskOutcome { detail, ..TaskOutcome::default() })
        })?;
        rows.extend(row);
    }
    Ok(rows)
}
