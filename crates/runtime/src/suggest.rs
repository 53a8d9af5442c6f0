//! Modelling advice: what the tables of a connection or of a schema of the lake mean, and draft models made of it.
//!
//! ```text
//! rows ─► hashes ─► flywheel_algo::advice ─► proposals with reasons ─► (--accept) models/*.sql, *.yml, tests/*.sql
//! ```
//! A draft is written only when it is accepted, never over a file that is there, and all of it or nothing.

mod draft;

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use flywheel_algo::advice::{self, Advice, Column, Kind, Table};
use flywheel_base::{Error, Result, suggest, task};
use flywheel_connect::source::{ReadRequest, StreamInfo};
use futures::TryStreamExt;

use crate::Workspace;
use crate::profile::hashed;

pub use draft::{Draft, draft, write};
pub use flywheel_algo::advice::{Attribute, Change, Key, Proposal, Reference, Role, Shape};

/// Rows of a table that are looked at.
pub const ROWS_MAX: usize = 500_000;
/// Tables that are looked at together.
pub const TABLES_MAX: usize = 500;

/// Advice and where it comes from.
#[derive(Clone, Debug)]
pub struct Suggestion {
    /// The advice.
    pub advice: Advice,
    /// The columns of each table, in their order.
    pub columns: BTreeMap<String, Vec<String>>,
    /// The table of the lake, `schema.name`, that holds each table's rows; none if it has not landed.
    pub landed: BTreeMap<String, Option<String>>,
    /// What a person should know, such as tables of which only a part was looked at.
    pub notes: Vec<String>,
}

/// Looks at the tables of the connection or the schema `of`, those that fit one of `tables` if it is not empty.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if there is neither such a connection nor such a schema, or nothing fits;
/// [`flywheel_base::ErrorKind::Exhausted`] for more than [`TABLES_MAX`] tables; those of the source and the lake.
pub async fn suggest(workspace: &Workspace, of: &str, tables: &[String]) -> Result<Suggestion> {
    let wanted = |name: &str| {
        tables.is_empty() || tables.iter().any(|table| table.eq_ignore_ascii_case(name))
    };
    let mut suggestion = Read::default();
    if workspace.project.connections.contains_key(of) {
        Box::pin(connection(workspace, of, &wanted, &mut suggestion)).await?;
    } else {
        Box::pin(schema(workspace, of, &wanted, &mut suggestion)).await?;
    }
    for table in tables {
        if !suggestion.tables.iter().any(|one| one.name.eq_ignore_ascii_case(table)) {
            let known: Vec<&str> = suggestion.tables.iter().map(|one| one.name.as_str()).collect();
            return Err(Error::not_found(format!("\"{of}\" has no table \"{table}\""))
                .hint(suggest::hint(table, known)));
        }
    }
    let Read { tables, landed, notes } = suggestion;
    let names = |table: &Table| table.columns.iter().map(|column| column.name.clone()).collect();
    let columns = tables.iter().map(|table| (table.name.clone(), names(table))).collect();
    let advice = task::compute(move || Ok(advice::advise(&tables))).await?;
    Ok(Suggestion { advice, columns, landed, notes })
}

#[derive(Default)]
struct Read {
    tables: Vec<Table>,
    landed: BTreeMap<String, Option<String>>,
    notes: Vec<String>,
}

async fn connection(
    workspace: &Workspace,
    name: &str,
    wanted: &dyn Fn(&str) -> bool,
    read: &mut Read,
) -> Result<()> {
    let (_, source) = workspace.source(name)?;
    source.check().await?;
    let mut streams = source.discover().await?;
    streams.retain(|stream| wanted(short(&stream.name)) || wanted(&stream.name));
    enough(name, streams.len())?;
    for stream in &streams {
        let mut gathered = Gathering::default();
        let request = ReadRequest::full(stream.stream.clone(), workspace.now());
        let mut pages = source.read(&request);
        while let Some(page) = pages.try_next().await? {
            if !page.rejected.is_empty() {
                let count = page.rejected.len();
                read.notes
                    .push(format!("{}: {count} rows cannot be read and are left out", stream.name));
            }
            if !gathered.add(&page.batch)? {
                break;
            }
        }
        let table = gathered.table(short(&stream.name), &stream.primary_key);
        read.add(table, landing(workspace, name, stream));
    }
    Ok(())
}

/// The name of a table without its schema.
fn short(name: &str) -> &str {
    let plain = name.rsplit(['.', '/']).next().unwrap_or(name);
    match name.rsplit_once('.') {
        // A file is called by its name, not by its ending.
        Some((head, "csv" | "parquet" | "jsonl" | "avro" | "xlsx" | "gz")) => {
            head.rsplit('/').next().unwrap_or(head)
        }
        _ => plain,
    }
}

/// The table of the lake that a sync lands a stream in.
fn landing(workspace: &Workspace, connection: &str, stream: &StreamInfo) -> Option<String> {
    let syncs = workspace.project.syncs.values();
    let syncs = syncs.filter(|sync| sync.connection == connection && sync.lands());
    let mut streams = syncs.flat_map(|sync| &sync.streams);
    let found = streams.find(|declared| {
        // A sheet is found by its workbook and its own name.
        let mut keys = ["table", "path", "sheet", "object"]
            .into_iter()
            .filter_map(|key| Some((key, stream.stream.get(key)?)))
            .peekable();
        keys.peek().is_some() && keys.all(|(key, value)| declared.options.get(key) == Some(value))
    });
    found.map(flywheel_project::resource::sync::Stream::table)
}

