//! What work touches, from the project's files.

use flywheel_project::graph::NodeId;
use flywheel_project::resource::project_file::Materialized;
use flywheel_project::resource::schedule::{Runs, Schedule, Task};
use flywheel_project::{NodeKind, Project};
use flywheel_state::Claims;

use crate::catalogue;
use crate::task::sync::targets;

/// The one who publishes models: builds follow each other, because they move readers to what they have built together.
const MODELS: &str = "models";
/// Verdicts about tables, by which readers are held back and let go.
const VERDICTS: &str = "verdicts";

/// What a schedule's runs touch.
pub(super) fn of(project: &Project, schedule: &Schedule) -> Claims {
    let mut claims = Claims::default();
    if let Some(run) = schedule.run {
        claims.join(&of_work(project, run, &schedule.select));
    }
    for task in &schedule.tasks {
        claims.join(&of_task(project, task));
    }
    claims
}

/// What runs of the schedule of that name touch; nothing, if there is none.
#[must_use]
pub fn of_schedule(project: &Project, name: &str) -> Claims {
    project.schedules.get(name).map_or_else(Claims::default, |schedule| of(project, schedule))
}

/// What a task touches; nothing, if it only waits for others.
pub(super) fn of_task(project: &Project, task: &Task) -> Claims {
    task.run.map_or_else(Claims::default, |run| of_work(project, run, &task.select))
}

/// What it touches to run this for what is selected.
#[must_use]
pub fn of_work(project: &Project, run: Runs, select: &[String]) -> Claims {
    let mut claims = Claims::default();
    let all_if_none = |known: Vec<&String>| -> Vec<String> {
        let named = if select.is_empty() { known } else { select.iter().collect() };
        named.into_iter().cloned().collect()
    };
    match run {
        Runs::Turn => return Claims::everything(),
        Runs::Sync | Runs::Quarantine => {
            for name in all_if_none(project.syncs.keys().collect()) {
                claims.join(&of_sync(project, &name));
            }
        }
        Runs::Build => build(project, select, &mut claims),
        // What is sent is what stands there when those who write it have ended.
        Runs::Dashboard => {
            for name in select {
                reads_of(project, &NodeId::new(NodeKind::Dashboard, name.as_str()), &mut claims);
            }
        }
        Runs::Learn => {
            for name in all_if_none(project.learners.keys().collect()) {
                let id = NodeId::new(NodeKind::Learner, name.as_str());
                claims.write([format!("learner {name}"), catalogue::shown(project, &id)]);
                reads_of(project, &id, &mut claims);
            }
        }
    }
    claims
}

/// What a sync touches.
#[must_use]
pub fn of_sync(project: &Project, name: &str) -> Claims {
    let mut claims = Claims::default();
    claims.write([format!("sync {name}")]);
    if let Some(sync) = project.syncs.get(name) {
        claims.write(targets(sync));
        reads_of(project, &NodeId::new(NodeKind::Sync, name), &mut claims);
    }
    claims
}

/// What it touches to judge promises: every table that lands, so that none is held back while it is judged.
#[must_use]
pub fn of_quality(project: &Project) -> Claims {
    let mut claims = Claims::default();
    claims.write([VERDICTS.to_owned()]);
    claims.read(project.syncs.values().flat_map(|sync| targets(sync).collect::<Vec<_>>()));
    claims
}

fn build(project: &Project, select: &[String], claims: &mut Claims) {
    claims.write([MODELS.to_owned()]);
    // A selection that cannot be read builds nothing, and says so when it is run.
    let Ok(selected) = project.graph.select(select, &[]) else { return };
    let everything = select.is_empty();
    for (id, _) in project.graph.nodes().filter(|(id, _)| id.kind == NodeKind::Model) {
        if everything || selected.contains(id) {
            claims.write([catalogue::shown(project, id)]);
            reads_of(project, id, claims);
        }
    }
}

/// Adds what is read for a node: the tables before it. A view is no table, so what it reads is read, too.
fn reads_of(project: &Project, id: &NodeId, claims: &mut Claims) {
    let mut front: Vec<&NodeId> = project.graph.upstream(id).collect();
    let mut seen = std::collections::BTreeSet::new();
    while let Some(at) = front.pop() {
        if !seen.insert(at) {
            continue;
        }
        match at.kind {
            NodeKind::Source | NodeKind::Model | NodeKind::Learner => {
                claims.read([catalogue::shown(project, at)]);
            }
            NodeKind::Metric | NodeKind::Semantic => {}
            _ => continue,
        }
        if !is_table(project, at) {
            front.extend(project.graph.upstream(at));
        }
    }
}

fn is_table(project: &Project, id: &NodeId) -> bool {
    match id.kind {
        NodeKind::Source | NodeKind::Learner => true,
        NodeKind::Model => project.models.get(&id.name).is_some_and(|model| {
            !matches!(model.config.materialized, Materialized::View | Materialized::Ephemeral)
        }),
        _ => false,
    }
}
