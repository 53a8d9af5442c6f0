//! Following a log: the changes of several tables, read in one pass, each into its own lake table.
//!
//! What holds after a crash: a table's position is in the commit of its rows, so that each table goes
//! on after its own last commit. A table without position is read whole first; those rows replace
//! what is there in one commit, so that nobody sees half of them. The source is told what it need not
//! keep only after the commits. Rows of one transaction are never committed apart from each other.

use std::sync::Arc;

use arrow::array::RecordBatch;
use flywheel_base::{Error, ErrorKind, Result};
use flywheel_connect::source::{ChangesPage, ChangesRequest, ReadRequest, Source};
use flywheel_connect::{Mapping, Position};
use flywheel_project::resource::sync::{Stream, Sync};
use flywheel_warehouse::{
    Checkpoint, DELETED, Duplicates, Load, Location, RowStream, Write, WriteMode,
};
use futures::StreamExt;

use super::deliver::without_deletions;
use super::sync::{
    GATHERED_BYTES_MAX, Landed, Tally, conform, destination, location_of, outcome, read_request,
    source, union,
};
use crate::Workspace;
use crate::mapping::mapping;
use crate::recorder::{Recorder, Timer};

/// The longest name of a reader that every source takes.
const NAME_MAX: usize = 48;

/// Follows the log for `streams` until it is read up to now; with `restart` they are read whole first,
/// whatever their positions.
///
/// # Errors
/// Those of source and lake; [`flywheel_base::ErrorKind::Blocked`] beyond the budget of bad rows.
/// What was committed before stays, and the next run goes on from there.
pub(crate) async fn run(
    workspace: &Workspace,
    recorder: &mut Recorder<'_>,
    name: &str,
    sync: &Sync,
    streams: &[&Stream],
    restart: bool,
) -> Result<Vec<Landed>> {
    let timers: Vec<Timer> = streams
        .iter()
        .map(|stream| recorder.started("sync", &format!("{name}.{}", stream.stream)))
        .collect();
    let run_id = recorder.run_id().to_owned();
    let result = Box::pin(follow(workspace, &run_id, name, sync, streams, restart)).await;
    let mut landed = Vec::new();
    match result {
        Ok(all) => {
            for (timer, one) in timers.into_iter().zip(all) {
                let of_one = |one: &Landed| ("succeeded".to_owned(), outcome(one));
                landed.push(recorder.settled(timer, Ok(one), of_one)?);
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
    }
    Ok(landed)
}

async fn follow(
    workspace: &Workspace,
    run_id: &str,
    name: &str,
    sync: &Sync,
    streams: &[&Stream],
    restart: bool,
) -> Result<Vec<Landed>> {
    let Some(first) = streams.first() else { return Ok(Vec::new()) };
    let source = source(workspace, sync, first).await?;
    let mut tables = Vec::with_capacity(streams.len());
    for stream in streams {
        tables.push(Following::open(workspace, run_id, name, sync, stream).await?);
    }
    let reader = reader(&workspace.project.file.name, name);
    if restart {
        source.forget(&reader).await?;
        for table in &mut tables {
            table.restart()?;
        }
    }
    let mut request = ChangesRequest {
        name: reader,
        streams: tables.iter().map(Following::request).collect(),
        follow: false,
    };
    let read = Box::pin(pages(source.as_ref(), name, &request, &mut tables)).await;
    if let Err(error) = read {
        for table in &mut tables {
            table.keep().await;
        }
        return Err(error);
    }
    for table in &mut tables {
        table.end().await?;
    }
    // From here on the source may forget what is committed.
    for (stream, table) in request.streams.iter_mut().zip(&tables) {
        stream.from.clone_from(&table.stored);
    }
    source.acknowledge(&request).await?;
    Ok(tables.into_iter().map(|table| table.landed).collect())
}

async fn pages(
    source: &dyn Source,
    name: &str,
    request: &ChangesRequest,
    tables: &mut [Following<'_>],
) -> Result<()> {
    let mut pages = source.changes(request);
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| match error.kind() {
            ErrorKind::Blocked => {
                let again =
                    format!("`flywheel sync {name} --restart` reads the tables whole again.");
                let hint = match error.hint_text() {
                    Some(hint) => format!("{hint} {again}"),
                    None => again,
                };
                error.hint(hint)
            }
            _ => error,
        })?;
        let table = tables.get_mut(page.stream).ok_or_else(|| {
            Error::internal(format!(
                "a log has changes of stream {}, which is not read",
                page.stream
            ))
        })?;
        table.page(page).await?;
    }
    Ok(())
}

/// The name under which a sync reads a log: the project's and its own, as systems allow names.
pub(crate) fn reader(project: &str, sync: &str) -> String {
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

/// One table on its way into the lake.
struct Following<'a> {
    workspace: &'a Workspace,
    run_id: &'a str,
    name: &'a str,
    sync: &'a Sync,
    stream: &'a Stream,
    mapping: Mapping,
    at: Location,
    app: String,
    sequence: i64,
    /// The position that is stored.
    stored: Option<Position>,
    /// The position up to which rows are gathered; none within a transaction.
    position: Option<Position>,
    /// Whether the rows that are there are still being read, to replace the table.
    replaces: bool,
    gathered: Vec<RecordBatch>,
    bytes: usize,
    /// Rows that are too many to be gathered.
    load: Option<Load>,
    tally: Tally,
    landed: Landed,
}

impl<'a> Following<'a> {
    async fn open(
        workspace: &'a Workspace,
        run_id: &'a str,
        name: &'a str,
        sync: &'a Sync,
        stream: &'a Stream,
    ) -> Result<Self> {
        let table = destination(stream)?;
        let at = location_of(&table)?;
        let app = format!("sync/{name}/{}", stream.stream);
        let head = workspace.lake.head(&at).await?;
        let last = head.and_then(|head| head.checkpoints.get(&app).cloned());
        let sequence = last.as_ref().map_or(0, |last| last.sequence);
        let idle = workspace.store.idle_position(&app, sequence)?;
        let stored = last.map(|last| Position(idle.unwrap_or(last.position)));
        Ok(Self {
            workspace,
            run_id,
            name,
            sync,
            stream,
            mapping: mapping(workspace, sync, stream)?,
            at,
            app,
            sequence,
            replaces: stored.is_none(),
            stored,
            position: None,
            gathered: Vec::new(),
            bytes: 0,
            load: None,
            tally: Tally::default(),
            landed: Landed { table: table.to_string(), ..Landed::default() },
        })
    }

    /// Reads the table whole, as if it had never been read; its rows stay until then.
    fn restart(&mut self) -> Result<()> {
        self.workspace.store.forget_idle_position(&self.app)?;
        (self.stored, self.replaces) = (None, true);
        Ok(())
    }

    fn request(&self) -> ReadRequest {
        read_request(self.stream, &self.mapping, self.stored.clone(), self.workspace.now())
    }

    /// How its commits are called in the table's history.
    fn operation(&self) -> String {
        format!("sync {}.{}", self.name, self.stream.stream)
    }

    fn mode(&self) -> WriteMode {
        if self.replaces {
            return WriteMode::Replace;
        }
        WriteMode::MergeChanges {
            key: self.stream.key.clone(),
            duplicates: Duplicates::KeepLast,
            deleted: DELETED.to_owned(),
        }
    }

    async fn page(&mut self, page: ChangesPage) -> Result<()> {
        if self.replaces && page.committed_at.is_some() {
            self.commit().await?;
            self.replaces = false;
        }
        let mut page = self.mapping.apply(page.page)?;
        self.landed.rows_in += (page.batch.num_rows() + page.rejected.len()) as u64;
        self.tally.take(&mut page, &self.sync.errors)?;
        self.position = Some(page.position).filter(|position| !position.0.is_null());
        if page.batch.num_columns() > 0 {
            let batch = match self.replaces {
                true => without_deletions(&page.batch)?,
                false => page.batch,
            };
            self.bytes += batch.get_array_memory_size();
            self.gathered.push(batch);
        }
        let much = self.bytes >= GATHERED_BYTES_MAX;
        let whole = !self.replaces && self.position.is_some();
        match whole {
            true if much || self.load.is_some() => self.commit().await,
            false if much => self.stream_on().await,
            _ => Ok(()),
        }
    }

    /// Moves what is gathered into data files that nobody sees yet.
    async fn stream_on(&mut self) -> Result<()> {
        let mode = self.mode();
        let load = match &mut self.load {
            Some(load) => load,
            none => none.insert(self.workspace.lake.load(&self.at, mode).await?),
        };
        for batch in self.gathered.drain(..) {
            load.write(&batch).await?;
        }
        self.bytes = 0;
        Ok(())
    }

    /// Commits what is gathered with the position after it.
    async fn commit(&mut self) -> Result<()> {
        let sync = (self.name, &self.sync.errors);
        self.tally.pass(self.workspace, self.run_id, sync, self.stream, &mut self.landed).await?;
        let Some(position) = self.position.clone() else { return Ok(()) };
        let checkpoint = Checkpoint { sequence: self.sequence + 1, position: position.0.clone() };
        let commit = if self.load.is_some() {
            self.stream_on().await?;
            let Some(load) = self.load.take() else { return Ok(()) };
            let operation = self.operation();
            Box::pin(load.commit(&operation, &self.app, checkpoint)).await?
        } else {
            let rows: usize = self.gathered.iter().map(RecordBatch::num_rows).sum();
            if self.gathered.is_empty() || (rows == 0 && !self.replaces) {
                self.gathered.clear();
                return self.idle(position);
            }
            let batches = std::mem::take(&mut self.gathered);
            let schema = union(&batches)?;
            let rows = RowStream::from_batches(Arc::clone(&schema), conform(&schema, batches)?);
            let write = Write::new(self.mode(), rows, self.operation())
                .checkpoint(self.app.clone(), checkpoint)
                .add_columns();
            Box::pin(self.workspace.lake.write(&self.at, write)).await?
        };
        self.bytes = 0;
        self.sequence += 1;
        self.stored = Some(position);
        self.landed.take(&commit);
        Ok(())
    }

    /// Notes a newer position that no row comes with. Before the first commit there is nothing it
    /// could follow: then the table is read whole again.
    fn idle(&mut self, position: Position) -> Result<()> {
        if self.stored.is_some() && self.stored.as_ref() != Some(&position) {
            self.workspace.store.record_idle_position(&self.app, self.sequence, &position.0)?;
            self.stored = Some(position);
        }
        Ok(())
    }

    /// Commits the rest.
    async fn end(&mut self) -> Result<()> {
        if let Err(error) = self.commit().await {
            self.discard().await;
            return Err(error);
        }
        self.discard().await;
        Ok(())
    }

    /// Commits what came before a read broke off, and gives up the rest: half of a transaction, half
    /// of a table that is read whole.
    async fn keep(&mut self) {
        if !self.replaces
            && self.position.is_some()
            && let Err(error) = self.commit().await
        {
            // The error that broke the read off is the one to report; these rows are read again.
            tracing::warn!(table = %self.landed.table, %error, "changes before an error are not kept");
        }
        self.discard().await;
    }

    /// Gives up what is not committed.
    async fn discard(&mut self) {
        self.gathered.clear();
        if let Some(load) = self.load.take() {
            load.discard().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_has_a_name_that_systems_allow_and_nobody_else_has() {
        assert_eq!(reader("shop", "crm_in"), "shop_crm_in");
        assert!(reader("Shop 2", "crm").starts_with("shop_2_crm_"));
        assert_ne!(reader("shop", "crm-in"), reader("shop", "crm.in"));
        let long = "x".repeat(80);
        let (a, b) = (reader(&long, "a"), reader(&long, "b"));
        assert!(a.len() <= NAME_MAX && b.len() <= NAME_MAX && a != b, "{a} {b}");
    }
}
