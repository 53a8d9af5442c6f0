//! Comparing a landed table with where it came from, by checksums and without moving rows.
//!
//! Both sides sum up digests of their rows over ranges of the key; only ranges that differ are divided
//! further, down to the keys. What differs can be mended: those rows are read again from the source,
//! and rows that it does not have are removed.

mod mend;
mod side;
pub mod tables;

use std::collections::BTreeSet;

use arrow::datatypes::DataType;
use flywheel_base::{Error, Result, Timestamp, suggest};
use flywheel_connect::source::Source;
use flywheel_connect::{FILE_COLUMN, LINE_COLUMN};
use flywheel_project::Project;
use flywheel_project::resource::sync::{Stream, Sync, Write};
use flywheel_reconcile::bisect::{Bisect, Effect, Found, Input, Kind as Differs, Limits};
use flywheel_reconcile::checksum::{Dialect, Kind, TableText};
use flywheel_reconcile::record::Pair;
use flywheel_state::TaskOutcome;
use serde::Serialize;
use serde_json::{Map, Value, json};

use self::side::{Table, columns_of, parts_of};
use crate::Workspace;
use crate::recorder::{Observer, Recorder};
use crate::task::sync::{destination, location_of, source};

/// The kind of runs, and what their tasks are called.
pub const KIND: &str = "reconcile";
/// How many keys that differ are told of each table.
const KEYS_TOLD: usize = 20;

/// What to compare, and what to do about it.
#[derive(Clone, Debug, Default)]
pub struct Options<'a> {
    /// The syncs; all that can be compared if none is named.
    pub syncs: &'a [String],
    /// Only these streams; all if none is named.
    pub streams: &'a [String],
    /// Columns that are not compared.
    pub skip: &'a [String],
    /// Whether the lake is made equal to the source.
    pub repair: bool,
    /// Whether streams of the named syncs that cannot be compared are passed over, as they are where no sync is named.
    pub lenient: bool,
}

/// One table that was compared.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The sync.
    pub sync: String,
    /// The stream.
    pub stream: String,
    /// The lake table.
    pub table: String,
    /// The columns whose values were compared.
    pub columns: Vec<String>,
    /// The columns that cannot be compared, or were not to be.
    pub skipped: Vec<String>,
    /// What was found: the left side is the source, the right one the lake.
    pub found: Found,
    /// How many rows were read again or removed.
    pub mended: u64,
}

impl Comparison {
    /// Whether both sides have the same rows, now.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.found.is_equal()
    }
}

/// Compares landed tables with their sources; after a repair they are compared again.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a sync or stream that is named cannot be compared, else
/// those of source and lake.
pub async fn compare(
    workspace: &Workspace,
    options: &Options<'_>,
    observer: &dyn Observer,
) -> Result<Vec<Comparison>> {
    let Works { works, passed } = works(workspace, options)?;
    let recorder = Recorder::start(workspace, observer, KIND, None, workspace.now())?;
    for text in passed {
        recorder.notice(text);
    }
    let result = Box::pin(run_all(workspace, &recorder, &works, options)).await;
    recorder.finish(result.as_ref().err())?;
    result
}

/// As [`compare`], as a part of a run that has begun.
pub(crate) async fn within(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    options: &Options<'_>,
) -> Result<Vec<Comparison>> {
    run_all(workspace, recorder, &works(workspace, options)?.works, options).await
}

/// Which tables differ from their sources, if any does.
#[must_use]
pub fn differing(compared: &[Comparison]) -> Option<String> {
    let of = compared.iter().filter(|one| !one.is_equal());
    let tables: Vec<&str> = of.map(|one| one.table.as_str()).collect();
    (!tables.is_empty())
        .then(|| format!("tables that differ from their source: {}", tables.join(", ")))
}

