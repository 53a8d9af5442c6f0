//! Where events go that programs hand in.

use flywheel_base::{Error, Result};
use flywheel_connect::destination::journal::Journal;

use crate::Workspace;

/// Where they go if the project has no connection of type journal.
const JOURNAL_DEFAULT: &str = ".flywheel/journal";

/// The journal that events go to: that of the project's only connection of this type, else one of ours.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the project has several journals, or its settings or secrets are wrong.
pub fn journal(workspace: &Workspace) -> Result<Journal> {
    let mut found =
        workspace.project.connections.iter().filter(|(_, one)| one.connector == "journal");
    match (found.next(), found.next()) {
        (Some((name, connection)), None) => {
            let options = workspace.project.resolve_secrets(&connection.options)?;
            serde_json::from_value(serde_json::Value::Object(options)).map_err(|error| {
                Error::invalid(format!("the connection \"{name}\" of type journal does not fit"))
                    .caused_by(error)
            })
        }
        (Some(_), Some(_)) => Err(Error::invalid(
            "the project has several connections of type journal",
        )
        .hint(
            "Events go to one journal: keep one such connection, with a topic per kind of event.",
        )),
        (None, _) => Ok(Journal { path: JOURNAL_DEFAULT.into(), ..Journal::default() }),
    }
}
