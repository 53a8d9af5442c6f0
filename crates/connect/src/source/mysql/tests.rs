//! What a user sees of a MariaDB server that is read.

use std::sync::OnceLock;

use flywheel_base::ErrorKind;
use flywheel_testkit::MariaDb;
use futures::TryStreamExt;
use serde_json::{Value, json};

use super::*;
use crate::source::contract::{Folder, cells, codes, now};
use crate::{ColumnType, DeclaredColumn, ReadMode};

/// The server of this test binary; every test has a database of its own in it.
pub(crate) fn server() -> &'static MariaDb {
    static SERVER: OnceLock<MariaDb> = OnceLock::new();
    SERVER.get_or_init(MariaDb::start)
}

/// How a database of a server is reached.
pub(crate) fn connection(server: &MariaDb, database: &str) -> Value {
    json!({
        "host": "127.0.0.1",
        "port": server.port(),
        "user": MariaDb::USER,
        "password": MariaDb::PASSWORD,
        "database": database,
        "connect_timeout": "30s",
    })
}

/// A new database with what `sql` makes.
pub(crate) fn database(sql: &str) -> String {
    let name = server().database();
    if !sql.is_empty() {
        server().sql(&name, sql);
    }
    name
}

fn source(connection: Value) -> Box<dyn Source> {
    Folder::new(&[]).source_with("mysql", connection)
}

async fn read(database: &str, request: &ReadRequest) -> Result<Vec<Page>> {
    source(connection(server(), database)).read(request).try_collect().await
}

fn full(stream: Value) -> ReadRequest {
    ReadRequest::full(stream, now())
}

fn incremental(table: &str, cursor: Option<&str>) -> ReadRequest {
    let mode = ReadMode::Incremental { cursor: cursor.map(str::to_owned), lag: None };
    ReadRequest { mode, page_rows: 2, ..full(json!({ "table": table })) }
}

fn firsts(pages: &[Page]) -> Vec<String> {
    cells(pages).into_iter().map(|row| row[0].clone()).collect()
}

