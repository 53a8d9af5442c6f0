//! Building models: a thin task around `transform`.

use std::collections::BTreeSet;

use flywheel_base::{Error, Result};
use flywheel_state::{Store, TaskOutcome};
use flywheel_transform::{BuildOptions, BuildReport, ModelStatus, TestStatus};
use serde_json::{Value, json};

use crate::{Workspace, quality, recorder::Recorder};

/// How many of the newest runs are searched for builds, until one of everything.
const BUILDS_LOOKED_AT: u32 = 100;

/// Builds what is selected, records one task per model, and fails if anything is blocked.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Blocked`] if a model or an `error` test failed: readers keep the last
/// good version; else those of the build itself.
pub(crate) async fn run(
    workspace: &Workspace,
    recorder: &mut Recorder<'_>,
    options: BuildOptions<'_>,
) -> Result<BuildReport> {
    let timer = recorder.started("build", "models");
    let whole = options.select.is_empty() && options.exclude.is_empty();
    let report = match flywheel_transform::build(workspace.world(), options).await {
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
    let tests = report.models.iter().flat_map(|model| &model.tests).chain(&report.tests);
    let tests: serde_json::Map<String, Value> = tests
        .map(|test| {
            (test.name.clone(), json!({"status": test.status.name(), "failures": test.failures}))
        })
        .collect();
    let detail = json!({
        "tests": tests, "model_ms": times, "whole": whole, "good": good.collect::<Vec<_>>(), "built": count(ModelStatus::Built), "unchanged": count(ModelStatus::Unchanged),
        "published": report.published, "blocked": report.blocked,
    });
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

/// The models whose last build is not what readers see, from what the newest builds recorded.
///
/// # Errors
/// Those of the metadata.
pub(crate) fn blocked_models(store: &Store) -> Result<Vec<String>> {
    let mut tasks = store.tasks(BUILDS_LOOKED_AT)?;
    tasks.retain(|task| task.kind == "build");
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
            Some(format!("model {}: {}", model.name, model.error.as_ref()?.message))
        })
        .collect();
    let what = broken.into_iter().chain(failed).collect::<Vec<_>>().join("; ");
    Error::blocked(format!("the build is blocked: {what}"))
        .hint(format!("Readers keep the last good version of: {}.", report.blocked.join(", ")))
}