async fn schema(
    workspace: &Workspace,
    schema: &str,
    wanted: &dyn Fn(&str) -> bool,
    read: &mut Read,
) -> Result<()> {
    let session = workspace.lake_session().await?;
    let catalog = flywheel_transform::catalog(workspace.world()).await?;
    let mut names: Vec<_> = catalog.names().filter(|name| name.schema == schema).cloned().collect();
    if names.is_empty() {
        let schemas: Vec<&str> = catalog.names().map(|name| name.schema.as_str()).collect();
        let known = workspace.project.connections.keys().map(String::as_str).chain(schemas);
        return Err(Error::not_found(format!(
            "\"{schema}\" is neither a connection nor a schema with tables"
        ))
        .hint(suggest::hint(schema, known.collect::<Vec<_>>())));
    }
    names.retain(|name| wanted(&name.name));
    enough(schema, names.len())?;
    for name in names {
        let quote = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let sql = format!(
            "select * from {}.{} limit {}",
            quote(&name.schema),
            quote(&name.name),
            ROWS_MAX + 1
        );
        let query = session.query(&sql).await?;
        let mut gathered = Gathering::default();
        gathered.add(&RecordBatch::new_empty(query.schema()))?;
        let mut rows = query.stream().await?;
        while let Some(batch) = rows.try_next().await? {
            if !gathered.add(&batch)? {
                break;
            }
        }
        let table = gathered.table(&name.name, &[]);
        read.add(table, Some(name.to_string()));
    }
    Ok(())
}

fn enough(of: &str, tables: usize) -> Result<()> {
    if tables == 0 {
        return Err(Error::not_found(format!("\"{of}\" has no such tables"))
            .hint("Leave --tables out to look at all of them."));
    }
    if tables > TABLES_MAX {
        return Err(Error::new(
            flywheel_base::ErrorKind::Exhausted,
            format!("\"{of}\" has {tables} tables; {TABLES_MAX} are looked at together"),
        )
        .hint("Name those that belong together: --tables orders,customers,products"));
    }
    Ok(())
}

impl Read {
    fn add(&mut self, mut table: Table, landed: Option<String>) {
        if table.partial {
            self.notes.push(format!("{}: the first {ROWS_MAX} rows were looked at", table.name));
        }
        while self.landed.contains_key(&table.name) {
            table.name.push('_');
        }
        self.landed.insert(table.name.clone(), landed);
        self.tables.push(table);
    }
}

/// Rows on their way into a table of hashes.
#[derive(Default)]
struct Gathering {
    columns: Vec<Column>,
    rows: usize,
    partial: bool,
}

impl Gathering {
    /// Adds rows; false if there are enough.
    fn add(&mut self, batch: &RecordBatch) -> Result<bool> {
        let take = batch.num_rows().min(ROWS_MAX - self.rows);
        self.partial |= take < batch.num_rows();
        for (at, field) in batch.schema().fields().iter().enumerate() {
            let array = batch.column(at).slice(0, take);
            let texts = cast(&array, &DataType::Utf8).ok();
            let known = self.columns.iter().position(|column| column.name == *field.name());
            let place = known.unwrap_or_else(|| {
                self.columns.push(Column {
                    name: field.name().clone(),
                    kind: kind(field.data_type()),
                    values: vec![0; self.rows],
                });
                self.columns.len() - 1
            });
            let Some(column) = self.columns.get_mut(place) else { continue };
            match texts.as_ref().map(|texts| texts.as_string::<i32>()) {
                Some(texts) => {
                    column.values.extend((0..take).map(|row| match texts.is_valid(row) {
                        // Files without types write a missing value as an empty text.
                        true if !texts.value(row).is_empty() => hashed(texts.value(row)).max(1),
                        _ => 0,
                    }));
                }
                None => column.values.extend(std::iter::repeat_n(0, take)),
            }
        }
        self.rows += take;
        for column in &mut self.columns {
            column.values.resize(self.rows, 0);
        }
        Ok(!self.partial)
    }

    fn table(self, name: &str, declared_key: &[String]) -> Table {
        Table {
            name: name.to_owned(),
            columns: self.columns,
            declared_key: declared_key.to_vec(),
            partial: self.partial,
        }
    }
}

fn kind(of: &DataType) -> Kind {
    match of {
        DataType::Decimal128(_, 0) | DataType::Decimal256(_, 0) => Kind::Whole,
        of if of.is_integer() => Kind::Whole,
        of if of.is_numeric() => Kind::Fraction,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
        DataType::Date32 | DataType::Date64 => Kind::Day,
        DataType::Timestamp(..) => Kind::Moment,
        DataType::Boolean => Kind::Flag,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_without_its_folder_and_ending_and_a_table_without_its_schema() {
        for (name, wanted) in [
            ("data/orders.csv", "orders"),
            ("public.orders", "orders"),
            ("orders", "orders"),
            ("a/b.parquet", "b"),
        ] {
            assert_eq!(short(name), wanted);
        }
    }
}
