//! Where figures are found: in the lake, in a database, or over rows of a file held in memory.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flywheel_base::{Error, Result, Timestamp};
use flywheel_connect::source::{ReadRequest, Source};
use flywheel_project::quality::Dialect;
use flywheel_warehouse::{Catalog, Session, TableName};
use futures::TryStreamExt;
use serde_json::{Map, Value, json};

use crate::Workspace;
use crate::task::sync::{conform, union};

/// How much of a file is held in memory to be looked at; rows that a mask would hide must reach no disk.
const STAGED_BYTES_MAX: usize = 512 << 20;

/// The name that rows of a file have in SQL.
const STAGED: (&str, &str) = ("staged", "rows");

/// How many queries the lake is asked at once.
const QUERIES_AT_ONCE: usize = 4;

/// What answers questions about one table.
pub(crate) struct Engine {
    /// Its SQL.
    pub(crate) dialect: Dialect,
    /// The table in that SQL.
    pub(crate) table: String,
    /// Rows that could not be read at all, so that no check sees them.
    pub(crate) unread: u64,
    place: Place,
}

enum Place {
    Lake(Session),
    Server { source: Box<dyn Source>, now: Timestamp },
}

impl Engine {
    /// A table of the lake, `schema.name`.
    pub(crate) fn lake(session: Session, table: &str) -> Result<Self> {
        let name = TableName::parse(table)?;
        let dialect = Dialect::Lake;
        let table = format!("{}.{}", dialect.quoted(&name.schema), dialect.quoted(&name.name));
        Ok(Self { dialect, table, unread: 0, place: Place::Lake(session) })
    }

    /// How many queries it is asked at once. A database of others has its own work to do.
    pub(super) fn at_once(&self) -> usize {
        match self.place {
            Place::Lake(_) => QUERIES_AT_ONCE,
            Place::Server { .. } => 1,
        }
    }

    /// What a query gives.
    pub(crate) async fn ask(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        match &self.place {
            Place::Lake(session) => session.collect_apart(sql).await,
            Place::Server { source, now } => {
                let request = ReadRequest::full(json!({ "query": sql }), *now);
                let mut pages = source.read(&request);
                let mut batches = Vec::new();
                while let Some(page) = pages.try_next().await? {
                    if let Some(bad) = page.rejected.first() {
                        return Err(Error::invalid(format!(
                            "an answer of the database cannot be read: {}",
                            bad.reason
                        ))
                        .hint("Let the query give a number, a boolean or a moment."));
                    }
                    if page.batch.num_columns() > 0 {
                        batches.push(page.batch);
                    }
                }
                Ok(batches)
            }
        }
    }
}

/// A table behind a connection: a database computes figures itself, rows of everything else are read.
pub(super) async fn outside(
    workspace: &Workspace,
    connection: &str,
    stream: &Map<String, Value>,
) -> Result<Engine> {
    let (entry, source) = workspace.source(connection)?;
    entry.check_stream(Value::Object(stream.clone()))?;
    let Some(dialect) = Dialect::of(entry.name) else {
        let (catalog, unread) = staged(workspace, source.as_ref(), stream).await?;
        let session = workspace.lake.session(catalog)?;
        let engine = Engine::lake(session, &format!("{}.{}", STAGED.0, STAGED.1))?;
        return Ok(Engine { unread, ..engine });
    };
    let text = |key: &str| stream.get(key).and_then(Value::as_str);
    let table = match (text("table"), text("query")) {
        (Some(table), _) => match text("where") {
            Some(condition) => {
                format!("(SELECT * FROM {} WHERE {condition}\n) AS subject", dialect.table(table))
            }
            None => dialect.table(table),
        },
        (None, Some(query)) => {
            format!("(\n{}\n) AS subject", dialect.bare(query))
        }
        (None, None) => {
            return Err(Error::invalid(format!("no table of \"{connection}\" is named"))
                .hint("Write `stream: {table: …}`."));
        }
    };
    let place = Place::Server { source, now: workspace.now() };
    Ok(Engine { dialect, table, unread: 0, place })
}

