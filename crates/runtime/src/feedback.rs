//! What somebody who serves recommendations asks: a fitted recommender, what its tables say of a user, and what users
//! did since.

pub mod remembered;

use flywheel_base::{Result, statement};
use flywheel_decision::feedback::{self, Act, Loaded, Stock};

use crate::Workspace;
use crate::access::Reading;
use crate::lake_source::render;

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

/// What can be had now, by the query of the recommender `name`; none if it has none.
///
/// # Errors
/// Those of [`feedback::stock`].
pub async fn stock(workspace: &Workspace, name: &str) -> Result<Option<Stock>> {
    let ctx = workspace.context(0, workspace.now()).await?;
    feedback::stock(&ctx, name, feedback::settings_of(&ctx, name)?).await
}

/// Whether the reader does not see all of what the recommender `name` knows of its items: then nothing is told of them by
/// filters either.
///
/// # Errors
/// Those of [`Reading::limits_now`] and of the query.
pub async fn hides_items(workspace: &Workspace, name: &str, reading: &Reading) -> Result<bool> {
    let limits = reading.limits_now(workspace).await?;
    let closed = reading.granted(&workspace.project).is_some();
    if !closed && limits.sights.is_empty() && limits.hidden.is_empty() {
        return Ok(false);
    }
    let learner = workspace.project.learners.get(name).and_then(|one| one.recommend.as_ref());
    let Some(items) = learner.and_then(|one| one.items.as_deref()) else { return Ok(false) };
    let what = format!("learner \"{name}\": items");
    let items = render(workspace, items).map_err(|error| error.context(&what))?;
    let query = statement::one(&what, &items)?;
    if closed && workspace.session_for(&items, reading).await?.query(query).await.is_err() {
        return Ok(true);
    }
    // As the project sees them, as the question is which tables they are.
    let session = workspace.session_for(&items, &Reading::Owner).await?;
    let read = session.query(query).await?.tables();
    Ok(read.iter().any(|table| {
        limits.sights.contains_key(table) || limits.hidden.contains(&table.to_string())
    }))
}
