//! What somebody who serves recommendations asks: a fitted recommender, what its tables say of a user, and what users
//! did since.

pub mod remembered;

use flywheel_base::Result;
use flywheel_decision::feedback::{self, Act, Loaded};

use crate::Workspace;

/// The artifact `digest` of the recommender `name`, in memory.
///
/// # Errors
/// Those of [`Loaded::read`].
pub async fn load(workspace: &Workspace, name: &str, digest: &str) -> Result<Loaded> {
    let ctx = workspace.context(0, workspace.now()).await?;
    Loaded::read(&ctx, name, feedback::settings_of(&ctx, name)?, digest).await
}

/// What the tables of the recommender `name` say that a user did.
///
/// # Errors
/// Those of [`feedback::past`].
pub async fn past(workspace: &Workspace, name: &str, user: &str) -> Result<Vec<Act>> {
    let ctx = workspace.context(0, workspace.now()).await?;
    feedback::past(&ctx, name, feedback::settings_of(&ctx, name)?, user).await
}