#[tokio::test]
async fn every_type_lands_as_the_server_prints_it() {
    let sql = "CREATE TABLE t (id INT PRIMARY KEY, ti TINYINT, tu TINYINT UNSIGNED, si SMALLINT, mi MEDIUMINT,
           iu INT UNSIGNED, bi BIGINT, bu BIGINT UNSIGNED, d DECIMAL(12,2), dw DECIMAL(65,30), f FLOAT, db DOUBLE,
           c CHAR(5), v VARCHAR(20) CHARACTER SET latin1, tx TEXT, g VARCHAR(20) CHARACTER SET gbk,
           b BINARY(3), vb VARBINARY(9), bl BLOB, da DATE, dt DATETIME, dt6 DATETIME(6),
           ts TIMESTAMP NULL, tm TIME, tm3 TIME(3), y YEAR, j JSON, e ENUM('new','paid'), s SET('a','b'),
           b1 BIT(1), b9 BIT(9), b64 BIT(64), p POINT, u UUID);
         SET time_zone = '+05:30';
         INSERT INTO t VALUES (1, -128, 255, -32768, 8388607, 4294967295, -9223372036854775808,
           18446744073709551615, '-1234567890.12', '12345678901234567890123456789012345.5', 0.5, 0.1,
           'ab', 'Zürich', 'naïve 日本', '中文', 'ab', X'00FF', X'DEADBEEF', '2024-02-29',
           '2024-05-01 10:00:00', '9999-12-31 23:59:59.999999', '2024-05-01 15:30:00', '-838:59:59', '01:02:03.5',
           2024, '{\"k\": [1, \"é\"]}', 'paid', 'a,b', b'1', b'101010101', b'1', POINT(1, 2),
           '123e4567-e89b-12d3-a456-426655440000');
         INSERT INTO t (id) VALUES (2);";
    let name = database(sql);
    let pages = read(&name, &full(json!({ "table": "t" }))).await.unwrap();
    let rows = cells(&pages);
    assert_eq!(codes(&pages), [""; 0]);
    let schema = pages[0].batch.schema();
    let by_name = |column: &str| {
        let place = schema.index_of(column).unwrap();
        (rows[0][place].clone(), schema.field(place).data_type().to_string())
    };
    for (column, value, kind) in [
        ("ti", "-128", "Int32"),
        ("tu", "255", "Int32"),
        ("mi", "8388607", "Int32"),
        ("iu", "4294967295", "Int64"),
        ("bi", "-9223372036854775808", "Int64"),
        ("bu", "18446744073709551615", "Decimal128(20, 0)"),
        ("d", "-1234567890.12", "Decimal128(12, 2)"),
        ("dw", "12345678901234567890123456789012345.500000000000000000000000000000", "Utf8"),
        ("f", "0.5", "Float64"),
        ("db", "0.1", "Float64"),
        ("c", "ab", "Utf8"),
        ("v", "Zürich", "Utf8"),
        ("tx", "naïve 日本", "Utf8"),
        ("g", "中文", "Utf8"),
        ("b", "616200", "Binary"),
        ("vb", "00ff", "Binary"),
        ("bl", "deadbeef", "Binary"),
        ("da", "2024-02-29", "Date32"),
        ("dt", "2024-05-01T10:00:00Z", "Timestamp(µs, \"UTC\")"),
        ("dt6", "9999-12-31T23:59:59.999999Z", "Timestamp(µs, \"UTC\")"),
        // Written in India's time, read as the moment it is.
        ("ts", "2024-05-01T10:00:00Z", "Timestamp(µs, \"UTC\")"),
        ("tm", "-838:59:59", "Utf8"),
        ("tm3", "01:02:03.500", "Utf8"),
        ("y", "2024", "Int32"),
        ("j", "{\"k\": [1, \"é\"]}", "Utf8"),
        ("e", "paid", "Utf8"),
        ("s", "a,b", "Utf8"),
        ("b1", "true", "Boolean"),
        ("b9", "341", "Int64"),
        ("b64", "0000000000000001", "Binary"),
        ("u", "123e4567-e89b-12d3-a456-426655440000", "Utf8"),
    ] {
        assert_eq!(by_name(column), (value.to_owned(), kind.to_owned()), "{column}");
    }
    assert!(by_name("p").0.len() > 40, "the bytes of a point: {:?}", by_name("p"));
    assert!(rows[1][1..].iter().all(|cell| cell == "∅"), "{:?}", rows[1]);
    // What the server itself prints, column by column.
    for column in
        ["bi", "bu", "d", "dw", "db", "v", "tx", "g", "da", "tm", "tm3", "y", "j", "e", "s", "u"]
    {
        let printed = server().sql(&name, &format!("SELECT {column} FROM t WHERE id = 1"));
        assert_eq!(by_name(column).0, printed, "{column}");
    }
}

#[tokio::test]
async fn zero_dates_are_set_aside_or_read_as_no_value() {
    let name = database(
        "SET sql_mode = ''; CREATE TABLE t (id INT PRIMARY KEY, d DATE, t DATETIME(3));
         INSERT INTO t VALUES (1, '2024-05-01', '2024-05-01'), (2, '0000-00-00', NULL), (3, '2024-00-10', NULL),
           (4, NULL, '0000-00-00');",
    );
    let pages = read(&name, &full(json!({ "table": "t" }))).await.unwrap();
    assert_eq!(firsts(&pages), ["1"]);
    assert_eq!(codes(&pages), ["zero-date"; 3]);
    let bad = &pages[0].rejected[0];
    assert_eq!((bad.column.as_deref(), bad.line), (Some("d"), Some(2)));
    assert!(bad.raw.contains("0000-00-00") && bad.reason.contains("zero_dates"), "{bad:?}");

    let pages = read(&name, &full(json!({ "table": "t", "zero_dates": null }))).await.unwrap();
    assert_eq!(cells(&pages)[1], ["2", "∅", "∅"]);
    assert_eq!(firsts(&pages).len(), 4);

    // As text a date that is none is what it is.
    let mut request = full(json!({ "table": "t" }));
    request.columns = vec![DeclaredColumn::new("d", ColumnType::Text)];
    let pages = read(&name, &request).await.unwrap();
    assert_eq!(cells(&pages)[2], ["3", "2024-00-10", "∅"]);
}

