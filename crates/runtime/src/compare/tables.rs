//! Comparing any two tables: of the lake, or behind connections.
//!
//! Schemas first, then rows matched by a key. PostgreSQL, MySQL, MariaDB and the lake sum up digests
//! themselves, so no rows move and memory does not grow with the tables; of files and other systems the
//! rows are held in memory, which is limited.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use flywheel_base::{Error, Result, suggest};
use flywheel_connect::source::{ReadRequest, StreamInfo};
use flywheel_reconcile::bisect::{Found, Kind as Differs};
use flywheel_reconcile::checksum::{Dialect, Kind, TableText};
use flywheel_warehouse::TableName;
use futures::TryStreamExt;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::side::{Table, columns_of};
use super::{dialect, kind, nested, search};
use crate::Workspace;
use crate::access::Reading;
use crate::quality::{rows_of, staged};
use crate::recorder::Observer;

/// How many keys whose rows differ are looked at value by value.
pub const KEYS_SHOWN_MAX: usize = 200;

/// How many digits after the point of floating-point numbers are compared.
pub const FLOAT_DIGITS: u8 = 6;

/// Two tables, and what is compared.
#[derive(Clone, Debug, Default)]
pub struct Question<'a> {
    /// What should be: `schema.table` of the lake, or `connection:table`.
    pub left: &'a str,
    /// What is compared with it.
    pub right: &'a str,
    /// The columns that identify a row; the primary key of a side that tells it if empty.
    pub key: &'a [String],
    /// Columns that are not compared.
    pub skip: &'a [String],
    /// How many keys are shown value by value, at most [`KEYS_SHOWN_MAX`].
    pub shown: usize,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Tables {
    /// The left table.
    pub left: String,
    /// The right table.
    pub right: String,
    /// The columns that identify a row.
    pub key: Vec<String>,
    /// The columns whose values were compared.
    pub columns: Vec<String>,
    /// What the schemas do not have in common.
    pub schema: Vec<SchemaDifference>,
    /// Rows and keys.
    pub found: Found,
    /// Values that differ, of the first keys.
    pub values: Vec<ValueDifference>,
}

impl Tables {
    /// Whether both tables have the same columns and rows.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.found.is_equal() && self.schema.iter().all(|one| one.kind == SchemaKind::NotCompared)
    }
}

/// A column that both tables do not have alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SchemaDifference {
    /// The column.
    pub column: String,
    /// How they differ.
    pub kind: SchemaKind,
    /// Its type on the left.
    pub left: Option<String>,
    /// Its type on the right.
    pub right: Option<String>,
}

/// How schemas differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SchemaKind {
    /// Only the left table has the column.
    Missing,
    /// Only the right table has it.
    Extra,
    /// Both have it, with types that cannot be compared.
    Different,
    /// Both have it alike, and its values were not compared: they were not to be, or are nested.
    NotCompared,
}

/// A value that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ValueDifference {
    /// The key.
    pub key: String,
    /// The column.
    pub column: String,
    /// The value on the left.
    pub left: Option<String>,
    /// The value on the right.
    pub right: Option<String>,
}

/// Compares two tables.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if there is no such table; [`flywheel_base::ErrorKind::Invalid`]
/// if no key is known or a key cannot be compared; else those of the systems.
pub async fn compare_tables(
    workspace: &Workspace,
    question: &Question<'_>,
    observer: &dyn Observer,
) -> Result<Tables> {
    let recorder = crate::run::start(workspace, observer, "compare")?;
    let timer = recorder.started("compare", &format!("{} {}", question.left, question.right));
    let result = Box::pin(compared(workspace, question)).await;
    let result = recorder.settled(timer, result, |tables| {
        let status = if tables.is_equal() { "succeeded" } else { "warned" };
        let outcome = flywheel_state::TaskOutcome {
            rows_in: Some(tables.found.rows.left),
            rows_out: Some(tables.found.rows.right),
            detail: json!({
                "keys": tables.found.keys.len(), "ranges": tables.found.ranges.len(),
                "schema": tables.schema.len(), "queries": tables.found.queries,
            }),
            ..flywheel_state::TaskOutcome::default()
        };
        (status.to_owned(), outcome)
    });
    recorder.finish(result.as_ref().err())?;
    result
}

