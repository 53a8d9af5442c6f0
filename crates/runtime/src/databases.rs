//! How every database does: those that connections lead to, and our own stores.
//!
//! They are asked beside each other, each no longer than [`ANSWER_TIME`], and what was found is kept: `system.databases`
//! shows it without asking anybody.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flywheel_base::{Error, Result, Timestamp, task};
use flywheel_connect::SourceEntry;
use flywheel_connect::health::{Health, Slot};
use flywheel_state::DatabaseState;
use flywheel_warehouse::disk;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::Workspace;
use crate::catalogue::moment;
use crate::events::journal;
use crate::system::tables;

/// How long a database is waited for.
pub const ANSWER_TIME: Duration = Duration::from_secs(10);

/// How many are asked at the same time.
const BESIDE_MAX: usize = 4;

/// How one database did when it was asked last.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Database {
    /// Whether it is a store of ours.
    #[serde(skip_deserializing)]
    pub own: bool,
    /// The connection; `metadata`, `lake`, `journal` or `disk` of our own.
    #[serde(skip_deserializing)]
    pub name: String,
    /// The type of the connection; the name of our own.
    pub kind: String,
    /// When it was asked.
    #[serde(skip_deserializing, serialize_with = "moment")]
    pub checked_at: Option<Timestamp>,
    /// Whether it answered; none if its type tells nothing of how it does, so that it is not asked.
    pub reachable: Option<bool>,
    /// How long that took.
    pub took_ms: Option<f64>,
    /// What was wrong when it last did not answer.
    pub error: Option<Trouble>,
    /// What it said.
    #[serde(default)]
    pub health: Health,
    /// How many tables there are, of the lake.
    pub tables: Option<u64>,
    /// How many files there are, of our own.
    pub files: Option<u64>,
    /// How much room there is, of the disk.
    pub free_bytes: Option<u64>,
}

/// Why a database did not answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trouble {
    /// The kind of the error.
    pub kind: String,
    /// What was said.
    pub text: String,
    /// How to mend it.
    pub hint: Option<String>,
    /// When.
    pub at: String,
}

impl Database {
    /// The slot that keeps the most of the log.
    #[must_use]
    pub fn slot(&self) -> Option<&Slot> {
        self.health.slots.first()
    }

    fn failed(&mut self, error: &Error, at: Timestamp) {
        self.reachable = Some(false);
        self.error = Some(Trouble {
            kind: error.kind().name().to_owned(),
            text: error.message().to_owned(),
            hint: error.hint_text().map(str::to_owned),
            at: at.to_string(),
        });
    }
}

/// What was found when all were asked last, connections by name and then our own; nothing if they never were.
///
/// # Errors
/// Those of the metadata.
pub fn known(workspace: &Workspace) -> Result<Vec<Database>> {
    let state = |state: DatabaseState| {
        let found: Database = serde_json::from_value(state.detail).map_err(|error| {
            Error::corrupt(format!("what was found of \"{}\" is not as it was kept", state.name))
                .caused_by(error)
        })?;
        let checked_at = Some(state.checked_at);
        Ok(Database { own: state.own, name: state.name, checked_at, ..found })
    };
    workspace.store.databases()?.into_iter().map(state).collect()
}

/// Asks all of them. One that does not answer is told of in its row.
///
/// # Errors
/// Those of the metadata.
pub async fn ask(workspace: &Workspace) -> Result<Vec<Database>> {
    let mut before: BTreeMap<(bool, String), Database> =
        known(workspace)?.into_iter().map(|one| ((one.own, one.name.clone()), one)).collect();
    let names = workspace.project.connections.keys().cloned();
    let asked = names.map(|name| connection(workspace, name));
    let mut all: Vec<Database> = stream::iter(asked).buffered(BESIDE_MAX).collect().await;
    all.extend(own(workspace).await);
    for one in all.iter_mut().filter(|one| one.error.is_none()) {
        // What was wrong the last time stays known.
        one.error = before.remove(&(one.own, one.name.clone())).and_then(|old| old.error);
    }
    Ok(all)
}

/// Asks all of them and keeps what was found.
///
/// # Errors
/// Those of the metadata.
pub async fn check(workspace: &Workspace) -> Result<Vec<Database>> {
    let all = ask(workspace).await?;
    let state = |one: &Database| {
        let detail = serde_json::to_value(one).map_err(|error| {
            Error::internal("what was found of a database is no JSON").caused_by(error)
        })?;
        let checked_at = one.checked_at.unwrap_or_else(|| workspace.machine.now());
        Ok(DatabaseState { own: one.own, name: one.name.clone(), checked_at, detail })
    };
    let states: Vec<DatabaseState> = all.iter().map(state).collect::<Result<_>>()?;
    workspace.store.record_databases(&states)?;
    Ok(all)
}

