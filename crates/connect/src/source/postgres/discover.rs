//! What there is to read.

use std::sync::Arc;

use flywheel_base::Result;
use serde_json::json;

use super::PostgresStream;
use super::relation::{Relation, readable};
use crate::column::ColumnType;
use crate::page::{Column, TableSchema};
use crate::postgres::{Server, field};
use crate::source::StreamInfo;

/// The tables and views the user may read, without the parts of partitioned ones.
pub(super) async fn discover(server: &Server) -> Result<Vec<StreamInfo>> {
    let session = server.connect().await?;
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let sql = format!(
        "SELECT n.nspname || '.' || c.relname \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE {} AND NOT c.relispartition \
           AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
           AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT') \
         ORDER BY n.nspname, c.relname",
        readable()
    );
    let mut streams = Vec::new();
    for row in session.rows(&sql, &[]).await? {
        let table: String = field(&row, 0)?;
        let stream = PostgresStream { table: Some(table.clone()), ..PostgresStream::default() };
        streams.push(describe(table, Relation::of(&session, &stream, &[]).await?));
    }
    Ok(streams)
}

fn describe(name: String, relation: Relation) -> StreamInfo {
    let timed = |column: &&Column| matches!(column.kind, ColumnType::Timestamp | ColumnType::Date);
    let primary_key = relation.key_names();
    let columns: Vec<Column> = relation.columns.into_iter().map(|column| column.column).collect();
    let times = columns.iter().filter(timed).map(|column| column.name.clone());
    let growing = if relation.growing_key { primary_key.clone() } else { Vec::new() };
    let cursors = times.chain(growing).collect();
    let schema = TableSchema::new(columns, false);
    StreamInfo {
        stream: json!({ "table": name }),
        name,
        schema: Arc::clone(schema.arrow()),
        columns: schema.columns().iter().filter_map(Column::declarable).collect(),
        primary_key,
        cursors,
        rows: relation.table.as_ref().and_then(|table| table.rows),
        bytes: relation.table.as_ref().map(|table| table.bytes).filter(|bytes| *bytes > 0),
    }
}