async fn compared(workspace: &Workspace, question: &Question<'_>) -> Result<Tables> {
    let left = Opened::open(workspace, question.left).await?;
    let right = Opened::open(workspace, question.right).await?;
    let key: Vec<String> = match question.key {
        [] if !left.primary_key.is_empty() => left.primary_key.clone(),
        [] => right.primary_key.clone(),
        key => key.to_vec(),
    };
    if key.is_empty() {
        return Err(Error::invalid(
            "by which columns are rows matched? neither table tells its key",
        )
        .hint("Name them: --key id, or --key tenant,id."));
    }
    let (shared, schema) = columns(&left.schema, &right.schema, &key, question)?;
    let (nested_left, nested_right) = (left.nested.clone(), right.nested.clone());
    let pick = |of_left: bool| -> Vec<(String, Kind)> {
        let one = |(name, left, right): &(String, Kind, Kind)| {
            let (kind, of_side) =
                if of_left { (*left, &nested_left) } else { (*right, &nested_right) };
            (name.clone(), nested(kind, of_side.contains(name)))
        };
        shared.iter().map(one).collect()
    };
    let (left, left_text) = left.table(&key, pick(true))?;
    let (right, right_text) = right.table(&key, pick(false))?;
    let found = search(&left, &right).await?;
    let shown = question.shown.min(KEYS_SHOWN_MAX);
    // Rows are found again by keys that every system writes alike.
    let plain =
        |(_, kind): &(String, Kind)| matches!(kind, Kind::Integer | Kind::Date | Kind::Text);
    let named = left_text.key.iter().chain(&right_text.key).all(plain);
    let keys: Vec<String> = found
        .keys
        .iter()
        .filter(|one| named && one.kind == Differs::Different)
        .take(shown)
        .map(|one| one.key.clone())
        .collect();
    let values = match keys.is_empty() {
        true => Vec::new(),
        false => {
            let here = rows(&left, &left_text, &keys).await?;
            let there = rows(&right, &right_text, &keys).await?;
            differences(&here, &there, &left_text)
        }
    };
    Ok(Tables {
        left: question.left.to_owned(),
        right: question.right.to_owned(),
        columns: shared.into_iter().map(|(name, _, _)| name).collect(),
        key,
        schema,
        found,
        values,
    })
}

/// A table that was found, with its columns.
struct Opened {
    schema: SchemaRef,
    primary_key: Vec<String>,
    /// Columns that hold arrays or composite values of a server.
    nested: BTreeSet<String>,
    place: Place,
}

enum Place {
    Lake {
        session: flywheel_warehouse::Session,
        table: Vec<String>,
    },
    Server {
        source: Box<dyn flywheel_connect::Source>,
        dialect: Dialect,
        table: Vec<String>,
        now: flywheel_base::Timestamp,
    },
}

impl Opened {
    async fn open(workspace: &Workspace, name: &str) -> Result<Self> {
        let Some((connection, table)) = name.split_once(':') else {
            let table = TableName::parse(name).map_err(|error| {
                error.hint("Write schema.table for one of the lake, or connection:table.")
            })?;
            let sql =
                format!("SELECT * FROM {}", quoted(&[table.schema.clone(), table.name.clone()]));
            let session = workspace.session_for(&sql, &Reading::Owner).await?;
            let schema = session.query(&sql).await?.schema();
            let table = vec![table.schema, table.name];
            let place = Place::Lake { session, table };
            let (primary_key, nested) = (Vec::new(), BTreeSet::new());
            return Ok(Self { schema, primary_key, nested, place });
        };
        let (entry, source) = workspace.source(connection)?;
        let streams = source.discover().await.map_err(|error| error.context(name))?;
        let info = stream(&streams, table).ok_or_else(|| {
            let known: Vec<&str> = streams.iter().map(|one| one.name.as_str()).collect();
            Error::not_found(format!("connection \"{connection}\" has no table \"{table}\""))
                .hint(suggest::hint(table, known))
        })?;
        let primary_key = info.primary_key.clone();
        let of_server = info.stream.get("table").and_then(Value::as_str);
        if let (Some(dialect), Some(table)) = (dialect(entry.name), of_server) {
            let table: Vec<String> = table.split('.').map(str::to_owned).collect();
            let now = workspace.now();
            let known = columns_of(source.as_ref(), dialect, &table, now).await?;
            let known = known.into_iter().flatten().filter(|(_, nested)| *nested);
            let nested = known.map(|(name, _)| name).collect();
            let place = Place::Server { source, dialect, table, now };
            let schema = SchemaRef::clone(&info.schema);
            return Ok(Self { schema, primary_key, nested, place });
        }
        let options: Map<String, Value> = info.stream.as_object().cloned().unwrap_or_default();
        let (catalog, unread) = staged(workspace, source.as_ref(), &options).await?;
        if unread > 0 {
            return Err(Error::invalid(format!("{unread} rows of {name} cannot be read")).hint(
                "Land the table with a sync, mend what is set aside, and compare the landed table.",
            ));
        }
        let session = workspace.lake.session(catalog)?;
        let table = vec!["staged".to_owned(), "rows".to_owned()];
        let schema = session.query("SELECT * FROM staged.rows").await?.schema();
        let place = Place::Lake { session, table };
        Ok(Self { schema, primary_key, nested: BTreeSet::new(), place })
    }

