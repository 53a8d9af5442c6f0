//! What assets cost: storage and work by declared prices, passed on to what is made from them.

use std::collections::BTreeMap;

use flywheel_base::{Result, Timestamp};
use flywheel_project::NodeId;
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
    /// What was found last of each quality file: its table, and the worst of its verdicts.
    promised: BTreeMap<String, (String, String)>,
    /// Whether a build of everything has been recorded.
    pub(super) built: bool,
    /// How many days the window has, if the project is younger than it should be.
    pub(super) days: f64,
}

impl Work {
    /// Reads the runs of the last 30 days.
    pub(super) fn read(workspace: &Workspace) -> Result<Self> {
        let now = workspace.machine.now();
        let from = now.plus_micros(-WINDOW_DAYS * DAY_US);
        let first = workspace.store.first_run_at()?.unwrap_or(now).max(from);
        let days = ((now.micros() - first.micros()) as f64 / DAY_US as f64).max(1.0);
        let mut work = Self { days, ..Self::default() };
        let tables = streams(workspace);
        for task in workspace.store.tasks_since(from)? {
            let seconds = task.duration_ms.unwrap_or_default() / 1_000.0;
            match task.kind.as_str() {
                "build" => work.build(&task.outcome.detail),
                "quality" if workspace.project.qualities.contains_key(&task.name) => {
                    let table = task.outcome.detail.get("dataset").and_then(Value::as_str);
                    let Some(table) = table else { continue };
                    let status = if task.status == "succeeded" { "passed" } else { &task.status };
                    let found = (table.to_owned(), status.to_owned());
                    work.promised.insert(task.name.clone(), found);
                }
                "learn" => {
                    *work.seconds.entry(format!("learn.{}", task.name)).or_default() += seconds;
                }
                "sync" => {
                    let Some(table) = tables.get(&task.name) else { continue };
                    *work.seconds.entry(table.clone()).or_default() += seconds;
                    let (runs, idle) = work.streams.entry(table.clone()).or_default();
                    if task.status == "succeeded" {
                        *runs += 1;
                        *idle += u64::from(task.outcome.rows_out == Some(0));
                    }
                }
                _ => {}
            }
        }
        Ok(work)
    }

    fn build(&mut self, detail: &Value) {
        let times = detail.get("model_ms").and_then(Value::as_object).into_iter().flatten();
        for (model, ms) in times {
            *self.seconds.entry(model.clone()).or_default() +=
                ms.as_f64().unwrap_or_default() / 1_000.0;
        }
        if detail.get("whole").and_then(Value::as_bool) == Some(true) {
            self.built = true;
            self.tests.clear();
        }
        for (table, status) in detail.get("tests").and_then(Value::as_object).into_iter().flatten()
        {
            if let Some(status) = status.as_str() {
                self.tests.insert(table.clone(), status.to_owned());
                self.promised.retain(|_, (about, _)| about != table);
            }
        }
    }

    /// The worst of what tests and quality files say about a table; none if neither was looked at.
    pub(super) fn tested(&self, table: &str) -> Option<&str> {
        let promised = self.promised.values().filter(|(about, _)| about == table);
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
