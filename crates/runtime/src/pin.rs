//! Which artifact of a learner is served: held at one, taken back to the one before, let go.

use flywheel_base::Result;
use flywheel_decision::Context;
use flywheel_decision::pin::{self, Pinned};
use flywheel_state::Pin;

use crate::Workspace;

/// Holds a learner at an artifact: the beginning of its digest or its version, or without either the one that is served.
///
/// # Errors
/// Those of [`pin::pin`].
pub async fn pin(
    workspace: &Workspace,
    name: &str,
    which: Option<&str>,
    reason: &str,
) -> Result<Pinned> {
    Box::pin(pin::pin(&context(workspace).await?, name, which, reason)).await
}

/// Takes a learner back to the artifact before the one that is served, and holds it there.
///
/// # Errors
/// Those of [`pin::roll_back`].
pub async fn roll_back(workspace: &Workspace, name: &str, reason: &str) -> Result<Pinned> {
    Box::pin(pin::roll_back(&context(workspace).await?, name, reason)).await
}

/// Lets a learner go: it is due at once, and what it was held at is served until it is fitted.
///
/// # Errors
/// Those of [`pin::unpin`].
pub async fn unpin(workspace: &Workspace, name: &str, reason: &str) -> Result<Pin> {
    pin::unpin(&context(workspace).await?, name, reason)
}

async fn context(workspace: &Workspace) -> Result<Context<'_>> {
    let turn = workspace.store.last_turn()?.map_or(0, |turn| turn.turn);
    workspace.context(turn, workspace.now()).await
}
