//! Building models: a thin task around `transform`.

use flywheel_base::{Error, Result};
use flywheel_state::TaskOutcome;
use flywheel_transform::{BuildOptions, BuildReport, ModelStatus, TestStatus};
use serde_json::json;

use crate::{Workspace, recorder::Recorder};

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
    let detail = json!({
        "built": count(ModelStatus::Built), "unchanged": count(ModelStatus::Unchanged),
        "published": report.published, "blocked": report.blocked,
    });
    let rows_out = report.models.iter().filter_map(|model| model.rows).sum();
    let error = (!report.passed()).then(|| blocked(&report).report());
    recorder.ended(
        timer,
        status,
        TaskOutcome { rows_out: Some(rows_out), error, detail, ..TaskOutcome::default() },
    );
    Ok(report)
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
