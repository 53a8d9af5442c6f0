//! Migrations: a sync into another system, taken to its end and, while there is time, back again.
//!
//! ```text
//! plan ─► run ─► verify ─► freeze the source ─► cutover ─► (changes flow back) ─► finish
//!          └─ again and again: catches up          │                                │
//!                                                  └────────► rollback ◄────────────┘ no longer
//! ```
//! Invariants: `plan` writes nothing anywhere; a cutover happens only if both sides are equal after the
//! last changes have come over; from then on the sync itself stands still, so that its changes and
//! those that flow back never chase each other.

mod back;
mod plan;
mod verify;

use std::path::PathBuf;

use flywheel_base::{Error, Result, suggest};
use flywheel_connect::source::SourceEntry;
use flywheel_project::resource::sync::{LAKE, Read, Stream, Sync};
use flywheel_state::{Migration, Phase};
use serde_json::{Map, Value, json};

pub(crate) use self::plan::same;
pub use self::plan::{PlannedStream, plan};
pub(crate) use self::verify::{Asked, Reading, common, compare};
pub use self::verify::{Verified, verify};
use crate::Workspace;
use crate::recorder::Observer;
use crate::run::start;
use crate::task::changes::reader;
use crate::task::sync::{self as sync_task, Landed};

/// A sync that can be a migration.
struct Moving<'a> {
    workspace: &'a Workspace,
    name: &'a str,
    sync: &'a Sync,
    /// The connection it writes.
    to: &'a str,
}

impl<'a> Moving<'a> {
    fn named(workspace: &'a Workspace, name: &'a str) -> Result<Self> {
        let syncs = &workspace.project.syncs;
        let sync = syncs.get(name).ok_or_else(|| {
            let known = syncs.keys().map(String::as_str).collect::<Vec<_>>();
            Error::not_found(format!("no sync \"{name}\"")).hint(suggest::hint(name, known))
        })?;
        let [to] = sync.destination.names() else {
            return Err(Error::invalid(format!("sync \"{name}\" has several destinations"))
                .hint("A migration moves to one system; make a sync for each."));
        };
        if to == LAKE || sync.reads_lake() {
            return Err(Error::invalid(format!(
                "sync \"{name}\" does not move from one system to another"
            ))
            .hint("Give the sync a `connection` and a `destination` that are connections."));
        }
        Ok(Self { workspace, name, sync, to })
    }

    fn phase(&self) -> Result<Option<Phase>> {
        Ok(self.workspace.store.migration(self.name)?.map(|migration| migration.phase))
    }

    fn record(&self, phase: Phase, detail: Value) -> Result<()> {
        self.workspace.store.record_migration(&Migration {
            sync: self.name.to_owned(),
            phase,
            changed_at: self.workspace.now(),
            detail,
        })
    }

    /// Refuses to go on if the migration is in none of `phases`.
    fn require(&self, phases: &[Phase], hint: &str) -> Result<()> {
        let phase = self.phase()?;
        if phase.is_some_and(|phase| phases.contains(&phase)) {
            return Ok(());
        }
        let is = phase.map_or_else(|| "has not begun".to_owned(), |phase| format!("is {phase}"));
        Err(Error::blocked(format!("migration \"{}\" {is}", self.name)).hint(hint.to_owned()))
    }

    /// The settings that read what a stream writes, with the values of their references.
    fn target_now(&self, entry: &SourceEntry, stream: &Stream) -> Result<Value> {
        as_stream(entry, &self.workspace.project.resolve_settings(stream.target_of(self.to))?)
    }

    /// The settings that read what a stream writes, as they are declared.
    fn target_as_stream(&self, entry: &SourceEntry, stream: &Stream) -> Result<Value> {
        as_stream(entry, stream.target_of(self.to))
    }
}

