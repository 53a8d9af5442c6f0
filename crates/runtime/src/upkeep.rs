//! Keeping tables from falling apart into small files, and from keeping for ever what nobody can read any more.

use std::collections::BTreeMap;

use flywheel_base::{Error, ErrorKind, Result, Timestamp, suggest};
use flywheel_project::resource::quantity::Duration;
use flywheel_warehouse::{Commit, Location, Maintain, TableName, WaitingChanges};
use serde::Serialize;

use crate::Workspace;
use crate::catalogue::collect;
use crate::recorder::Recorder;
use crate::task::sync::location_of;

/// A table with at least so many files is looked at.
const FILES_MIN: usize = 32;
/// Files that are larger on average need no help.
const FILE_BYTES: u64 = 16 << 20;
/// A table is cleared so many times in the time that its versions are kept, so that this costs little beside what is
/// written meanwhile.
const CLEARED_PER_KEPT: i64 = 3;
/// And not more often than this.
const CLEARED_MIN_US: i64 = 3_600_000_000;
/// Changes that wait beside a table's files are merged once they have at least so many bytes,
const CHANGES_BYTES_MIN: u64 = 32 << 20;
/// and as many as the files divided by this: then every row is written anew at most so often as the table is changed whole,
const CHANGES_SHARE: u64 = 8;
/// or once they are so many, as every reader holds their keys in memory.
const CHANGES_ROWS_MAX: u64 = 1_000_000;
/// How healthy assets are is made of everything there is, so it is not noted more often than this.
const HEALTH_EVERY_US: i64 = 3_600_000_000;

/// What was, or would be, removed of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cleared {
    /// Where the table lies in the lake.
    pub location: String,
    /// The oldest version that can still be read.
    pub oldest_version: i64,
    /// Data files that no kept version needs.
    pub files: usize,
    /// Their size.
    pub bytes: u64,
    /// Files of the log that no kept version is read from.
    pub log_files: usize,
}

/// Removes what only versions older than `keep` need, of the tables `names`, or of all: by default what
/// `keep_versions` says. Changes that wait beside a table's files are merged into them before. A version that readers,
/// builds, environments or a rollback name is kept whatever its age. With `dry_run` nothing is removed.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown table; those of lake and metadata, and what was removed until
/// then stays removed.
pub async fn vacuum(
    workspace: &Workspace,
    names: &[String],
    keep: Option<Duration>,
    dry_run: bool,
) -> Result<Vec<Cleared>> {
    let keep = keep.unwrap_or(workspace.project.file.keep_versions);
    let named = named_versions(workspace)?;
    let mut all = Vec::new();
    for at in chosen(workspace, names).await? {
        if !dry_run {
            merge_changes(workspace, &at).await?;
        }
        all.extend(clear(workspace, &at, keep, &named, dry_run).await?);
    }
    Ok(all)
}

/// The tables at these names: of a model all its variants.
async fn chosen(workspace: &Workspace, names: &[String]) -> Result<Vec<Location>> {
    let present = workspace.lake.locations().await?;
    if names.is_empty() {
        return Ok(present);
    }
    let mut chosen = Vec::new();
    for name in names {
        let folder = location_of(&TableName::parse(name)?)?;
        let variants = format!("{folder}/");
        let before = chosen.len();
        chosen.extend(
            present
                .iter()
                .filter(|at| **at == folder || at.as_str().starts_with(&variants))
                .cloned(),
        );
        if chosen.len() == before {
            let known = present.iter().filter_map(|at| {
                let mut parts = at.as_str().split('/');
                Some(format!("{}.{}", parts.next()?, parts.next()?))
            });
            let known: Vec<String> = known.collect();
            let text = format!("no table \"{name}\" is in the lake");
            return Err(Error::new(ErrorKind::NotFound, text)
                .hint(suggest::hint(name, known.iter().map(String::as_str))));
        }
    }
    Ok(chosen)
}