    /// The table with the columns that are compared.
    fn table(self, key: &[String], columns: Vec<(String, Kind)>) -> Result<(Table, TableText)> {
        let of_key = key.iter().map(|name| {
            columns.iter().find(|(column, _)| column == name).cloned().ok_or_else(|| {
                Error::invalid(format!("the key column \"{name}\" cannot be compared"))
                    .hint("Keys are whole numbers, exact decimals, dates, moments and text.")
            })
        });
        let key = of_key.collect::<Result<Vec<_>>>()?;
        let text = |table: Vec<String>| TableText { table, key, columns, filter: None };
        Ok(match self.place {
            Place::Lake { session, table } => {
                let text = text(table);
                (Table::Lake { session, text: text.clone() }, text)
            }
            Place::Server { source, dialect, table, now } => {
                let text = text(table);
                (Table::Server { source, text: text.clone(), dialect, now }, text)
            }
        })
    }
}

/// The stream of that name or table; a schema may be left out.
fn stream<'a>(streams: &'a [StreamInfo], table: &str) -> Option<&'a StreamInfo> {
    let named = |one: &&StreamInfo| {
        let text = one.stream.get("table").or_else(|| one.stream.get("path"));
        one.name == table || text.and_then(Value::as_str) == Some(table)
    };
    let bare = |one: &&StreamInfo| {
        let text = one.stream.get("table").and_then(Value::as_str);
        text.and_then(|text| text.rsplit('.').next()) == Some(table)
    };
    streams.iter().find(named).or_else(|| streams.iter().find(bare))
}

type Shared = Vec<(String, Kind, Kind)>;

/// The columns that can be compared, and what the schemas do not have in common.
fn columns(
    left: &Schema,
    right: &Schema,
    key: &[String],
    question: &Question<'_>,
) -> Result<(Shared, Vec<SchemaDifference>)> {
    let find = |schema: &Schema, name: &str| -> Option<DataType> {
        schema.field_with_name(name).ok().map(|field| field.data_type().clone())
    };
    for (schema, table) in [(left, question.left), (right, question.right)] {
        for name in key.iter().chain(question.skip) {
            if find(schema, name).is_none() && !question.skip.contains(name) {
                let known = schema.fields().iter().map(|field| field.name().as_str());
                return Err(Error::invalid(format!("{table} has no column \"{name}\""))
                    .hint(suggest::hint(name, known.collect::<Vec<_>>())));
            }
        }
    }
    let (mut shared, mut schema) = (Vec::new(), Vec::new());
    for field in left.fields() {
        let name = field.name();
        let here = field.data_type();
        let there = find(right, name);
        let mut differs = |kind| {
            schema.push(SchemaDifference {
                column: name.clone(),
                kind,
                left: Some(here.to_string()),
                right: there.as_ref().map(ToString::to_string),
            });
        };
        let Some(other) = &there else {
            differs(SchemaKind::Missing);
            continue;
        };
        if question.skip.contains(name) {
            differs(SchemaKind::NotCompared);
            continue;
        }
        match (kind_of(here), kind_of(other)) {
            (Some(left), Some(right)) => match alike(left, right) {
                Some((left, right)) => shared.push((name.clone(), left, right)),
                None => differs(SchemaKind::Different),
            },
            (None, None) if here == other => differs(SchemaKind::NotCompared),
            _ => differs(SchemaKind::Different),
        }
    }
    for field in right.fields().iter().filter(|field| find(left, field.name()).is_none()) {
        schema.push(SchemaDifference {
            column: field.name().clone(),
            kind: SchemaKind::Extra,
            left: None,
            right: Some(field.data_type().to_string()),
        });
    }
    Ok((shared, schema))
}

