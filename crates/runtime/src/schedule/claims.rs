//! What work touches, from the project's files.

use flywheel_project::graph::NodeId;
use flywheel_project::resource::project_file::Materialized;
use flywheel_project::resource::schedule::{Runs, Schedule, Task};
use flywheel_project::resource::sync::LAKE;
use flywheel_project::{NodeKind, Project};
use flywheel_state::Claims;

use crate::catalogue;
use crate::task::sync::targets;

/// The one who publishes models: builds follow each other, because they move readers to what they have built together.
const MODELS: &str = "models";
/// Verdicts about tables, by which readers are held back and let go.
const VERDICTS: &str = "verdicts";
/// What leaves: one at a time empties the outbox.
const OUTBOX: &str = "outbox";

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
        // A table that lands while it is compared would seem to differ.
        Runs::Sync | Runs::Quarantine | Runs::Reconcile => {
            for name in all_if_none(project.syncs.keys().collect()) {
                claims.join(&of_sync(project, &name));
            }
        }
        Runs::Link => {
            for name in all_if_none(project.links.keys().collect()) {
                claims.join(&of_link(project, &name));
            }
        }
        Runs::Merge => {
            for name in all_if_none(project.merges.keys().collect()) {
                claims.join(&of_merge(project, &name));
            }
        }
        Runs::Act => claims.write([OUTBOX.to_owned()]),
        Runs::Quality => claims.join(&of_quality(project)),
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
        // Syncs may write into one system beside each other, and none beside a link that keeps it alike.
        let others = sync.destination.names().iter().filter(|name| *name != LAKE);
        claims.read(others.map(|name| system(name)));
        reads_of(project, &NodeId::new(NodeKind::Sync, name), &mut claims);
    }
    claims
}

/// What a link touches: both of its systems, which it reads whole and writes to, and the links that its ids are
/// translated by.
#[must_use]
pub fn of_link(project: &Project, name: &str) -> Claims {
    let mut claims = Claims::default();
    claims.write([format!("link {name}")]);
    if let Some(located) = project.links.get(name) {
        let link = &located.value;
        claims.write([system(&link.left.connection), system(&link.right.connection)]);
        let others = link.fields.iter().filter_map(|field| field.refers_to.as_ref());
        claims.read(others.map(|other| format!("link {other}")));
    }
    claims
}

/// What a merge touches: the tables that it makes, and those that it reads.
#[must_use]
pub fn of_merge(project: &Project, name: &str) -> Claims {
    let mut claims = Claims::default();
    claims.write([format!("merge {name}")]);
    if let Some(merge) = project.merges.get(name) {
        claims.write(merge.written());
        reads_of(project, &NodeId::new(NodeKind::Merge, name), &mut claims);
    }
    claims
}

/// An outside system that is written to.
fn system(connection: &str) -> String {
    format!("system {connection}")
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::connectors;

    /// Two systems that are kept alike by two links, and a sync that writes into one of them.
    fn project() -> Project {
        let link = |name: &str, field: &str| {
            let side = |connection: &str| {
                format!(
                    "{{connection: {connection}, options: {{table: {name}}}, target: {{table: {name}}}, id: id}}"
                )
            };
            let (left, right) = (side("sales"), side("support"));
            format!(
                "link: {name}\nleft: {left}\nright: {right}\nfields: [{field}]\nmatch: {{exact: [id]}}\n"
            )
        };
        let sync = |name: &str, to: &str, target: &str| {
            format!(
                "sync: {name}\nconnection: files\n{to}streams:\n  - {{stream: {name}, options: {{path: {name}.csv}}, read: full, write: replace{target}}}\n"
            )
        };
        let sqlite = |name: &str| {
            format!("connection: {name}\ntype: sqlite\noptions: {{path: {name}.db}}\n")
        };
        let files = [
            ("flywheel.yaml", "name: t\n".to_owned()),
            (
                "connections/files.yaml",
                "connection: files\ntype: csv\noptions: {folder: data}\n".to_owned(),
            ),
            ("connections/sales.yaml", sqlite("sales")),
            ("connections/support.yaml", sqlite("support")),
            ("syncs/lands.yaml", sync("lands", "", "")),
            (
                "syncs/leaves.yaml",
                sync("leaves", "destination: sales\n", ", target: {table: leaves}"),
            ),
            ("links/companies.yaml", link("companies", "{name: name}")),
            ("links/people.yaml", link("people", "{name: company, refers_to: companies}")),
        ];
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Project::load(folder.path(), &connectors::schemas()).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn no_two_meet_on_a_system_that_a_link_keeps_alike() {
        let project = project();
        let (companies, people) = (of_link(&project, "companies"), of_link(&project, "people"));
        assert!(people.meets(&companies), "both write to both systems");
        assert!(people.meets(&of_sync(&project, "leaves")), "it writes into one of them");
        assert!(!people.meets(&of_sync(&project, "lands")));
        assert!(of_work(&project, Runs::Link, &[]).meets(&companies));
        let named = ["people".to_owned()];
        assert_eq!(of_work(&project, Runs::Link, &named), people);
    }

    #[test]
    fn a_table_is_not_compared_while_it_lands_and_is_judged_when_it_has() {
        let project = project();
        let lands = of_sync(&project, "lands");
        let named = ["lands".to_owned()];
        assert!(of_work(&project, Runs::Reconcile, &named).meets(&lands));
        assert!(of_work(&project, Runs::Quality, &[]).meets(&lands));
        assert!(!of_work(&project, Runs::Reconcile, &named).meets(&of_link(&project, "people")));
    }
}
