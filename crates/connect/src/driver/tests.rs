//! Real drivers: PostgreSQL's and SQLite's for ODBC from the system, and for ADBC from their Python
//! packages.

use std::path::PathBuf;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use flywheel_base::ErrorKind;
use flywheel_testkit::Postgres;
use futures::TryStreamExt;
use serde_json::{Value, json};

use crate::destination::{
    DestinationContext, DestinationEntry, NewTargetColumns, WriteMode, WriteRequest,
};
use crate::page::Page;
use crate::postgres::testing::{Database, server};
use crate::source::contract::{Folder, cells, installed, now};
use crate::source::{ReadMode, ReadRequest, SourceContext, SourceEntry};
use crate::{Connections, Source};

/// Rows of the contract of sources; one value is no whole number, as it is declared.
const NUMBERS: &str = "CREATE TABLE t (n int PRIMARY KEY, at int, v text);
    INSERT INTO t VALUES (1,5,'1'),(2,5,'x'),(3,5,'3'),(4,NULL,'4'),(5,NULL,'5'),(6,7,'6'),(7,8,'7');";

/// The shared library of an ADBC driver.
pub(crate) fn driver(kind: &str) -> Option<PathBuf> {
    // Two tests may not install it at once.
    static INSTALLING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let package = format!("adbc-driver-{kind}");
    let python = installed(&package, "python3")?;
    let lib = python.parent()?.parent()?.join("lib");
    let module = format!("adbc_driver_{kind}");
    std::fs::read_dir(lib).ok()?.flatten().find_map(|version| {
        let file = version.path().join("site-packages").join(&module);
        let file = file.join(format!("lib{module}.so"));
        file.exists().then_some(file)
    })
}

/// A connection of a kind to a PostgreSQL database; none where its driver is not to be had.
pub(crate) fn to_postgres(kind: &str, database: &str) -> Option<Value> {
    let port = server().port();
    match kind {
        "odbc" => Some(json!({
            "connection_string": format!("Driver={{PostgreSQL Unicode}};Server=127.0.0.1;Port={port};Database={database};BoolsAsChar=0"),
            "user": "postgres",
            "password": Postgres::PASSWORD,
        })),
        _ => Some(json!({
            "driver": driver("postgresql")?,
            "uri": format!("postgresql://127.0.0.1:{port}/{database}"),
            "options": {},
            "user": "postgres",
            "password": Postgres::PASSWORD,
        })),
    }
}

/// The case of the contract of sources.
pub(crate) fn case(kind: &str) -> Option<Value> {
    let database = Database::new(NUMBERS);
    to_postgres(kind, &database.name)
}

fn source(kind: &str, connection: Value, connections: Connections) -> Box<dyn Source> {
    let ctx = SourceContext { base_dir: ".".into(), now: now(), connections };
    SourceEntry::named(kind).unwrap().build(connection, &ctx).unwrap()
}

async fn read(kind: &str, connection: &Value, request: &ReadRequest) -> Vec<Page> {
    let source = source(kind, connection.clone(), Connections::default());
    source.read(request).try_collect().await.unwrap()
}

/// Every driver that is to be had, with a database made by `sql`.
fn databases(sql: &str) -> Vec<(&'static str, Value, Database)> {
    let mut all = Vec::new();
    for kind in ["odbc", "adbc"] {
        let database = Database::new(sql);
        if let Some(connection) = to_postgres(kind, &database.name) {
            all.push((kind, connection, database));
        }
    }
    all
}

#[tokio::test]
async fn types_arrive_as_the_lake_has_them() {
    let sql = "CREATE TABLE t (id bigint PRIMARY KEY, price numeric(12,2), at timestamp, day date,
                   ok boolean, name text, small smallint, half real);
         INSERT INTO t VALUES (9007199254740993, 12.50, '2024-05-01 12:30:00.123456', '2024-05-01',
                   true, 'naïve', 7, 0.5), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL);";
    for (kind, connection, _database) in databases(sql) {
        let request = ReadRequest::full(json!({ "table": "t" }), now());
        let pages = read(kind, &connection, &request).await;
        let found = cells(&pages);
        let ok = if found[1][4] == "1" { "1" } else { "true" };
        assert_eq!(found[0], ["2", "∅", "∅", "∅", "∅", "∅", "∅", "∅"], "{kind}");
        let whole = [
            "9007199254740993",
            "12.50",
            "2024-05-01T12:30:00.123456Z",
            "2024-05-01",
            ok,
            "naïve",
            "7",
            "0.5",
        ];
        assert_eq!(found[1], whole, "{kind}");
        let found = source(kind, connection, Connections::default()).discover().await.unwrap();
        let table = found.iter().find(|stream| stream.name == "t").unwrap();
        assert_eq!(table.primary_key, ["id"], "{kind}");
        assert_eq!(table.cursors, ["at", "day"], "{kind}");
    }
}

