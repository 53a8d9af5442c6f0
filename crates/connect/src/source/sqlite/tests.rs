//! What a user sees of SQLite databases.

use std::path::PathBuf;

use flywheel_base::ErrorKind;
use serde_json::Value;

use super::*;
use crate::column::DeclaredColumn;
use crate::source::contract::{Folder, cells, codes, now};
use crate::{ReadMode, Rejected};
use futures::TryStreamExt;

fn database(sql: &str) -> Folder {
    let folder = Folder::new(&[]);
    change(&folder, sql);
    folder
}

fn change(folder: &Folder, sql: &str) {
    Connection::open(folder.path("a.db")).unwrap().execute_batch(sql).unwrap();
}

fn connection() -> Value {
    json!({ "path": "a.db", "busy_timeout": "50ms" })
}

async fn read(folder: &Folder, request: &ReadRequest) -> Result<Vec<Page>> {
    folder.source_with("sqlite", connection()).read(request).try_collect().await
}

fn incremental(table: &str, cursor: Option<&str>) -> ReadRequest {
    let mode = ReadMode::Incremental { cursor: cursor.map(str::to_owned), lag: None };
    ReadRequest { mode, page_rows: 2, ..ReadRequest::full(json!({ "table": table }), now()) }
}

fn ids(pages: &[Page]) -> Vec<String> {
    cells(pages).into_iter().map(|row| row[0].clone()).collect()
}

#[tokio::test]
async fn values_are_checked_against_the_declared_type() {
    let folder = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, price NUMERIC(10,2), day DATE, at DATETIME, zip TEXT, ok BOOLEAN);
         INSERT INTO t VALUES (1, 0.99, '2024-05-01', '2024-05-01 10:00:00', '00123', 1),
                              (2, 'free', '2024-05-01', 1714557600, NULL, 0),
                              (3, 1.005, '2024-05-01', NULL, NULL, 0),
                              (4, 2, NULL, 1714557600, 7, 0);",
    );
    let pages = read(&folder, &ReadRequest::full(json!({"table": "t"}), now())).await.unwrap();
    assert_eq!(
        cells(&pages),
        [
            ["1", "0.99", "2024-05-01", "2024-05-01T10:00:00Z", "00123", "true"],
            ["4", "2.00", "∅", "2024-05-01T10:00:00Z", "7", "false"],
        ]
    );
    assert_eq!(codes(&pages), ["type-mismatch", "out-of-range"]);
    let bad: Vec<&Rejected> = pages.iter().flat_map(|page| &page.rejected).collect();
    assert_eq!((bad[0].column.as_deref(), bad[0].line), (Some("price"), Some(2)));
    assert!(bad[0].raw.contains("\"id\":2"), "{}", bad[0].raw);
}

#[tokio::test]
async fn many_rows_with_one_cursor_value_are_read_once_with_a_small_position() {
    let folder = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME);
         WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
         INSERT INTO t SELECT i, '2024-05-01 10:00:00' FROM n;",
    );
    let mut request = incremental("t", Some("at"));
    request.page_rows = 7;
    let pages = read(&folder, &request).await.unwrap();
    assert_eq!(ids(&pages).len(), 500);
    let position = pages.last().unwrap().position.clone();
    assert!(position.0.to_string().len() < 200, "{}", position.0);
    request.from = Some(position);
    assert!(read(&folder, &request).await.unwrap().is_empty());

    change(
        &folder,
        "INSERT INTO t VALUES (501, '2024-05-01 10:00:00'), (502, '2024-05-02 09:00:00')",
    );
    assert_eq!(ids(&read(&folder, &request).await.unwrap()), ["501", "502"]);
}

