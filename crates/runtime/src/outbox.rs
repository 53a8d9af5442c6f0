//! Emptying the outbox outside of turns.

use flywheel_base::{Result, Timestamp};
use flywheel_decision::act::Acted;

use crate::Workspace;
use crate::recorder::{Observer, Recorder};
use crate::task::act;
use crate::{openlineage, run};

/// Delivers what is due, once, and records it as a run.
///
/// # Errors
/// Those of [`flywheel_decision::act::act`].
pub async fn act(workspace: &Workspace, observer: &dyn Observer) -> Result<Acted> {
    let recorder = run::start(workspace, observer, "act")?;
    let result = Box::pin(deliver(workspace, &recorder)).await;
    recorder.finish(result.as_ref().err())?;
    Box::pin(openlineage::settle(workspace)).await;
    result
}

/// As [`act`], as a part of a run.
pub(crate) async fn deliver(workspace: &Workspace, recorder: &Recorder<'_>) -> Result<Acted> {
    act::run(workspace, recorder, last_turn(workspace)?).await
}

/// Why not everything that was due has left or will leave by itself; none if nothing needs a person.
#[must_use]
pub fn held_back(acted: &Acted) -> Option<String> {
    let why = act::warnings(acted);
    (!why.is_empty()).then(|| why.join("\n"))
}

/// Delivers what is due until it is time to stop; what is under way then ends.
///
/// # Errors
/// As [`act()`].
pub async fn send(workspace: &Workspace, stops: &(dyn Fn() -> bool + Sync)) -> Result<Acted> {
    act::deliver(workspace, last_turn(workspace)?, stops).await
}

/// Whether something is due that can leave: of a policy that is not paused, by an action that is there.
///
/// # Errors
/// Those of the metadata.
pub fn is_due(workspace: &Workspace) -> Result<bool> {
    let store = &workspace.store;
    if store.halt()?.is_some() {
        return Ok(false);
    }
    if store.sending()? {
        return Ok(true);
    }
    let project = &workspace.project;
    for (policy, action) in store.due_ways(workspace.now())? {
        let declared = project.policies.get(&policy).is_some_and(|policy| !policy.paused);
        if declared && project.actions.contains_key(&action) && !store.policy(&policy)?.paused {
            return Ok(true);
        }
    }
    Ok(false)
}

/// When the next delivery becomes due that is not due yet.
///
/// # Errors
/// Those of the metadata.
pub fn next_due(workspace: &Workspace) -> Result<Option<Timestamp>> {
    workspace.store.next_due(workspace.now())
}

fn last_turn(workspace: &Workspace) -> Result<i64> {
    Ok(workspace.store.last_turn()?.map_or(0, |turn| turn.turn))
}
