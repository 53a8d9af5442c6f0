//! What a user sees of a PostgreSQL server that is read: a real one.

mod failures;
mod full;
mod values;

use futures::TryStreamExt;
use serde_json::{Value, json};

use super::*;
use crate::postgres::testing::Database as TestDatabase;
use crate::source::contract::{cells, codes, now};
use crate::source::{ReadMode, SourceEntry};

/// A table of the contract: seven rows, one of them bad, in ranges of two rows.
pub(crate) fn case() -> (Value, Value) {
    let database = TestDatabase::new(
        "CREATE TABLE t (n int PRIMARY KEY, at int, v date);
         INSERT INTO t VALUES (1, 5, '2024-05-01'), (2, 5, 'infinity'), (3, 5, NULL),
             (4, NULL, '2024-05-04'), (5, NULL, '2024-05-05'), (6, 7, '2024-05-06'),
             (7, 8, '2024-05-07');
         ANALYZE t;",
    );
    (database.connection(), json!({ "table": "t", "chunk_rows": 2, "parallel": 2 }))
}

fn source(connection: Value) -> Box<dyn Source> {
    let ctx = SourceContext { base_dir: ".".into(), now: now(), connections: Default::default() };
    SourceEntry::named("postgres").unwrap().build(connection, &ctx).unwrap()
}

async fn read_from(connection: Value, request: &ReadRequest) -> Result<Vec<Page>> {
    source(connection).read(request).try_collect().await
}

async fn read(database: &TestDatabase, request: &ReadRequest) -> Result<Vec<Page>> {
    read_from(database.connection(), request).await
}

fn full(stream: Value) -> ReadRequest {
    ReadRequest::full(stream, now())
}

fn incremental(table: &str, cursor: Option<&str>) -> ReadRequest {
    let mode = ReadMode::Incremental { cursor: cursor.map(str::to_owned), lag: None };
    ReadRequest { mode, ..full(json!({ "table": table })) }
}

/// The first column of every row.
fn ids(pages: &[Page]) -> Vec<String> {
    cells(pages).into_iter().map(|row| row[0].clone()).collect()
}

#[tokio::test]
async fn many_rows_with_one_cursor_value_leave_a_small_position() {
    let database = TestDatabase::new(
        "CREATE TABLE t (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), n int, at timestamptz);
         CREATE INDEX ON t (at);
         INSERT INTO t (n, at) SELECT n, '2024-05-01 10:00:00.123456+00' FROM generate_series(1, 500) n;",
    );
    let mut request = incremental("t", Some("at"));
    request.page_rows = 7;
    let pages = read(&database, &request).await.unwrap();
    let mut first = ids(&pages);
    first.sort_unstable();
    first.dedup();
    assert_eq!(first.len(), 500);
    let position = pages.last().unwrap().position.clone();
    assert!(position.0.to_string().len() < 250, "{}", position.0);
    request.from = Some(position);
    assert!(read(&database, &request).await.unwrap().is_empty());

    database.run(
        "INSERT INTO t (id, n, at) VALUES
             ('ffffffff-ffff-ffff-ffff-ffffffffffff', 501, '2024-05-01 10:00:00.123456+00'),
             ('00000000-0000-0000-0000-000000000000', 502, '2024-05-01 10:00:00.123457+00')",
    );
    let more = read(&database, &request).await.unwrap();
    let numbers: Vec<String> = cells(&more).into_iter().map(|row| row[1].clone()).collect();
    assert_eq!(numbers, ["501", "502"]);
}

#[tokio::test]
async fn rows_without_a_cursor_value_come_first_and_once() {
    let database = TestDatabase::new(
        "CREATE TABLE t (id int PRIMARY KEY, at date);
         INSERT INTO t VALUES (1, NULL), (2, '2024-05-02'), (3, NULL), (4, '2024-05-01');",
    );
    let mut request = incremental("t", Some("at"));
    request.page_rows = 1;
    let pages = read(&database, &request).await.unwrap();
    assert_eq!(ids(&pages), ["1", "3", "4", "2"]);
    for cut in 0..3 {
        request.from = Some(pages[cut].position.clone());
        let rest = read(&database, &request).await.unwrap();
        assert_eq!(ids(&rest), ids(&pages[cut + 1..]), "after page {cut}");
    }
    // Nothing tells which of them are new or changed, so that they come again, and move nothing.
    database.run("INSERT INTO t VALUES (5, NULL), (6, '2024-05-03')");
    request.from = Some(pages[3].position.clone());
    let again = read(&database, &request).await.unwrap();
    assert_eq!(ids(&again), ["1", "3", "5", "6"]);
    let notices: Vec<&str> =
        again.iter().flat_map(|page| &page.notices).map(|notice| notice.code.as_str()).collect();
    assert_eq!(notices, ["rows-without-cursor-again"]);
    for page in again.iter().take(3) {
        request.from = Some(page.position.clone());
        let whole = read(&database, &request).await.unwrap();
        assert_eq!(ids(&whole), ["1", "3", "5", "6"]);
    }
    request.from = Some(again[3].position.clone());
    assert_eq!(ids(&read(&database, &request).await.unwrap()), ["1", "3", "5"]);
}

