//! Writing: rows and checkpoint in one transaction of the database.
//!
//! ```text
//! append   rows ─► table
//! merge    rows ─► _flywheel_merge_<table> ─► DELETE, UPDATE, INSERT by key, batch by batch
//! replace  rows ─► _flywheel_staging_<table>, committed step by step
//!          finish: one transaction that empties the table and moves the staged rows in
//! ```
//! Rows that a constraint does not let in are found by halving the batch, each half behind a savepoint.
//! Where a change of columns would end the transaction (MySQL, Oracle), it is only made while no rows wait.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use flywheel_base::{Error, Result, suggest};

use super::values::{prepared, texts, whole};
use super::{Argument, Dialect, DriverTarget, Link, Open, Refusal};
use crate::blocking;
use crate::destination::{
    Checkpoint, NewTargetColumns, Progress, Refused, WriteMode, WriteRequest, Written,
};
use crate::page::Position;
use crate::source::settings;

/// The table that tells how far each sync has come.
const STATE: &str = "_flywheel_state";

/// What every table of ours begins with.
const OWN_PREFIX: &str = "_flywheel_";

/// How far the writes of a request have come.
///
/// # Errors
/// What is wrong with the database.
pub(super) fn progress(open: &dyn Open, request: &WriteRequest) -> Result<Progress> {
    let target = target(request)?;
    let (mut link, dialect) = open.open()?;
    let place =
        Place { dialect, numbered: open.numbered(dialect), app: &request.app, target: &target };
    if columns_of(link.as_mut(), dialect, &place.state())?.is_none() {
        return Ok(Progress::default());
    }
    place.progress(link.as_mut())
}

/// Forgets the rows of a replacement that is not continued.
///
/// # Errors
/// What is wrong with the database.
pub(super) fn forget_staged(open: &dyn Open, request: &WriteRequest) -> Result<()> {
    let target = target(request)?;
    let (mut link, dialect) = open.open()?;
    let place =
        Place { dialect, numbered: open.numbered(dialect), app: &request.app, target: &target };
    let progress = Progress { staged: None, ..place.progress(link.as_mut())? };
    link.begin()?;
    place.store(link.as_mut(), &progress)?;
    link.commit()?;
    Ok(())
}

fn target(request: &WriteRequest) -> Result<String> {
    let DriverTarget { table } = settings("target", request.target.clone())?;
    if table.trim().is_empty() || table.contains('\0') {
        return Err(Error::invalid("`table` is empty").hint("Name the table to write into."));
    }
    let (_, name) = table.rsplit_once('.').unwrap_or(("", &table));
    if name.to_ascii_lowercase().starts_with(OWN_PREFIX) {
        return Err(Error::invalid(format!("the table \"{table}\" cannot be written into"))
            .hint("Names with _flywheel_ in front are reserved; choose another one."));
    }
    Ok(table)
}

/// A table of ours beside `table`: in the same schema.
fn beside(table: &str, purpose: &str) -> String {
    match table.rsplit_once('.') {
        Some((schema, name)) => format!("{schema}.{OWN_PREFIX}{purpose}{name}"),
        None => format!("{OWN_PREFIX}{purpose}{table}"),
    }
}

