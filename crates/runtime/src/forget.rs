//! Forgetting a sync whose file is gone: a log that is kept for it is kept for ever, else.

use flywheel_base::{Error, Result};
use flywheel_connect::source::SourceEntry;
use flywheel_project::resource::sync::LAKE;

use crate::Workspace;
use crate::task::changes::reader;

/// What a sync that was removed may have left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The sync.
    pub sync: String,
    /// The connections whose log it may have read.
    pub connections: Vec<String>,
    /// The names under which it may have read.
    pub readers: Vec<String>,
}

/// What the sync `name` may have left behind, at the connection `from` or, without one, at every connection
/// whose log can be followed. Nothing is asked and nothing is removed.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the sync is in the project;
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown connection, or if there is none with a log.
pub fn left(workspace: &Workspace, name: &str, from: Option<&str>) -> Result<Left> {
    let project = &workspace.project;
    if project.syncs.contains_key(name) {
        return Err(Error::invalid(format!("the sync \"{name}\" is in the project"))
            .hint("Remove its file first: as long as it is there, its next run would begin again what is removed now."));
    }
    let mut connections = Vec::new();
    match from {
        Some(from) => {
            workspace.source(from)?;
            connections.push(from.to_owned());
        }
        None => {
            for (connection, declared) in &project.connections {
                let entry = SourceEntry::named(&declared.connector);
                if entry.is_ok_and(|entry| entry.cdc) {
                    connections.push(connection.clone());
                }
            }
        }
    }
    if connections.is_empty() {
        return Err(Error::not_found("no connection of the project has a log of changes")
            .hint("Keep the connection's file until the sync that read it is forgotten."));
    }
    let others = project.connections.keys().map(String::as_str);
    let readers = std::iter::once(LAKE)
        .chain(others)
        .map(|to| reader(&project.file.name, name, to))
        .collect();
    Ok(Left { sync: name.to_owned(), connections, readers })
}

/// Removes it: what was made at the sources for reading their logs, and the positions kept here. The tables
/// and their rows stay.
///
/// # Errors
/// The first of the sources' errors, after all of them were asked; positions are then kept, so that it can be
/// tried again.
pub async fn forget(workspace: &Workspace, left: &Left) -> Result<()> {
    let mut errors = Vec::new();
    for connection in &left.connections {
        let (_, source) = workspace.source(connection)?;
        for reader in &left.readers {
            if let Err(error) = source.forget(reader).await {
                errors.push(error.context(format!("connection \"{connection}\"")));
                break;
            }
        }
    }
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    workspace.store.forget_positions_of(&left.sync)
}
