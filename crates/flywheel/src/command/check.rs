//! `flywheel check`.

use clap::Args;
use flywheel_base::Result;
use flywheel_project::Project;
use flywheel_runtime::connectors;

use super::Runs;
use crate::app::{App, Exit};
use crate::output::Format;

/// Options of `flywheel check`.
#[derive(Debug, Args)]
pub(crate) struct Check {}

impl Runs for Check {
    const ABOUT: &'static str = "Reads every file of the project and reports every mistake";

    async fn run(self, app: App) -> Result<Exit> {
        let dir = app.dir()?;
        match Project::load_with(&dir, &connectors::schemas(), &app.choices) {
            Ok(project) => {
                if app.output.format == Format::Json {
                    app.output.json(&project.warnings)?;
                    return Ok(Exit::Done);
                }
                if !project.warnings.is_empty() {
                    app.output.message(&project.warnings.render());
                }
                app.output.line(&format!(
                    "{}: {} syncs, {} models, {} learners, {} policies, {} actions; no mistakes",
                    project.file.name,
                    project.syncs.len(),
                    project.models.len(),
                    project.learners.len(),
                    project.policies.len(),
                    project.actions.len()
                ))?;
                Ok(Exit::Done)
            }
            Err(mistakes) if app.output.format == Format::Json => {
                app.output.json(&mistakes)?;
                Err(mistakes.into())
            }
            Err(mistakes) => Err(mistakes.into()),
        }
    }
}