/// The columns of a table; none if it does not exist.
fn columns_of(link: &mut dyn Link, dialect: Dialect, table: &str) -> Result<Option<Vec<FieldRef>>> {
    match link.columns(&format!("SELECT * FROM {} WHERE 1 = 0", dialect.table(table))) {
        Ok(found) => Ok(Some(found.fields().iter().cloned().collect())),
        Err(refusal) if refusal.answered() => Ok(None),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Where the progress of one application into one table is kept.
struct Place<'a> {
    dialect: Dialect,
    numbered: bool,
    app: &'a str,
    target: &'a str,
}

impl Place<'_> {
    /// The table of states, in the schema of the target.
    fn state(&self) -> String {
        match self.target.rsplit_once('.') {
            Some((schema, _)) => format!("{schema}.{STATE}"),
            None => STATE.to_owned(),
        }
    }

    fn arguments(&self) -> Vec<Argument> {
        [self.app, self.target].map(|text| Argument::Text(text.to_owned())).to_vec()
    }

    fn mark(&self, number: usize) -> String {
        self.dialect.place(self.numbered, number, &DataType::Utf8)
    }

    fn condition(&self) -> String {
        let quoted = |name| self.dialect.quoted(name);
        format!("{} = {} AND {} = {}", quoted("app"), self.mark(1), quoted("target"), self.mark(2))
    }

    fn columns(&self) -> [String; 4] {
        ["committed_sequence", "committed_position", "staged_sequence", "staged_position"]
            .map(|name| self.dialect.quoted(name))
    }

    fn ensure(&self, link: &mut dyn Link) -> Result<()> {
        let state = self.state();
        if columns_of(link, self.dialect, &state)?.is_some() {
            return Ok(());
        }
        let (key, text) = (self.dialect.text(true), self.dialect.text(false));
        let whole = self.dialect.declared(&DataType::Int64, false)?;
        let [committed, committed_at, staged, staged_at] = self.columns();
        let sql = format!(
            "CREATE TABLE {} ({} {key} NOT NULL, {} {key} NOT NULL, {committed} {whole}, \
             {committed_at} {text}, {staged} {whole}, {staged_at} {text})",
            self.dialect.table(&state),
            self.dialect.quoted("app"),
            self.dialect.quoted("target"),
        );
        link.run(&sql, &[])?;
        Ok(())
    }

    fn progress(&self, link: &mut dyn Link) -> Result<Progress> {
        let sql = format!(
            "SELECT {} FROM {} WHERE {}",
            self.columns().join(", "),
            self.dialect.table(&self.state()),
            self.condition()
        );
        let found = link.rows(&sql, &self.arguments())?;
        let Some(batch) = found.iter().find(|batch| batch.num_rows() > 0) else {
            return Ok(Progress::default());
        };
        let at = |sequence: usize, position: usize| -> Result<Option<Checkpoint>> {
            let Some(sequence) = whole(batch, sequence)? else { return Ok(None) };
            let Some(text) = texts(batch, position)?.into_iter().next().flatten() else {
                return Ok(None);
            };
            let position = serde_json::from_str(&text).map_err(|error| {
                Error::corrupt(format!("the table {STATE} has a position that is no JSON"))
                    .caused_by(error)
            })?;
            Ok(Some(Checkpoint { sequence, position: Position(position) }))
        };
        Ok(Progress { committed: at(0, 1)?, staged: at(2, 3)? })
    }

    fn store(&self, link: &mut dyn Link, progress: &Progress) -> Result<()> {
        let state = self.dialect.table(&self.state());
        link.run(&format!("DELETE FROM {state} WHERE {}", self.condition()), &self.arguments())?;
        let mut arguments = self.arguments();
        let mut places = vec![self.mark(1), self.mark(2)];
        for checkpoint in [&progress.committed, &progress.staged] {
            match checkpoint {
                None => places.extend(["NULL".to_owned(), "NULL".to_owned()]),
                Some(checkpoint) => {
                    arguments.push(Argument::Int(checkpoint.sequence));
                    places.push(self.mark(arguments.len()));
                    arguments.push(Argument::Text(checkpoint.position.0.to_string()));
                    places.push(self.mark(arguments.len()));
                }
            }
        }
        let sql = format!(
            "INSERT INTO {state} ({}, {}, {}) VALUES ({})",
            self.dialect.quoted("app"),
            self.dialect.quoted("target"),
            self.columns().join(", "),
            places.join(", ")
        );
        link.run(&sql, &arguments)?;
        Ok(())
    }
}

