//! What became of a build, for statements of `on-run-end`: dbt's `results`.

use flywheel_project::Model;
use flywheel_project::resource::project_file::Materialized;
use serde_json::{Value as Json, json};

use super::progress::Progress;
use crate::report::{ModelOutcome, ModelStatus, TestOutcome, TestStatus};

impl Progress<'_> {
    /// Every model that was looked at, each followed by its tests, in dbt's form.
    pub(super) fn results(&self) -> Json {
        let mut found = Vec::new();
        for name in &self.sequence {
            let (Some(outcome), Some(model)) =
                (self.outcomes.get(name), self.plan.models.get(name))
            else {
                continue;
            };
            found.push(self.of_model(model, outcome));
            found.extend(outcome.tests.iter().map(|test| self.of_test(test)));
        }
        let others = self.tried.iter().filter(|(subject, _)| {
            subject.as_ref().is_none_or(|name| !self.outcomes.contains_key(name))
        });
        found.extend(others.flat_map(|(_, tests)| tests).map(|test| self.of_test(test)));
        Json::Array(found)
    }

    fn of_model(&self, model: &Model, outcome: &ModelOutcome) -> Json {
        let kind = match model.config.materialized {
            Materialized::Seed => "seed",
            Materialized::Snapshot => "snapshot",
            _ => "model",
        };
        let status = match outcome.status {
            ModelStatus::Built | ModelStatus::Unchanged => "success",
            ModelStatus::Failed => "error",
            ModelStatus::Skipped => "skipped",
        };
        let message = match &outcome.error {
            Some(error) => error.message.as_str(),
            None => outcome.status.name(),
        };
        json!({
            "node": {
                "unique_id": format!("{kind}.{}.{}", self.project_name(), model.name),
                "name": model.name, "alias": model.table(), "schema": model.schema,
                "relation_name": model.relation(), "resource_type": kind,
                "original_file_path": model.path, "path": model.path,
                "package_name": self.project_name(), "tags": model.config.tags,
                "config": {"materialized": model.config.materialized.word()},
            },
            "status": status, "message": message, "failures": null, "timing": [],
            "thread_id": "main", "execution_time": outcome.duration.as_secs_f64(),
            "adapter_response": {"rows_affected": outcome.rows},
        })
    }

    fn of_test(&self, test: &TestOutcome) -> Json {
        let status = match test.status {
            TestStatus::Passed => "pass",
            TestStatus::Warned => "warn",
            TestStatus::Failed if test.error.is_some() => "error",
            TestStatus::Failed => "fail",
        };
        let message = test.error.as_ref().map(|error| error.message.as_str());
        json!({
            "node": {
                "unique_id": format!("test.{}.{}", self.project_name(), test.name),
                "name": test.name, "alias": test.name, "schema": null, "relation_name": test.stored,
                "resource_type": if test.is_unit() { "unit_test" } else { "test" },
                "package_name": self.project_name(), "tags": [], "config": {"materialized": "test"},
            },
            "status": status, "message": message, "failures": test.failures, "timing": [],
            "thread_id": "main", "execution_time": 0.0, "adapter_response": {},
        })
    }

    fn project_name(&self) -> &str {
        &self.world.project.file.name
    }
}