/// The rows of a stream as the table `staged.rows`, and how many rows could not be read.
pub(crate) async fn staged(
    workspace: &Workspace,
    source: &dyn Source,
    stream: &Map<String, Value>,
) -> Result<(Catalog, u64)> {
    let request = ReadRequest::full(Value::Object(stream.clone()), workspace.now());
    let mut pages = source.read(&request);
    let (mut batches, mut bytes, mut unread) = (Vec::new(), 0, 0);
    while let Some(page) = pages.try_next().await? {
        unread += page.rejected.len() as u64;
        if page.batch.num_columns() == 0 {
            continue;
        }
        bytes += page.batch.get_array_memory_size();
        if bytes > STAGED_BYTES_MAX {
            return Err(Error::exhausted(format!(
                "the rows take more than {} MiB, which is looked at in memory at most",
                STAGED_BYTES_MAX >> 20
            ))
            .hint("Land them with a sync, and check the landed table."));
        }
        batches.push(page.batch);
    }
    if batches.is_empty() {
        return Err(Error::not_found("there is nothing to read, not even columns")
            .hint("Check the path or the table's name under `stream`."));
    }
    let schema = union(&batches)?;
    let mut catalog = Catalog::new();
    let name = TableName::new(STAGED.0, STAGED.1);
    catalog.memory(&name, Arc::clone(&schema), conform(&schema, batches)?);
    Ok((catalog, unread))
}

/// The cell of an answer's first row.
pub(super) fn cell(batches: &[RecordBatch], column: usize) -> Result<Cell> {
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else {
        return Ok(Cell::None);
    };
    let Some(array) = batch.columns().get(column) else {
        return Err(Error::internal("an answer has too few columns"));
    };
    if array.is_null(0) || array.data_type() == &DataType::Null {
        return Ok(Cell::None);
    }
    let first = array.slice(0, 1);
    let kind = first.data_type().clone();
    let failed = |error| Error::internal(format!("a {kind} cannot be read")).caused_by(error);
    match &kind {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            let unit = arrow::datatypes::TimeUnit::Microsecond;
            let moment = cast(&first, &DataType::Timestamp(unit, None)).map_err(failed)?;
            let moment = moment.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
            Ok(Cell::Moment(Timestamp::from_micros(moment.value(0))))
        }
        DataType::Boolean => Ok(Cell::Number(f64::from(u8::from(first.as_boolean().value(0))))),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let text = cast(&first, &DataType::Utf8).map_err(failed)?;
            let text = text.as_string::<i32>().value(0).trim().to_owned();
            Ok(match text.parse::<f64>() {
                Ok(number) => Cell::Number(number),
                Err(_) => Cell::Text(text),
            })
        }
        kind if kind.is_numeric() => {
            let number = cast(&first, &DataType::Float64).map_err(failed)?;
            Ok(Cell::Number(number.as_primitive::<arrow::datatypes::Float64Type>().value(0)))
        }
        other => Err(Error::invalid(format!("the figure is a {other}"))
            .hint("Let the query give a number, a boolean or a moment.")),
    }
}

/// What a cell holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    /// NULL, or there is no row.
    None,
    /// A number or boolean.
    Number(f64),
    /// A moment.
    Moment(Timestamp),
    /// Text that is no number.
    Text(String),
}

/// Rows as text.
pub(crate) fn rows_of(batches: &[RecordBatch]) -> Result<Vec<Vec<Option<String>>>> {
    let options = FormatOptions::default();
    let failed = |error| Error::internal("a row cannot be shown").caused_by(error);
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| Ok((column, ArrayFormatter::try_new(column, &options).map_err(failed)?)))
            .collect::<Result<Vec<_>>>()?;
        rows.extend((0..batch.num_rows()).map(|row| {
            columns
                .iter()
                .map(|(column, text)| (!column.is_null(row)).then(|| text.value(row).to_string()))
                .collect::<Vec<_>>()
        }));
    }
    Ok(rows)
}