/// A write that is open; blocking.
pub(super) struct Session {
    link: Box<dyn Link>,
    dialect: Dialect,
    numbered: bool,
    request: WriteRequest,
    /// The table of the request.
    target: String,
    /// The table that rows go into: the target, or its staging.
    into: String,
    /// The names of that table's columns; none while it does not exist.
    columns: Option<Vec<String>>,
    /// The columns of the table that batches are merged from.
    merging: Vec<String>,
    in_transaction: bool,
    /// Whether rows wait for the commit.
    dirty: bool,
    written: Written,
}

impl Session {
    /// Opens a table.
    pub(super) fn open(open: &dyn Open, request: &WriteRequest) -> Result<Self> {
        let keyed = matches!(request.mode, WriteMode::Merge | WriteMode::Mirror);
        if keyed && request.key.is_empty() {
            return Err(Error::invalid(format!("{} needs a key to find rows by", request.mode))
                .hint("Declare the sync's `key`: the columns that identify a row."));
        }
        let target = target(request)?;
        let (link, dialect) = open.open()?;
        let replaces = request.mode == WriteMode::Replace;
        let mut request = request.clone();
        if request.mode != WriteMode::Mirror {
            request.deleted = None;
        }
        if !keyed {
            request.key.clear();
        }
        let mut session = Self {
            link,
            dialect,
            numbered: open.numbered(dialect),
            into: if replaces { beside(&target, "staging_") } else { target.clone() },
            target,
            request,
            columns: None,
            merging: Vec::new(),
            in_transaction: false,
            dirty: false,
            written: Written::default(),
        };
        session.check()?;
        let (dialect, numbered) = (session.dialect, session.numbered);
        let place = Place { dialect, numbered, app: &session.request.app, target: &session.target };
        place.ensure(session.link.as_mut())?;
        if replaces && session.progress()?.staged.is_none() {
            // Left by a write of somebody else, or by one whose state was removed.
            if columns_of(session.link.as_mut(), dialect, &session.into)?.is_some() {
                let drop = format!("DROP TABLE {}", dialect.table(&session.into));
                session.link.run(&drop, &[])?;
            }
        }
        session.refresh()?;
        Ok(session)
    }

    /// Proves that the rows fit the table, as far as that is known without rows.
    fn check(&mut self) -> Result<()> {
        let found = columns_of(self.link.as_mut(), self.dialect, &self.target)?;
        let Some(columns) = found else { return Ok(()) };
        let names: Vec<&str> = columns.iter().map(|field| field.name().as_str()).collect();
        let lacks = |name: &str| {
            Error::invalid(format!("the table \"{}\" has no column \"{name}\"", self.target)).hint(
                format!(
                    "{} Leave the column out, or let `new_columns` add it.",
                    suggest::hint(name, names.iter().copied())
                ),
            )
        };
        if self.request.new_columns == NewTargetColumns::Fail {
            for field in self.request.schema.fields() {
                let name = field.name();
                if Some(name) != self.request.deleted.as_ref() && !names.contains(&name.as_str()) {
                    return Err(lacks(name));
                }
            }
        }
        match self.request.key.iter().find(|name| !names.contains(&name.as_str())) {
            Some(name) => Err(lacks(name).hint("The columns of the key have to be there.")),
            None => Ok(()),
        }
    }

    /// The columns of a table; none if it does not exist. A transaction goes on whatever the answer.
    fn look(&mut self, table: &str) -> Result<Option<Vec<FieldRef>>> {
        if !self.in_transaction {
            return columns_of(self.link.as_mut(), self.dialect, table);
        }
        let [set, go_back] = self.dialect.savepoint();
        self.link.run(set, &[])?;
        let found = columns_of(self.link.as_mut(), self.dialect, table)?;
        if found.is_none() {
            self.link.run(go_back, &[])?;
        }
        Ok(found)
    }

    fn refresh(&mut self) -> Result<()> {
        let found = self.look(&self.into.clone())?;
        self.columns =
            found.map(|fields| fields.iter().map(|field| field.name().clone()).collect());
        Ok(())
    }

    fn progress(&mut self) -> Result<Progress> {
        let place = Place {
            dialect: self.dialect,
            numbered: self.numbered,
            app: &self.request.app,
            target: &self.target,
        };
        place.progress(self.link.as_mut())
    }

