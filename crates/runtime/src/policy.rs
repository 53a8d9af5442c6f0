//! What people ask of policies: judge a challenger, let it decide, take that back, prove decisions, plan experiments.

use flywheel_base::{Error, Result};
use flywheel_decision::Context;
use flywheel_decision::challenge::{self, Challenge, Judgement};
use flywheel_decision::champion::{self, Champion, Promoted};
use flywheel_decision::decide::{self, Question};
use flywheel_decision::experiment;
use flywheel_decision::experiment::plan::{self, Plan};
use flywheel_decision::table::{DecisionRow, ExperimentRow};
use flywheel_decision::verify::{self, Replayed, Verified};

use crate::Workspace;

/// Judges a challenger by the logged decisions of a policy.
///
/// # Errors
/// Those of [`challenge::judge`].
pub async fn judge(workspace: &Workspace, challenge: &Challenge) -> Result<Judgement> {
    challenge::judge(&context(workspace).await?, challenge).await
}

/// Lets a challenger decide for a policy from the next turn on, if there is evidence, or `despite` it for a reason.
///
/// # Errors
/// Those of [`champion::promote`].
pub async fn promote(
    workspace: &Workspace,
    challenge: &Challenge,
    despite: Option<&str>,
) -> Result<Promoted> {
    champion::promote(&context(workspace).await?, challenge, despite).await
}

/// Ends the trial of a challenger, or takes the newest promotion of a policy back; returns who decided and who decides now.
///
/// # Errors
/// Those of [`champion::take_back`].
pub async fn roll_back(
    workspace: &Workspace,
    name: &str,
    reason: &str,
) -> Result<(Champion, Champion)> {
    champion::take_back(&context(workspace).await?, name, reason)
}

/// Makes decisions of a policy again and compares them with what was logged.
///
/// # Errors
/// Those of [`verify::verify`].
pub async fn verify(workspace: &Workspace, name: &str, decision: Option<&str>) -> Result<Verified> {
    verify::verify(&context(workspace).await?, name, decision).await
}

/// Makes one decision of whichever policy again and says whether it is the one that was logged.
///
/// # Errors
/// Those of [`verify::replay`].
pub async fn replay(workspace: &Workspace, decision: &str) -> Result<Replayed> {
    verify::replay(&context(workspace).await?, decision).await
}

/// The error for a decision that is not there, or not for whoever asks.
#[must_use]
pub fn unknown_decision(decision: &str) -> Error {
    verify::unknown(None, decision)
}

/// Decides for single units now; all decisions are logged together, and each question is answered on its own.
///
/// # Errors
/// Those of lake and metadata, and per question those of [`decide::decide_each`].
pub async fn decide_each(
    workspace: &Workspace,
    questions: &[Question],
) -> Result<Vec<Result<DecisionRow>>> {
    let turn = workspace.store.last_turn()?.map_or(0, |turn| turn.turn);
    let ctx = workspace.context(turn, workspace.now()).await?;
    Ok(decide::decide_each(&ctx, questions).await)
}

/// How experiments stand.
///
/// # Errors
/// Those of [`experiment::standing`].
pub async fn experiments(workspace: &Workspace, name: Option<&str>) -> Result<Vec<ExperimentRow>> {
    experiment::standing(&context(workspace).await?, name).await
}

/// How many units an experiment needs.
///
/// # Errors
/// Those of [`plan::plan`].
pub async fn plan(
    workspace: &Workspace,
    name: &str,
    effect: Option<f64>,
    power: f64,
) -> Result<Plan> {
    plan::plan(&context(workspace).await?, name, effect, power).await
}

/// The moment of the last turn: what has been joined up to then is what can be asked about.
async fn context(workspace: &Workspace) -> Result<Context<'_>> {
    let last = workspace.store.last_turn()?;
    let turn = last.map_or(0, |turn| turn.turn);
    let now = last.map_or_else(|| workspace.now(), |turn| turn.logical_at);
    workspace.context(turn, now).await
}
