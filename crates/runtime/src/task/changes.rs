//! Following a log: the changes of several tables, read in one pass, each into its own table of one
//! destination.
//!
//! What holds after a crash: a table's position is in the commit of its rows, so that each table goes
//! on after its own last commit. A table without position is read whole first; those rows replace
//! what is there in one commit, so that nobody sees half of them. The source is told what it need not
//! keep only after the commits. Rows of one transaction are never committed apart from each other. A table whose log cannot be
//! followed further stops alone, which is in its position: later passes leave it as it is until it is read whole again. One that its
//! target or its declarations refuse waits alone, at its position.

use std::sync::Arc;

use flywheel_base::{Error, ErrorKind, Result};
use flywheel_connect::source::{ChangesPage, ChangesRequest, Source};
use flywheel_project::resource::sync::{LAKE, Stream, Sync};
use futures::StreamExt;

use self::following::Following;
use super::balance;
use super::sync::{Landed, Restart, Synced, named, outcome, source};
use crate::Workspace;
use crate::recorder::{Recorder, Timer};

mod following;
mod live;
mod sink;

pub(crate) use self::live::{Each, Live, live};

/// The longest name of a reader that every source takes.
const NAME_MAX: usize = 48;

/// Brings the changes of `streams` to the destination `to` until the log is read up to now; those of
/// `restart` are read whole first, whatever their positions. A stream whose log cannot be followed further, or that is refused, fails
/// alone: what is returned has its error, apart if others went on.
///
/// # Errors
/// Those of source and lake that end all of it. What was committed before stays, and the next run goes on from there.
pub(crate) async fn run(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    name: &str,
    sync: &Sync,
    streams: &[&Stream],
    to: &str,
    restart: Restart<'_>,
) -> Result<Synced> {
    let timers: Vec<Timer> =
        streams.iter().map(|stream| recorder.started("sync", &named(name, stream, to))).collect();
    let run_id = recorder.run_id().to_owned();
    let result = Box::pin(all(workspace, &run_id, name, sync, streams, to, restart)).await;
    let (mut landed, mut errors) = (Vec::new(), Vec::new());
    match result {
        Ok(all) => {
            for (timer, (one, stopped)) in timers.into_iter().zip(all) {
                let of_one = |one: &Landed| (balance::status(one).to_owned(), outcome(one));
                let Some(error) = stopped else {
                    landed.push(recorder.settled(timer, Ok(one), of_one)?);
                    continue;
                };
                let why = Some(error.report());
                recorder.ended(
                    timer,
                    "failed",
                    flywheel_state::TaskOutcome { error: why, ..outcome(&one) },
                );
                errors.push(error);
                landed.push(one);
            }
        }
        Err(error) => {
            let why = error.report();
            for timer in timers {
                let outcome = flywheel_state::TaskOutcome {
                    error: Some(why.clone()),
                    ..flywheel_state::TaskOutcome::default()
                };
                recorder.ended(timer, "failed", outcome);
            }
            return Err(error);
        }
    }
    for one in &landed {
        for notice in &one.notices {
            recorder.notice(format!("sync {name}, {}: {notice}", one.table));
        }
        if let Some(notice) = balance::notice(one) {
            recorder.notice(format!("sync {name}, {}: {notice}", one.table));
        }
    }
    // Of a log on which no table went on it is told as of one that failed.
    let (errors, alone) =
        if errors.len() < landed.len() { (Vec::new(), errors) } else { (errors, Vec::new()) };
    Ok(Synced { landed, errors, alone })
}

async fn all(
    workspace: &Workspace,
    run_id: &str,
    name: &str,
    sync: &Sync,
    streams: &[&Stream],
    to: &str,
    restart: Restart<'_>,
) -> Result<Vec<(Landed, Option<Error>)>> {
    let mut pass = Pass::open(workspace, run_id, name, sync, streams, to).await?;
    pass.restart(restart).await?;
    pass.catch_up().await?;
    for table in &mut pass.tables {
        table.merge_changes().await;
    }
    Ok(pass.tables.into_iter().map(|table| (table.landed, table.stopped)).collect())
}

/// Everything for one pass over a log.
struct Pass<'a> {
    name: &'a str,
    source: Arc<dyn Source>,
    request: ChangesRequest,
    tables: Vec<Following<'a>>,
}

