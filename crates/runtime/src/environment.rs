//! Environments: making, promoting, taking back and dropping them. Each step is one transaction of the
//! metadata, so a kill leaves either side of it, and doing it again does nothing more.

use flywheel_base::Result;
use flywheel_state::{Environment, EnvironmentMove};

use crate::Workspace;

/// Every environment, production first.
///
/// # Errors
/// Those of the metadata.
pub fn list(workspace: &Workspace) -> Result<Vec<Environment>> {
    workspace.store.environments()
}

/// Makes an environment that sees what `from` sees; says whether it was not there before.
///
/// # Errors
/// Those of [`flywheel_state::Store::create_environment`].
pub fn create(workspace: &Workspace, name: &str, from: &str) -> Result<bool> {
    workspace.store.create_environment(name, from, workspace.now())
}

/// Lets readers of `to` see what `from` has, in one step; none if they do already.
///
/// # Errors
/// Those of [`flywheel_state::Store::promote`].
pub fn promote(workspace: &Workspace, from: &str, to: &str) -> Result<Option<EnvironmentMove>> {
    workspace.store.promote(from, to, workspace.now())
}

/// Takes the newest promotion to `environment` back; none if there is none.
///
/// # Errors
/// Those of [`flywheel_state::Store::roll_back`].
pub fn roll_back(workspace: &Workspace, environment: &str) -> Result<Option<EnvironmentMove>> {
    workspace.store.roll_back(environment, workspace.now())
}

/// Forgets an environment; says whether it was there.
///
/// # Errors
/// Those of [`flywheel_state::Store::drop_environment`].
pub fn drop(workspace: &Workspace, name: &str) -> Result<bool> {
    workspace.store.drop_environment(name)
}
