//! `flywheel apply`.

use clap::Args;
use flywheel_base::Result;
use flywheel_runtime::{Access, plan};

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
        let report = plan::apply(&workspace, &self.plan, &progress).await;
        drop(progress);
        let report = report?;
        write_artifacts(&workspace.project, &report)?;
        super::build::print(&app, &report)?;
        Ok(super::build::exit_of(&report))
    }
}