#[tokio::test]
async fn invisible_columns_are_read_as_the_others() {
    let name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, secret INT INVISIBLE DEFAULT 5, v INT);
         INSERT INTO t (id, v) VALUES (1, 10); INSERT INTO t (id, secret, v) VALUES (2, 6, 20);
         CREATE TABLE h (id INT INVISIBLE AUTO_INCREMENT PRIMARY KEY, v INT);
         INSERT INTO h (v) VALUES (7)",
    );
    let pages = read(&name, &full(json!({ "table": "t" }))).await.unwrap();
    let columns: Vec<_> =
        pages[0].batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(columns, ["id", "v", "secret"]);
    assert_eq!(cells(&pages), [["1", "10", "5"], ["2", "20", "6"]]);
    let pages = read(&name, &full(json!({ "table": "h" }))).await.unwrap();
    assert_eq!(cells(&pages), [["7", "1"]]);
}

#[tokio::test]
async fn values_of_a_declared_type_are_checked() {
    let name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, n VARCHAR(9), flag TINYINT(1));
         INSERT INTO t VALUES (1, '7', 1), (2, 'x', 0), (3, NULL, 0), (4, '8', 2);",
    );
    let mut request = full(json!({ "table": "t" }));
    request.columns = vec![
        DeclaredColumn { not_null: true, ..DeclaredColumn::new("n", ColumnType::Int64) },
        DeclaredColumn::new("flag", ColumnType::Bool),
    ];
    let pages = read(&name, &request).await.unwrap();
    assert_eq!(cells(&pages), [["1", "7", "true"]]);
    assert_eq!(codes(&pages), ["type-mismatch", "null-value", "type-mismatch"]);
    request.columns = vec![DeclaredColumn::new("flga", ColumnType::Bool)];
    let error = read(&name, &request).await.unwrap_err();
    assert_eq!(error.hint_text(), Some("Did you mean \"flag\"?"));
}

#[tokio::test]
async fn many_rows_with_one_cursor_value_are_read_once_with_a_small_position() {
    let name = database(
        "CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, at DATETIME(6));
         INSERT INTO t SELECT seq, '2024-05-01 10:00:00.5' FROM seq_1_to_500;",
    );
    let mut request = incremental("t", Some("at"));
    request.page_rows = 7;
    let pages = read(&name, &request).await.unwrap();
    assert_eq!(firsts(&pages).len(), 500);
    let position = pages.last().unwrap().position.clone();
    assert!(position.0.to_string().len() < 200, "{}", position.0);
    request.from = Some(position);
    assert!(read(&name, &request).await.unwrap().is_empty());
    server().sql(
        &name,
        "INSERT INTO t VALUES (501, '2024-05-01 10:00:00.5'), (502, '2024-05-02'), (503, NULL)",
    );
    // Nothing tells whether a row without a cursor value is new.
    assert_eq!(firsts(&read(&name, &request).await.unwrap()), ["503", "501", "502"]);
}

