//! What people decide about deliveries that wait for them, and who had a hand in the policies that made them.

use flywheel_base::{Error, Result};
use flywheel_state::{Approval, NewQuantity, SeenApproval};

use crate::{Workspace, run};

/// Who wrote a policy.
pub const WRITTEN: &str = "written";
/// Who let it go on.
pub const RESUMED: &str = "resumed";
/// Who changed who decides for it.
pub const PROMOTED: &str = "promoted";

/// The most deliveries that are decided about at once.
pub const AT_ONCE_MAX: usize = 10_000;

/// Lets deliveries leave, all of them or none.
///
/// # Errors
/// As [`flywheel_state::Store::approve`]; [`flywheel_base::ErrorKind::Invalid`] without a name or a key.
pub fn approve(
    workspace: &Workspace,
    seen: &[SeenApproval],
    by: &str,
    reason: Option<&str>,
) -> Result<Vec<Approval>> {
    check(seen, by)?;
    let reason = reason.map(str::trim).filter(|reason| !reason.is_empty());
    workspace.store.approve(seen, by, reason, workspace.now())
}

/// Ends deliveries that wait, all of them or none.
///
/// # Errors
/// As [`flywheel_state::Store::reject`]; [`flywheel_base::ErrorKind::Invalid`] without a name, a key or a reason.
pub fn reject(
    workspace: &Workspace,
    seen: &[SeenApproval],
    by: &str,
    reason: &str,
) -> Result<Vec<Approval>> {
    check(seen, by)?;
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(Error::invalid("no reason is given why deliveries are rejected")
            .hint("Say why: it is kept with each delivery."));
    }
    workspace.store.reject(seen, by, reason, workspace.now())
}

/// Orders another quantity than was proposed.
///
/// # Errors
/// As [`flywheel_state::Store::edit_approval`].
pub fn edit(
    workspace: &Workspace,
    seen: &SeenApproval,
    by: &str,
    new: NewQuantity<'_>,
) -> Result<Approval> {
    check(std::slice::from_ref(seen), by)?;
    workspace.store.edit_approval(seen, by, new, workspace.now())
}

/// As [`run::resume`], and remembers who did it: they do not approve what the policy sends where somebody else has to.
///
/// # Errors
/// As [`run::resume`].
pub fn resume_by(workspace: &Workspace, name: &str, user: &str) -> Result<()> {
    let declared = workspace.project.policies.get(name).is_some_and(|policy| policy.paused);
    // Whoever resumes what goes on already takes nobody's place.
    if !declared && workspace.store.policy(name)?.paused {
        workspace.store.record_hand(name, RESUMED, user, workspace.now())?;
    }
    run::resume(workspace, name)
}

fn check(seen: &[SeenApproval], by: &str) -> Result<()> {
    if by.trim().is_empty() {
        return Err(Error::invalid("nobody is named who decides")
            .hint("Name yourself: it is kept with each delivery."));
    }
    if seen.is_empty() || seen.len() > AT_ONCE_MAX {
        return Err(Error::invalid(format!("{} deliveries are named", seen.len())).hint(format!(
            "Name 1 to {AT_ONCE_MAX} by their keys; `flywheel approvals list` shows them."
        )));
    }
    Ok(())
}