    fn store(&mut self, progress: &Progress) -> Result<()> {
        let place = Place {
            dialect: self.dialect,
            numbered: self.numbered,
            app: &self.request.app,
            target: &self.target,
        };
        place.store(self.link.as_mut(), progress)
    }

    fn begin(&mut self) -> Result<()> {
        if !self.in_transaction {
            self.link.begin()?;
            self.in_transaction = true;
            self.written = Written::default();
        }
        Ok(())
    }

    fn end(&mut self) -> Result<Written> {
        self.link.commit()?;
        (self.in_transaction, self.dirty) = (false, false);
        Ok(std::mem::take(&mut self.written))
    }

    fn roll_back(&mut self) -> Result<()> {
        if self.in_transaction {
            self.link.roll_back()?;
            (self.in_transaction, self.dirty) = (false, false);
            // Tables that were made within the transaction are gone.
            self.merging.clear();
            self.refresh()?;
        }
        Ok(())
    }

    /// Runs a statement that changes tables.
    fn change(&mut self, sql: &str) -> Result<()> {
        if self.dirty && self.dialect.ends_transactions() {
            return Err(Error::unavailable(format!(
                "a column of \"{}\" that comes late cannot be added while rows wait",
                self.target
            ))
            .hint("Add the column to the table, or declare it in the sync, and run it again."));
        }
        self.link.run(sql, &[])?;
        Ok(())
    }

    /// Makes a table for rows of these columns.
    fn create(&mut self, table: &str, schema: &Schema, word: &str) -> Result<()> {
        let mut columns = Vec::with_capacity(schema.fields().len() + 1);
        for field in schema.fields() {
            let key = self.request.key.contains(field.name());
            let declared = self.dialect.declared(field.data_type(), key)?;
            let bound = if key { " NOT NULL" } else { "" };
            columns.push(format!("{} {declared}{bound}", self.dialect.quoted(field.name())));
        }
        let key: Vec<String> =
            self.request.key.iter().map(|name| self.dialect.quoted(name)).collect();
        if !key.is_empty() {
            columns.push(format!("PRIMARY KEY ({})", key.join(", ")));
        }
        let table = self.dialect.table(table);
        self.change(&format!("CREATE {word} {table} ({})", columns.join(", ")))
    }