/// As [`kind`], and floating-point numbers, to so many digits that systems write them alike.
fn kind_of(data_type: &DataType) -> Option<Kind> {
    match data_type {
        DataType::Float32 | DataType::Float64 => Some(Kind::Float { digits: FLOAT_DIGITS }),
        other => kind(other),
    }
}

/// The kinds as which two columns are compared; numbers are by the longer fraction.
fn alike(left: Kind, right: Kind) -> Option<(Kind, Kind)> {
    let scale = |kind: Kind| match kind {
        Kind::Integer => Some(0),
        Kind::Numeric { scale } => Some(scale),
        Kind::Float { digits } => Some(digits),
        _ => None,
    };
    if left == right {
        return Some((left, right));
    }
    let scale = scale(left)?.max(scale(right)?);
    Some((Kind::Numeric { scale }, Kind::Numeric { scale }))
}

fn quoted(parts: &[String]) -> String {
    parts.iter().map(|part| Dialect::Datafusion.name(part)).collect::<Vec<_>>().join(".")
}

/// Rows of these keys, by the key, the compared columns as text.
async fn rows(table: &Table, text: &TableText, keys: &[String]) -> Result<Rows> {
    let (dialect, run): (Dialect, _) = match table {
        Table::Server { dialect, .. } => (*dialect, table),
        Table::Lake { .. } => (Dialect::Datafusion, table),
    };
    let names = |columns: &[(String, Kind)]| -> Vec<String> {
        columns.iter().map(|(name, _)| dialect.name(name)).collect()
    };
    let all = names(&text.columns);
    let place: Vec<String> = text.table.iter().map(|part| dialect.name(part)).collect();
    let condition = text.has_key(dialect, keys)?;
    let sql = format!("SELECT {} FROM {} WHERE {condition}", all.join(", "), place.join("."));
    let batches = answers(run, &sql).await?;
    let mut rows: Rows = BTreeMap::new();
    for values in rows_of(&batches)? {
        let of_key = |(name, _): &(String, Kind)| {
            let at = text.columns.iter().position(|(column, _)| column == name);
            at.and_then(|at| values.get(at).cloned().flatten()).unwrap_or_default()
        };
        let key: Vec<String> = text.key.iter().map(of_key).collect();
        rows.insert(key.join(", "), values);
    }
    Ok(rows)
}

type Rows = BTreeMap<String, Vec<Option<String>>>;

async fn answers(table: &Table, sql: &str) -> Result<Vec<RecordBatch>> {
    match table {
        Table::Lake { session, .. } => session.query(sql).await?.collect().await,
        Table::Server { source, now, .. } => {
            let request = ReadRequest::full(json!({ "query": sql }), *now);
            let pages = source.read(&request).try_collect::<Vec<_>>().await?;
            Ok(pages.into_iter().map(|page| page.batch).collect())
        }
    }
}

fn differences(here: &Rows, there: &Rows, text: &TableText) -> Vec<ValueDifference> {
    let mut found = Vec::new();
    for (key, left) in here {
        let Some(right) = there.get(key) else { continue };
        for (at, (name, _)) in text.columns.iter().enumerate() {
            let value = |row: &Vec<Option<String>>| row.get(at).cloned().flatten();
            let (left, right) = (value(left), value(right));
            if left != right {
                found.push(ValueDifference { key: key.clone(), column: name.clone(), left, right });
            }
        }
    }
    found
}
