//! Where a project's metadata is: in `.flywheel/meta.db`, or in a schema of a PostgreSQL if `flywheel.yaml` says so.
//!
//! The state store knows no TLS and no secrets, and the connectors know no store; here one is handed to the other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flywheel_base::{Clock as _, Error, Result, SystemClock};
use flywheel_connect::PostgresServer;
use flywheel_project::resource::project_file::ProjectFile;
use flywheel_project::{Choices, Project, resolve_secrets};
use flywheel_state::{Copied, Dial, Dialed, Dialing, ProjectLock, Shared, Store};
use serde_json::json;

use crate::halt::COMMAND_LINE;

/// What the file is called.
const FILE: &str = "meta.db";

/// What is put behind the name of metadata that was moved.
const MOVED: &str = "moved";

/// What the file is called while rows are brought into it.
const UNFINISHED: &str = "meta.db.unfinished";

/// Opens connections as `metadata:` says.
#[derive(Debug)]
struct Server(Arc<PostgresServer>);

impl Dial for Server {
    fn name(&self) -> String {
        self.0.name().to_owned()
    }

    fn dial(&self) -> Dialing {
        let server = Arc::clone(&self.0);
        Box::pin(async move {
            let (client, driver) = server.open().await?;
            Ok(Dialed { client, driver })
        })
    }
}

/// Which way metadata is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the file into the schema.
    ToPostgres,
    /// From the schema into a file.
    ToSqlite,
}

/// Metadata that was moved.
#[derive(Clone, Debug)]
pub struct Moved {
    /// Where it was.
    pub from: String,
    /// Where it is.
    pub to: String,
    /// What of it is kept where it was, under which name.
    pub kept: String,
    /// How many rows each table has, counted on both sides.
    pub tables: Vec<Copied>,
}

/// The schema that `flywheel.yaml` of the project in `dir` names; none if the metadata is in a file.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a setting is wrong, else those of a secret that is not there.
pub fn shared(dir: &Path, file: &ProjectFile) -> Result<Option<Shared>> {
    let Some(declared) = &file.metadata.postgres else { return Ok(None) };
    let wrong = |error: Error| error.context("flywheel.yaml: metadata.postgres");
    let settings = resolve_secrets(dir, &declared.settings()).map_err(wrong)?;
    let server = PostgresServer::new(settings, dir).map_err(wrong)?;
    Shared::new(Arc::new(Server(Arc::new(server))), &declared.schema).map_err(wrong).map(Some)
}

/// Where the file is, or would be.
#[must_use]
pub fn path(dir: &Path) -> PathBuf {
    dir.join(".flywheel").join(FILE)
}

/// Whether there is something to be opened without making it: a file, or a schema and a lake whose rows it is about.
#[must_use]
pub fn is_there(dir: &Path, file: &ProjectFile) -> bool {
    match file.metadata.postgres {
        Some(_) => dir.join(&file.lake).is_dir(),
        None => path(dir).is_file(),
    }
}

/// Opens the metadata of the project in `dir`.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Blocked`] if there is a file besides the schema, so that it is not clear which of them is meant;
/// else as [`shared`] and [`Store::open`].
pub fn open(dir: &Path, file: &ProjectFile) -> Result<Store> {
    refuse_two(dir, file)?;
    match shared(dir, file)? {
        Some(shared) => Store::open_shared(&shared, &path(dir)),
        None => Store::open(&path(dir)),
    }
}

/// Takes the right to change the project in `dir`.
///
/// # Errors
/// As [`ProjectLock::take_shared`] and [`open`].
pub fn lock(dir: &Path, file: &ProjectFile) -> Result<ProjectLock> {
    let at = dir.join(".flywheel").join("lock");
    refuse_two(dir, file)?;
    match shared(dir, file)? {
        Some(shared) => ProjectLock::take_shared(&at, &shared, &path(dir)),
        None => ProjectLock::take(&at),
    }
}

/// Opens the metadata of a project of which other files may have mistakes.
///
/// # Errors
/// As [`open`]; the mistakes of `flywheel.yaml` if that alone can say where the metadata is.
pub(crate) fn open_in(dir: &Path) -> Result<Store> {
    match Project::file_of(dir, &Choices::default()) {
        Ok(file) => open(dir, &file),
        // Where there is a file, there is no schema.
        Err(_) if path(dir).is_file() => Store::open(&path(dir)),
        Err(mistakes) => Err(mistakes.into()),
    }
}