async fn run_all(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    works: &[Work<'_>],
    options: &Options<'_>,
) -> Result<Vec<Comparison>> {
    let mut all = Vec::new();
    let mut failed = None;
    for work in works {
        let timer = recorder.started(KIND, &format!("{}.{}", work.name, work.stream.stream));
        let result = Box::pin(work.run(workspace, options)).await;
        let settled = recorder.settled(timer, result, |one| {
            let status = if one.is_equal() { "succeeded" } else { "warned" };
            let outcome = TaskOutcome {
                rows_in: Some(one.found.rows.left),
                rows_out: Some(one.found.rows.right),
                detail: json!({
                    "keys": one.found.keys.len(), "ranges": one.found.ranges.len(),
                    "queries": one.found.queries, "mended": one.mended, "table": one.table,
                    "skipped": one.skipped,
                }),
                ..TaskOutcome::default()
            };
            (status.to_owned(), outcome)
        });
        match settled {
            Ok(one) => {
                if let Some(text) = told(&one) {
                    recorder.notice(text);
                }
                all.push(one);
            }
            Err(error) => {
                let what = format!("sync \"{}\", stream \"{}\"", work.name, work.stream.stream);
                failed = failed.or(Some(error.context(what)));
            }
        }
    }
    failed.map_or(Ok(all), Err)
}

/// What differs, as the log of a run tells it.
fn told(one: &Comparison) -> Option<String> {
    if one.is_equal() {
        return None;
    }
    let word = |kind: Differs| match kind {
        Differs::Missing => "missing",
        Differs::Extra => "extra",
        Differs::Different => "different",
    };
    let keys = one.found.keys.iter();
    let keys = keys.map(|found| format!("{} is {}", found.key, word(found.kind)));
    let ranges = one.found.ranges.iter();
    let ranges = ranges.map(|found| {
        format!("{} to {} are {}", found.range.low, found.range.high, word(found.kind))
    });
    let mut texts: Vec<String> = keys.chain(ranges).collect();
    let more = texts.len().saturating_sub(KEYS_TOLD);
    texts.truncate(KEYS_TOLD);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    Some(format!("{} differs: {}{more}", one.table, texts.join(", ")))
}

/// One stream to be compared.
struct Work<'a> {
    name: &'a str,
    sync: &'a Sync,
    stream: &'a Stream,
    /// Its settings, as the source gets them.
    options: Map<String, Value>,
    dialect: Dialect,
}

/// What is compared, and what is told of the streams of named syncs that are not.
struct Works<'a> {
    works: Vec<Work<'a>>,
    passed: Vec<String>,
}

fn works<'a>(workspace: &'a Workspace, options: &Options<'_>) -> Result<Works<'a>> {
    let project = &workspace.project;
    for name in options.syncs {
        if !project.syncs.contains_key(name) {
            let known = project.syncs.keys().map(String::as_str);
            return Err(Error::not_found(format!("no sync \"{name}\""))
                .hint(suggest::hint(name, known.collect::<Vec<_>>())));
        }
    }
    let (mut works, mut passed) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for (name, sync) in &project.syncs {
        if !options.syncs.is_empty() && !options.syncs.contains(name) {
            continue;
        }
        let connector = project.connections.get(&sync.connection);
        let dialect = connector.and_then(|connection| dialect(&connection.connector));
        for stream in &sync.streams {
            seen.insert(stream.stream.as_str());
            if !options.streams.is_empty() && !options.streams.contains(&stream.stream) {
                continue;
            }
            let why = match dialect {
                Some(dialect) => match unfit(sync, stream) {
                    None => {
                        let options = project.resolve_settings(&stream.options)?;
                        works.push(Work { name: name.as_str(), sync, stream, options, dialect });
                        continue;
                    }
                    Some(why) => why,
                },
                None => NO_DATABASE,
            };
            if options.syncs.is_empty() {
                continue;
            }
            let text = format!(
                "stream \"{}\" of sync \"{name}\" cannot be compared: it {why}",
                stream.stream
            );
            if !options.lenient {
                return Err(Error::invalid(text)
                    .hint("Leave it out: name the streams that can with `--stream`."));
            }
            passed.push(text);
        }
    }
    if let Some(name) = options.streams.iter().find(|name| !seen.contains(name.as_str())) {
        return Err(
            Error::not_found(format!("no stream \"{name}\"")).hint(suggest::hint(name, seen))
        );
    }
    if works.is_empty() {
        let why = passed.into_iter().next();
        let why = why.unwrap_or_else(|| "no table of this project can be compared".to_owned());
        return Err(Error::invalid(why)
            .hint("Tables with a `key` that are read from PostgreSQL, MySQL or MariaDB can."));
    }
    Ok(Works { works, passed })
}

/// Why a stream cannot be compared where its sync is read from no database that can.
const NO_DATABASE: &str = "is not read from PostgreSQL, MySQL or MariaDB";

