//! What is selected: the options that `build` and `test` share, and dbt's files of what a build did.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use flywheel_base::{Error, Result};
use flywheel_project::Project;
use flywheel_project::graph::Known;
use flywheel_runtime::{Access, BuildReport, TestOutcome, Workspace};
use flywheel_state::PRODUCTION;
use serde_json::{Value, json};

use crate::app::App;

/// The options.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Models: name, +name (and what it reads), name+ (and what reads it), tag:x, path:x, source:x, state:modified
    #[arg(long, short, num_args = 1..)]
    pub(crate) select: Vec<String>,
    /// Models to leave out, in the same words
    #[arg(long, num_args = 1..)]
    pub(crate) exclude: Vec<String>,
    /// A selector of selectors.yml, instead of --select
    #[arg(long, conflicts_with = "select")]
    selector: Option<String>,
    /// The folder of an earlier build's manifest.json, for state: and result:
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// The environment a command works in.
#[derive(Debug, Args)]
pub(crate) struct InEnvironment {
    /// The environment whose models are meant: prod, or one made by `flywheel environment create`
    #[arg(long, value_name = "NAME", default_value = PRODUCTION)]
    environment: String,
}

/// Whether what is not built here is taken from production.
#[derive(Debug, Args)]
pub(crate) struct Defer {
    /// Lets models that are not selected and were never built here mean what production has; with --state,
    /// under the names that its manifest tells
    #[arg(long)]
    defer: bool,
}

impl Defer {
    /// The names in production of the project's models, where they are known; none if nothing is deferred.
    pub(crate) fn elsewhere(
        &self,
        project: &Project,
        selection: &Selection,
    ) -> Result<Option<BTreeMap<String, String>>> {
        if !self.defer {
            return Ok(None);
        }
        match &selection.state {
            Some(state) => project.built_elsewhere(state).map(Some),
            None => Ok(Some(BTreeMap::new())),
        }
    }
}

impl InEnvironment {
    /// Opens the project as the environment sees it.
    pub(crate) async fn open(&self, app: &App, access: Access) -> Result<Workspace> {
        app.open(access).await?.in_environment(&self.environment)
    }

    /// Whether it is another one than production.
    pub(crate) fn is_other(&self) -> bool {
        self.environment != PRODUCTION
    }
}

impl Selection {
    /// The words of `--select`, or of `--selector`.
    pub(crate) fn words(&self) -> Vec<String> {
        match &self.selector {
            Some(name) => vec![format!("selector:{name}")],
            None => self.select.clone(),
        }
    }

    /// What selectors mean that look at more than the project.
    pub(crate) fn known(&self, project: &Project) -> Result<Known> {
        let words = self.words();
        let all = words.iter().chain(&self.exclude);
        let named = all.clone().any(|word| word.contains("selector:"));
        if self.state.is_none() && !named {
            return Ok(Known::new());
        }
        let known = project.known(self.state.as_deref())?;
        if let Some(name) = &self.selector
            && !known.contains_key(&format!("selector:{name}"))
        {
            let names = known.keys().filter_map(|key| key.strip_prefix("selector:"));
            let names: Vec<&str> = names.collect();
            return Err(Error::not_found(format!("selectors.yml has no selector \"{name}\""))
                .hint(flywheel_base::suggest::hint(name, names)));
        }
        Ok(known)
    }
}

/// Writes `manifest.json` and `run_results.json` of a dbt project, where others look for them.
pub(crate) fn write_artifacts(project: &Project, report: &BuildReport) -> Result<()> {
    let Some(dbt) = &project.dbt else { return Ok(()) };
    let folder = project.dir.join(&dbt.target_path);
    std::fs::create_dir_all(&folder).map_err(|e| Error::io("create the folder", &folder, e))?;
    write(&folder.join("manifest.json"), &project.manifest())?;
    write(&folder.join("run_results.json"), &results(project, report))
}

/// Replaces a file at once, so that nobody reads half of one.
fn write(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string(value)
        .map_err(|error| Error::internal("a file of results is not JSON").caused_by(error))?;
    let part = path.with_extension("json.part");
    std::fs::write(&part, text).map_err(|error| Error::io("write", &part, error))?;
    std::fs::rename(&part, path).map_err(|error| Error::io("write", path, error))
}

fn results(project: &Project, report: &BuildReport) -> Value {
    let mut results = Vec::new();
    for outcome in &report.models {
        let mut models = project.models.values();
        let Some(model) = models.find(|model| model.relation() == outcome.name) else { continue };
        let status = match outcome.status.name() {
            "built" | "unchanged" => "success",
            // As in dbt, a model whose unit tests fail is not built, and one whose tests fail was.
            "failed" if outcome.tests.iter().any(is_failed_unit) => "skipped",
            "failed" if outcome.error.is_none() => "success",
            "failed" => "error",
            _ => "skipped",
        };
        let message = outcome.error.as_ref().map(|error| error.message.clone());
        results.push(json!({
            "unique_id": project.unique_id(model), "status": status,
            "execution_time": outcome.duration.as_secs_f64(), "message": message,
            "failures": null, "relation_name": outcome.name,
            "adapter_response": {"rows_affected": outcome.rows},
        }));
    }
    let tests = report.models.iter().flat_map(|model| &model.tests).chain(&report.tests);
    results.extend(tests.map(|test| result_of(project, test)));
    json!({
        "metadata": {"dbt_schema_version": "https://schemas.getdbt.com/dbt/run-results/v6.json"},
        "results": results,
    })
}

fn is_failed_unit(test: &TestOutcome) -> bool {
    test.is_unit() && test.status.name() == "failed"
}

fn result_of(project: &Project, test: &TestOutcome) -> Value {
    let package = project.dbt.as_ref().map_or("", |dbt| dbt.name.as_str());
    let status = match (test.status.name(), test.error.is_some()) {
        (_, true) => "error",
        ("passed", _) => "pass",
        ("warned", _) => "warn",
        _ => "fail",
    };
    let kind = if test.is_unit() { "unit_test" } else { "test" };
    json!({
        "unique_id": format!("{kind}.{package}.{}", test.name), "status": status,
        "execution_time": 0.0, "failures": test.failures, "relation_name": test.stored,
        "message": test.error.as_ref().map(|error| error.message.clone()),
    })
}