/// Refuses metadata in two places; asks for no secret.
fn refuse_two(dir: &Path, project: &ProjectFile) -> Result<()> {
    let Some(declared) = &project.metadata.postgres else { return Ok(()) };
    let file = path(dir);
    if !file.is_file() {
        return Ok(());
    }
    Err(Error::blocked(format!(
        "flywheel.yaml names the schema \"{}\" of a PostgreSQL for the metadata, and there is {} as well",
        declared.schema,
        file.display()
    ))
    .hint("`flywheel metadata move --to postgres` brings the file into the schema if that is empty. If the file is the right one, take `metadata` out of flywheel.yaml; if the schema is, move the file elsewhere."))
}

/// Moves the metadata of the project in `dir` between the file and the schema that its `flywheel.yaml` names, and counts the
/// rows on both sides. What was moved is kept under another name.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if `flywheel.yaml` names no schema, [`flywheel_base::ErrorKind::NotFound`] if there is
/// nothing to move, [`flywheel_base::ErrorKind::Blocked`] if there is something where it is to go,
/// [`flywheel_base::ErrorKind::Conflict`] if somebody changes the project; else as [`Store::copy_rows_from`].
pub fn move_to(dir: &Path, file: &ProjectFile, direction: Direction) -> Result<Moved> {
    let Some(shared) = shared(dir, file)? else {
        return Err(Error::invalid("flywheel.yaml names no PostgreSQL for the metadata")
            .hint("Write where it is: metadata: {postgres: {schema: flywheel_shop, url: \"${env:METADATA_URL}\"}}."));
    };
    let at = dir.join(".flywheel").join("lock");
    let file = path(dir);
    match direction {
        Direction::ToPostgres => {
            if !file.is_file() {
                return Err(Error::not_found(format!("there is no {}", file.display()))
                    .hint("A project that begins in PostgreSQL has nothing to move."));
            }
            let lock = Arc::new(ProjectLock::take_shared(&at, &shared, &file)?);
            let from = Store::open(&file)?;
            let to = Store::open_shared(&shared, &file)?.under(&lock);
            let tables = to.copy_rows_from(&from)?;
            let place = from.place();
            let kept = from.set_aside(MOVED)?;
            note(&to, &place, &tables)?;
            Ok(Moved { from: place, to: to.place(), kept, tables })
        }
        Direction::ToSqlite => {
            if file.exists() {
                return Err(Error::blocked(format!("{} is there already", file.display()))
                    .hint("Nothing is overwritten: move it elsewhere first."));
            }
            if Store::is_new(&shared)? {
                return Err(Error::not_found(format!(
                    "there is no metadata in {}",
                    shared.place()
                ))
                .hint("Without it, the project begins with an empty file."));
            }
            let lock = Arc::new(ProjectLock::take_shared(&at, &shared, &file)?);
            let from = Store::open_shared(&shared, &file)?.under(&lock);
            let unfinished = file.with_file_name(UNFINISHED);
            // One that was cut off is made anew.
            for end in ["", "-wal", "-shm"] {
                let left = unfinished.with_file_name(format!("{UNFINISHED}{end}"));
                match std::fs::remove_file(&left) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(Error::io("remove", &left, error));
                    }
                    _ => {}
                }
            }
            let to = Store::open(&unfinished)?;
            let tables = to.copy_rows_from(&from)?;
            // Closed, all of it is in the one file.
            drop(to);
            std::fs::rename(&unfinished, &file)
                .map_err(|error| Error::io("rename", &unfinished, error))?;
            let place = from.place();
            let kept = from.set_aside(MOVED)?;
            note(&Store::open(&file)?, &place, &tables)?;
            Ok(Moved { from: place, to: file.display().to_string(), kept, tables })
        }
    }
}

fn note(store: &Store, from: &str, tables: &[Copied]) -> Result<()> {
    let rows: u64 = tables.iter().map(|table| table.rows).sum();
    let detail = json!({"from": from, "rows": rows});
    store.audit(SystemClock.now(), COMMAND_LINE, "metadata.move", "metadata", &detail)
}
