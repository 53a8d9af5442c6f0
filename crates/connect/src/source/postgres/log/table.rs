//! The changes of one table: gathered as they come, handed over as pages.

use std::sync::Arc;

use flywheel_base::task::compute;
use flywheel_base::{Error, Result, Timestamp};

use super::identity::{self, Turned, sorted_key};
use super::lookup::{Given, Known, look_up};
use super::mapping::{Changes, Mapping, Row, Value};
use super::message::{Described, Old, Tuple};
use super::partitions;
use super::position::{Lsn, Stored};
use crate::column::{ColumnType, Misfit, Parsing};
use crate::page::{Column, DELETED_COLUMN, Notice, Page, PageBuilder, Position, TableSchema, raw};
use crate::postgres::{EPOCH_US, Session};
use crate::source::postgres::PostgresStream;
use crate::source::postgres::relation::Relation;
use crate::source::{ChangesPage, ReadRequest};
use crate::stop::{Fate, Stop};

/// Pages of at least this many rows are put together away from the async threads.
const COMPUTE_ROWS: usize = 500;

/// One stream of a log.
pub(super) struct Table {
    /// Its place in the request.
    pub(super) stream: usize,
    /// Its settings.
    pub(super) settings: PostgresStream,
    /// What is read, and how.
    pub(super) request: ReadRequest,
    /// The table as it was when the read began.
    pub(super) relation: Relation,
    /// Where it stands; what was committed before is not for it.
    pub(super) stored: Stored,
    /// The position of the last page.
    pub(super) told: Lsn,
    /// The columns of the pages.
    columns: Vec<Column>,
    mapping: Option<(Described, Arc<Mapping>)>,
    rows: Vec<Row>,
    bytes: usize,
    notices: Vec<Notice>,
    /// Columns that became wider since the last page.
    widened: Vec<String>,
    line: u64,
    /// When the newest of the rows was committed, in microseconds from 2000.
    at_us: Option<i64>,
    /// How many of the rows are of transactions that are over, and when the newest was committed.
    settled: (usize, Option<i64>),
    /// Whether rows of the transaction under way are gathered, or were handed over.
    in_transaction: bool,
    /// Whether rows of the transaction under way were handed over.
    handed: bool,
    /// Why it cannot be followed, as was found by a look at all tables; its last page is still to come.
    pub(super) refused: Option<Error>,
    /// Whether its last page was handed over.
    over: bool,
}

/// What a page is made of.
struct Parts {
    columns: Vec<Column>,
    rows: Vec<Row>,
    notices: Vec<Notice>,
    known: Known,
    origin: String,
    line: u64,
    parsing: Parsing,
}

impl Table {
    /// Starts with no rows.
    pub(super) fn new(
        stream: usize,
        settings: PostgresStream,
        request: &ReadRequest,
        relation: Relation,
        stored: Stored,
    ) -> Self {
        Self {
            stream,
            settings,
            request: request.clone(),
            relation,
            told: stored.lsn,
            columns: stored.page_columns(&request.columns),
            stored,
            mapping: None,
            rows: Vec::new(),
            bytes: 0,
            notices: Vec::new(),
            widened: Vec::new(),
            line: 0,
            at_us: None,
            settled: (0, None),
            in_transaction: false,
            handed: false,
            refused: None,
            over: false,
        }
    }

    /// The number of the table.
    pub(super) fn oid(&self) -> u32 {
        self.relation.table.as_ref().map_or(0, |table| table.oid)
    }

    /// Takes over the columns of a whole read that is over.
    pub(super) fn begin(&mut self, columns: &[Column]) {
        self.columns = columns.to_vec();
        self.stored.numbers = self.relation.numbers();
        self.stored.retyped.clear();
        self.stored.key = Some(sorted_key(&self.relation));
    }