#[tokio::test]
async fn rows_without_a_cursor_value_that_would_be_doubled_are_told_and_bad_ones_are_known() {
    let database = TestDatabase::new(
        "CREATE TABLE t (id int PRIMARY KEY, at date, v float8);
         INSERT INTO t VALUES (1, NULL, 1), (2, '2024-05-02', 2), (3, NULL, 'NaN');",
    );
    let mut request = incremental("t", Some("at"));
    request.write_appends = true;
    let pages = read(&database, &request).await.unwrap();
    request.from = pages.last().map(|page| page.position.clone());
    assert!(read(&database, &request).await.unwrap().is_empty());
    database.run("INSERT INTO t VALUES (4, NULL, 4)");
    let told = read(&database, &request).await.unwrap();
    assert!(ids(&told).is_empty());
    assert_eq!(told[0].position, pages.last().unwrap().position);
    let message = &told[0].notices[0].message;
    assert!(message.contains("3 rows have no value in the cursor \"at\" (2 "), "{message}");

    // What is read again and set aside is the same row in each read, whatever comes before it.
    (request.from, request.write_appends) = (None, false);
    let pages = read(&database, &request).await.unwrap();
    request.from = pages.last().map(|page| page.position.clone());
    let again = read(&database, &request).await.unwrap();
    let bad = |pages: &[Page]| -> Vec<(String, Option<u64>, String)> {
        let all = pages.iter().flat_map(|page| &page.rejected);
        all.map(|row| (row.file.clone(), row.line, row.raw.clone())).collect()
    };
    assert_eq!((bad(&again).len(), bad(&again)), (1, bad(&pages)));
}

#[tokio::test]
async fn a_cursor_behind_all_others_is_set_aside_once_and_moves_nothing() {
    let days = ["2024-05-01", "2024-05-02", "2024-05-03"];
    for (kind, endless, [first, second, third]) in [
        ("timestamptz", "infinity", days),
        ("timestamp", "infinity", days),
        ("date", "infinity", days),
        ("float8", "NaN", ["1", "2", "3"]),
        ("float4", "Infinity", ["1", "2", "3"]),
        ("numeric(9,2)", "NaN", ["1", "2", "3"]),
        ("numeric", "NaN", ["1", "2", "3"]),
    ] {
        let database = TestDatabase::new(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, at {kind});
             INSERT INTO t VALUES (1, '{first}'), (2, '{endless}'), (3, '{endless}'), (4, NULL);"
        ));
        let mut request = incremental("t", Some("at"));
        (request.page_rows, request.write_appends) = (1, true);
        let pages = read(&database, &request).await.unwrap();
        assert_eq!(
            (ids(&pages), codes(&pages)),
            (vec!["4".into(), "1".into()], vec!["no-cursor"; 2])
        );
        let bad = pages.iter().flat_map(|page| &page.rejected).next().unwrap();
        assert_eq!((bad.file.as_str(), bad.line), ("public.t", None), "{kind}");
        assert_eq!(bad.column.as_deref(), Some("at"), "{kind}");
        // A read that breaks off after any page goes on as if it had not.
        for cut in 0..pages.len() {
            request.from = Some(pages[cut].position.clone());
            let rest = read(&database, &request).await.unwrap();
            assert_eq!(ids(&rest), ids(&pages[cut + 1..]), "{kind} after page {cut}");
            assert_eq!(codes(&rest), codes(&pages[cut + 1..]), "{kind} after page {cut}");
        }
        database.run(&format!("INSERT INTO t VALUES (5, '{second}'), (6, '{endless}')"));
        let pages = read(&database, &request).await.unwrap();
        assert_eq!((ids(&pages), codes(&pages)), (vec!["5".into()], vec!["no-cursor"]), "{kind}");
        request.from = pages.last().map(|page| page.position.clone());
        assert!(read(&database, &request).await.unwrap().is_empty(), "{kind}");
        database.run(&format!("INSERT INTO t VALUES (7, '{third}')"));
        let pages = read(&database, &request).await.unwrap();
        assert_eq!((ids(&pages), codes(&pages).len()), (vec!["7".into()], 0), "{kind}");

        // Earlier versions left positions there.
        let mut stuck = pages[0].position.clone();
        stuck.0["after"][0] = json!(endless);
        request.from = Some(stuck);
        let error = read(&database, &request).await.unwrap_err();
        assert!(error.hint_text().unwrap().contains("--restart"), "{kind}: {error:?}");
    }
}