/// The settings that read what is written with the settings of a target.
pub(crate) fn as_stream(entry: &SourceEntry, target: &Map<String, Value>) -> Result<Value> {
    let whole = Value::Object(target.clone());
    if entry.check_stream(whole.clone()).is_ok() {
        return Ok(whole);
    }
    let named = ["table", "database", "path", "sheet", "object"];
    let kept: Map<String, Value> = named
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), target.get(*key)?.clone())))
        .collect();
    let kept = Value::Object(kept);
    entry.check_stream(kept.clone()).map(|()| kept)
}

/// Loads the target, or catches up with what has changed since.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Blocked`] after the cutover, else those of the sync.
pub async fn run(
    workspace: &Workspace,
    name: &str,
    observer: &dyn Observer,
) -> Result<Vec<Landed>> {
    let moving = Moving::named(workspace, name)?;
    if let Some(phase @ (Phase::CutOver | Phase::Finished)) = moving.phase()? {
        return Err(Error::blocked(format!("migration \"{name}\" is {phase}"))
            .hint("Nothing comes over any more; see `flywheel migrate list`."));
    }
    let recorder = start(workspace, observer, "migrate")?;
    let result = sync_task::run(workspace, &recorder, name, false).await;
    if let Ok(landed) = &result {
        moving.record(
            Phase::Loaded,
            json!({ "rows": landed.iter().map(|one| one.rows_out).sum::<u64>() }),
        )?;
    }
    recorder.finish(result.as_ref().err())?;
    result
}

/// Notes that both sides were found equal.
///
/// # Errors
/// Those of the metadata.
pub fn verified(workspace: &Workspace, name: &str, found: &[Verified]) -> Result<()> {
    let moving = Moving::named(workspace, name)?;
    let rows: u64 = found.iter().map(|one| one.rows_source).sum();
    match moving.phase()? {
        Some(Phase::Loaded | Phase::Verified) => {
            moving.record(Phase::Verified, json!({ "rows": rows }))
        }
        _ => Ok(()),
    }
}

/// What a cutover did.
#[derive(Debug)]
pub struct Prepared {
    /// The last changes that came over.
    pub landed: Vec<Landed>,
    /// How both sides compare now.
    pub verified: Vec<Verified>,
    /// The sync that lets changes flow back, if both sides are equal and there can be one.
    pub back: Option<PathBuf>,
    /// What a person should know.
    pub notices: Vec<String>,
}

/// The first half of a cutover: brings the last changes over, compares both sides and, if they are
/// equal, writes the sync for the way back. Load the project anew for the second half,
/// [`complete_cutover`].
///
/// # Errors
/// [`flywheel_base::ErrorKind::Blocked`] if the target was never loaded or is cut over already; those of the sync.
pub async fn prepare_cutover(
    workspace: &Workspace,
    name: &str,
    skip: &[String],
    observer: &dyn Observer,
) -> Result<Prepared> {
    let moving = Moving::named(workspace, name)?;
    let begun = [Phase::Loaded, Phase::Verified, Phase::RolledBack];
    moving.require(&begun, "Load the target first, with `flywheel migrate run`.")?;
    let landed = run(workspace, name, observer).await?;
    let verified = verify(workspace, name, skip, observer).await?;
    let mut prepared = Prepared { landed, verified, back: None, notices: Vec::new() };
    if prepared.verified.iter().all(Verified::is_equal) {
        (prepared.back, prepared.notices) = back::write(&moving).await?;
    }
    Ok(prepared)
}

/// The second half of a cutover: starts the way back, so that no later change of the target is missed,
/// and stops the sync. From here on people work with the target. Tells how many rows of the target the
/// source does not take back as they are.
///
/// # Errors
/// Those of the sync that flows back; the migration is not cut over then.
pub async fn complete_cutover(
    workspace: &Workspace,
    name: &str,
    observer: &dyn Observer,
) -> Result<u64> {
    let moving = Moving::named(workspace, name)?;
    let back = back::name(name);
    let sync = workspace.project.syncs.get(&back);
    let mut refused = 0;
    if let Some(sync) = sync {
        // Its log begins here: a position from before an earlier rollback is older than both sides.
        let restart = sync.streams.iter().any(|stream| stream.read == Read::Cdc);
        let landed = flow_back(workspace, &back, restart, observer).await?;
        refused = landed.iter().map(|one| one.rows_rejected).sum();
    }
    let flows = sync.is_some();
    moving.record(Phase::CutOver, json!({ "back": flows.then_some(back) }))?;
    Ok(refused)
}