    /// Learns what the rows look like from here on.
    pub(super) async fn describe(&mut self, session: &Session, described: Described) -> Result<()> {
        if self.mapping.as_ref().is_some_and(|(known, _)| *known == described) {
            return Ok(());
        }
        self.mapping = None;
        let declared = &self.request.columns;
        let relation = Relation::of(session, &self.settings, &[]).await?;
        identity::check(&relation, &described, &mut self.stored)?;
        partitions::check(session, &relation, &mut self.stored).await?;
        self.relation = relation;
        let (mapping, changes) =
            Mapping::new(session, &described, &self.columns, declared, &self.relation).await?;
        let turned = identity::learn(&self.relation, &described, &changes.added, &mut self.stored);
        self.announce(&changes, &turned);
        self.stored.retyped = changes.retyped.into_iter().collect();
        for (at, column, kind) in changes.widened {
            self.widened.push(column.name.clone());
            if column.kind != kind {
                // A type that holds old and new values is not that of the table, which is told already.
                self.stored.retyped.insert(column.name.clone(), kind);
            }
            if let Some(known) = self.columns.get_mut(at) {
                *known = column;
            }
        }
        self.columns.extend(changes.added);
        self.mapping = Some((described, Arc::new(mapping)));
        Ok(())
    }

    fn announce(&mut self, changes: &Changes, turned: &Turned) {
        for (old, new) in &turned.renamed {
            let message = format!(
                "the column \"{old}\" is called \"{new}\" now; rows from before keep their value \
                 in \"{old}\" until they change"
            );
            self.notice("column-renamed", message);
        }
        let told = |name: &str| turned.renamed.iter().any(|(_, new)| new == name);
        for column in changes.added.iter().filter(|column| !told(&column.name)) {
            let message = format!(
                "the column \"{}\" is new; rows from before have no value in it until they change",
                column.name
            );
            self.notice("column-added", message);
        }
        for name in &turned.gone {
            let message = format!("the column \"{name}\" is gone; it has no values from here on");
            self.notice("column-dropped", message);
        }
        for (at, column, _) in &changes.widened {
            let before = self.columns.get(*at).map_or(column.kind, |known| known.kind);
            self.notice("column-widened", column.widening(before));
        }
        // What was told once is in the position.
        let told =
            |(name, kind): &&(String, ColumnType)| self.stored.retyped.get(name) == Some(kind);
        let retyped: Vec<String> =
            changes.retyped.iter().filter(|one| !told(one)).map(|(name, _)| name.clone()).collect();
        for name in retyped {
            let message = format!(
                "the column \"{name}\" has another type than before; values that do not fit are \
                 set aside"
            );
            self.notice("column-type-changed", message);
        }
    }

    /// Says something with the next page.
    pub(super) fn notice(&mut self, code: &str, message: String) {
        let file = self.relation.origin.clone();
        self.notices.push(Notice { code: code.to_owned(), file, message });
    }

    /// The rows that a change makes: a changed key is a row that is gone and a new one.
    pub(super) fn rows_of(&self, old: Option<Old>, new: Option<Tuple>) -> Vec<Row> {
        let Some((_, mapping)) = &self.mapping else { return Vec::new() };
        let row = |tuple: Tuple, old: Option<Old>, deleted: bool| Row {
            mapping: Arc::clone(mapping),
            tuple,
            old,
            deleted,
        };
        match (old, new) {
            (Some(old), Some(new)) if mapping.key_changed(&old, &new) => {
                vec![row(old.tuple.clone(), None, true), row(new, Some(old), false)]
            }
            // What was before only matters where the row does not say what is.
            (old, Some(new)) => {
                let old = old.filter(|_| new.unchanged);
                vec![row(new, old, false)]
            }
            (Some(old), None) => vec![row(old.tuple, None, true)],
            (None, None) => Vec::new(),
        }
    }

    /// Adds a row of the transaction that was committed at `at_us`.
    pub(super) fn gather(&mut self, row: Row, at_us: i64) {
        self.bytes += row.bytes();
        self.rows.push(row);
        self.at_us = Some(at_us);
        self.in_transaction = true;
    }

    /// Whether a page is full.
    pub(super) fn full(&self) -> bool {
        self.rows.len() >= self.request.page_rows.max(1) || self.bytes >= self.request.page_bytes
    }

    /// Whether a page ends with its transaction.
    pub(super) fn ends_pages(&self) -> bool {
        self.request.by_transaction && !self.rows.is_empty()
    }