/// Why a stream cannot be compared with its source, to stand after "it"; none if it can.
#[must_use]
pub fn why_not(project: &Project, sync: &Sync, stream: &Stream) -> Option<&'static str> {
    let connector = project.connections.get(&sync.connection);
    match connector.and_then(|connection| dialect(&connection.connector)) {
        Some(_) => unfit(sync, stream),
        None => Some(NO_DATABASE),
    }
}

fn dialect(connector: &str) -> Option<Dialect> {
    match connector {
        "postgres" => Some(Dialect::Postgres),
        "mysql" => Some(Dialect::Mariadb),
        _ => None,
    }
}

fn unfit(sync: &Sync, stream: &Stream) -> Option<&'static str> {
    if !sync.lands() {
        return Some("does not land in the lake");
    }
    if stream.write == Write::History {
        return Some("keeps a history, which no source has");
    }
    if stream.only.is_some() {
        return Some("lands only some rows (`only`)");
    }
    if stream.options.get("table").and_then(Value::as_str).is_none() {
        return Some("reads a query, and only tables are compared");
    }
    let hidden = |name: &String| {
        stream.columns.iter().any(|column| column.name == *name && changes_values(column))
    };
    match stream.key.as_slice() {
        [] => Some("has no `key`"),
        key if key.iter().any(hidden) => Some("has a key that is cleaned, masked or made by SQL"),
        _ => None,
    }
}

fn changes_values(column: &flywheel_project::resource::sync::Column) -> bool {
    !column.clean.is_empty() || column.mask.is_some() || column.value.is_some()
}

impl Work<'_> {
    async fn run(&self, workspace: &Workspace, options: &Options<'_>) -> Result<Comparison> {
        let table = destination(self.stream)?;
        let head = workspace.lake.head(&location_of(&table)?).await?.ok_or_else(|| {
            Error::not_found(format!("table {table} has not landed"))
                .hint(format!("Run `flywheel sync {}` first.", self.name))
        })?;
        let (mut columns, mut skipped) = (Vec::new(), Vec::new());
        for field in head.schema.fields() {
            let name = field.name();
            let declared = self.stream.columns.iter().find(|column| column.name == *name);
            let left_out = [FILE_COLUMN, LINE_COLUMN].contains(&name.as_str())
                || options.skip.contains(name)
                || declared.is_some_and(changes_values);
            match kind(field.data_type()).filter(|_| !left_out) {
                Some(kind) => {
                    let there = declared.map_or(name.as_str(), |column| column.source_name());
                    columns.push((name.clone(), there.to_owned(), kind));
                }
                None => skipped.push(name.clone()),
            }
        }
        let source = source(workspace, self.sync, self.stream).await?;
        let names = self.table_there(source.as_ref(), workspace.now()).await?;
        let known = columns_of(source.as_ref(), self.dialect, &names, workspace.now()).await?;
        if let Some(known) = known {
            // What the source has no longer has nothing it could be compared with.
            let gone = |column: &mut (String, String, Kind)| !known.contains_key(&column.1);
            for (here, _, _) in columns.extract_if(.., gone) {
                skipped.push(here);
            }
            for (_, there, kind) in &mut columns {
                *kind = nested(*kind, known.get(there.as_str()) == Some(&true));
            }
        }
        let (here, there) = (self.text(&table, &columns)?, self.text_there(names, &columns));
        let left = Table::Server {
            source,
            text: there.clone(),
            dialect: self.dialect,
            now: workspace.now(),
        };
        let find = async || {
            let session = workspace.lake_session().await?;
            search(&left, &Table::Lake { session, text: here.clone() }).await
        };
        let mut found = find().await?;
        let mut mended = 0;
        if options.repair && !found.is_equal() {
            mended = self.mend(workspace, &here, &there, &found).await?;
            found = find().await?;
        }
        Ok(Comparison {
            sync: self.name.to_owned(),
            stream: self.stream.stream.clone(),
            table: table.to_string(),
            columns: columns.into_iter().map(|(name, _, _)| name).collect(),
            skipped,
            found,
            mended,
        })
    }

    /// The lake table, as its side sees it.
    fn text(
        &self,
        table: &flywheel_warehouse::TableName,
        columns: &[(String, String, Kind)],
    ) -> Result<TableText> {
        let all: Vec<(String, Kind)> =
            columns.iter().map(|(here, _, kind)| (here.clone(), *kind)).collect();
        let key = self.stream.key.iter().map(|key| {
            all.iter().find(|(name, _)| name == key).cloned().ok_or_else(|| {
                Error::invalid(format!("the key column \"{key}\" cannot be compared"))
                    .hint("Keys are whole numbers, exact decimals, dates, moments and text.")
            })
        });
        Ok(TableText {
            table: vec![table.schema.clone(), table.name.clone()],
            key: key.collect::<Result<_>>()?,
            columns: all,
            filter: None,
        })
    }

    /// The table at the source, with the names it has there.
    fn text_there(&self, names: Vec<String>, columns: &[(String, String, Kind)]) -> TableText {
        let key = self.stream.key.iter().filter_map(|key| {
            let (_, there, kind) = columns.iter().find(|(here, _, _)| here == key)?;
            Some((there.clone(), *kind))
        });
        TableText {
            table: names,
            key: key.collect(),
            columns: columns.iter().map(|(_, there, kind)| (there.clone(), *kind)).collect(),
            filter: self.option("where").map(str::to_owned),
        }
    }

    /// The parts of the table's name at the source. A name may have dots in it, as schemas may in PostgreSQL, so
    /// that the server is asked where the parts end.
    async fn table_there(&self, source: &dyn Source, now: Timestamp) -> Result<Vec<String>> {
        let table = self.option("table").unwrap_or_default();
        if self.dialect == Dialect::Mariadb {
            let parts = [self.option("database"), Some(table)];
            return Ok(parts.into_iter().flatten().map(str::to_owned).collect());
        }
        let parts: Vec<String> = table.split('.').map(str::to_owned).collect();
        if parts.len() <= 2 {
            return Ok(parts);
        }
        Ok(parts_of(source, self.dialect, table, now).await?.unwrap_or(parts))
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).and_then(Value::as_str)
    }
}

