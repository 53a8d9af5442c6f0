//! One table that follows a log.

use std::time::Instant;

use arrow::datatypes::{DataType, SchemaRef};
use flywheel_base::{Error, ErrorKind, Result, Timestamp};
use flywheel_connect::source::{ChangesPage, ReadRequest};
use flywheel_connect::{Mapping, Position};
use flywheel_project::resource::sync::{Column, LAKE, Stream, Sync, Write};
use flywheel_warehouse::Location;

use super::super::deliver::{rejected, without_deletions};
use super::super::new_columns;
use super::super::null_keys;
use super::super::share::Share;
use super::super::sync::{
    Landed, Tally, destination, gone, lands_already, lost, read_request, with_gone, written_by,
};
use super::sink::{Sink, Told};
use crate::Workspace;
use crate::erase::Suppression;
use crate::mapping::mapping;
use crate::quarantine;
use crate::upkeep;

/// One table on its way to one target.
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one table in one pass")]
pub(super) struct Following<'a> {
    workspace: &'a Workspace,
    run_id: &'a str,
    name: &'a str,
    sync: &'a Sync,
    share: Share,
    stream: &'a Stream,
    mapping: Mapping,
    /// Who was erased and is kept out of the lake.
    kept_out: Option<Suppression>,
    sink: Sink<'a>,
    /// Under which name positions without rows are kept.
    app: String,
    sequence: i64,
    /// Whether a read of the table had been begun before the pass.
    known: bool,
    /// The columns of the lake table then.
    there: Option<SchemaRef>,
    /// The position that is stored.
    pub(super) stored: Option<Position>,
    /// The position up to which rows wait; none within a transaction.
    position: Option<Position>,
    /// Whether the rows that are there are still being read.
    whole: bool,
    tally: Tally,
    /// Whether a commit had been made before.
    skipped: bool,
    pub(super) landed: Landed,
    /// When the source committed the newest change that has come.
    pub(super) newest: Option<Timestamp>,
    /// Rows somebody who watches was told of.
    pub(super) told: u64,
    /// Why nothing more of it is taken in this pass, while other tables go on.
    pub(super) stopped: Option<Error>,
    /// Whether it goes on from its position once somebody has mended that; else it has to be read whole.
    pub(super) waits: bool,
    /// How often it was left waiting in a row, by passes of somebody who follows.
    pub(super) attempts: u32,
    /// Whether somebody who watches was told of it.
    pub(super) stop_told: bool,
    /// When another pass is due for it.
    pub(super) due: Option<Instant>,
}

impl<'a> Following<'a> {
    pub(super) async fn open(
        workspace: &'a Workspace,
        run_id: &'a str,
        name: &'a str,
        sync: &'a Sync,
        stream: &'a Stream,
        to: &str,
    ) -> Result<Self> {
        let table = match to {
            LAKE => destination(stream)?.to_string(),
            other => format!("{other}.{}", stream.stream),
        };
        let (sink, standing) = Sink::open(workspace, name, sync, stream, to).await?;
        let app = sink.app(name, stream, to);
        let idle = workspace.store.idle_position(&app, standing.sequence)?;
        let stored = standing.position.map(|position| idle.map_or(position, Position));
        let there = match sink.location() {
            Some(at) => workspace.lake.head(at).await?.map(|head| head.schema),
            None => None,
        };
        Ok(Self {
            workspace,
            run_id,
            name,
            sync,
            stream,
            mapping: mapping(workspace, sync, stream)?,
            kept_out: match sink.location() {
                Some(_) => Suppression::of(workspace, stream)?,
                None => None,
            },
            share: Share::of(sync)?,
            sink,
            app,
            sequence: standing.sequence,
            known: standing.sequence > 0,
            there,
            whole: stored.is_none(),
            stored,
            position: None,
            tally: Tally::default(),
            skipped: false,
            landed: Landed { table, ..Landed::default() },
            newest: None,
            told: 0,
            stopped: None,
            waits: false,
            attempts: 0,
            stop_told: false,
            due: None,
        })
    }

    /// What the table lands by.
    pub(super) fn stream(&self) -> &Stream {
        self.stream
    }

    /// Reads the table whole, as if it had never been read; its rows stay until then. So does the position that no row came with,
    /// which is true until the next commit: a table that has stopped is not followed again after a read that was cut off.
    pub(super) fn restart(&mut self) {
        (self.stored, self.whole) = (None, true);
    }

    /// What the table asks its source for.
    pub(super) fn request(&self) -> Result<ReadRequest> {
        let from = self.stored.clone();
        let mut request = read_request(self.workspace, self.stream, &self.mapping, from)?;
        let there = |column: &Column| match &self.there {
            Some(schema) => schema.field_with_name(&column.name).is_ok(),
            None => self.known,
        };
        lands_already(self.stream, &mut request.columns, there);
        // A history dates each version by the commit it comes from.
        request.by_transaction = self.stream.write == Write::History;
        Ok(self.share.limit(request))
    }

