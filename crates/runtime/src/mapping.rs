//! What a stream says about its columns, as a mapping of pages.

use flywheel_base::{Error, Result};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use flywheel_connect::{Evaluate, Keep, MappedColumn, Mapping, MappingConfig};
use flywheel_project::resource::sync::{Column, Keep as KeepDeclared, Read, Stream, Sync};
use flywheel_warehouse::{DELETED, Lake};

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
    Ok(mapping.with_engine(engine(workspace)))
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