/// What a column of a server's table is compared as that holds arrays or composite values, or not.
fn nested(kind: Kind, is_nested: bool) -> Kind {
    match kind {
        Kind::Text if is_nested => Kind::Nested,
        other => other,
    }
}

/// What a column's values are compared as; floating-point numbers are not, as two systems write the
/// same one differently.
fn kind(data_type: &DataType) -> Option<Kind> {
    match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Some(Kind::Integer),
        DataType::Decimal128(_, scale) => Some(Kind::Numeric { scale: u8::try_from(*scale).ok()? }),
        DataType::Timestamp(..) => Some(Kind::Timestamp),
        DataType::Date32 => Some(Kind::Date),
        DataType::Boolean => Some(Kind::Bool),
        DataType::Utf8 => Some(Kind::Text),
        DataType::Binary => Some(Kind::Bytes),
        _ => None,
    }
}

/// Asks both sides, at the same time, until it is known what differs.
async fn search(left: &Table, right: &Table) -> Result<Found> {
    let mut bisect = Bisect::new(Limits::default())?;
    let mut effect = bisect.step(Input::Start)?;
    loop {
        match effect {
            Effect::Done(found) => return Ok(found),
            Effect::Ask(query) => {
                let (left, right) = futures::try_join!(left.answer(&query), right.answer(&query))?;
                effect = bisect.step(Input::Answered(Pair { left, right }))?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flywheel_reconcile::bisect::Difference;

    use super::*;

    fn compared(table: &str, keys: usize) -> Comparison {
        let differs = |key: usize| Difference { key: key.to_string(), kind: Differs::Missing };
        Comparison {
            sync: "shop".to_owned(),
            stream: "orders".to_owned(),
            table: table.to_owned(),
            columns: Vec::new(),
            skipped: Vec::new(),
            found: Found {
                rows: Pair { left: 30, right: 30 },
                keys: (0..keys).map(differs).collect(),
                ranges: Vec::new(),
                queries: 2,
            },
            mended: 0,
        }
    }

    #[test]
    fn what_differs_is_told_by_table_and_the_first_keys() {
        let (equal, one, many) =
            (compared("raw.a", 0), compared("raw.b", 1), compared("raw.c", KEYS_TOLD + 5));
        assert_eq!(told(&equal), None);
        assert_eq!(told(&one).as_deref(), Some("raw.b differs: 0 is missing"));
        assert!(told(&many).is_some_and(|text| text.ends_with("19 is missing and 5 more")));
        assert_eq!(differing(std::slice::from_ref(&equal)), None);
        let said = differing(&[equal, one, many]);
        assert_eq!(said.as_deref(), Some("tables that differ from their source: raw.b, raw.c"));
    }
}