/// After a run: compacts those of `tables` that need it, clears those that are due, and notes how healthy assets are. What
/// fails is told and tried again the next time; it does not make the run fail.
pub(crate) async fn keep_up(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    tables: Result<Vec<Location>>,
) {
    let tables = tables.unwrap_or_else(|error| {
        recorder.notice(format!("maintenance of tables: {}", error.report()));
        Vec::new()
    });
    let mut named = None;
    for at in tables {
        if let Err(error) = compact(workspace, &at).await {
            recorder.notice(format!("maintenance of {at}: {}", error.report()));
        }
        if let Err(error) = clear_if_due(workspace, &at, &mut named).await {
            recorder.notice(format!("removing old versions of {at}: {}", error.report()));
        }
    }
    if let Err(error) = note_health(workspace).await {
        recorder.notice(format!("noting how healthy assets are: {}", error.report()));
    }
}

/// Notes how healthy every asset is, if that was not done within the last hour of this day.
async fn note_health(workspace: &Workspace) -> Result<()> {
    let now = workspace.now();
    let last = workspace.store.health_noted_at(now)?;
    if last.is_some_and(|last| (0..HEALTH_EVERY_US).contains(&(now.micros() - last.micros()))) {
        return Ok(());
    }
    let catalogue = Box::pin(collect(workspace)).await?;
    let scores = catalogue.assets.into_iter().filter(|asset| asset.health.is_finite());
    let scores: Vec<_> = scores.map(|asset| (asset.kind, asset.name, asset.health)).collect();
    workspace.store.record_health(now, &scores)
}

/// Where models lie that were built: `names` are `schema.name`.
pub(crate) fn tables_of(workspace: &Workspace, names: &[String]) -> Result<Vec<Location>> {
    let builds = workspace.store.builds()?.into_iter();
    let built = builds.filter(|build| names.contains(&build.name));
    built.filter_map(|build| build.location).map(Location::new).collect()
}

/// Keeps one table from falling apart into small files; costs nothing when there is nothing to do.
///
/// A compacted model is the same rows in another version, so readers and the next increment are moved
/// to that version; if the process dies in between, the next build starts from the version before.
pub(crate) async fn compact(workspace: &Workspace, at: &Location) -> Result<()> {
    let Some(before) = workspace.lake.head(at).await? else { return Ok(()) };
    if before.files < FILES_MIN || before.bytes / before.files as u64 >= FILE_BYTES {
        return Ok(());
    }
    let after = workspace.lake.maintain(at, Maintain::default()).await?;
    follow(workspace, at.as_str(), before.version, after.version)
}

/// Whether changes that wait beside a table's files are to be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// None wait.
    Nothing,
    /// Some wait, and may wait on.
    Waits,
    /// They cost readers more than it costs to merge them.
    Large,
}

/// Whether the changes beside a table's files are to be merged.
pub(crate) async fn changes_due(workspace: &Workspace, at: &Location) -> Result<Due> {
    let Some(head) = workspace.lake.head(at).await? else { return Ok(Due::Nothing) };
    Ok(due(head.bytes, head.waiting))
}

/// Whether so many changes are to be merged into files of so many bytes.
fn due(file_bytes: u64, waiting: WaitingChanges) -> Due {
    if waiting.files == 0 {
        return Due::Nothing;
    }
    let bytes_max = CHANGES_BYTES_MIN.max(file_bytes / CHANGES_SHARE);
    match waiting.bytes >= bytes_max || waiting.rows >= CHANGES_ROWS_MAX {
        true => Due::Large,
        false => Due::Waits,
    }
}

/// Merges the changes that wait beside a table's files into them; the version after it, if any waited. It has the rows of
/// the version before, so whoever reads that one is moved.
pub(crate) async fn merge_changes(workspace: &Workspace, at: &Location) -> Result<Option<i64>> {
    let Some(merged) = workspace.lake.merge_changes(at).await? else { return Ok(None) };
    changes_merged(workspace, at, &merged)?;
    Ok(Some(merged.version))
}

/// Moves whoever reads the version before changes were merged, which has the same rows.
pub(crate) fn changes_merged(workspace: &Workspace, at: &Location, merged: &Commit) -> Result<()> {
    follow(workspace, at.as_str(), merged.version - 1, merged.version)
}

