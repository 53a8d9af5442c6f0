//! Events that do not fit, on their way into `system.quarantine`: what waits together is committed together, so that a page
//! which sends nothing but mistakes does not make a commit for each.

use std::collections::BTreeMap;
use std::sync::Arc;

use flywheel_base::{Gather, GatherLimits, Result};
use flywheel_runtime::topic::Misfit;
use flywheel_runtime::{Workspace, quarantine};
use tokio::runtime::Handle;

/// Requests that wait at most, and events of one commit.
const LIMITS: GatherLimits = GatherLimits { waiting_max: 256, weight_max: 2_000 };
/// Events of one request that are set aside; the answer names all of them, and says how many these were.
pub(crate) const OF_REQUEST_MAX: usize = 1_000;

/// Events of a request, each with why it does not fit.
pub(crate) struct Bad {
    pub(crate) workspace: Arc<Workspace>,
    pub(crate) handle: Handle,
    pub(crate) topic: String,
    pub(crate) events: Vec<(Misfit, String)>,
}

/// What sets events aside, and answers how many of a request's are in the table.
pub(crate) type SetAside = Gather<Bad, usize>;

/// Starts it.
pub(crate) fn start() -> Result<SetAside> {
    Gather::start("events that do not fit", LIMITS, |bad: &Bad| bad.events.len(), set_aside)
}

/// Of a topic: who asked with how many events, and the events of all.
type Gathered = (Vec<(usize, usize)>, Vec<(Misfit, String)>);

fn set_aside(asked: Vec<Bad>) -> Vec<Result<usize>> {
    // Whoever asked last knows the newest declarations.
    let Some(Bad { workspace, handle, .. }) = asked.last() else { return Vec::new() };
    let (workspace, handle) = (Arc::clone(workspace), handle.clone());
    let mut topics: BTreeMap<String, Gathered> = BTreeMap::new();
    for (index, bad) in asked.into_iter().enumerate() {
        let (whose, events) = topics.entry(bad.topic).or_default();
        whose.push((index, bad.events.len()));
        events.extend(bad.events);
    }
    let mut answers = BTreeMap::new();
    for (topic, (whose, events)) in topics {
        match handle.block_on(quarantine::set_aside_events(&workspace, &topic, events)) {
            Ok(there) => {
                let mut there = there.into_iter();
                for (index, count) in whose {
                    let kept = there.by_ref().take(count).filter(|there| *there).count();
                    answers.insert(index, Ok(kept));
                }
            }
            Err(error) => {
                answers.extend(whose.into_iter().map(|(index, _)| (index, Err(error.again()))));
            }
        }
    }
    answers.into_values().collect()
}