#[tokio::test]
async fn rows_without_a_cursor_value_are_read_again_unless_they_are_appended() {
    let name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, at INT, v VARCHAR(9));
         INSERT INTO t VALUES (1, NULL, 'a'), (2, 5, 'b'), (3, NULL, 'c'), (4, NULL, 'd');",
    );
    let mut request = incremental("t", Some("at"));
    for page_rows in [1, 2, 3, 100] {
        (request.page_rows, request.from, request.write_appends) = (page_rows, None, false);
        let pages = read(&name, &request).await.unwrap();
        assert_eq!(firsts(&pages), ["1", "3", "4", "2"], "{page_rows}");
        request.from = pages.last().map(|page| page.position.clone());
        let again = read(&name, &request).await.unwrap();
        assert_eq!(firsts(&again), ["1", "3", "4"], "{page_rows}");
        assert_eq!(again[0].notices[0].code, "rows-without-cursor-again");
        // They move nothing, wherever the read breaks off.
        server().sql(&name, "INSERT INTO t VALUES (9, 6, 'new')");
        for page in &again {
            request.from = Some(page.position.clone());
            let rest = firsts(&read(&name, &request).await.unwrap());
            assert_eq!(rest.last().map(String::as_str), Some("9"), "{page_rows}");
            assert!(!rest.contains(&"2".to_owned()), "{page_rows}: {rest:?}");
        }
        server().sql(&name, "DELETE FROM t WHERE id = 9");
    }
    request.write_appends = true;
    request.from = again_from(&name, &request).await;
    assert!(read(&name, &request).await.unwrap().is_empty());
    server().sql(&name, "INSERT INTO t VALUES (7, NULL, 'late')");
    let pages = read(&name, &request).await.unwrap();
    assert!(firsts(&pages).is_empty());
    assert!(pages[0].notices[0].message.contains("4 rows have no value in the cursor \"at\" (3 "));
}

#[tokio::test]
async fn a_date_of_zeros_in_a_cursor_that_is_never_missing_is_read_once() {
    let name = database(
        "SET sql_mode = ''; CREATE TABLE t (id INT PRIMARY KEY, at DATETIME NOT NULL);
         INSERT INTO t VALUES (1, '0000-00-00'), (2, '2024-05-02');",
    );
    let mut request = incremental("t", Some("at"));
    let pages = read(&name, &request).await.unwrap();
    assert_eq!(firsts(&pages).last().map(String::as_str), Some("2"));
    request.from = pages.last().map(|page| page.position.clone());
    assert!(read(&name, &request).await.unwrap().is_empty());
}

/// Where a read from the start ends.
async fn again_from(name: &str, request: &ReadRequest) -> Option<crate::page::Position> {
    let request = ReadRequest { from: None, ..request.clone() };
    let pages = read(name, &request).await.unwrap();
    pages.last().map(|page| page.position.clone())
}

#[tokio::test]
async fn a_lag_reads_late_rows_again_and_is_refused_when_appending() {
    let name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, at DATETIME);
         INSERT INTO t VALUES (1, '2024-05-01 10:00:00'), (2, '2024-05-01 12:00:00');",
    );
    let mut request = incremental("t", Some("at"));
    let pages = read(&name, &request).await.unwrap();
    request.from = pages.last().map(|page| page.position.clone());
    server().sql(&name, "INSERT INTO t VALUES (3, '2024-05-01 11:30:00')");
    assert!(read(&name, &request).await.unwrap().is_empty());
    request.mode = ReadMode::Incremental { cursor: Some("at".into()), lag: Some("1h".into()) };
    assert_eq!(firsts(&read(&name, &request).await.unwrap()), ["3", "2"]);
    request.write_appends = true;
    assert!(read(&name, &request).await.unwrap_err().hint_text().unwrap().contains("merge"));
}

