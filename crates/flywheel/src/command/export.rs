//! `flywheel export`.

use clap::{Args, Subcommand};
use flywheel_base::Result;
use flywheel_project::Project;
use flywheel_project::odcs;
use flywheel_runtime::connectors;

use super::Runs;
use crate::app::{App, Exit};
use crate::output::Format;

/// Options of `flywheel export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A data contract of the Open Data Contract Standard 3.1.0, as YAML
    Odcs {
        /// A contract of contracts/, a model, a landed table (schema.table) or a quality file
        name: String,
    },
}

impl Runs for Export {
    const ABOUT: &'static str = "Writes what the project declares in the words of other tools";

    async fn run(self, app: App) -> Result<Exit> {
        let What::Odcs { name } = self.what;
        let project = Project::load_with(&app.dir()?, &connectors::schemas(), &app.choices)?;
        let contract = odcs::export(&project, &name)?;
        if app.output.format == Format::Json {
            app.output.json(&contract)?;
        } else {
            app.output.line(&odcs::text(&contract))?;
        }
        Ok(Exit::Done)
    }
}
