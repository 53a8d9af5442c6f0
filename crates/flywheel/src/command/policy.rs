//! `flywheel policy`.

use clap::{Args, Subcommand};
use flywheel_base::Result;
use flywheel_runtime::{Access, run};

use super::Runs;
use crate::app::{App, Exit};

/// Options of `flywheel policy`.
#[derive(Debug, Args)]
pub(crate) struct Policy {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Stops a policy: no decisions, no deliveries, until it is resumed
    Pause {
        /// The policy
        name: String,
        /// Why, for the record
        #[arg(long, default_value = "paused by hand")]
        reason: String,
    },
    /// Lets a paused policy go on
    Resume {
        /// The policy
        name: String,
    },
    /// Tries dead letters of a policy again at the next turn
    Retry {
        /// The policy
        name: String,
    },
}

impl Runs for Policy {
    const ABOUT: &'static str =
        "Pauses and resumes policies, and retries what they could not deliver";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = app.open(Access::Write).await?;
        let text = match self.verb {
            Verb::Pause { name, reason } => {
                run::pause(&workspace, &name, &reason)?;
                format!("{name} is paused: {reason}")
            }
            Verb::Resume { name } => {
                run::resume(&workspace, &name)?;
                format!("{name} goes on at the next turn")
            }
            Verb::Retry { name } => format!(
                "{} deliveries are tried again at the next turn",
                run::retry(&workspace, &name)?
            ),
        };
        app.output.message(&text);
        Ok(Exit::Done)
    }
}