/// Brings what was changed in the target since the cutover back into the source and compares both
/// sides; if they are equal, people can work with the source again.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Blocked`] if nothing was cut over or nothing flows back; those of the syncs.
pub async fn rollback(
    workspace: &Workspace,
    name: &str,
    skip: &[String],
    observer: &dyn Observer,
) -> Result<Vec<Verified>> {
    let moving = Moving::named(workspace, name)?;
    moving.require(&[Phase::CutOver], "Only what was cut over can be rolled back.")?;
    let back = back::name(name);
    if !workspace.project.syncs.contains_key(&back) {
        return Err(Error::blocked(format!("nothing flows back from migration \"{name}\""))
            .hint(format!("There is no sync \"{back}\": its file was removed, or the source cannot be written.")));
    }
    flow_back(workspace, &back, false, observer).await?;
    let verified = verify(workspace, name, skip, observer).await?;
    if verified.iter().all(Verified::is_equal) {
        forget(&moving, &back).await?;
        // The file goes last: what is left after a crash stands still.
        moving.record(Phase::RolledBack, json!({}))?;
        back::remove(&moving)?;
    }
    Ok(verified)
}

/// Ends the time in which a way back is kept: nothing flows any more, and the servers need not keep
/// their logs.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Blocked`] if it is not cut over; those of the systems.
pub async fn finish(workspace: &Workspace, name: &str) -> Result<()> {
    let moving = Moving::named(workspace, name)?;
    moving.require(&[Phase::CutOver], "Cut it over first, with `flywheel migrate cutover`.")?;
    forget(&moving, name).await?;
    let back = back::name(name);
    if workspace.project.syncs.contains_key(&back) {
        forget(&moving, &back).await?;
    }
    moving.record(Phase::Finished, json!({}))?;
    if back::is_ours(workspace, name)? {
        back::remove(&moving)?;
    }
    Ok(())
}

/// Runs the sync that flows back, whose own gate only opens with the cutover.
async fn flow_back(
    workspace: &Workspace,
    back: &str,
    restart: bool,
    observer: &dyn Observer,
) -> Result<Vec<Landed>> {
    let recorder = start(workspace, observer, "migrate")?;
    let result = sync_task::run_now(workspace, &recorder, back, restart).await;
    recorder.finish(result.as_ref().err())?;
    result
}

/// Removes what following a sync's log made on its source.
async fn forget(moving: &Moving<'_>, name: &str) -> Result<()> {
    let project = &moving.workspace.project;
    let Some(sync) = project.syncs.get(name) else { return Ok(()) };
    if !sync.streams.iter().any(|stream| stream.read == Read::Cdc) {
        return Ok(());
    }
    let (_, source) = moving.workspace.source_of(sync)?;
    for to in sync.destination.names() {
        source.forget(&reader(&project.file.name, name, to)).await?;
    }
    Ok(())
}

/// Why the sync `name` stands still, if a migration says so: of the two ways, at most one is open.
pub(crate) fn stands_still(workspace: &Workspace, name: &str) -> Result<Option<String>> {
    for Migration { sync, phase, .. } in workspace.store.migrations()? {
        let over = matches!(phase, Phase::CutOver | Phase::Finished);
        let shut = (sync == name && over)
            || (back::name(&sync) == name
                && phase != Phase::CutOver
                && back::is_ours(workspace, &sync)?);
        if shut {
            return Ok(Some(format!("sync {name} stands still: migration {sync} is {phase}")));
        }
    }
    Ok(None)
}
