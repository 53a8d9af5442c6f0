//! Between landing and reading: readers are held at the last good version until what landed is judged.
//!
//! ```text
//! close: hold readers at the head ─► the sync lands ─► settle: judge the new head ─┬ kept ──► release
//!                                                                                  └ broken ► stay held
//! ```

use std::collections::BTreeSet;

use flywheel_base::Result;
use flywheel_project::resource::properties::Severity;
use flywheel_project::resource::quality::{Metric, Quality};
use flywheel_project::resource::sync::{LAKE, Sync};
use flywheel_project::{NodeKind, Project};
use flywheel_state::Hold;

use super::{judged, line};
use crate::Workspace;
use crate::recorder::Recorder;
use crate::task::sync::{Landed, destination, location_of};

/// Why a table is held while nothing is known yet.
const LANDING: &str = "it is being landed";

/// The landed tables of a sync whose readers wait for a verdict.
pub(crate) struct Gate<'a> {
    workspace: &'a Workspace,
    tables: Vec<Closed<'a>>,
}

struct Closed<'a> {
    name: String,
    promises: Vec<&'a Quality>,
    hold: Hold,
    /// Whether it was held before this sync.
    before: bool,
}

impl<'a> Gate<'a> {
    /// Holds readers of every table of the sync that has an `error` promise.
    pub(crate) async fn close(workspace: &'a Workspace, sync: &Sync) -> Result<Self> {
        let mut tables = Vec::new();
        let mut seen = BTreeSet::new();
        let lands = sync.destination.names().iter().any(|name| name == LAKE);
        for stream in sync.streams.iter().filter(|_| lands) {
            let name = destination(stream)?.to_string();
            let promises = blocking(&workspace.project, &name);
            if !seen.insert(name.clone()) {
                continue;
            }
            let held = workspace.store.holds()?.into_iter().find(|hold| hold.name == name);
            if promises.is_empty() {
                // Nobody promises anything any more.
                if held.is_some() {
                    workspace.store.release(&name)?;
                }
                continue;
            }
            let before = held.is_some();
            let hold = match held {
                Some(hold) => hold,
                None => {
                    let head = workspace.lake.head(&location_of(&destination(stream)?)?).await?;
                    let hold = Hold {
                        name: name.clone(),
                        version: head.map(|head| head.version),
                        reason: LANDING.to_owned(),
                        held_at: workspace.now(),
                    };
                    workspace.store.hold(&hold)?;
                    hold
                }
            };
            tables.push(Closed { name, promises, hold, before });
        }
        Ok(Self { workspace, tables })
    }

    /// Whether readers of a table of the sync would wait for a verdict.
    pub(crate) fn closes(project: &Project, sync: &Sync) -> Result<bool> {
        let lands = sync.destination.names().iter().any(|name| name == LAKE);
        for stream in sync.streams.iter().filter(|_| lands) {
            if !blocking(project, &destination(stream)?.to_string()).is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Judges what landed and lets readers of tables whose promises are kept go on; the others are told
    /// in `landed`.
    pub(crate) async fn settle(
        self,
        recorder: &Recorder<'_>,
        landed: &mut Vec<Landed>,
    ) -> Result<()> {
        let workspace = self.workspace;
        for table in self.tables {
            let name = flywheel_warehouse::TableName::parse(&table.name)?;
            let head = workspace.lake.head(&location_of(&name)?).await?.map(|head| head.version);
            if head == table.hold.version {
                // Nothing landed since the last good version.
                workspace.store.release(&table.name)?;
                continue;
            }
            let mut broken: Vec<String> = Vec::new();
            for quality in &table.promises {
                let results =
                    Box::pin(judged(workspace, recorder, quality, Some(&table.name))).await?;
                broken.extend(results.iter().filter(|one| one.blocks()).map(line));
            }
            if broken.is_empty() {
                workspace.store.release(&table.name)?;
                if table.before {
                    let text = format!("{}: readers see the newest version again", table.name);
                    recorder.notice(text);
                }
                continue;
            }
            let seen = match table.hold.version {
                Some(version) => format!("readers keep version {version}"),
                None => "readers see no table yet".to_owned(),
            };
            let why =
                format!("{} breaks what is promised, {seen}: {}", table.name, broken.join("; "));
            workspace.store.hold(&Hold { reason: broken.join("; "), ..table.hold })?;
            match landed.iter_mut().find(|one| one.table == table.name) {
                Some(one) => one.blocked = Some(why),
                None => landed.push(Landed {
                    table: table.name,
                    blocked: Some(why),
                    ..Landed::default()
                }),
            }
        }
        Ok(())
    }
}

/// The quality files that can keep a landed table from readers.
fn blocking<'a>(project: &'a Project, table: &str) -> Vec<&'a Quality> {
    let about = |name: &String| {
        let node = project.quality_tables.get(name);
        node.is_some_and(|node| node.kind == NodeKind::Source && node.name == table)
    };
    let blocks = |quality: &Quality| {
        quality.checks.iter().any(|check| {
            Project::severity_of(check) == Severity::Error
                && check.metric != Some(Metric::Freshness)
        })
    };
    let files = project.qualities.iter().filter(|(name, _)| about(name));
    files.map(|(_, located)| &located.value).filter(|quality| blocks(quality)).collect()
}

/// Lets readers of `table` go on, which was just judged by `judged` and kept its promises, unless another
/// file that can keep it from them was not judged; true if it did.
pub(super) fn let_go(workspace: &Workspace, table: &str, judged: &[&Quality]) -> Result<bool> {
    let known = |quality: &Quality| judged.iter().any(|one| one.quality == quality.quality);
    if !blocking(&workspace.project, table).into_iter().all(known) {
        return Ok(false);
    }
    workspace.store.release(table)?;
    Ok(true)
}