#[tokio::test]
async fn every_kind_of_key_is_read_page_by_page() {
    let name = database(
        "CREATE TABLE composite (a INT NOT NULL, b VARCHAR(9) NOT NULL, PRIMARY KEY (a, b));
         INSERT INTO composite VALUES (1,'x'),(1,'y'),(2,'a'),(2,'B'),(2,'c');
         CREATE TABLE bytes (k VARBINARY(9) PRIMARY KEY); INSERT INTO bytes VALUES (X'00'),(X'7F'),(X'80FF'),(X'FF'),('a');
         CREATE TABLE choice (k ENUM('z','y','x','w','v') PRIMARY KEY); INSERT INTO choice VALUES ('v'),('w'),('x'),('y'),('z');
         CREATE TABLE exact (k DECIMAL(30,10) PRIMARY KEY);
         INSERT INTO exact VALUES ('12345678901234567890.0000000001'),('12345678901234567890.0000000002'),
           ('12345678901234567890.0000000003'),('12345678901234567890.0000000004'),('-1');
         CREATE TABLE single (k FLOAT PRIMARY KEY); INSERT INTO single VALUES (0.1),(0.2),(0.3),(0.7),(1.1);
         CREATE TABLE latin (k VARCHAR(9) CHARACTER SET latin1 PRIMARY KEY); INSERT INTO latin VALUES ('a'),('é'),('z'),('ü'),('ß');
         CREATE TABLE moments (k DATETIME(6) PRIMARY KEY);
         INSERT INTO moments VALUES ('2024-01-01 00:00:00.000001'),('2024-01-01 00:00:00.000002'),('2024-01-01'),('2023-01-01'),('2025-01-01');
         CREATE TABLE uniq (u INT NOT NULL, n INT, UNIQUE (n), UNIQUE (u)); INSERT INTO uniq VALUES (1,NULL),(2,NULL),(3,1),(4,2),(5,3);
         CREATE TABLE keyless (v INT); INSERT INTO keyless VALUES (1),(1),(2),(3),(3);
         CREATE VIEW v AS SELECT a, count(*) AS n FROM composite GROUP BY a UNION ALL VALUES (8,1),(9,1),(7,1);
         CREATE TABLE `odd ``name` (`a b``c` INT PRIMARY KEY); INSERT INTO `odd ``name` VALUES (1),(2),(3),(4),(5);",
    );
    for table in [
        "composite",
        "bytes",
        "choice",
        "exact",
        "single",
        "latin",
        "moments",
        "uniq",
        "keyless",
        "v",
        "odd `name",
    ] {
        let mut request = full(json!({ "table": table }));
        request.page_rows = 2;
        let pages =
            read(&name, &request).await.unwrap_or_else(|error| panic!("{table}: {error:?}"));
        assert_eq!(cells(&pages).len(), 5, "{table}: {pages:?}");
        let mut rows = Vec::new();
        for cut in 0..pages.len() - 1 {
            request.from = Some(pages[cut].position.clone());
            rows = cells(&pages[..=cut]);
            rows.extend(cells(&read(&name, &request).await.unwrap()));
            assert_eq!(rows, cells(&pages), "{table} cut after page {cut}");
        }
        assert!(!rows.is_empty());
    }
    let error = read(&name, &incremental("v", Some("n"))).await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("primary_key"));
    let error = read(&name, &incremental("composite", None)).await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("a, b"), "{error:?}");
}

#[tokio::test]
async fn a_read_sees_one_moment_however_long_it_takes() {
    let name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT); INSERT INTO t SELECT seq, 0 FROM seq_1_to_6;",
    );
    let source = source(connection(server(), &name));
    let request = ReadRequest { page_rows: 2, ..full(json!({ "table": "t" })) };
    let mut pages = source.read(&request);
    let mut read = vec![pages.try_next().await.unwrap().unwrap()];
    server()
        .sql(&name, "UPDATE t SET v = 1; INSERT INTO t VALUES (7, 1); DELETE FROM t WHERE id = 5");
    while let Some(page) = pages.try_next().await.unwrap() {
        read.push(page);
    }
    let expected: Vec<[String; 2]> = (1..=6).map(|id| [id.to_string(), "0".into()]).collect();
    assert_eq!(cells(&read), expected);
}

