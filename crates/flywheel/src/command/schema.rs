//! `flywheel schema`.

use clap::Args;
use flywheel_base::{Error, Result, suggest};
use flywheel_connect::action::ACTIONS;
use flywheel_connect::destination::DESTINATIONS;
use flywheel_connect::source::SOURCES;

use super::Runs;
use crate::app::{App, Exit};

/// Options of `flywheel schema`.
#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// The resource: project, connection, sync, models, learner, policy, action, or a connector such as
    /// csv, csv.stream, csv.target, webhook; all names if absent
    resource: Option<String>,
}

impl Runs for Schema {
    const ABOUT: &'static str = "Prints the JSON Schema of a kind of file, for editors";

    async fn run(self, app: App) -> Result<Exit> {
        let mut known: Vec<(String, schemars::Schema)> = flywheel_project::schemas()
            .into_iter()
            .map(|(name, schema)| (name.to_owned(), schema))
            .collect();
        for source in SOURCES {
            known.push((source.name.to_owned(), (source.connection_schema)()));
            known.push((format!("{}.stream", source.name), (source.stream_schema)()));
        }
        for destination in DESTINATIONS {
            if !known.iter().any(|(name, _)| name == destination.name) {
                known.push((destination.name.to_owned(), (destination.connection_schema)()));
            }
            known.push((format!("{}.target", destination.name), (destination.target_schema)()));
        }
        known.extend(ACTIONS.iter().map(|action| (action.name.to_owned(), (action.schema)())));
        let Some(wanted) = self.resource else {
            let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
            app.output.line(&names.join("\n"))?;
            return Ok(Exit::Done);
        };
        let found = known.iter().find(|(name, _)| *name == wanted).ok_or_else(|| {
            Error::not_found(format!("there is no schema \"{wanted}\""))
                .hint(suggest::hint(&wanted, known.iter().map(|(name, _)| name.as_str())))
        })?;
        app.output.json(&found.1)?;
        Ok(Exit::Done)
    }
}
