//! `flywheel export`.

use clap::{Args, Subcommand};
use flywheel_base::Result;
use flywheel_project::Project;
use flywheel_project::{odcs, osi};
use flywheel_runtime::connectors;
use serde_json::Value as Json;

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
    /// Semantic views and metrics as a semantic model of Apache Ossie (Open Semantic Interchange), as YAML
    Osi {
        /// The semantic views; all of them if absent
        views: Vec<String>,
    },
}

impl Runs for Export {
    const ABOUT: &'static str = "Writes what the project declares in the words of other tools";

    async fn run(self, app: App) -> Result<Exit> {
        let project = Project::load_with(&app.dir()?, &connectors::schemas(), &app.choices)?;
        let (document, text) = match self.what {
            What::Odcs { name } => {
                (odcs::export(&project, &name)?, odcs::text as fn(&Json) -> String)
            }
            What::Osi { views } => {
                let exported = osi::export(&project, &views)?;
                for note in &exported.notes {
                    app.output.message(&format!("note: {} {}", note.at, note.message));
                }
                (exported.document, osi::text as fn(&Json) -> String)
            }
        };
        if app.output.format == Format::Json {
            app.output.json(&document)?;
        } else {
            app.output.line(&text(&document))?;
        }
        Ok(Exit::Done)
    }
}