#[tokio::test]
async fn an_incremental_read_brings_what_is_new_by_moments_and_numbers() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, at timestamp, price numeric(9,3));
         INSERT INTO t VALUES (1, '2024-05-01 10:00:00.000001', 1.5),
             (2, '2024-05-01 10:00:00.000001', 2.5), (3, NULL, 3.5);";
    for (kind, connection, database) in databases(sql) {
        // PostgreSQL's ADBC driver gives exact numbers as texts, which cannot be compared there.
        let cursors = [("at", ["4", "5"]), ("price", ["4", "5"])];
        for (cursor, new) in cursors.into_iter().filter(|(c, _)| kind == "odbc" || *c == "at") {
            database.run("DELETE FROM t WHERE id > 3");
            let mode = ReadMode::Incremental { cursor: Some(cursor.into()), lag: None };
            let mut request = ReadRequest {
                mode,
                write_appends: true,
                page_rows: 1,
                ..ReadRequest::full(json!({ "table": "t" }), now())
            };
            let first = read(kind, &connection, &request).await;
            assert_eq!(first.len(), 3, "{kind} {cursor}");
            request.from = first.last().map(|page| page.position.clone());
            assert!(read(kind, &connection, &request).await.is_empty(), "{kind} {cursor}");
            database.run(
                "INSERT INTO t VALUES (4, '2024-05-01 10:00:00.000002', 3.501), (5, '2024-05-02', 4)",
            );
            let more = cells(&read(kind, &connection, &request).await);
            let ids: Vec<&str> = more.iter().map(|row| row[0].as_str()).collect();
            assert_eq!(ids, new, "{kind} {cursor}");
            // Where no row is doubled by it, those without a value are read again.
            request.write_appends = false;
            let again = cells(&read(kind, &connection, &request).await);
            let ids: Vec<&str> = again.iter().map(|row| row[0].as_str()).collect();
            let missing: &[&str] = if cursor == "at" { &["3"] } else { &[] };
            assert_eq!(ids, [missing, &new[..]].concat(), "{kind} {cursor}");
        }
    }
}

#[tokio::test]
async fn a_query_and_a_condition_are_read_and_a_missing_table_is_named() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, v text);
         INSERT INTO t SELECT n, 'v' || n FROM generate_series(1, 50) n";
    for (kind, connection, _database) in databases(sql) {
        let query = json!({ "query": "SELECT id, v FROM t WHERE id > 10;", "primary_key": ["id"],
                            "where": "id <= 20" });
        let pages = read(kind, &connection, &ReadRequest::full(query, now())).await;
        assert_eq!(cells(&pages).len(), 10, "{kind}");
        let source = source(kind, connection, Connections::default());
        let request = ReadRequest::full(json!({ "table": "nobody" }), now());
        let error = source.read(&request).try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{kind}: {}", error.report());
        assert!(error.report().contains("nobody"), "{kind}: {}", error.report());
    }
}

#[tokio::test]
async fn a_wrong_password_or_driver_is_told_without_the_password() {
    for (kind, mut connection, _database) in databases("SELECT 1") {
        connection["password"] = json!("battery-staple");
        let error =
            source(kind, connection.clone(), Connections::default()).check().await.unwrap_err();
        assert!(!error.report().contains("battery-staple"), "{kind}: {}", error.report());
        let missing = match kind {
            "odbc" => json!({ "connection_string": "Driver={No such driver};Server=x" }),
            _ => json!({ "driver": "/nowhere/libno.so" }),
        };
        let error = source(kind, missing, Connections::default()).check().await.unwrap_err();
        assert!(
            error.hint_text().is_some_and(|hint| hint.to_lowercase().contains("driver")),
            "{kind}: {}",
            error.report()
        );
    }
    for (kind, settings) in [("odbc", json!({})), ("adbc", json!({}))] {
        let ctx =
            SourceContext { base_dir: ".".into(), now: now(), connections: Connections::default() };
        let error = SourceEntry::named(kind).unwrap().build(settings, &ctx).err().unwrap();
        assert!(error.hint_text().is_some(), "{kind}: {error}");
    }
}