    /// Bytes gathered.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is something to hand over.
    pub(super) fn waits(&self) -> bool {
        !self.rows.is_empty() || !self.notices.is_empty()
    }

    /// Whether what is gathered can be handed over without the rest of a transaction.
    pub(super) fn settled(&self) -> bool {
        !self.in_transaction
    }

    /// Ends the transaction; says whether a page is due because rows of it were handed over.
    pub(super) fn commit(&mut self) -> bool {
        self.in_transaction = false;
        self.settled = (self.rows.len(), self.at_us);
        std::mem::take(&mut self.handed)
    }

    /// Forgets what is gathered of the transaction under way.
    pub(super) fn abandon(&mut self) {
        if self.handed {
            return;
        }
        let (rows, at_us) = self.settled;
        self.rows.truncate(rows);
        self.at_us = at_us;
        self.in_transaction = false;
    }

    /// Whether the table is still followed.
    pub(super) fn goes_on(&self) -> bool {
        !self.over && self.refused.is_none()
    }

    /// The page after which the table is followed no further, because of `error`; all of it that was committed before `reached`
    /// is in this page or in earlier ones.
    ///
    /// # Errors
    /// `error`, if it is not one of this table alone.
    pub(super) async fn last_page(
        &mut self,
        session: &Session,
        error: Error,
        reached: Lsn,
    ) -> Result<ChangesPage> {
        let known = self.stored.lsn != Lsn::default() && !self.reads_whole();
        let Some(fate) = Fate::of(&error, known) else { return Err(error) };
        self.over = true;
        if fate == Fate::Waits {
            self.rows.clear();
            self.bytes = 0;
            return Ok(ChangesPage::last(self.stream, Position(serde_json::Value::Null), error));
        }
        if self.handed {
            // The rest of them is with whoever reads, who gives it up by this page.
            self.rows.clear();
            self.at_us = None;
            self.in_transaction = false;
            self.handed = false;
        } else {
            self.abandon();
        }
        let stop = Stop::at(&self.told.max(reached).to_string(), &error);
        let error = stop.first(error);
        self.stored.stopped = Some(stop);
        match self.page(session, reached).await {
            Ok(page) => Ok(ChangesPage { stopped: Some(error), ..page }),
            // What its last rows lack cannot be looked up any more, as the table is gone.
            Err(failed) if Fate::of(&failed, true).is_some() => {
                session.execute("ROLLBACK").await?;
                Ok(ChangesPage::last(self.stream, self.position(self.told)?, error))
            }
            Err(failed) => Err(failed),
        }
    }

    /// Says that the table was emptied.
    pub(super) fn truncated(&mut self) {
        self.notice("table-truncated", "all rows of the table were removed at once".to_owned());
    }

    /// Hands over what is gathered; all before `reached` is in this page or in earlier ones.
    pub(super) async fn page(&mut self, session: &Session, reached: Lsn) -> Result<ChangesPage> {
        let position = if self.in_transaction {
            self.handed = true;
            Position(serde_json::Value::Null)
        } else {
            self.told = self.told.max(reached);
            self.position(self.told)?
        };
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        self.settled = (0, None);
        let committed_at = self.at_us.take().map(|at| Timestamp::from_micros(at + EPOCH_US));
        let widened = std::mem::take(&mut self.widened);
        let known =
            look_up(session, &self.settings, &rows, self.columns.len(), &self.columns).await?;
        let line = self.line + 1;
        self.line += rows.len() as u64;
        let parts = Parts {
            columns: self.columns.clone(),
            rows,
            notices: std::mem::take(&mut self.notices),
            known,
            origin: self.relation.origin.clone(),
            line,
            parsing: Parsing { allow_nan: self.settings.allow_nan, ..Parsing::default() },
        };
        let page = if parts.rows.len() < COMPUTE_ROWS {
            build(parts, position)?
        } else {
            compute(move || build(parts, position)).await?
        };
        Ok(ChangesPage { stream: self.stream, page, committed_at, widened, stopped: None })
    }

    /// The columns of the pages.
    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The position of a whole read that is over.
    pub(super) fn log_position(&self) -> Result<Position> {
        self.position(self.stored.lsn)
    }

