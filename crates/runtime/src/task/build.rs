//! Building models: a thin task around `transform`.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result};
use flywheel_project::{NodeId, NodeKind};
use flywheel_state::{PRODUCTION, Store, TaskOutcome};
use flywheel_transform::{BuildOptions, BuildReport, Event, Failure, ModelStatus, TestStatus};
use serde_json::{Value, json};

use crate::openlineage::ModelTimes;
use crate::{Workspace, catalogue, quality, recorder::Recorder};

/// How many of the newest runs are searched for builds, until one of everything.
const BUILDS_LOOKED_AT: u32 = 100;

/// Builds what is selected, records one task per model, and fails if anything is blocked.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Blocked`] if a model or an `error` test failed: readers keep the last
/// good version; else those of the build itself.
pub(crate) async fn run(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    options: BuildOptions<'_>,
) -> Result<BuildReport> {
    let timer = recorder.started("build", "models");
    let whole = options.select.is_empty() && options.exclude.is_empty();
    let moments = ModelTimes::default();
    let told = |event: Event| {
        moments.note(&event, workspace.machine.now());
        (options.on_event)(event);
    };
    let timed = BuildOptions { on_event: &told, ..options };
    let report = match flywheel_transform::build(workspace.world(), timed).await {
        Ok(report) => report,
        Err(error) => {
            let outcome = TaskOutcome { error: Some(error.report()), ..TaskOutcome::default() };
            recorder.ended(timer, "failed", outcome);
            return Err(error);
        }
    };
    let status = if report.passed() { "succeeded" } else { "failed" };
    let count = |status| report.models.iter().filter(|model| model.status == status).count();
    let good = report
        .models
        .iter()
        .filter(|model| !report.blocked.contains(&model.name))
        .map(|model| &model.name);
    let times = report.models.iter().filter(|model| model.status != ModelStatus::Unchanged);
    let times: serde_json::Map<String, Value> =
        times.map(|model| (model.name.clone(), json!(model.duration.as_millis() as u64))).collect();
    let outcomes = report.models.iter().flat_map(|model| &model.tests).chain(&report.tests);
    let outcomes: serde_json::Map<String, Value> = outcomes
        .map(|test| {
            (test.name.clone(), json!({"status": test.status.name(), "failures": test.failures}))
        })
        .collect();
    let detail = json!({
        "test_outcomes": outcomes, "model_ms": times, "whole": whole, "good": good.collect::<Vec<_>>(), "built": count(ModelStatus::Built), "unchanged": count(ModelStatus::Unchanged),
        "published": report.published, "blocked": report.blocked, "tests": tests(&report),
        "environment": workspace.store.environment(),
    });
    note_reads(workspace, &report);
    recorder.models(&report, &moments);
    let rows_out = report.models.iter().filter_map(|model| model.rows).sum();
    let error = (!report.passed()).then(|| blocked(&report).report());
    recorder.ended(
        timer,
        status,
        TaskOutcome { rows_out: Some(rows_out), error, detail, ..TaskOutcome::default() },
    );
    Box::pin(quality::after_build(workspace, recorder, &report)).await?;
    Ok(report)
}

/// The worst that tests say about each table that was tested.
fn tests(report: &BuildReport) -> BTreeMap<String, &'static str> {
    let mut worst: BTreeMap<String, TestStatus> = BTreeMap::new();
    let rank = |status: TestStatus| match status {
        TestStatus::Passed => 0,
        TestStatus::Warned => 1,
        TestStatus::Failed => 2,
    };
    let tests = report.models.iter().flat_map(|model| &model.tests).chain(&report.tests);
    for test in tests {
        let Some(subject) = &test.subject else { continue };
        let known = worst.entry(subject.clone()).or_insert(test.status);
        if rank(test.status) > rank(*known) {
            *known = test.status;
        }
    }
    worst.into_iter().map(|(subject, status)| (subject, status.name())).collect()
}

/// Counts what the models that were built have read.
fn note_reads(workspace: &Workspace, report: &BuildReport) {
    let project = &workspace.project;
    let models: BTreeMap<String, &str> =
        project.models.values().map(|model| (model.relation(), model.name.as_str())).collect();
    let mut reads = Vec::new();
    for outcome in report.models.iter().filter(|model| model.status == ModelStatus::Built) {
        let Some(name) = models.get(&outcome.name) else { continue };
        let id = NodeId::new(NodeKind::Model, *name);
        let upstream = project.graph.upstream(&id);
        reads.extend(upstream.map(|id| (catalogue::shown(project, id), outcome.name.clone())));
    }
    catalogue::note_all(workspace, reads, "build");
}

/// The models whose last build is not what readers see, from what the newest builds recorded.
///
/// # Errors
/// Those of the metadata.
pub(crate) fn blocked_models(store: &Store) -> Result<Vec<String>> {
    let mut tasks = store.tasks(BUILDS_LOOKED_AT)?;
    tasks.retain(|task| {
        let environment = task.outcome.detail.get("environment").and_then(Value::as_str);
        task.kind == "build" && environment.unwrap_or(PRODUCTION) == store.environment()
    });
    let (mut blocked, mut decided) = (BTreeSet::new(), BTreeSet::new());
    for task in tasks.iter().rev() {
        let detail = &task.outcome.detail;
        for (key, bad) in [("blocked", true), ("good", false)] {
            for name in detail.get(key).and_then(Value::as_array).into_iter().flatten() {
                let Some(name) = name.as_str() else { continue };
                if decided.insert(name.to_owned()) && bad {
                    blocked.insert(name.to_owned());
                }
            }
        }
        if detail.get("whole").and_then(Value::as_bool) == Some(true) {
            break;
        }
    }
    Ok(blocked.into_iter().collect())
}

/// The error of a build that did not pass: what failed, and what readers see.
#[must_use]
pub fn blocked(report: &BuildReport) -> Error {
    let tests = report.models.iter().flat_map(|model| &model.tests).chain(&report.tests);
    let failed: Vec<String> = tests
        .filter(|test| test.status == TestStatus::Failed)
        .map(|test| format!("test {} fails on {} rows", test.name, test.failures))
        .collect();
    let broken = report.models.iter().filter(|model| model.status == ModelStatus::Failed);
    let broken: Vec<String> = broken
        .filter_map(|model| {
            let Failure { message, cause, .. } = model.error.as_ref()?;
            // The cause names the value that does not fit, which is what whoever mends it looks for.
            let cause = cause.as_ref().filter(|cause| !message.contains(cause.as_str()));
            let cause = cause.map_or_else(String::new, |cause| format!(" ({cause})"));
            Some(format!("model {}: {message}{cause}", model.name))
        })
        .collect();
    let ended = report.error.as_ref().map(|error| error.message.clone());
    let all: Vec<String> = broken.into_iter().chain(failed).chain(ended).collect();
    let what = all.join("; ");
    if report.blocked.is_empty() && report.error.is_some() {
        return Error::blocked(format!("the build failed at its end: {what}"))
            .hint("What was built is published.");
    }
    Error::blocked(format!("the build is blocked: {what}"))
        .hint(format!("Readers keep the last good version of: {}.", report.blocked.join(", ")))
}