#[tokio::test]
async fn a_lag_reads_late_rows_again_and_is_refused_when_appending() {
    let database = TestDatabase::new(
        "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, n bigint);
         INSERT INTO t VALUES (1, '2024-05-01 10:00', 10), (2, '2024-05-01 12:00', 20);",
    );
    let lag = |cursor: &str, lag: &str| ReadMode::Incremental {
        cursor: Some(cursor.to_owned()),
        lag: Some(lag.to_owned()),
    };
    for (cursor, text) in [("at", "1h"), ("n", "5"), ("at", "3600000000us")] {
        let mut request = incremental("t", Some(cursor));
        let pages = read(&database, &request).await.unwrap();
        request.from = pages.last().map(|page| page.position.clone());
        database.run("INSERT INTO t VALUES (3, '2024-05-01 11:30', 16)");
        assert!(ids(&read(&database, &request).await.unwrap()).is_empty());
        request.mode = lag(cursor, text);
        assert_eq!(ids(&read(&database, &request).await.unwrap()), ["3", "2"], "{cursor}");
        request.write_appends = true;
        let error = read(&database, &request).await.unwrap_err();
        assert!(error.hint_text().unwrap().contains("merge"), "{error:?}");
        request.write_appends = false;
        request.mode = lag(cursor, "a while");
        let error = read(&database, &request).await.unwrap_err();
        assert!(error.message().contains("a while"), "{error:?}");
        database.run("DELETE FROM t WHERE id = 3");
    }
}

#[tokio::test]
async fn a_key_that_the_server_counts_up_needs_no_cursor() {
    let database = TestDatabase::new(
        "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
         INSERT INTO t (v) VALUES ('a'), ('b');
         CREATE TABLE u (id int PRIMARY KEY, v text);",
    );
    let mut request = incremental("t", None);
    let pages = read(&database, &request).await.unwrap();
    assert_eq!(ids(&pages), ["1", "2"]);
    request.from = pages.last().map(|page| page.position.clone());
    database.run("INSERT INTO t (v) VALUES ('c')");
    assert_eq!(ids(&read(&database, &request).await.unwrap()), ["3"]);
    let error = read(&database, &incremental("u", None)).await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("id, v"), "{error:?}");
}

#[tokio::test]
async fn queries_views_and_conditions_are_read() {
    let database = TestDatabase::new(
        "CREATE TABLE orders (id int PRIMARY KEY, v int, amount numeric(9,2));
         INSERT INTO orders VALUES (1, 5, 1.50), (2, 6, 2.25), (3, 7, 0);
         CREATE VIEW big AS SELECT id, amount FROM orders WHERE v > 5;",
    );
    for (stream, expected) in [
        (
            json!({ "query": "SELECT id, id AS id, v * 2 AS twice, 'x' || id AS t, amount FROM orders -- all\n; -- of them" }),
            vec!["1|1|10|x1|1.50", "2|2|12|x2|2.25", "3|3|14|x3|0.00"],
        ),
        (json!({ "table": "big", "primary_key": ["id"] }), vec!["2|2.25", "3|0.00"]),
        (json!({ "table": "public.big" }), vec!["2|2.25", "3|0.00"]),
        (json!({ "table": "orders", "where": "amount > 0 -- paid" }), vec!["1|5|1.50", "2|6|2.25"]),
    ] {
        let pages = read(&database, &full(stream.clone())).await.unwrap();
        let rows: Vec<String> = cells(&pages).into_iter().map(|row| row.join("|")).collect();
        assert_eq!(rows, expected, "{stream}");
    }
    let stream = json!({ "query": "SELECT id, v FROM orders", "primary_key": ["id"] });
    let mut request = ReadRequest { page_rows: 1, ..full(stream) };
    let pages = read(&database, &request).await.unwrap();
    request.from = Some(pages[0].position.clone());
    assert_eq!(ids(&read(&database, &request).await.unwrap()), ["2", "3"]);
}

#[tokio::test]
async fn discovery_tells_keys_cursors_rows_and_types() {
    let database = TestDatabase::new(
        "CREATE TABLE t (id serial PRIMARY KEY, at timestamp, n numeric(9,2), day date);
         INSERT INTO t (n) SELECT 1 FROM generate_series(1, 100);
         CREATE SCHEMA other; CREATE TABLE other.\"odd name\" (k text UNIQUE NOT NULL, v int4range);
         CREATE VIEW w AS SELECT id FROM t;
         CREATE TABLE parts (id int, at date) PARTITION BY RANGE (at);
         CREATE TABLE parts_2024 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
         CREATE TABLE _flywheel_sync_state (a int); CREATE TABLE t__flywheel_staging (a int);
         CREATE ROLE somebody_else; CREATE TABLE hidden (a int);
         ANALYZE;",
    );
    let streams = source(database.connection()).discover().await.unwrap();
    let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
    assert_eq!(names, ["other.odd name", "public.hidden", "public.parts", "public.t", "public.w"]);
    let t = &streams[3];
    assert_eq!((t.primary_key.as_slice(), t.rows), (&["id".to_owned()][..], Some(100)));
    assert!(t.bytes.unwrap() > 0);
    assert_eq!(t.cursors, ["at", "day", "id"]);
    let kinds: Vec<String> = t.columns.iter().map(|column| column.kind.to_string()).collect();
    assert_eq!(kinds, ["int32", "timestamp", "decimal(9,2)", "date"]);
    assert_eq!(streams[0].primary_key, ["k"]);
    for stream in &streams {
        read(&database, &full(stream.stream.clone())).await.unwrap();
    }
}