    /// The type of a declared column as it lands.
    fn kind(&self, name: &str) -> Option<DataType> {
        let there = self.there.as_ref().and_then(|there| there.field_with_name(name).ok());
        let fields = self.mapping.fields();
        let declared = fields.iter().find(|field| field.name() == name);
        there.or(declared).map(|field| field.data_type().clone())
    }

    /// Rows so far that do not meet the stream's condition, or are about somebody who was erased.
    fn filtered(&self) -> u64 {
        self.mapping.filtered() + self.kept_out.as_ref().map_or(0, Suppression::left_out)
    }

    /// The lake table, if it is one.
    pub(super) fn location(&self) -> Option<&Location> {
        self.sink.location()
    }

    /// Whether what has come ends where a transaction does.
    pub(super) fn is_between(&self) -> bool {
        self.stopped.is_some() || self.position.is_some() || self.newest.is_none()
    }

    /// Takes a page, unless the table has stopped in this pass.
    pub(super) async fn page(&mut self, mut page: ChangesPage) -> Result<()> {
        if self.stopped.is_some() {
            return Ok(());
        }
        let taken = match page.stopped.take() {
            Some(error) => Box::pin(self.stop(page, error)).await,
            None => Box::pin(self.rows(page)).await,
        };
        match taken {
            Ok(()) => Ok(()),
            Err(error) => self.refuse(error).await,
        }
    }

    /// Leaves the table waiting for this pass, because of an error of its own: what was not committed is given up, and read again
    /// once somebody has mended what is wrong.
    ///
    /// # Errors
    /// `error`, if it is not one of this table alone.
    pub(super) async fn refuse(&mut self, error: Error) -> Result<()> {
        let own = matches!(
            error.kind(),
            ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Denied | ErrorKind::Blocked
        );
        if !own {
            return Err(error);
        }
        self.sink.discard().await;
        self.position = None;
        self.wait(error);
        Ok(())
    }

    /// Says why it waits.
    fn wait(&mut self, error: Error) {
        let (name, stream) = (self.name, &self.stream.stream);
        let again = format!(
            "Once that is mended it goes on from where it stands; the others of sync \"{name}\" go on meanwhile. `flywheel sync {name} --restart --stream {stream}` reads it whole instead."
        );
        self.waits = true;
        self.stopped = Some(hinted(error, again));
    }

    /// Takes the last page of a table that the source follows no further: what came before is committed with the position that
    /// says so, or with the one before it if the source is to try again from there.
    async fn stop(&mut self, page: ChangesPage, error: Error) -> Result<()> {
        if page.page.position.0.is_null() {
            self.keep().await;
            self.position = None;
            self.wait(error);
            return Ok(());
        }
        if self.position.is_none() {
            // The beginning of a transaction whose end is not for it; what came before that is read whole again with it.
            self.sink.discard().await;
            self.skipped = true;
        }
        if page.page.batch.num_columns() > 0 {
            Box::pin(self.rows(page)).await?;
        } else {
            self.position = Some(page.page.position);
        }
        self.commit().await?;
        let (name, stream) = (self.name, &self.stream.stream);
        let again = format!(
            "`flywheel sync {name} --restart --stream {stream}` reads this table whole again; the others of the sync go on."
        );
        self.stopped = Some(hinted(error, again));
        Ok(())
    }

    async fn rows(&mut self, page: ChangesPage) -> Result<()> {
        // A transaction that goes on may not tell yet when it was committed.
        if self.whole && (page.committed_at.is_some() || page.page.position.0.is_null()) {
            self.commit().await?;
            self.whole = false;
        }
        let at = page.committed_at;
        self.newest = self.newest.max(at);
        let widened: Vec<String> =
            page.widened.iter().flat_map(|column| self.mapping.landing(column)).collect();
        let filtered = self.filtered();
        // What takes the place of all rows has the columns that the source lost as well.
        let swaps = self.whole && self.sink.swaps();
        let asked = if swaps { self.request()?.columns } else { Vec::new() };
        self.tally.tell(lost(&asked, &page.page));
        let gone: Vec<&str> = gone(&asked, &page.page).map(|column| column.name.as_str()).collect();
        let mut page = self.mapping.apply(page.page)?;
        if let Some(kept_out) = &self.kept_out {
            kept_out.sift(&mut page)?;
        }
        if !gone.is_empty() {
            let kind = |name: &str| self.kind(name);
            page.batch = with_gone(self.stream, &page.batch, &gone, kind)?;
        }
        if self.sink.location().is_some() {
            let connection = self.workspace.project.connections.get(&self.sync.connection);
            let source = connection.map_or(LAKE, |connection| connection.connector.as_str());
            let key = written_by(self.stream);
            null_keys::set_aside(&mut page, source, &self.landed.table, key)?;
            new_columns::set_aside(&mut page, source, self.stream, self.there.as_deref())?;
        }
        let filtered = self.filtered() - filtered;
        self.landed.rows_filtered += filtered;
        self.landed.rows_in += (page.batch.num_rows() + page.rejected.len()) as u64 + filtered;
        self.tally.take(&mut page, &self.sync.errors)?;
        if page.batch.num_columns() > 0 {
            if swaps {
                let there = without_deletions(&page.batch)?;
                self.landed.rows_marked += (page.batch.num_rows() - there.num_rows()) as u64;
                page.batch = there;
            }
            self.sink.widen(&widened, &page.batch, self.whole).await?;
            let ends = !page.position.0.is_null();
            let told = Told { whole: self.whole, at, ends };
            let refused = self.sink.add(&page.batch, told).await?;
            let refused = refused
                .iter()
                .map(|row| {
                    let row = rejected(self.sink.connector(), &self.landed.table, &page, row)?;
                    Ok(match self.sink.connection() {
                        Some(connection) => row.refused_by(connection),
                        None => row,
                    })
                })
                .collect::<Result<Vec<_>>>()?;
            self.tally.refuse(refused, &self.sync.errors)?;
        }
        self.position = Some(page.position).filter(|position| !position.0.is_null());
        if !self.sink.is_much() {
            return Ok(());
        }
        match !self.whole && self.position.is_some() {
            true => self.commit().await,
            false => self.sink.relieve(self.whole).await,
        }
    }

