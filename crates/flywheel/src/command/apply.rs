//! `flywheel apply`.

use clap::Args;
use flywheel_base::Result;
use flywheel_project::graph::Known;
use flywheel_runtime::{Access, BuildOptions, plan};

use super::Runs;
use crate::app::{App, Exit};
use crate::progress::Progress;
use crate::selection::{InEnvironment, write_artifacts};

/// Options of `flywheel apply`.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The digest that `flywheel plan` printed
    plan: String,
    #[command(flatten)]
    environment: InEnvironment,
}

impl Runs for Apply {
    const ABOUT: &'static str = "Builds what a plan showed, if nothing moved since";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = self.environment.open(&app, Access::Write).await?;
        let progress = Progress::new(app.output, "apply");
        let options = BuildOptions::default();
        let report = plan::apply(&workspace, &self.plan, &Known::new(), options, &progress).await;
        drop(progress);
        let report = report?;
        write_artifacts(&workspace.project, &report)?;
        super::build::print(&app, &report)?;
        Ok(if report.passed() { Exit::Done } else { Exit::Failed })
    }
}