    fn position(&self, lsn: Lsn) -> Result<Position> {
        let columns = self.columns.iter().map(|column| (column.name.clone(), column.kind));
        let columns = columns.collect();
        Stored { snapshot: None, lsn, columns, ..self.stored.clone() }.position()
    }
}

/// The columns of the pages with the one that tells which rows are gone.
pub(super) fn with_deleted(columns: &[Column]) -> TableSchema {
    let mut columns = columns.to_vec();
    columns.push(Column::inferred(DELETED_COLUMN, ColumnType::Bool));
    TableSchema::new(columns, false)
}

/// Puts a page together.
fn build(parts: Parts, position: Position) -> Result<Page> {
    let schema = with_deleted(&parts.columns);
    let mut page = PageBuilder::new("postgres", &schema, parts.rows.len());
    for (at, row) in parts.rows.iter().enumerate() {
        let line = parts.line + at as u64;
        match push(&mut page, row, at, &parts) {
            Ok(()) => page.commit(&parts.origin, line, 0)?,
            Err((column, misfit)) => {
                page.rollback();
                let name = parts.columns.get(column).map(|column| column.name.as_str());
                let shown = shown(row, at, &parts);
                let misfit =
                    if row.mapping.retyped(column) { of_another_type(&misfit) } else { misfit };
                page.reject(&parts.origin, Some(line), name, misfit, raw(&shown));
            }
        }
    }
    let mut page = page.finish(&schema, position)?;
    page.notices = parts.notices;
    Ok(page)
}

/// Adds a row; the error has the column that does not fit.
fn push(
    page: &mut PageBuilder,
    row: &Row,
    at: usize,
    parts: &Parts,
) -> Result<(), (usize, Misfit)> {
    for (place, (column, builder)) in parts.columns.iter().zip(&mut page.columns).enumerate() {
        let misfit = |misfit: Misfit| (place, misfit);
        let pushed = match (row.value(place), parts.known.get(&(at, place))) {
            (_, Some(Given::Wrong(misfit))) => Err(misfit.clone()),
            (_, Some(Given::Text(text, form))) => {
                form.push(builder, text.as_bytes(), &parts.parsing)
            }
            (Value::Text(text, form), None) => form.push(builder, text, &parts.parsing),
            (Value::Null, _) | (Value::Missing, None) => {
                missing(row, place, column)?;
                builder.push_null();
                Ok(())
            }
        };
        pushed.map_err(misfit)?;
    }
    let deleted = page.columns.last_mut();
    let pushed =
        deleted.map(|column| column.push(crate::column::Scalar::Bool(row.deleted), &parts.parsing));
    pushed.unwrap_or(Ok(())).map_err(|misfit| (parts.columns.len(), misfit))
}

/// Refuses "no value" where there has to be one.
fn missing(row: &Row, place: usize, column: &Column) -> Result<(), (usize, Misfit)> {
    if row.deleted && row.has_key() && row.in_key(place) {
        let reason = "a row that is gone without its key";
        return Err((place, Misfit::new("no-key", reason)));
    }
    if column.not_null && !row.deleted {
        let reason = "no value in a column that is required";
        return Err((place, Misfit::new("null-value", reason)));
    }
    Ok(())
}

/// Says what to do about a value that does not fit since its column has another type.
fn of_another_type(misfit: &Misfit) -> Misfit {
    let hint = "the column has another type than when it was read whole; read it whole again to \
                take it over";
    Misfit::new(misfit.code, format!("{} ({hint})", misfit.reason))
}

/// A row that is set aside, as JSON.
fn shown(row: &Row, at: usize, parts: &Parts) -> String {
    let value = |place: usize| match (row.value(place), parts.known.get(&(at, place))) {
        (_, Some(Given::Text(text, _))) => text.clone().into(),
        (Value::Text(text, _), _) => String::from_utf8_lossy(text).into_owned().into(),
        _ => serde_json::Value::Null,
    };
    let columns = parts.columns.iter().enumerate();
    let object: serde_json::Map<_, _> =
        columns.map(|(place, column)| (column.name.clone(), value(place))).collect();
    serde_json::Value::Object(object).to_string()
}