    /// Commits what waits with the position after it.
    async fn commit(&mut self) -> Result<()> {
        let sync = (self.name, &self.sync.errors);
        self.tally.pass(self.workspace, self.run_id, sync, self.stream, &mut self.landed).await?;
        if !self.whole {
            self.tally.forget_met();
        }
        let Some(position) = self.position.clone() else { return Ok(()) };
        let did = match self.sink.commit(self.whole, self.sequence + 1, &position).await {
            Ok(Some(did)) => did,
            Ok(None) => return self.idle(position),
            Err(error) => {
                // The rows are with nobody any more: no position may pass them.
                self.position = None;
                return Err(error);
            }
        };
        self.sequence = did.sequence;
        self.stored = Some(position);
        self.landed.rows_out += did.rows_written;
        self.landed.rows_superseded += did.rows_superseded;
        self.landed.rows_marked += did.rows_marked;
        self.landed.rows_deleted += did.rows_deleted;
        self.skipped |= did.skipped;
        self.landed.version = did.version.or(self.landed.version);
        if self.whole {
            let (sync, stream) = ((self.name, self.sync), self.stream);
            let (destination, run_id) = (self.sink.connection().unwrap_or(LAKE), self.run_id);
            let whole = quarantine::Whole { sync, stream, destination, run_id };
            let closed =
                Box::pin(quarantine::supersede(self.workspace, whole, self.tally.met())).await?;
            self.landed.notices.extend(closed);
        }
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

    /// Commits what can be committed by now: not half of a transaction, nor of a table that is
    /// read whole. Tells whether anything was.
    pub(super) async fn settle(&mut self) -> Result<bool> {
        let before = self.sequence;
        if self.stopped.is_some() {
            return Ok(false);
        }
        if !self.whole && self.position.is_some() {
            self.commit().await?;
        }
        Ok(self.sequence != before)
    }

    /// Commits the rest.
    pub(super) async fn end(&mut self) -> Result<()> {
        if self.waits {
            return Ok(());
        }
        if let Err(error) = self.commit().await {
            self.sink.discard().await;
            return Err(error);
        }
        self.sink.discard().await;
        // What was read whole is followed from now on, as if it were opened anew.
        self.whole = self.stored.is_none();
        if !self.whole
            && self.there.is_none()
            && let Some(at) = self.sink.location()
        {
            self.there = self.workspace.lake.head(at).await?.map(|head| head.schema);
        }
        // Half of a transaction is read again. Other systems do not count the rows of one key apart, and
        // a history writes a row for what ends, and none for what stands.
        self.landed.counted = self.position.is_some()
            && self.sink.location().is_some()
            && self.stream.write != Write::History
            && !self.skipped;
        Ok(())
    }

    /// Merges changes that wait beside the table's files, as the run ends. Nothing is lost if that fails: they wait on, and
    /// the next run tries again.
    pub(super) async fn merge_changes(&mut self) {
        let Some(at) = self.sink.location() else { return };
        match upkeep::merge_changes(self.workspace, at).await {
            Ok(version) => self.landed.version = version.or(self.landed.version),
            Err(error) => {
                let why = error.report();
                self.landed.notices.push(format!("its changes wait to be merged: {why}"));
            }
        }
    }

    /// Commits what came before a read broke off, and gives up the rest: half of a transaction, half
    /// of a table that is read whole.
    pub(super) async fn keep(&mut self) {
        if !self.whole
            && self.position.is_some()
            && let Err(error) = self.commit().await
        {
            // The error that broke the read off is the one to report; these rows are read again.
            tracing::warn!(table = %self.landed.table, %error, "changes before an error are not kept");
        }
        self.sink.discard().await;
    }
}

/// The error with one sentence more of what to do.
fn hinted(error: Error, again: String) -> Error {
    let hint = match error.hint_text() {
        Some(hint) => format!("{hint} {again}"),
        None => again,
    };
    error.hint(hint)
}
