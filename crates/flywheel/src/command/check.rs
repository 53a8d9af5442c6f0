//! `flywheel check`.

use clap::Args;
use flywheel_base::{Error, Result};
use flywheel_project::Project;
use flywheel_runtime::access::{self, Misfit};
use flywheel_runtime::{Access, connectors, metadata};

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
                let misfits = misfits(&app, &project).await?;
                if let Some(first) = misfits.first() {
                    return told(&app, &misfits, first);
                }
                let mut warnings = project.warnings.clone();
                warnings.extend(project.vault().unusable(&dir)?);
                if app.output.format == Format::Json {
                    app.output.json(&warnings)?;
                    return Ok(Exit::Done);
                }
                if !warnings.is_empty() {
                    app.output.message(&warnings.render());
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

/// What only the lake knows of rules: columns and expressions that do not fit its tables. A project that has
/// no lake yet has nothing to compare with.
async fn misfits(app: &App, project: &Project) -> Result<Vec<Misfit>> {
    if project.rules.is_empty() || !metadata::is_there(&project.dir, &project.file) {
        return Ok(Vec::new());
    }
    access::misfits(&app.open(Access::Read).await?).await
}

fn told(app: &App, misfits: &[Misfit], first: &Misfit) -> Result<Exit> {
    if app.output.format == Format::Json {
        app.output.json(&misfits)?;
    } else {
        for one in misfits {
            let hint =
                one.hint.as_ref().map(|hint| format!("\n  = hint: {hint}")).unwrap_or_default();
            app.output.message(&format!(
                "error: rule \"{}\": {}\n --> {}:{}{hint}",
                one.rule, one.message, one.file, one.line
            ));
        }
    }
    Err(Error::invalid(format!("rule \"{}\" does not fit the lake", first.rule))
        .hint("Mend what is named above; what a rule does not fit is shown to nobody."))
}
