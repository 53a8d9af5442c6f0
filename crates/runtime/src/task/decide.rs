//! Deciding: every policy that is due and not paused.

use flywheel_base::{Error, Result};
use flywheel_decision::decide::{Decided, Status, decide};
use flywheel_decision::learner::awaited;
use flywheel_state::TaskOutcome;
use serde_json::json;

use super::learn::is_its_own;
use crate::{Workspace, recorder::Recorder};

/// What came of policies: one that cannot decide keeps no other one from it.
#[derive(Debug, Default)]
pub(crate) struct Decisions {
    /// Those that were asked.
    pub(crate) decided: Vec<Decided>,
    /// Why others could not decide, in the order of the names: they decided nothing, and are due still.
    pub(crate) errors: Vec<Error>,
}

/// Asks the policies `names`.
///
/// A policy decides for its whole audience in one commit or not at all, so one that fails leaves nothing behind. A turn
/// that is cut off after that asks it again when it is completed; those that decided keep their decisions.
///
/// # Errors
/// What is not about one policy, such as a disk that is full.
pub(crate) async fn run(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    turn: i64,
    names: &[String],
) -> Result<Decisions> {
    let mut context = workspace.context(turn, workspace.now()).await?;
    let mut all = Decisions::default();
    for (place, name) in names.iter().enumerate() {
        // What the policies before it have decided counts against the contacts that all of them share.
        if place > 0 && workspace.project.file.contact.is_some() {
            context = workspace.context(turn, context.now).await?;
        }
        let timer = recorder.started("decide", name);
        let result = decide(&context, name).await.map_err(|error| named(workspace, name, error));
        let settled = recorder.settled(timer, result, |decided| {
            let (status, why) = match &decided.status {
                Status::Decided => ("succeeded", None),
                Status::NotDue => ("skipped", Some("not due".to_owned())),
                Status::Paused(reason) => ("skipped", Some(format!("paused: {reason}"))),
            };
            let mut detail =
                json!({"holdout": decided.held_out, "queued": decided.queued, "why": why});
            if let Some(detail) = detail.as_object_mut().filter(|_| decided.without_forecast > 0) {
                detail.insert("without_forecast".to_owned(), json!(decided.without_forecast));
            }
            let rows_out = Some(decided.decisions as u64);
            let outcome = TaskOutcome { rows_out, detail, ..TaskOutcome::default() };
            (status.to_owned(), outcome)
        });
        let decided = match settled {
            Ok(decided) => decided,
            Err(error) if is_its_own(&error) => {
                all.errors.push(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        if decided.status == Status::Decided
            && let Some(learner) = awaited(&context, name)?
        {
            recorder.notice(format!(
                "policy \"{name}\" decides for nobody: its learner \"{learner}\" was never fitted; `flywheel learn {learner}` says why"
            ));
        }
        if decided.without_forecast > 0 {
            recorder.notice(format!(
                "policy \"{name}\" orders nothing for {} units, of which its learner has no forecast: a unit is found by its `series_id`",
                decided.without_forecast
            ));
        }
        all.decided.push(decided);
    }
    Ok(all)
}

/// An error that names its policy, once, and the policy's file.
fn named(workspace: &Workspace, name: &str, error: Error) -> Error {
    let who = format!("policy \"{name}\"");
    let error = if error.message().starts_with(&who) { error } else { error.context(who) };
    match workspace.project.policies.get(name) {
        Some(policy) => error.context(&policy.file),
        None => error,
    }
}