/// Moves readers and the next increment from `before` to `after`, which holds the same rows.
fn follow(workspace: &Workspace, location: &str, before: i64, after: i64) -> Result<()> {
    let same = |at: &Option<String>, version: Option<i64>| {
        at.as_deref() == Some(location) && version == Some(before)
    };
    let mut builds = workspace.store.builds()?;
    builds.retain(|build| same(&build.location, build.version));
    builds.iter_mut().for_each(|build| build.version = Some(after));
    workspace.store.record_builds(&builds)?;
    let mut seen = workspace.store.publications()?;
    seen.retain(|publication| same(&publication.location, publication.version));
    seen.iter_mut().for_each(|publication| publication.version = Some(after));
    workspace.store.publish(&seen, &[])
}

/// Clears a table whose last clearing is long enough ago; one that was never looked at counts from now on.
async fn clear_if_due(
    workspace: &Workspace,
    at: &Location,
    named: &mut Option<BTreeMap<String, i64>>,
) -> Result<()> {
    let (keep, now) = (workspace.project.file.keep_versions, workspace.now());
    let every = (keep.micros / CLEARED_PER_KEPT).max(CLEARED_MIN_US);
    let last = workspace.store.cleared_at(at.as_str())?;
    if last.is_some_and(|last| now.micros().saturating_sub(last.micros()) < every) {
        return Ok(());
    }
    if last.is_some() {
        let named = match named {
            Some(named) => named,
            None => named.insert(named_versions(workspace)?),
        };
        if let Some(cleared) = clear(workspace, at, keep, named, false).await? {
            tracing::info!(table = %at, files = cleared.files, bytes = cleared.bytes, "old versions were removed");
        }
    }
    workspace.store.record_cleared(at.as_str(), now)
}

/// Removes what no version of a table needs that is younger than `keep` or named; none if all of them are kept.
async fn clear(
    workspace: &Workspace,
    at: &Location,
    keep: Duration,
    named: &BTreeMap<String, i64>,
    dry_run: bool,
) -> Result<Option<Cleared>> {
    let since = Timestamp::from_micros(workspace.now().micros().saturating_sub(keep.micros));
    let Some(version) = workspace.lake.version_at(at, since).await? else { return Ok(None) };
    let oldest = named.get(at.as_str()).map_or(version, |named| version.min(*named));
    let options = Maintain {
        compact: false,
        checkpoint_bytes_min: None,
        oldest_version: Some(oldest),
        retention_us: keep.micros,
        dry_run,
        ..Maintain::default()
    };
    let done = workspace.lake.maintain(at, options).await?;
    let cleared = Cleared {
        location: at.to_string(),
        oldest_version: oldest,
        files: done.files_deleted,
        bytes: done.bytes_freed,
        log_files: done.log_files_deleted,
    };
    Ok((cleared.files + cleared.log_files > 0).then_some(cleared))
}

/// The oldest version of each table that readers, builds, environments, a rollback or a hold name.
pub(crate) fn named_versions(workspace: &Workspace) -> Result<BTreeMap<String, i64>> {
    let mut oldest = workspace.store.referenced_versions()?;
    for hold in workspace.store.holds()? {
        let Some(version) = hold.version else { continue };
        let at = location_of(&TableName::parse(&hold.name)?)?;
        let known = oldest.entry(at.to_string()).or_insert(version);
        *known = version.min(*known);
    }
    Ok(oldest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_merged_once_they_are_a_part_of_the_table_or_many() {
        let waiting = |rows, bytes| WaitingChanges { files: 1, rows, bytes };
        assert_eq!(due(1 << 40, WaitingChanges::default()), Due::Nothing);
        assert_eq!(due(0, waiting(1, 1)), Due::Waits);
        assert_eq!(due(0, waiting(1, CHANGES_BYTES_MIN)), Due::Large);
        assert_eq!(due(1 << 30, waiting(1, CHANGES_BYTES_MIN)), Due::Waits);
        assert_eq!(due(1 << 30, waiting(1, 1 << 27)), Due::Large);
        assert_eq!(due(1 << 40, waiting(CHANGES_ROWS_MAX, 1)), Due::Large);
    }
}
