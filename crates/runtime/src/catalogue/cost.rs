//! What assets cost: storage and work by declared prices, passed on to what is made from them.

use std::collections::BTreeMap;

use flywheel_base::{Result, Timestamp};
use flywheel_project::NodeId;
use serde::Deserialize;
use serde_json::Value;

use super::{DAY_US, WINDOW_DAYS};
use crate::Workspace;

/// Bytes in a GiB.
const GIB: f64 = 1_073_741_824.0;
/// Days in a year.
const YEAR_DAYS: f64 = 365.0;

/// What was worked on what, within the window.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Seconds by model or landed table, `schema.name`, and by learner.
    pub(super) seconds: BTreeMap<String, f64>,
    /// Runs of each stream and how many of them changed nothing, by the table it lands.
    pub(super) streams: BTreeMap<String, (u64, u64)>,
    /// What tests say about each table, from the newest builds.
    tests: BTreeMap<String, String>,
    /// When tests of each table were last run by a build.
    tested_at: BTreeMap<String, Timestamp>,
    /// What was found last of each quality file: its table, and the worst of its verdicts.
    promised: Vec<(String, String)>,
    /// Whether a build of everything has been recorded.
    pub(super) built: bool,
    /// How many days the window has, if the project is younger than it should be.
    pub(super) days: f64,
}

/// What is read of a build's detail, of which there is more.
#[derive(Default, Deserialize)]
struct Built {
    #[serde(default)]
    model_ms: BTreeMap<String, f64>,
    #[serde(default)]
    whole: bool,
    #[serde(default)]
    tests: BTreeMap<String, String>,
}

impl Work {
    /// Reads the runs of the last 30 days.
    pub(super) fn read(workspace: &Workspace) -> Result<Self> {
        let now = workspace.machine.now();
        let from = now.plus_micros(-WINDOW_DAYS * DAY_US);
        let store = &workspace.store;
        let first = store.first_run_at()?.unwrap_or(now).max(from);
        let days = ((now.micros() - first.micros()) as f64 / DAY_US as f64).max(1.0);
        let mut work = Self { days, ..Self::default() };
        for (at, detail) in store.details_since("build", from)? {
            work.build(at, serde_json::from_str(&detail).unwrap_or_default());
        }
        for sum in store.work_since("learn", from)? {
            *work.seconds.entry(format!("learn.{}", sum.name)).or_default() += sum.seconds;
        }
        let tables = streams(workspace);
        for sum in store.work_since("sync", from)? {
            let Some(table) = tables.get(&sum.name) else { continue };
            *work.seconds.entry(table.clone()).or_default() += sum.seconds;
            let (runs, idle) = work.streams.entry(table.clone()).or_default();
            (*runs, *idle) = (*runs + sum.succeeded, *idle + sum.idle);
        }
        for task in store.newest_since("quality", from)? {
            let table = task.outcome.detail.get("dataset").and_then(Value::as_str);
            let Some(table) = table else { continue };
            // A build that ran the tests of the table since then says what holds now.
            let later = work.tested_at.get(table).is_some_and(|at| *at > task.started_at);
            if later || !workspace.project.qualities.contains_key(&task.name) {
                continue;
            }
            let status = if task.status == "succeeded" { "passed" } else { &task.status };
            work.promised.push((table.to_owned(), status.to_owned()));
        }
        Ok(work)
    }

    fn build(&mut self, at: Timestamp, built: Built) {
        for (model, ms) in built.model_ms {
            *self.seconds.entry(model).or_default() += ms / 1_000.0;
        }
        if built.whole {
            self.built = true;
            self.tests.clear();
        }
        for (table, status) in built.tests {
            self.tested_at.insert(table.clone(), at);
            self.tests.insert(table, status);
        }
    }

    /// The worst of what tests and quality files say about a table; none if neither was looked at.
    pub(super) fn tested(&self, table: &str) -> Option<&str> {
        let promised = self.promised.iter().filter(|(about, _)| about == table);
        let said = self.tests.get(table).into_iter().chain(promised.map(|(_, status)| status));
        let rank =
            |status: &&str| ["passed", "warned", "failed"].iter().position(|one| one == status);
        said.map(String::as_str).max_by_key(rank)
    }

    /// What `bytes` and the work on `table` cost in a year.
    pub(super) fn cost(&self, workspace: &Workspace, table: &str, bytes: u64) -> f64 {
        let prices = &workspace.project.file.catalogue.prices;
        let storage = bytes as f64 / GIB * prices.storage_gib_month * 12.0;
        storage + self.work_cost(workspace, table)
    }

    /// What the work on `table` costs in a year.
    pub(super) fn work_cost(&self, workspace: &Workspace, table: &str) -> f64 {
        let seconds = self.seconds.get(table).copied().unwrap_or_default();
        let price = workspace.project.file.catalogue.prices.work_hour;
        seconds / 3_600.0 * price * YEAR_DAYS / self.days
    }
}

/// The table that each stream lands, by the stream's name in runs.
fn streams(workspace: &Workspace) -> BTreeMap<String, String> {
    let syncs = workspace.project.syncs.iter().filter(|(_, sync)| sync.lands());
    let streams =
        syncs.flat_map(|(name, sync)| sync.streams.iter().map(move |stream| (name, stream)));
    streams.map(|(name, stream)| (format!("{name}.{}", stream.stream), stream.table())).collect()
}

/// The cost of each node with its share of the costs of what it is made from: every cost is divided equally among what
/// is made from it directly, so that nothing counts twice.
pub(super) fn passed_on(
    workspace: &Workspace,
    own: &BTreeMap<NodeId, f64>,
) -> BTreeMap<NodeId, f64> {
    let graph = &workspace.project.graph;
    let mut total: BTreeMap<NodeId, f64> = own.clone();
    for id in graph.order() {
        let cost = total.get(id).copied().unwrap_or_default();
        let next: Vec<&NodeId> = graph.downstream(id).collect();
        for to in &next {
            *total.entry((*to).clone()).or_default() += cost / next.len() as f64;
        }
    }
    total
}

/// The seconds between two moments, never negative.
pub(super) fn seconds_since(at: Timestamp, now: Timestamp) -> i64 {
    ((now.micros() - at.micros()) / 1_000_000).max(0)
}