#[tokio::test]
async fn rows_without_a_cursor_value_are_read_again_unless_they_are_appended() {
    let folder = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at INT, v INT);
         INSERT INTO t VALUES (1, NULL, 1), (2, 5, 2), (3, NULL, 'x'), (4, NULL, 4);",
    );
    let mut request = incremental("t", Some("at"));
    for page_rows in [1, 2, 3, 100] {
        (request.page_rows, request.from) = (page_rows, None);
        let pages = read(&folder, &request).await.unwrap();
        assert_eq!(ids(&pages), ["1", "4", "2"], "{page_rows}");
        request.from = pages.last().map(|page| page.position.clone());
        let again = read(&folder, &request).await.unwrap();
        assert_eq!(ids(&again), ["1", "4"], "{page_rows}");
        assert_eq!(again[0].notices[0].code, "rows-without-cursor-again");
        // A bad row among them is the same row in each read.
        let bad = |pages: &[Page]| -> Vec<(String, Option<u64>, String)> {
            let all = pages.iter().flat_map(|page| &page.rejected);
            all.map(|row| (row.file.clone(), row.line, row.raw.clone())).collect()
        };
        assert_eq!((bad(&again).len(), bad(&again)), (1, bad(&pages)), "{page_rows}");
        // They move nothing, wherever the read breaks off.
        change(&folder, "INSERT INTO t VALUES (9, 6, 9)");
        for page in &again {
            request.from = Some(page.position.clone());
            let rest = ids(&read(&folder, &request).await.unwrap());
            assert_eq!(rest.last().map(String::as_str), Some("9"), "{page_rows}");
            assert!(!rest.contains(&"2".to_owned()), "{page_rows}: {rest:?}");
        }
        change(&folder, "DELETE FROM t WHERE id = 9");
    }
    (request.from, request.write_appends) = (None, true);
    let pages = read(&folder, &request).await.unwrap();
    request.from = pages.last().map(|page| page.position.clone());
    assert!(read(&folder, &request).await.unwrap().is_empty());
    change(&folder, "INSERT INTO t VALUES (7, NULL, 7)");
    let pages = read(&folder, &request).await.unwrap();
    assert!(ids(&pages).is_empty());
    let message = &pages[0].notices[0].message;
    assert!(message.contains("4 rows have no value in the cursor \"at\" (3 "), "{message}");
}

#[tokio::test]
async fn a_cursor_that_cannot_be_read_moves_nothing() {
    let folder = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME);
         INSERT INTO t VALUES (1, '2024-05-01 10:00:00'), (2, 'oops'), (3, 'unknown'), (4, 'zzz');",
    );
    let mut request = incremental("t", Some("at"));
    let pages = read(&folder, &request).await.unwrap();
    assert_eq!((ids(&pages), codes(&pages).len()), (vec!["1".to_owned()], 3));
    request.from = pages.last().map(|page| page.position.clone());
    assert!(read(&folder, &request).await.unwrap().is_empty());

    change(&folder, "INSERT INTO t VALUES (5, '2024-05-02 09:00:00'), (6, 'later')");
    let pages = read(&folder, &request).await.unwrap();
    assert_eq!((ids(&pages), codes(&pages)), (vec!["5".to_owned()], vec!["type-mismatch"]));
    request.from = pages.last().map(|page| page.position.clone());
    assert!(read(&folder, &request).await.unwrap().is_empty());

    // A read that breaks off after its first page still knows them.
    change(&folder, "INSERT INTO t VALUES (7, '2024-05-03 09:00:00'), (8, '2024-05-04 09:00:00')");
    let pages = read(&folder, &request).await.unwrap();
    assert_eq!((ids(&pages), codes(&pages).len()), (vec!["7".to_owned(), "8".to_owned()], 0));
    for page in [pages.first(), pages.last()] {
        request.from = page.map(|page| page.position.clone());
        let pages = read(&folder, &request).await.unwrap();
        assert_eq!((ids(&pages).len(), codes(&pages).len()), (0, 0));
    }
}