impl<'a> Pass<'a> {
    async fn open(
        workspace: &'a Workspace,
        run_id: &'a str,
        name: &'a str,
        sync: &'a Sync,
        streams: &[&'a Stream],
        to: &str,
    ) -> Result<Self> {
        let first = streams.first().ok_or_else(|| Error::internal("no stream of changes"))?;
        let source = Arc::from(source(workspace, sync, first).await?);
        let mut tables = Vec::with_capacity(streams.len());
        for stream in streams {
            tables.push(Following::open(workspace, run_id, name, sync, stream, to).await?);
        }
        let request = ChangesRequest {
            name: reader(&workspace.project.file.name, name, to),
            streams: tables.iter().map(Following::request).collect::<Result<_>>()?,
            follow: false,
        };
        Ok(Self { name, source, request, tables })
    }

    /// Has tables read whole, whatever their positions. What the source keeps for the reader is made anew only
    /// if it is kept for no other table.
    async fn restart(&mut self, restart: Restart<'_>) -> Result<()> {
        let again = |table: &Following<'_>| restart.has(table.stream());
        if !self.tables.iter().any(again) {
            return Ok(());
        }
        if self.tables.iter().all(again) {
            self.source.forget(&self.request.name).await?;
        }
        for table in self.tables.iter_mut().filter(|table| restart.has(table.stream())) {
            table.restart();
        }
        self.request.streams = self.tables.iter().map(Following::request).collect::<Result<_>>()?;
        Ok(())
    }

    /// Reads up to now and commits.
    async fn catch_up(&mut self) -> Result<()> {
        let read =
            Box::pin(pages(self.source.as_ref(), self.name, &self.request, &mut self.tables)).await;
        if let Err(error) = read {
            for table in &mut self.tables {
                table.keep().await;
            }
            return Err(error);
        }
        for table in &mut self.tables {
            if let Err(error) = table.end().await {
                table.refuse(error).await?;
            }
        }
        self.acknowledge().await
    }

    /// The source may forget what is committed.
    async fn acknowledge(&mut self) -> Result<()> {
        for (stream, table) in self.request.streams.iter_mut().zip(&self.tables) {
            stream.from.clone_from(&table.stored);
        }
        self.source.acknowledge(&self.request).await
    }
}

async fn pages(
    source: &dyn Source,
    name: &str,
    request: &ChangesRequest,
    tables: &mut [Following<'_>],
) -> Result<()> {
    let mut pages = source.changes(request);
    while let Some(page) = pages.next().await {
        take(name, tables, page).await?;
    }
    Ok(())
}

/// Hands a page to its table.
async fn take(name: &str, tables: &mut [Following<'_>], page: Result<ChangesPage>) -> Result<()> {
    let page = page.map_err(|error| match error.kind() {
        ErrorKind::Blocked => {
            let again = format!(
                "`flywheel sync {name} --restart` reads the tables whole again, with `--stream` and \
                 the name of a stream only that one."
            );
            let hint = match error.hint_text() {
                Some(hint) => format!("{hint} {again}"),
                None => again,
            };
            error.hint(hint)
        }
        _ => error,
    })?;
    let table = tables.get_mut(page.stream).ok_or_else(|| {
        Error::internal(format!("a log has changes of stream {}, which is not read", page.stream))
    })?;
    Box::pin(table.page(page)).await
}

/// The name under which a sync reads a log for one destination: the project's and its own, as systems
/// allow names.
pub(crate) fn reader(project: &str, sync: &str, to: &str) -> String {
    let sync = match to {
        LAKE => sync.to_owned(),
        other => format!("{sync}→{other}"),
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let given = format!("{project}_{sync}");
    let name: String = given.chars().map(plain).collect();
    if name == given && name.len() <= NAME_MAX {
        return name;
    }
    // Names that only look alike in the system's letters, or begin alike, stay apart.
    let digest = flywheel_base::digest::short(&[project.as_bytes(), sync.as_bytes()]);
    let start: String = name.chars().take(NAME_MAX - 13).collect();
    format!("{start}_{}", digest.get(..12).unwrap_or(&digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_has_a_name_that_systems_allow_and_nobody_else_has() {
        assert_eq!(reader("shop", "crm_in", LAKE), "shop_crm_in");
        assert!(reader("Shop 2", "crm", LAKE).starts_with("shop_2_crm_"));
        assert_ne!(reader("shop", "crm-in", LAKE), reader("shop", "crm.in", LAKE));
        assert_ne!(reader("shop", "crm", "pg"), reader("shop", "crm_pg", LAKE));
        assert_ne!(reader("shop", "crm", "pg"), reader("shop", "crm", "maria"));
        let long = "x".repeat(80);
        let (a, b) = (reader(&long, "a", LAKE), reader(&long, "b", LAKE));
        assert!(a.len() <= NAME_MAX && b.len() <= NAME_MAX && a != b, "{a} {b}");
    }
}
