//! The rows of a person in tables of the lake: found, deleted, and their history cut.

use std::collections::BTreeSet;

use arrow::array::AsArray as _;
use arrow::datatypes::{DataType, Int64Type};
use flywheel_base::{Error, ErrorKind, Result};
use flywheel_warehouse::{Catalog, Location, Maintain, Session, TableName, Verb, texts};

use super::meant::Meant;
use super::{Holders, Remains};
use crate::Workspace;
use crate::environment::is_variant;
use crate::rows::{literal, quoted};
use crate::upkeep::named_versions;

/// What a session of ours calls the one table it is about.
const HELD: &str = "erase.held";
/// So many rows of a column in which the key stands are looked at; of more it is only told that there are so many.
const LOOKED_AT_MAX: usize = 10_000;

/// A table of the lake with columns that hold keys.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) at: Location,
    /// The table, `schema.name`.
    pub(super) table: String,
    pub(super) columns: Vec<String>,
}

/// The table that lies at a location: of a model all its variants are called alike.
pub(super) fn table_at(at: &Location) -> String {
    let mut parts = at.as_str().split('/');
    match (parts.next(), parts.next()) {
        (Some(schema), Some(name)) => format!("{schema}.{name}"),
        _ => at.table(),
    }
}

/// Whether a table of that name is the platform's own.
pub(super) fn is_system(table: &str) -> bool {
    table.starts_with("system.")
}

/// The tables that are there and have columns that hold keys.
pub(super) async fn held(workspace: &Workspace, holders: &Holders) -> Result<Vec<Held>> {
    let mut found = Vec::new();
    for at in workspace.lake.locations().await? {
        let table = table_at(&at);
        let Some(columns) = holders.tables.get(&table).filter(|_| !is_system(&table)) else {
            continue;
        };
        let Some(head) = workspace.lake.head(&at).await? else { continue };
        let there = columns.iter().filter(|column| head.schema.field_with_name(column).is_ok());
        let columns: Vec<String> = there.cloned().collect();
        if !columns.is_empty() {
            found.push(Held { at, table, columns });
        }
    }
    Ok(found)
}

/// A session over one table, as it is now.
fn session_of(workspace: &Workspace, at: &Location) -> Result<Session> {
    let mut catalog = Catalog::new();
    catalog.table(&TableName::parse(HELD)?, at.clone(), None);
    workspace.lake.session(catalog)
}

/// The condition that one of the columns is the key.
fn is_key(columns: &[String], key: &str) -> String {
    let one =
        |column: &String| format!("cast({} as varchar) = {}", quoted_column(column), literal(key));
    columns.iter().map(one).collect::<Vec<_>>().join(" or ")
}

fn quoted_column(column: &str) -> String {
    format!("\"{}\"", column.replace('"', "\"\""))
}

/// The one number that a query answers.
pub(super) async fn number(session: &Session, sql: &str) -> Result<u64> {
    let batches = Box::pin(session.query(sql).await?.collect()).await?;
    let first = batches.iter().find(|batch| batch.num_rows() > 0 && batch.num_columns() > 0);
    let number = first
        .and_then(|batch| batch.column(0).as_primitive_opt::<Int64Type>().map(|all| all.value(0)));
    let number = number.ok_or_else(|| Error::internal("a count that is no number"))?;
    Ok(u64::try_from(number).unwrap_or_default())
}

/// The rows that a query answers, as texts.
pub(super) async fn rows(session: &Session, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
    let batches = Box::pin(session.query(sql).await?.collect()).await?;
    let mut found = Vec::new();
    for batch in &batches {
        texts(batch, |row| found.push(row))?;
    }
    Ok(found)
}

/// How many rows of a table are the person's.
pub(super) async fn count(workspace: &Workspace, held: &Held, key: &str) -> Result<u64> {
    let session = session_of(workspace, &held.at)?;
    let sql = format!("select count(*) from {HELD} where {}", is_key(&held.columns, key));
    number(&session, &sql).await.map_err(|error| error.context(format!("table {}", held.table)))
}

