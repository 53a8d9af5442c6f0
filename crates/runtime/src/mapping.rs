//! What a stream says about its columns, as a mapping of pages.

use flywheel_base::{Error, Result};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use flywheel_connect::{
    Evaluate, FILE_COLUMN, Keep, LINE_COLUMN, MappedColumn, Mapping, MappingConfig,
};
use flywheel_project::resource::sync::{Column, Keep as KeepDeclared, Read, Stream, Sync};
use flywheel_warehouse::{DELETED, Lake};
use serde_json::Value;

use crate::Workspace;

/// Builds the mapping of one stream; keys of masks are read from where the project says.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] naming the column, or that of a secret that is not there.
pub(crate) fn mapping(workspace: &Workspace, sync: &Sync, stream: &Stream) -> Result<Mapping> {
    let connection = workspace.project.connections.get(&sync.connection);
    let changes = match stream.read {
        Read::Full => false,
        Read::Incremental => sync.reads_lake(),
        Read::Cdc => true,
    };
    let mut columns = stream.columns.iter().map(mapped).collect::<Result<Vec<_>>>()?;
    if changes {
        // A row that is gone has nothing but its key, and the mark that says so has to come along.
        columns.iter_mut().for_each(|column| column.not_null &= column.value.is_some());
        if stream.keep == KeepDeclared::Declared {
            columns.push(MappedColumn { name: DELETED.to_owned(), ..MappedColumn::default() });
        }
    }
    let config = MappingConfig {
        source: connection.map_or("lake", |connection| connection.connector.as_str()).to_owned(),
        columns,
        drop: stream.drop.clone(),
        keep: match stream.keep {
            KeepDeclared::All => Keep::All,
            KeepDeclared::Declared => Keep::Mapped,
        },
        condition: stream.only.clone(),
        marks: match changes {
            true => Some(DELETED.to_owned()),
            false => stream.deleted.clone(),
        },
    };
    let mapping = Mapping::new(&config, &|text| workspace.project.resolve_secret(text))?;
    check_hidden(stream, &mapping)?;
    Ok(mapping.with_engine(engine(workspace)))
}

/// Refuses a name that hides a column of a file without header and tells nothing about which one that is: its values
/// would land under another name.
fn check_hidden(stream: &Stream, mapping: &Mapping) -> Result<()> {
    if stream.options.get("header") != Some(&Value::Bool(false)) {
        return Ok(());
    }
    let declared = mapping.declared();
    let known = |name: &str| {
        let place = name.strip_prefix("column_").and_then(|place| place.parse::<usize>().ok());
        let lineage = [FILE_COLUMN, LINE_COLUMN].contains(&name);
        place.is_some() || lineage || declared.iter().any(|column| column.name == name)
    };
    let masked = stream.columns.iter().filter(|c| c.mask.is_some() && c.value.is_none());
    let mut hidden = masked.map(Column::source_name).chain(stream.drop.iter().map(String::as_str));
    let Some(name) = hidden.find(|name| !known(name)) else { return Ok(()) };
    Err(Error::invalid(format!(
        "nothing tells which column of a file without header \"{name}\" is, and it is to be hidden"
    ))
    .hint(
        "Declared columns with a `type` name those of the file in their order: give it its `type`, or its \
         place, as in `from: column_1` or `drop: [column_1]`.",
    ))
}

/// What evaluates the SQL of mappings and conditions.
pub(crate) fn engine(workspace: &Workspace) -> Arc<dyn Evaluate> {
    Arc::new(Engine(workspace.lake.clone()))
}

/// The lake's engine, for the SQL of a mapping.
#[derive(Debug)]
struct Engine(Lake);

impl Evaluate for Engine {
    fn evaluate(&self, sql: &str, rows: &RecordBatch) -> Result<ArrayRef> {
        self.0.evaluate(sql, rows)
    }
}

pub(crate) fn mapped(column: &Column) -> Result<MappedColumn> {
    let kind = column
        .column_type
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|error: Error| error.context(format!("column \"{}\"", column.name)))?;
    Ok(MappedColumn {
        name: column.name.clone(),
        from: column.from.clone(),
        kind,
        not_null: column.required,
        clean: column.clean.clone(),
        mask: column.mask.clone(),
        value: column.value.clone(),
    })
}