#[tokio::test]
async fn several_connections_read_the_same_pages_of_one_moment() {
    let name = database(
        "CREATE TABLE t (a INT, b VARCHAR(9), v VARCHAR(9), PRIMARY KEY (a, b));
         INSERT INTO t SELECT seq % 7, seq, if(seq % 50 = 0, 'x', seq) FROM seq_1_to_1000;
         CREATE TABLE empty (id INT PRIMARY KEY);",
    );
    let mut request = ReadRequest { page_rows: 30, ..full(json!({ "table": "t" })) };
    request.columns = vec![DeclaredColumn::new("v", ColumnType::Int64)];
    let one = read(&name, &request).await.unwrap();
    assert_eq!(codes(&one).len(), 20);
    for parallel in [2, 3] {
        request.stream = json!({ "table": "t", "parallel": parallel });
        request.from = None;
        let pages = read(&name, &request).await.unwrap();
        assert_eq!(cells(&pages), cells(&one));
        let lines = |pages: &[Page]| -> Vec<Option<u64>> {
            pages.iter().flat_map(|page| &page.rejected).map(|bad| bad.line).collect()
        };
        assert_eq!(lines(&pages), lines(&one));
        assert_eq!(pages.last().unwrap().position, one.last().unwrap().position);
        assert!(pages.iter().all(|page| page.notices.is_empty()), "{:?}", pages[0].notices);
        request.from = Some(pages[4].position.clone());
        let mut rest = cells(&pages[..=4]);
        rest.extend(cells(&read(&name, &request).await.unwrap()));
        assert_eq!(rest, cells(&one));
    }
    let source = source(connection(server(), &name));
    request.from = None;
    let mut pages = source.read(&request);
    let mut seen = vec![pages.try_next().await.unwrap().unwrap()];
    server().sql(&name, "UPDATE t SET v = 0; INSERT INTO t VALUES (6, 'zz', 1)");
    while let Some(page) = pages.try_next().await.unwrap() {
        seen.push(page);
    }
    assert_eq!(cells(&seen), cells(&one), "all see the moment at which the read began");
    let request = full(json!({ "table": "empty", "parallel": 4 }));
    assert!(cells(&read(&name, &request).await.unwrap()).is_empty());
    let error = read(&name, &full(json!({ "table": "t", "parallel": 0 }))).await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("`parallel`"));
}

#[tokio::test]
async fn queries_and_conditions_are_read_and_names_are_suggested() {
    let name = database(
        "CREATE TABLE orders (id INT PRIMARY KEY, v INT); INSERT INTO orders VALUES (1, 5), (2, 6), (3, 7);",
    );
    let query = "SELECT id, v * 2 AS twice, concat('x', id) AS t FROM orders; # twice";
    let mut request = full(json!({ "query": query, "primary_key": ["id"] }));
    request.page_rows = 2;
    let pages = read(&name, &request).await.unwrap();
    assert_eq!(cells(&pages), [["1", "10", "x1"], ["2", "12", "x2"], ["3", "14", "x3"]]);
    let request = full(json!({ "table": "orders", "where": "v > 5 OR v IS NULL" }));
    assert_eq!(firsts(&read(&name, &request).await.unwrap()), ["2", "3"]);
    for (stream, hint) in [
        (json!({ "table": "order" }), "Did you mean \"orders\"?"),
        (json!({ "query": "DROP TABLE orders" }), "one SELECT"),
        (json!({ "query": "SELECT 1 AS a, 2 AS a" }), "name of its own"),
        (json!({ "query": "SELECT 1", "where": "1" }), "into the query"),
        (json!({}), "not both"),
        (json!({ "table": "orders", "primary_key": ["idd"] }), "Did you mean \"id\"?"),
    ] {
        let error = read(&name, &full(stream)).await.unwrap_err();
        assert!(error.hint_text().unwrap_or_default().contains(hint), "{error:?}");
    }
    let error = read(&name, &incremental("orders", Some("vv"))).await.unwrap_err();
    assert_eq!(error.hint_text(), Some("Did you mean \"v\"?"));
    let error = read(&name, &full(json!({ "table": "orders", "where": "nothing = 1" }))).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn every_fault_of_the_connection_has_its_own_error() {
    let name = database("CREATE TABLE t (id INT PRIMARY KEY)");
    server().sql(
        &name,
        &format!("CREATE USER poor@'127.0.0.1' IDENTIFIED BY 'x'; GRANT CREATE ON {name}.* TO poor@'127.0.0.1'"),
    );
    let free = flywheel_testkit::free_port();
    for (changes, kind, words) in [
        (json!({ "password": "wr0ng" }), ErrorKind::Denied, "password"),
        (json!({ "database": "gone" }), ErrorKind::NotFound, "database"),
        (json!({ "port": free }), ErrorKind::Unavailable, "port"),
        (json!({ "tls": "require" }), ErrorKind::Invalid, "tls: disable"),
        (json!({ "user": "poor", "password": "x" }), ErrorKind::Denied, "GRANT"),
    ] {
        let mut settings = connection(server(), &name);
        settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let request = full(json!({ "table": "t" }));
        let pages: Result<Vec<Page>> = source(settings).read(&request).try_collect().await;
        let error = pages.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.hint_text().unwrap().contains(words), "{error:?}");
        assert!(!error.report().contains("wr0ng"), "{error:?}");
    }
    let error = source(json!({ "user": "u" })).check().await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("`database`"));
}