/// Deletes the person's rows; returns how many. Whoever reads the table at its newest version reads it without them.
pub(super) async fn delete(workspace: &Workspace, held: &Held, key: &str) -> Result<u64> {
    // Changes that wait beside the data files would keep the rows.
    if let Some(merged) = Box::pin(workspace.lake.merge_changes(&held.at)).await? {
        let (at, version) = (held.at.as_str(), merged.version);
        workspace.store.follow_version(at, version - 1, version)?;
    }
    let session = session_of(workspace, &held.at)?;
    let sql = format!("delete from {HELD} where {}", is_key(&held.columns, key));
    let edit =
        session.edit(&sql).map_err(|error| error.context(format!("table {}", held.table)))?;
    let edited = Box::pin(edit.run()).await;
    let edited = edited.map_err(|error| error.context(format!("table {}", held.table)))?;
    follow(workspace, &held.at).await?;
    Ok(edited.commit.rows_deleted)
}

/// Moves readers behind the newest deletions of a model's table. Nobody but an erasure deletes rows there, so these are
/// ours, those included after which a process was killed.
async fn follow(workspace: &Workspace, at: &Location) -> Result<()> {
    let mut history = workspace.lake.history(at).await?;
    let Some(newest) = history.last().map(|record| record.version) else { return Ok(()) };
    while let Some(record) = history.pop() {
        if record.operation != Verb::Delete.name() {
            break;
        }
        workspace.store.follow_version(at.as_str(), record.version - 1, newest)?;
    }
    Ok(())
}

/// Removes every older version of a table, and tables of models that nobody reads any more. Says what could not be.
pub(super) async fn cut(
    workspace: &Workspace,
    at: &Location,
    models: &BTreeSet<String>,
) -> Result<Option<Remains>> {
    let Some(head) = workspace.lake.head(at).await? else { return Ok(None) };
    workspace.store.cut_rollbacks(at.as_str(), head.version)?;
    let table = table_at(at);
    if models.contains(&table)
        && is_variant(at.as_str())
        && !workspace.store.referenced_locations()?.contains(at.as_str())
    {
        let gone = workspace.lake.remove(at).await?.is_some();
        let why =
            "a table that no environment reads any more could not be removed while it is read";
        return Ok((!gone).then(|| Remains::new(at.as_str(), why)));
    }
    let named = named_versions(workspace)?.get(at.as_str()).copied();
    let oldest = named.map_or(head.version, |named| named.min(head.version));
    let options = Maintain {
        compact: false,
        checkpoint_bytes_min: None,
        oldest_version: Some(oldest),
        log_commits_min: 1,
        retention_us: 0,
        ..Maintain::default()
    };
    workspace.lake.maintain(at, options).await?;
    if oldest > 0 {
        match workspace.lake.state_at(at, oldest - 1).await {
            Ok(_) => {
                let why = "versions before stay that were committed at a moment that has not come yet: run the erasure again after it";
                return Ok(Some(Remains::new(at.as_str(), why)));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok((oldest < head.version).then(|| {
        let why = format!(
            "an environment, or a broken promise of quality, holds readers at version {oldest}, which is older than \
             version {} without the person: build or drop the environment, or mend the table, and run the erasure again",
            head.version
        );
        Remains::new(at.as_str(), why)
    }))
}

/// The columns of texts in which the key stands although nobody says that they hold keys, each with the number of rows. A
/// short key tells nobody apart there.
pub(super) async fn mentions(
    workspace: &Workspace,
    at: &Location,
    meant: &Meant,
) -> Result<Vec<(String, u64)>> {
    let Some(head) = workspace.lake.head(at).await?.filter(|_| meant.is_long()) else {
        return Ok(Vec::new());
    };
    let is_text =
        |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let fields = head.schema.fields().iter().filter(|field| is_text(field.data_type()));
    let session = session_of(workspace, at)?;
    let mut found = Vec::new();
    for field in fields {
        let column = quoted_column(field.name());
        let sql = format!(
            "select {column} from {HELD} where strpos({column}, {}) > 0 limit {LOOKED_AT_MAX}",
            literal(meant.key())
        );
        let rows = rows(&session, &sql).await;
        let rows = rows.map_err(|error| error.context(format!("table {}", table_at(at))))?;
        let texts = rows.iter().flatten().flatten();
        let count = texts.filter(|text| meant.in_text(text)).count() as u64;
        if count > 0 {
            found.push((field.name().clone(), count));
        }
    }
    Ok(found)
}

/// A table's name as SQL has it, for a statement over our own tables.
pub(super) fn system(name: &str) -> String {
    quoted(&format!("system.{name}"))
}
