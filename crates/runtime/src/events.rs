//! Where events go that programs hand in.

use std::collections::BTreeSet;

use flywheel_base::{Error, Result};
use flywheel_connect::destination::journal::Journal;
use serde_json::{Map, Value};

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
        (Some((name, connection)), None) => journal_of(workspace, name, &connection.options),
        (Some(_), Some(_)) => Err(Error::invalid(
            "the project has several connections of type journal",
        )
        .hint(
            "Events go to one journal: keep one such connection, with a topic per kind of event.",
        )),
        (None, _) => Ok(own()),
    }
}

/// Every journal of the project, each once: ours, and those of its connections.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the settings or secrets of one are wrong.
pub(crate) fn journals(workspace: &Workspace) -> Result<Vec<Journal>> {
    let connections = workspace.project.connections.iter();
    let found = connections.filter(|(_, one)| one.connector == "journal");
    let found = found.map(|(name, one)| journal_of(workspace, name, &one.options));
    let mut all = std::iter::once(Ok(own())).chain(found).collect::<Result<Vec<_>>>()?;
    let mut paths = BTreeSet::new();
    all.retain(|journal| paths.insert(journal.path.clone()));
    Ok(all)
}

fn own() -> Journal {
    Journal { path: JOURNAL_DEFAULT.into(), ..Journal::default() }
}

fn journal_of(workspace: &Workspace, name: &str, options: &Map<String, Value>) -> Result<Journal> {
    let options = workspace.project.resolve_secrets(options)?;
    serde_json::from_value(Value::Object(options)).map_err(|error| {
        Error::invalid(format!("the connection \"{name}\" of type journal does not fit"))
            .caused_by(error)
    })
}