#[tokio::test]
async fn a_read_goes_on_exactly_after_the_server_was_killed() {
    let mut server = MariaDb::start();
    let name = server.database();
    server.sql(
        &name,
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(200)); INSERT INTO t SELECT seq, repeat('x', 200) FROM seq_1_to_5000",
    );
    let source = source(connection(&server, &name));
    let mut request = ReadRequest { page_rows: 1000, ..full(json!({ "table": "t" })) };
    let mut read = Vec::new();
    {
        let mut pages = source.read(&request);
        read.push(pages.try_next().await.unwrap().unwrap());
        read.push(pages.try_next().await.unwrap().unwrap());
        server.stop();
        let error = pages.try_next().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    }
    let error = source.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    server.restart();
    request.from = Some(read[1].position.clone());
    read.extend(source.read(&request).try_collect::<Vec<Page>>().await.unwrap());
    let expected: Vec<String> = (1..=5000).map(|id| id.to_string()).collect();
    assert_eq!(firsts(&read), expected);
}

#[tokio::test]
async fn a_silent_server_is_given_up_in_time() {
    let name = database("CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1)");
    let mut settings = connection(server(), &name);
    settings["read_timeout"] = json!("2s");
    let request = full(json!({ "query": "SELECT sleep(60) AS s, id FROM t" }));
    let pages: Result<Vec<Page>> = source(settings).read(&request).try_collect().await;
    let error = pages.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.hint_text().unwrap().contains("read_timeout"), "{error:?}");
}

#[tokio::test]
async fn discovery_tells_keys_cursors_and_sizes() {
    let name = database(
        "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, at TIMESTAMP, n DECIMAL(9,2)); INSERT INTO t(n) VALUES (1);
         CREATE TABLE gone (x INT); CREATE VIEW broken AS SELECT * FROM gone; DROP TABLE gone;",
    );
    let streams = source(connection(server(), &name)).discover().await.unwrap();
    assert_eq!(streams.len(), 1, "a view of a table that is gone is left out");
    let stream = &streams[0];
    assert_eq!(
        (stream.name.as_str(), stream.primary_key.as_slice()),
        ("t", &["id".to_owned()][..])
    );
    assert_eq!(stream.cursors, ["at", "id"]);
    assert_eq!(stream.columns[2].kind.to_string(), "decimal(9,2)");
    assert!(stream.rows.is_some() && stream.bytes.is_some());
    let pages = read(&name, &full(stream.stream.clone())).await.unwrap();
    assert_eq!(cells(&pages).len(), 1);
}

#[tokio::test]
async fn a_server_tells_its_connections_its_size_and_its_log() {
    let database = database("CREATE TABLE t (n INT PRIMARY KEY); INSERT INTO t VALUES (1);");
    let health = source(connection(server(), &database)).health().await.unwrap().unwrap();
    assert!(health.version.unwrap().contains("MariaDB"));
    assert!(health.connections.unwrap() >= 1 && health.connections_max.unwrap() > 1);
    assert!(health.size_bytes.unwrap() > 0, "the table has a page");
    assert!(health.active_queries.is_some() && health.slow_queries.is_some());
    assert!(health.slots.is_empty());
}