#[tokio::test]
async fn more_unreadable_cursors_than_are_remembered_are_set_aside_once() {
    let folder = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME);
         INSERT INTO t VALUES (0, '2024-05-01 10:00:00');
         WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
         INSERT INTO t SELECT i, 'x' || i FROM n;",
    );
    let mut request = incremental("t", Some("at"));
    request.page_rows = 500;
    let pages = read(&folder, &request).await.unwrap();
    assert_eq!((ids(&pages), codes(&pages).len()), (vec!["0".to_owned()], 1_200));
    request.from = pages.last().map(|page| page.position.clone());
    assert!(read(&folder, &request).await.unwrap().is_empty());
    // Those that come later are set aside once as well.
    change(&folder, "INSERT INTO t VALUES (2000, 'y')");
    let pages = read(&folder, &request).await.unwrap();
    assert_eq!(codes(&pages), ["type-mismatch"]);
    request.from = pages.last().map(|page| page.position.clone());
    assert!(read(&folder, &request).await.unwrap().is_empty());
}

#[tokio::test]
async fn any_number_of_unreadable_cursors_leaves_the_position_where_it_was() {
    const BAD: usize = 17_000;
    let folder = database(&format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME);
         INSERT INTO t VALUES (0, '2024-05-01 10:00:00');
         WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {BAD})
         INSERT INTO t SELECT i, 'x' || i FROM n;"
    ));
    let mut request = incremental("t", Some("at"));
    request.page_rows = 5_000;
    let pages = read(&folder, &request).await.unwrap();
    assert_eq!((ids(&pages), codes(&pages).len()), (vec!["0".to_owned()], BAD));
    let names = |pages: &[Page]| -> std::collections::HashSet<(String, Option<u64>, String)> {
        let all = pages.iter().flat_map(|page| &page.rejected);
        all.map(|row| (row.file.clone(), row.line, row.raw.clone())).collect()
    };
    let known = names(&pages);
    assert_eq!(known.len(), BAD);
    request.from = pages.last().map(|page| page.position.clone());
    for round in 1..4 {
        change(
            &folder,
            &format!("INSERT INTO t VALUES ({}, '2024-05-02 0{round}:00:00')", 90_000 + round),
        );
        let pages = read(&folder, &request).await.unwrap();
        assert_eq!(ids(&pages), [(90_000 + round).to_string()], "round {round}");
        // What is remembered is not even counted again; the rest is in the quarantine under this name.
        assert!(codes(&pages).len() < 1_000, "round {round}: {}", codes(&pages).len());
        assert!(names(&pages).is_subset(&known), "round {round}");
        request.from = pages.last().map(|page| page.position.clone());
        let bytes = request.from.as_ref().unwrap().0.to_string().len();
        assert!(bytes < 150_000, "{bytes}");
    }
}

#[tokio::test]
async fn long_rows_without_a_readable_cursor_that_begin_alike_are_told_apart() {
    let long = "x".repeat(5_000);
    let insert = |id: u32| format!("INSERT INTO t VALUES ('{long}', {id}, 'never')");
    let table = "CREATE TABLE t (a TEXT, id INTEGER PRIMARY KEY, at DATETIME)";
    let good = "INSERT INTO t VALUES ('', 0, '2024-05-01 10:00:00')";
    let folder = database(&format!("{table}; {good}; {}", insert(1)));
    let mut request = incremental("t", Some("at"));
    let mut files = Vec::new();
    for id in 2..4 {
        let pages = read(&folder, &request).await.unwrap();
        assert_eq!(codes(&pages), ["type-mismatch"], "before {id}");
        let rejected = pages.iter().flat_map(|page| &page.rejected);
        files.extend(rejected.map(|row| row.file.clone()));
        request.from = pages.last().map(|page| page.position.clone());
        change(&folder, &insert(id));
    }
    assert!(files[0] != files[1] && files[0].contains(" #"), "{files:?}");
}