/// Asks the database of a connection.
async fn connection(workspace: &Workspace, name: String) -> Database {
    let kind = workspace.project.connections.get(&name).map(|one| one.connector.clone());
    let mut found = started(workspace, false, name, kind.unwrap_or_default());
    // What is only written to has nobody who could be asked.
    if SourceEntry::named(&found.kind).is_err() {
        return found;
    }
    let watch = Instant::now();
    let asked = async {
        let (_, source) = workspace.source(&found.name)?;
        source.health().await
    };
    let answer = tokio::time::timeout(ANSWER_TIME, asked).await.unwrap_or_else(|_| {
        let seconds = ANSWER_TIME.as_secs();
        Err(Error::unavailable(format!(
            "the connection \"{}\" does not answer within {seconds} seconds",
            found.name
        ))
        .hint("Check host, port and firewall, and whether the server is overloaded."))
    });
    match answer {
        Ok(Some(health)) => {
            found.reachable = Some(true);
            found.health = health;
        }
        Ok(None) => return found,
        Err(error) => found.failed(&error, workspace.machine.now()),
    }
    found.took_ms = Some(milliseconds(watch));
    found
}

fn started(workspace: &Workspace, own: bool, name: String, kind: String) -> Database {
    Database { own, name, kind, checked_at: Some(workspace.machine.now()), ..Database::default() }
}

fn milliseconds(watch: Instant) -> f64 {
    watch.elapsed().as_secs_f64() * 1_000.0
}

/// Our own stores.
async fn own(workspace: &Workspace) -> Vec<Database> {
    let store = |name: &str| started(workspace, true, name.to_owned(), name.to_owned());
    let mut all = Vec::new();
    for (name, answer) in [
        ("metadata", metadata(workspace)),
        ("lake", lake(workspace).await),
        ("journal", journal_size(workspace).await),
        ("disk", room(workspace)),
    ] {
        let mut found = store(name);
        match answer {
            Ok(Size { bytes, tables, files, free_bytes }) => {
                found.reachable = Some(true);
                found.health.size_bytes = Some(bytes);
                (found.tables, found.files, found.free_bytes) = (tables, files, free_bytes);
            }
            Err(error) => found.failed(&error, workspace.machine.now()),
        }
        all.push(found);
    }
    all
}

/// How large a store is.
#[derive(Default)]
struct Size {
    bytes: u64,
    tables: Option<u64>,
    files: Option<u64>,
    free_bytes: Option<u64>,
}

fn metadata(workspace: &Workspace) -> Result<Size> {
    // A schema has no files of ours.
    let files = workspace.store.shared().is_none().then_some(1);
    Ok(Size { bytes: workspace.store.size_bytes()?, files, ..Size::default() })
}

async fn lake(workspace: &Workspace) -> Result<Size> {
    let seen = Box::pin(tables::seen(workspace)).await?;
    let states: Vec<_> = seen.values().filter_map(|one| one.state.as_ref()).collect();
    let files: usize = states.iter().map(|state| state.files).sum();
    Ok(Size {
        bytes: states.iter().map(|state| state.bytes).sum(),
        tables: u64::try_from(states.len()).ok(),
        files: u64::try_from(files).ok(),
        free_bytes: None,
    })
}

async fn journal_size(workspace: &Workspace) -> Result<Size> {
    let folder = workspace.dir().join(journal(workspace)?.path);
    task::compute(move || folder_size(&folder)).await
}

fn room(workspace: &Workspace) -> Result<Size> {
    let Some(found) = disk(workspace.dir()) else {
        return Err(Error::unavailable(
            "the system does not tell how much room the disk of the project has",
        ));
    };
    Ok(Size { bytes: found.total_bytes, free_bytes: Some(found.free_bytes), ..Size::default() })
}

/// All files below a folder; none if it is not there yet.
fn folder_size(folder: &Path) -> Result<Size> {
    let (mut bytes, mut files) = (0_u64, 0_u64);
    let mut open: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(dir) = open.pop() {
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            // Old files are removed while they are counted.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("list", &dir, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|e| Error::io("list", &dir, e))?;
            match entry.metadata() {
                Ok(about) if about.is_dir() => open.push(entry.path()),
                Ok(about) => {
                    bytes = bytes.saturating_add(about.len());
                    files += 1;
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("look at", &entry.path(), error)),
            }
        }
    }
    Ok(Size { bytes, files: Some(files), ..Size::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_as_large_as_its_files_and_one_that_is_not_there_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("topic")).unwrap();
        std::fs::write(folder.path().join("topic/1"), "12345").unwrap();
        std::fs::write(folder.path().join("2"), "678").unwrap();
        let size = folder_size(folder.path()).unwrap();
        assert_eq!((size.bytes, size.files), (8, Some(2)));
        let size = folder_size(&folder.path().join("gone")).unwrap();
        assert_eq!((size.bytes, size.files), (0, Some(0)));
    }

    #[test]
    fn what_is_kept_of_a_database_is_read_as_it_was_found() {
        let mut found = Database { kind: "postgres".to_owned(), ..Database::default() };
        found.health.slots.push(Slot {
            name: "a".to_owned(),
            kept_bytes: Some(7),
            ..Slot::default()
        });
        found.failed(&Error::unavailable("no answer").hint("Wait."), Timestamp::from_day(1));
        let kept: Database = serde_json::from_value(serde_json::to_value(&found).unwrap()).unwrap();
        assert_eq!(kept.slot().and_then(|slot| slot.kept_bytes), Some(7));
        let error = kept.error.unwrap();
        assert_eq!(
            (error.kind.as_str(), error.at),
            ("unavailable", Timestamp::from_day(1).to_string())
        );
        assert_eq!(kept.reachable, Some(false));
    }
}