/// A write of rows into `t` by a connection.
async fn write(
    kind: &str,
    connection: &Value,
    mode: WriteMode,
    ids: &[i64],
    names: &[&str],
) -> Vec<usize> {
    let ids: ArrayRef = std::sync::Arc::new(Int64Array::from(ids.to_vec()));
    let names: ArrayRef = std::sync::Arc::new(StringArray::from(names.to_vec()));
    let batch = RecordBatch::try_from_iter([("id", ids), ("name", names)]).unwrap();
    let ctx = DestinationContext { base_dir: ".".into(), connection: "to".into() };
    let destination =
        DestinationEntry::named(kind).unwrap().build(connection.clone(), &ctx).unwrap();
    let request = WriteRequest {
        target: json!({ "table": "t" }),
        app: "s/t".into(),
        schema: batch.schema(),
        mode,
        key: vec!["id".into()],
        deleted: None,
        new_columns: NewTargetColumns::Add,
        now: now(),
    };
    let progress = destination.progress(&request).await.unwrap();
    let sequence = progress.committed.map_or(1, |last| last.sequence + 1);
    let mut writer = destination.writer(&request).await.unwrap();
    let refused = writer.write(&batch).await.unwrap();
    writer.commit(&crate::destination::contract::case::checkpoint(sequence)).await.unwrap();
    writer.finish().await.unwrap();
    refused.iter().map(|refused| refused.row).collect()
}

#[tokio::test]
async fn a_row_that_a_constraint_does_not_let_in_is_found_among_its_neighbours() {
    let sql = "CREATE TABLE t (id bigint PRIMARY KEY, name varchar(3))";
    for (kind, connection, database) in databases(sql).into_iter().filter(|(k, ..)| *k == "odbc") {
        for mode in [WriteMode::Append, WriteMode::Merge] {
            database.run("TRUNCATE t");
            let bad = write(kind, &connection, mode, &[1, 2, 3, 4], &["a", "b", "long", "d"]).await;
            assert_eq!(bad, [2], "{kind} {mode}");
            let there = database.run("SELECT string_agg(id || name, ',' ORDER BY id) FROM t");
            assert_eq!(there.trim(), "1a,2b,4d", "{kind} {mode}");
        }
    }
}

#[test]
fn rows_of_an_adbc_driver_outlive_its_connections_and_threads() {
    let Some(driver) = driver("sqlite") else { return };
    let folder = Folder::new(&[]);
    let file = folder.path("shop.db");
    rusqlite::Connection::open(&file)
        .unwrap()
        .execute_batch(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, price REAL);
             INSERT INTO t VALUES (1, 'a', 0.5), (2, NULL, 1e300), (9007199254740993, 'naïve', -1);",
        )
        .unwrap();
    let connection = json!({ "driver": driver, "uri": format!("file:{}", file.display()) });
    let mut pages = Vec::new();
    for page_rows in [1, 10] {
        // The runtime ends with its threads before the rows are looked at.
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let request = ReadRequest {
            page_rows,
            ..ReadRequest::full(json!({ "table": "t", "primary_key": ["id"] }), now())
        };
        pages.push(runtime.block_on(read("adbc", &connection, &request)));
    }
    let expected = [["1", "a", "0.5"], ["2", "∅", "1e300"], ["9007199254740993", "naïve", "-1.0"]];
    for pages in pages {
        assert_eq!(cells(&pages), expected);
    }
}

#[tokio::test]
async fn sqlite_is_written_and_read_by_its_driver_too() {
    let folder = Folder::new(&[]);
    let file = folder.path("shop.db");
    rusqlite::Connection::open(&file)
        .unwrap()
        .execute_batch("CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT)")
        .unwrap();
    let connections = [(
        "odbc",
        json!({ "connection_string": format!("Driver=SQLite3;Database={}", file.display()) }),
    )];
    for (kind, connection) in connections {
        for names in [["a", "b"], ["a", "c"]] {
            assert!(write(kind, &connection, WriteMode::Merge, &[1, 2], &names).await.is_empty());
        }
        let request = ReadRequest::full(json!({ "table": "t" }), now());
        let pages = read(kind, &connection, &request).await;
        assert_eq!(cells(&pages), [["1", "a"], ["2", "c"]], "{kind}");
    }
}