#[tokio::test]
async fn a_lag_reads_late_rows_again_and_is_refused_when_appending() {
    let folder = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME);
         INSERT INTO t VALUES (1, '2024-05-01 10:00:00'), (2, '2024-05-01 12:00:00');",
    );
    let mut request = incremental("t", Some("at"));
    let pages = read(&folder, &request).await.unwrap();
    request.from = pages.last().map(|page| page.position.clone());
    change(&folder, "INSERT INTO t VALUES (3, '2024-05-01 11:30:00')");
    assert!(ids(&read(&folder, &request).await.unwrap()).is_empty());
    request.mode = ReadMode::Incremental { cursor: Some("at".into()), lag: Some("1h".into()) };
    assert_eq!(ids(&read(&folder, &request).await.unwrap()), ["3", "2"]);
    request.write_appends = true;
    assert!(read(&folder, &request).await.unwrap_err().hint_text().unwrap().contains("merge"));
}

#[tokio::test]
async fn a_read_that_breaks_off_among_rows_without_a_cursor_value_looks_back_again() {
    let folder = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at INT);
         INSERT INTO t VALUES (1, NULL), (2, NULL), (3, 100);",
    );
    let mut request = incremental("t", Some("at"));
    request.mode = ReadMode::Incremental { cursor: Some("at".into()), lag: Some("10".into()) };
    request.page_rows = 1;
    let pages = read(&folder, &request).await.unwrap();
    assert_eq!(ids(&pages), ["1", "2", "3"]);
    request.from = pages.last().map(|page| page.position.clone());
    change(&folder, "INSERT INTO t VALUES (4, 95)");
    let again = read(&folder, &request).await.unwrap();
    for page in again.iter().take(2) {
        request.from = Some(page.position.clone());
        assert_eq!(ids(&read(&folder, &request).await.unwrap()), ["1", "2", "4", "3"]);
    }
}

#[tokio::test]
async fn every_kind_of_table_is_read_page_by_page() {
    let folder = database(
        "CREATE TABLE composite (a INT NOT NULL, b TEXT NOT NULL, PRIMARY KEY (a, b)) WITHOUT ROWID;
         INSERT INTO composite VALUES (1,'x'),(1,'y'),(2,'a'),(2,'b'),(3,'c');
         CREATE TABLE keyless (rowid TEXT, v INT); INSERT INTO keyless VALUES ('a',1),('b',2),('c',3),('d',4),('e',5);
         CREATE TABLE nullable (k TEXT PRIMARY KEY); INSERT INTO nullable VALUES (NULL),('b'),(NULL),('d'),('e');
         CREATE VIEW v AS SELECT a, count(*) AS n FROM composite GROUP BY a UNION ALL VALUES (8,1),(9,1);
         CREATE TABLE \"odd \"\"name\"\"\" (\"a b\" INT); INSERT INTO \"odd \"\"name\"\"\" VALUES (1),(2),(3),(4),(5);",
    );
    for table in ["composite", "keyless", "nullable", "v", "odd \"name\""] {
        let mut request = ReadRequest::full(json!({ "table": table }), now());
        request.page_rows = 2;
        let pages =
            read(&folder, &request).await.unwrap_or_else(|error| panic!("{table}: {error}"));
        assert_eq!(cells(&pages).len(), 5, "{table}: {:?}", pages[0].rejected);
        assert_eq!(pages.len(), 3, "{table}");
    }
    let error = read(&folder, &incremental("v", Some("n"))).await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("primary_key"));
    let error = read(&folder, &incremental("keyless", None)).await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("rowid, v"), "{error:?}");
}

#[tokio::test]
async fn queries_are_read_and_names_are_suggested() {
    let folder = database(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, v INT); INSERT INTO orders VALUES (1, 5), (2, 6);",
    );
    let stream = json!({ "query": "SELECT id, v * 2 AS twice, 'x' || id AS t FROM orders; -- twice", "primary_key": ["id"] });
    let pages = read(&folder, &ReadRequest::full(stream, now())).await.unwrap();
    assert_eq!(cells(&pages), [["1", "10", "x1"], ["2", "12", "x2"]]);
    for (stream, hint) in [
        (json!({ "table": "order" }), "Did you mean \"orders\"?"),
        (json!({ "query": "DROP TABLE orders" }), "one SELECT"),
        (json!({}), "not both"),
    ] {
        let error = read(&folder, &ReadRequest::full(stream, now())).await.unwrap_err();
        assert!(error.hint_text().unwrap().contains(hint), "{error:?}");
    }
    let error = read(&folder, &incremental("orders", Some("vv"))).await.unwrap_err();
    assert_eq!(error.hint_text(), Some("Did you mean \"v\"?"));
}

