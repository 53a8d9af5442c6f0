//! Environments: making, promoting, taking back and dropping them. Each step is one transaction of the
//! metadata, so a kill leaves either side of it, and doing it again does nothing more.

use std::collections::BTreeSet;

use flywheel_base::Result;
use flywheel_state::{Environment, EnvironmentMove, PRODUCTION, Reads};
use flywheel_warehouse::Location;
use serde::Serialize;

use crate::Workspace;
use crate::access::made::read_by;
use crate::recorder::Recorder;

/// A table that no environment names is kept so long, by the logical clock: whoever reads it ends, and a
/// change that is taken back costs nothing.
pub const IDLE_KEPT_DAYS: i64 = 7;

const DAY_US: i64 = 24 * 3_600 * 1_000_000;

/// How many characters name a variant's folder.
const VARIANT_CHARS: usize = 12;

/// An environment, and how it differs from production.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The environment.
    pub environment: Environment,
    /// How many models of production a promotion would change; none for production.
    pub differing: usize,
}

/// Every environment, production first.
///
/// # Errors
/// Those of the metadata.
pub fn list(workspace: &Workspace) -> Result<Vec<Listed>> {
    let mut listed = Vec::new();
    for environment in workspace.store.environments()? {
        let differing = match environment.name == PRODUCTION {
            true => 0,
            false => {
                let reads = reads_in(workspace, &environment.name)?;
                workspace.store.differing(&environment.name, PRODUCTION, &reads)?
            }
        };
        listed.push(Listed { environment, differing });
    }
    Ok(listed)
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
    workspace.store.promote(from, to, &reads_in(workspace, from)?, workspace.now())
}

/// What each model of an environment reads, as it was built there.
fn reads_in(workspace: &Workspace, environment: &str) -> Result<Reads> {
    let builds = workspace.store.builds_of(environment)?;
    let known: BTreeSet<String> = builds.iter().map(|build| build.name.clone()).collect();
    let mut reads = Reads::new();
    for build in builds {
        if let Some(sql) = &build.sql {
            reads.insert(build.name, read_by(sql, &known));
        }
    }
    Ok(reads)
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

/// A table that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Where it lay in the lake.
    pub location: String,
    /// How many bytes of rows it had.
    pub bytes: u64,
}

/// Removes tables of models that no environment, no build and no promotion that can be taken back has
/// named for `days`; those that a query of this process reads stay until the next time.
///
/// # Errors
/// Those of lake and metadata; what was removed until then stays removed.
pub async fn clean(workspace: &Workspace, days: i64) -> Result<Vec<Removed>> {
    let present = workspace.lake.locations().await?.into_iter();
    let present: Vec<String> =
        present.map(|at| at.as_str().to_owned()).filter(|at| is_variant(at)).collect();
    let kept_us = days.saturating_mul(DAY_US);
    let mut removed = Vec::new();
    for location in workspace.store.idle_tables(&present, workspace.now(), kept_us)? {
        let freed = workspace.lake.remove(&Location::new(location.as_str())?).await?;
        removed.extend(freed.map(|bytes| Removed { location, bytes }));
    }
    Ok(removed)
}

/// Cleans after a run; a table that cannot be removed is told and tried again the next time.
pub(crate) async fn clean_up(workspace: &Workspace, recorder: &Recorder<'_>) {
    match clean(workspace, IDLE_KEPT_DAYS).await {
        Ok(removed) if removed.is_empty() => {}
        Ok(removed) => {
            let bytes: u64 = removed.iter().map(|one| one.bytes).sum();
            tracing::info!(tables = removed.len(), bytes, "tables nobody names were removed");
        }
        Err(error) => recorder.notice(format!("tables nobody names: {}", error.report())),
    }
}

/// Whether a table is a variant of a model, `schema/name/fingerprint`.
pub(crate) fn is_variant(location: &str) -> bool {
    let parts: Vec<&str> = location.split('/').collect();
    let print = |text: &str| text.len() == VARIANT_CHARS && text.bytes().all(is_digit);
    matches!(parts.as_slice(), [_, _, variant] if print(variant))
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::is_variant;

    #[test]
    fn only_tables_of_models_are_ever_removed() {
        assert!(is_variant("mart/orders/0123456789ab"));
        for other in ["raw/orders", "mart/orders/0123", "a/b/c/0123456789ab", "system/x/decisions"]
        {
            assert!(!is_variant(other), "{other}");
        }
    }
}
