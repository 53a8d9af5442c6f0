//! What there is to read.

use std::collections::BTreeMap;
use std::sync::Arc;

use flywheel_base::Result;
use serde_json::json;

use super::PostgresStream;
use super::relation::{Relation, readable};
use crate::column::ColumnType;
use crate::page::{Column, TableSchema};
use crate::postgres::{Server, field};
use crate::source::{Filled, StreamInfo};

/// The first version that computes columns.
const COMPUTED_SINCE: i32 = 120_000;

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

/// Why the log does not tell the rows of tables apart, by the tables' names.
pub(super) async fn unfollowed(server: &Server) -> Result<BTreeMap<String, String>> {
    let session = server.connect().await?;
    let heirs = "c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits h \
                 WHERE h.inhparent = c.oid)";
    let sql = format!(
        "SELECT n.nspname || '.' || c.relname, CASE \
           WHEN c.relkind NOT IN ('r', 'p') THEN 'is a view or lies elsewhere' \
           WHEN c.relpersistence <> 'p' THEN 'is unlogged or temporary' \
           WHEN {heirs} THEN 'has tables that inherit from it' \
           WHEN c.relreplident = 'n' THEN 'has REPLICA IDENTITY NOTHING' \
           WHEN c.relreplident = 'i' THEN 'has the key of another index in the log: name its columns as the option primary_key and as key' \
           ELSE 'has no primary key and no REPLICA IDENTITY FULL' END \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE {} AND (c.relkind NOT IN ('r', 'p') OR c.relpersistence <> 'p' OR {heirs} \
           OR c.relreplident <> 'f' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i \
             WHERE i.indrelid = c.oid AND i.indisprimary \
               AND (c.relreplident = 'd' OR c.relreplident = 'i' AND i.indisreplident)))",
        readable()
    );
    let rows = session.rows(&sql, &[]).await?;
    rows.iter().map(|row| Ok((field(row, 0)?, field(row, 1)?))).collect()
}

/// The columns that the server computes, or numbers and takes no other number for, by the tables' names.
pub(super) async fn fills(server: &Server) -> Result<BTreeMap<String, Vec<Filled>>> {
    let session = server.connect().await?;
    let sql = "SELECT current_setting('server_version_num')::int4";
    let version: i32 = field(&session.row(sql, &[]).await?, 0)?;
    let computed = if version < COMPUTED_SINCE { "false" } else { "a.attgenerated <> ''" };
    let sql = format!(
        "SELECT n.nspname || '.' || c.relname, a.attname::text, {computed} \
         FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE {} AND a.attnum > 0 AND NOT a.attisdropped \
           AND ({computed} OR a.attidentity = 'a') \
         ORDER BY 1, a.attnum",
        readable()
    );
    let mut all: BTreeMap<String, Vec<Filled>> = BTreeMap::new();
    for row in session.rows(&sql, &[]).await? {
        let filled = Filled { column: field(&row, 1)?, computed: field(&row, 2)? };
        all.entry(field(&row, 0)?).or_default().push(filled);
    }
    Ok(all)
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
        unread: None,
    }
}