#[tokio::test]
async fn a_declared_column_is_gone_only_if_it_had_landed_and_may_be_empty() {
    let folder = database("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1);");
    let declared = DeclaredColumn::new("b", ColumnType::Text);
    let with = |column: DeclaredColumn| ReadRequest {
        columns: vec![column],
        ..ReadRequest::full(json!({ "table": "t" }), now())
    };
    let landed = DeclaredColumn { landed: true, ..declared.clone() };
    let required = DeclaredColumn { not_null: true, ..landed.clone() };
    for wrong in [declared, required] {
        let error = read(&folder, &with(wrong)).await.unwrap_err();
        assert!(error.message().contains("has no column \"b\""), "{error:?}");
    }
    assert_eq!(cells(&read(&folder, &with(landed)).await.unwrap()), [["1"]]);
}

#[tokio::test]
async fn a_locked_database_is_unavailable_and_a_false_one_corrupt() {
    let folder = database("CREATE TABLE t (id INTEGER PRIMARY KEY);");
    let request = ReadRequest::full(json!({"table": "t"}), now());
    let writer = Connection::open(folder.path("a.db")).unwrap();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = read(&folder, &request).await.unwrap_err();
    assert_eq!((error.kind(), error.hint_text().is_some()), (ErrorKind::Unavailable, true));
    writer.execute_batch("ROLLBACK").unwrap();
    assert!(read(&folder, &request).await.is_ok());

    let folder = Folder::new(&[("a.db", &[b'x'; 4096])]);
    let error = folder.source_with("sqlite", connection()).check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let folder = Folder::new(&[]);
    let error = folder.source_with("sqlite", connection()).check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn discovery_tells_keys_and_cursors() {
    let folder = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME, n NUMERIC(9,2)); INSERT INTO t(at) VALUES ('2024-05-01');",
    );
    let streams = folder.source_with("sqlite", connection()).discover().await.unwrap();
    let stream = &streams[0];
    assert_eq!((stream.primary_key.as_slice(), stream.rows), (&["id".to_owned()][..], Some(1)));
    assert_eq!(stream.cursors, ["at", "id"]);
    assert_eq!(stream.columns[2].kind.to_string(), "decimal(9,2)");
}

#[tokio::test]
async fn chinook_is_read_as_it_is() {
    let data = std::env::var_os("FLYWHEEL_DATA")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"));
    let path = data.join("chinook/Chinook_Sqlite.sqlite");
    if !path.exists() {
        eprintln!("NOT CHECKED: the chinook database is absent; set FLYWHEEL_DATA");
        return;
    }
    let folder = Folder::new(&[]);
    let source = folder.source_with("sqlite", json!({ "path": path }));
    let streams = source.discover().await.unwrap();
    assert_eq!(streams.len(), 11);
    let mut rows = 0;
    for stream in &streams {
        let request = ReadRequest::full(stream.stream.clone(), now());
        let pages: Vec<Page> = source.read(&request).try_collect().await.unwrap();
        assert!(codes(&pages).is_empty(), "{}: {:?}", stream.name, pages[0].rejected.first());
        rows += cells(&pages).len();
    }
    assert_eq!(rows, 15_607);
}

#[tokio::test]
async fn a_file_tells_its_size_and_the_version_that_reads_it() {
    let folder = Folder::new(&[]);
    let source = folder.source_with("sqlite", connection());
    assert_eq!(source.health().await.unwrap_err().kind(), ErrorKind::NotFound);
    change(&folder, "CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1);");
    let health = source.health().await.unwrap().unwrap();
    assert!(health.size_bytes.unwrap() >= 4096 && health.version.is_some());
    assert_eq!(health.connections, None);
}
