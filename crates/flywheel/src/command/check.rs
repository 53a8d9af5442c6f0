//! `flywheel check`.

use clap::Args;
use flywheel_base::{Error, Result};
use flywheel_project::{Diagnostic, Diagnostics, Project, SourceFile, Span};
use flywheel_runtime::access::{self, Misfit};
use flywheel_runtime::{Access, Workspace, connectors, metadata};

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
                let lake = lake(&app, &project).await?;
                let mut warnings = project.warnings.clone();
                warnings.extend(project.vault().unusable(&dir)?);
                if let Some(lake) = &lake {
                    let misfits = Box::pin(access::misfits(lake)).await?;
                    if let Some(first) = misfits.first() {
                        return told(&app, &misfits, first);
                    }
                    warnings.extend(closed(Box::pin(access::closed_views(lake)).await?));
                }
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

/// The project as its lake knows it, if it has rules: which columns and expressions fit, and which views name what is hidden.
/// A project that has no lake yet has nothing to compare with.
async fn lake(app: &App, project: &Project) -> Result<Option<Workspace>> {
    if project.rules.is_empty() || !metadata::is_there(&project.dir, &project.file) {
        return Ok(None);
    }
    app.open(Access::Read).await.map(Some)
}

/// Views that name hidden columns, as warnings at their rules.
fn closed(views: Vec<Misfit>) -> Diagnostics {
    let mut out = Diagnostics::default();
    for one in views {
        let mut warning = Diagnostic::warning(Span::new(one.line, 1, 0), one.message);
        warning.hint = one.hint;
        // The line is not repeated: rules may hold keys.
        out.push_hidden(&SourceFile::new(&one.file, ""), warning);
    }
    out
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