    /// Creates tables and adds columns as needed; gives the columns of the batch that are written.
    fn shape(&mut self, schema: &Schema) -> Result<Vec<String>> {
        let mut fields: Vec<FieldRef> = self
            .request
            .schema
            .fields()
            .iter()
            .filter(|field| Some(field.name()) != self.request.deleted.as_ref())
            .cloned()
            .collect();
        for field in schema.fields() {
            if !fields.iter().any(|known| known.name() == field.name()) {
                fields.push(Arc::clone(field));
            }
        }
        let wanted = Schema::new(fields);
        if self.columns.is_none() {
            if wanted.fields().is_empty() {
                return Ok(Vec::new());
            }
            self.create(&self.into.clone(), &wanted, "TABLE")?;
            self.refresh()?;
        }
        if self.into != self.target {
            self.shape_target(&wanted)?;
        }
        let mut written = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let known = self.columns.iter().flatten().any(|name| name == field.name());
            match (known, self.request.new_columns) {
                (false, NewTargetColumns::Ignore) => continue,
                (false, NewTargetColumns::Fail) => {
                    return Err(Error::invalid(format!(
                        "the table \"{}\" has no column \"{}\"",
                        self.target,
                        field.name()
                    ))
                    .hint("Leave the column out, or let `new_columns` add it."));
                }
                (false, NewTargetColumns::Add) => self.add(&self.into.clone(), field)?,
                (true, _) => {}
            }
            written.push(field.name().clone());
        }
        Ok(written)
    }

    /// The table that a replacement will be moved into has its columns.
    fn shape_target(&mut self, wanted: &Schema) -> Result<()> {
        let target = self.target.clone();
        let Some(known) = self.look(&target)? else {
            return self.create(&target, wanted, "TABLE");
        };
        for field in wanted.fields() {
            if !known.iter().any(|known| known.name() == field.name())
                && self.request.new_columns == NewTargetColumns::Add
            {
                self.add(&target, field)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, table: &str, field: &Field) -> Result<()> {
        let declared = self.dialect.declared(field.data_type(), false)?;
        let sql = self.dialect.add_column(&self.dialect.table(table), field.name(), &declared);
        self.change(&sql)?;
        self.refresh()
    }

    /// Takes rows.
    fn write_rows(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        let mark = self.request.deleted.clone();
        let marks = self.marks(batch)?;
        let kept: Vec<usize> = (0..batch.num_columns())
            .filter(|at| Some(batch.schema().field(*at).name()) != mark.as_ref())
            .collect();
        let broken = |error| Error::internal("rows of a batch cannot be chosen").caused_by(error);
        let batch = batch.project(&kept).map_err(broken)?;
        for name in &self.request.key {
            if batch.column_by_name(name).is_none() {
                return Err(Error::invalid(format!("the rows lack the key column \"{name}\""))
                    .hint("Map the column, or declare another `key`."));
            }
        }
        // Not within the transaction where that would end it.
        if !self.dialect.ends_transactions() {
            self.begin()?;
        }
        let names = self.shape(&batch.schema())?;
        self.begin()?;
        let places: Vec<usize> =
            names.iter().filter_map(|name| batch.schema().index_of(name).ok()).collect();
        let (rows, misfits) = prepared(self.dialect, &batch.project(&places).map_err(broken)?)?;
        let mut refused: Vec<Refused> = misfits
            .into_iter()
            .map(|(row, (column, misfit))| Refused {
                row,
                column: Some(column),
                code: misfit.code.to_owned(),
                reason: misfit.reason,
            })
            .collect();
        self.refuse_missing_keys(&rows, &mut refused);
        let bad: HashSet<usize> = refused.iter().map(|refused| refused.row).collect();
        let good: Vec<usize> = (0..rows.num_rows()).filter(|row| !bad.contains(row)).collect();
        if self.request.key.is_empty() {
            self.put(&rows, &good, &mut refused)?;
        } else {
            self.merge(&rows, &good, marks.as_deref(), &mut refused)?;
        }
        self.dirty = self.dirty || !good.is_empty();
        refused.sort_by_key(|refused| refused.row);
        Ok(refused)
    }

    fn refuse_missing_keys(&self, rows: &RecordBatch, refused: &mut Vec<Refused>) {
        for name in &self.request.key {
            let Some(column) = rows.column_by_name(name) else { continue };
            for row in (0..rows.num_rows()).filter(|row| column.is_null(*row)) {
                if !refused.iter().any(|refused| refused.row == row) {
                    refused.push(Refused {
                        row,
                        column: Some(name.clone()),
                        code: "null-key".to_owned(),
                        reason: "no value in a column of the key".to_owned(),
                    });
                }
            }
        }
    }

    /// The marks of deleted rows.
    fn marks(&self, batch: &RecordBatch) -> Result<Option<Vec<bool>>> {
        let Some(name) = &self.request.deleted else { return Ok(None) };
        match batch.column_by_name(name) {
            Some(column) if column.data_type() == &DataType::Boolean => {
                let marks = column.as_boolean();
                let marked = |row| marks.is_valid(row) && marks.value(row);
                Ok(Some((0..batch.num_rows()).map(marked).collect()))
            }
            Some(column) => Err(Error::invalid(format!(
                "the column \"{name}\" marks deleted rows and has type {}",
                column.data_type()
            ))
            .hint("Cast it to bool in the sync's mapping.")),
            None => Err(Error::invalid(format!("the rows lack the column \"{name}\""))
                .hint("It marks deleted rows: map it, or write with mode merge.")),
        }
    }

    /// Adds rows to the table.
    fn put(
        &mut self,
        rows: &RecordBatch,
        chosen: &[usize],
        refused: &mut Vec<Refused>,
    ) -> Result<()> {
        let table = self.dialect.table(&self.into);
        let insert = self.insert(&table, rows);
        let done =
            self.halved(rows, chosen, refused, &mut |link, part| link.run_each(&insert, part))?;
        self.written.rows_written += done;
        Ok(())
    }

    fn insert(&self, table: &str, rows: &RecordBatch) -> String {
        let schema = rows.schema();
        let names: Vec<String> =
            schema.fields().iter().map(|field| self.dialect.quoted(field.name())).collect();
        let places: Vec<String> = (1..=names.len())
            .map(|number| self.dialect.place(self.numbered, number, &DataType::Utf8))
            .collect();
        format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), places.join(", "))
    }

    /// Merges rows by their key: the last of equal keys wins, and a mark removes what was before it.
    fn merge(
        &mut self,
        rows: &RecordBatch,
        chosen: &[usize],
        marks: Option<&[bool]>,
        refused: &mut Vec<Refused>,
    ) -> Result<()> {
        let keys = self.keys(rows)?;
        let marked = |row: usize| marks.is_some_and(|marks| marks.get(row).copied() == Some(true));
        let (mut last, mut gone) = (HashMap::new(), HashMap::new());
        for row in chosen {
            let Some(key) = keys.get(*row) else { continue };
            last.insert(key, *row);
            if marked(*row) {
                gone.insert(key, *row);
            }
        }
        let mut gone: Vec<usize> = gone.into_values().collect();
        let mut kept: Vec<usize> = last.into_values().filter(|row| !marked(*row)).collect();
        gone.sort_unstable();
        kept.sort_unstable();
        if gone.is_empty() && kept.is_empty() {
            return Ok(());
        }
        let merging = beside(&self.target, "merge_");
        self.shape_merging(&merging, rows)?;
        let (from, to) = (self.dialect.table(&merging), self.dialect.table(&self.into));
        let insert = self.insert(&from, rows);
        let clear = format!("DELETE FROM {from}");
        let delete = self.delete(&from, &to);
        let steps = self.upsert(&from, &to, rows);
        let mut deleted = 0;
        self.halved(rows, &gone, refused, &mut |link, part| {
            link.run_each(&insert, part)?;
            deleted += link.run(&delete, &[])?.unwrap_or(part.num_rows() as u64);
            link.run(&clear, &[]).map(drop)
        })?;
        let mut updated = 0;
        let written = self.halved(rows, &kept, refused, &mut |link, part| {
            link.run_each(&insert, part)?;
            let mut changed = 0;
            if let Some(update) = &steps.0 {
                changed = link.run(update, &[])?.unwrap_or(0).min(part.num_rows() as u64);
            }
            link.run(&steps.1, &[])?;
            link.run(&clear, &[])?;
            updated += changed;
            Ok(())
        })?;
        self.written.rows_deleted += deleted;
        self.written.rows_written += written;
        self.written.rows_updated += updated;
        Ok(())
    }

    /// Makes the table that batches are merged from.
    fn shape_merging(&mut self, merging: &str, rows: &RecordBatch) -> Result<()> {
        let schema = rows.schema();
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        if self.merging == names {
            return Ok(());
        }
        let table = self.dialect.table(merging);
        let temporary = self.dialect == Dialect::Mysql;
        if self.look(merging)?.is_some() {
            let word = if temporary { "TEMPORARY TABLE" } else { "TABLE" };
            let sql = format!("DROP {word} {table}");
            if temporary {
                self.link.run(&sql, &[])?;
            } else {
                self.change(&sql)?;
            }
        }
        let word = if temporary { "TEMPORARY TABLE" } else { "TABLE" };
        let dirty = self.dirty;
        // A temporary table ends no transaction.
        self.dirty = dirty && !temporary;
        let made = self.create(merging, &schema, word);
        self.dirty = dirty;
        made?;
        self.merging = names;
        Ok(())
    }

    /// `a.key = b.key`, for each column of the key.
    fn same(&self, a: &str, b: &str) -> String {
        let same = self.request.key.iter().map(|name| {
            let name = self.dialect.quoted(name);
            format!("{a}.{name} = {b}.{name}")
        });
        same.collect::<Vec<_>>().join(" AND ")
    }

    fn delete(&self, from: &str, to: &str) -> String {
        let same = self.same(from, to);
        format!("DELETE FROM {to} WHERE EXISTS (SELECT 1 FROM {from} WHERE {same})")
    }

    /// The statements that change rows that are there, if there is anything to change, and that add
    /// the others.
    fn upsert(&self, from: &str, to: &str, rows: &RecordBatch) -> (Option<String>, String) {
        let same = self.same(from, to);
        let schema = rows.schema();
        let names: Vec<String> =
            schema.fields().iter().map(|field| self.dialect.quoted(field.name())).collect();
        let key: Vec<String> = self.request.key.iter().map(|k| self.dialect.quoted(k)).collect();
        let changing: Vec<&String> = names.iter().filter(|name| !key.contains(name)).collect();
        let set = |value: &dyn Fn(&str) -> String| {
            let set = changing.iter().map(|name| match self.dialect {
                Dialect::Mysql => format!("{to}.{name} = {}", value(name)),
                _ => format!("{name} = {}", value(name)),
            });
            set.collect::<Vec<_>>().join(", ")
        };
        let of_from = |name: &str| format!("{from}.{name}");
        let update = (!changing.is_empty()).then(|| match self.dialect {
            Dialect::Mysql => format!("UPDATE {to} JOIN {from} ON {same} SET {}", set(&of_from)),
            Dialect::Postgres | Dialect::Sqlite | Dialect::Duckdb | Dialect::SqlServer => {
                format!("UPDATE {to} SET {} FROM {from} WHERE {same}", set(&of_from))
            }
            Dialect::Oracle | Dialect::Standard => {
                let one = |name: &str| format!("(SELECT {from}.{name} FROM {from} WHERE {same})");
                format!(
                    "UPDATE {to} SET {} WHERE EXISTS (SELECT 1 FROM {from} WHERE {same})",
                    set(&one)
                )
            }
        });
        let list = names.join(", ");
        let values: Vec<String> = names.iter().map(|name| format!("{from}.{name}")).collect();
        let missing = key.first().map(|name| format!("{to}.{name} IS NULL")).unwrap_or_default();
        let insert = format!(
            "INSERT INTO {to} ({list}) SELECT {} FROM {from} LEFT JOIN {to} ON {same} WHERE {missing}",
            values.join(", ")
        );
        (update, insert)
    }

    /// The keys of rows, to be compared.
    fn keys(&self, rows: &RecordBatch) -> Result<Vec<Box<[u8]>>> {
        let broken = |error| Error::internal("keys cannot be compared").caused_by(error);
        let columns: Vec<_> = self
            .request
            .key
            .iter()
            .filter_map(|name| rows.column_by_name(name).map(Arc::clone))
            .collect();
        let fields = columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
        let converter = RowConverter::new(fields).map_err(broken)?;
        let keys = converter.convert_columns(&columns).map_err(broken)?;
        Ok(keys.iter().map(|key| Box::from(key.as_ref())).collect())
    }

    /// Does something with rows, behind a savepoint; of rows that the database refuses, half by half,
    /// until each bad one is found. Gives how many rows it was done with.
    fn halved(
        &mut self,
        rows: &RecordBatch,
        chosen: &[usize],
        refused: &mut Vec<Refused>,
        act: &mut dyn FnMut(&mut dyn Link, &RecordBatch) -> Result<(), Refusal>,
    ) -> Result<u64> {
        let [set, go_back] = self.dialect.savepoint();
        let mut done = 0;
        let mut todo: Vec<&[usize]> = vec![chosen];
        while let Some(part) = todo.pop() {
            if part.is_empty() {
                continue;
            }
            let picked = UInt64Array::from_iter_values(part.iter().map(|row| *row as u64));
            let batch = take_record_batch(rows, &picked).map_err(|error| {
                Error::internal("rows of a batch cannot be chosen").caused_by(error)
            })?;
            self.link.run(set, &[])?;
            match act(self.link.as_mut(), &batch) {
                Ok(()) => done += part.len() as u64,
                Err(refusal) if refusal.data => {
                    self.link.run(go_back, &[])?;
                    let (first, second) = part.split_at(part.len() / 2);
                    if first.is_empty() {
                        refused.extend(second.iter().map(|row| Refused {
                            row: *row,
                            column: None,
                            code: "refused".to_owned(),
                            reason: refusal.error.report(),
                        }));
                    } else {
                        todo.extend([second, first]);
                    }
                }
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Ok(done)
    }

    /// Commits what was written since the last commit.
    fn commit_rows(&mut self, checkpoint: &Checkpoint) -> Result<Written> {
        if self.columns.is_none() {
            self.shape(&Schema::empty())?;
        }
        self.begin()?;
        let mut progress = self.progress()?;
        let known = [&progress.committed, &progress.staged];
        if known.into_iter().flatten().any(|known| checkpoint.sequence <= known.sequence) {
            self.roll_back()?;
            return Ok(Written { skipped: true, ..Written::default() });
        }
        let stages = self.request.mode == WriteMode::Replace;
        if stages {
            progress.staged = Some(checkpoint.clone());
        } else {
            progress.committed = Some(checkpoint.clone());
        }
        self.store(&progress)?;
        let written = self.end()?;
        // Staged rows count when they are visible.
        Ok(if stages { Written::default() } else { written })
    }

    /// Ends the write; a replacement is swapped in.
    fn finish_write(&mut self) -> Result<Written> {
        self.roll_back()?;
        if self.request.mode != WriteMode::Replace {
            return Ok(Written::default());
        }
        self.begin()?;
        let Some(staged) = self.progress()?.staged else {
            self.roll_back()?;
            return Ok(Written::default());
        };
        if let Some(columns) = self.columns.clone() {
            let (from, to) = (self.dialect.table(&self.into), self.dialect.table(&self.target));
            let names: Vec<String> = columns.iter().map(|name| self.dialect.quoted(name)).collect();
            let list = names.join(", ");
            let counted = self.link.rows(&format!("SELECT count(*) FROM {from}"), &[])?;
            let counted = counted.iter().find(|batch| batch.num_rows() > 0);
            let rows = match counted {
                Some(batch) => whole(batch, 0)?.unwrap_or_default(),
                None => 0,
            };
            self.link.run(&format!("DELETE FROM {to}"), &[])?;
            let moved = format!("INSERT INTO {to} ({list}) SELECT {list} FROM {from}");
            self.link.run(&moved, &[]).map_err(|refusal| match refusal.answered() {
                true => Error::blocked(format!(
                    "the staged rows do not fit the table \"{}\" any more",
                    self.target
                ))
                .caused_by(refusal.error)
                .hint("The old rows are still there; undo the change of the table, or drop it."),
                false => refusal.error,
            })?;
            self.link.run(&format!("DELETE FROM {from}"), &[])?;
            self.written.rows_written = u64::try_from(rows).unwrap_or_default();
        }
        self.store(&Progress { committed: Some(staged), staged: None })?;
        self.end()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.in_transaction
            && let Err(error) = self.link.roll_back()
        {
            // Closing the connection rolls back as well.
            tracing::debug!(error = %error.error, "not rolled back");
        }
    }
}

impl blocking::Session for Session {
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        self.write_rows(batch)
    }

    fn commit(&mut self, checkpoint: &Checkpoint) -> Result<Written> {
        self.commit_rows(checkpoint)
    }

    fn finish(&mut self) -> Result<Written> {
        self.finish_write()
    }
}
