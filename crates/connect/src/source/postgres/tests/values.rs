//! Values of every type, and those that do not fit.

use super::*;
use crate::source::contract::{codes, rejected_at};
use crate::{ColumnType, DeclaredColumn};

/// A type, a value of it, and what the source makes of it where that is not what psql prints.
const VALUES: [(&str, &str, Option<&str>); 47] = [
    ("bool", "true", Some("true")),
    ("int2", "-32768", None),
    ("int4", "-2147483648", None),
    ("int8", "9223372036854775807", None),
    ("oid", "4294967295", None),
    ("float4", "1.1", Some("1.100000023841858")),
    ("float8", "-1.7976931348623157e308", Some("-1.7976931348623157e308")),
    ("numeric(12,2)", "-1234567890.05", None),
    ("numeric(38,10)", "9999999999999999999999999999.0123456789", None),
    ("numeric", "123456789012345678901234567890123456789012345.000100", None),
    ("numeric", "'NaN'", None),
    ("numeric(3,-2)", "12345", None),
    ("text", "'é''\\ \"x\" \u{1F600}'", None),
    ("varchar(5)", "'ab'", None),
    ("char(5)", "'ab'", Some("ab   ")),
    ("name", "'n'", None),
    ("\"char\"", "'c'", None),
    ("bytea", "'\\x00ff10'", Some("00ff10")),
    ("date", "'2024-02-29'", None),
    ("date", "'0001-01-01'", None),
    ("timestamp", "'2024-02-29 12:30:00.000001'", Some("2024-02-29T12:30:00.000001Z")),
    ("timestamptz", "'9999-12-31 23:59:59.999999+00'", Some("9999-12-31T23:59:59.999999Z")),
    ("time", "'24:00:00'", None),
    ("timetz", "'12:30:00.5+05:30'", None),
    ("interval", "'1 year 2 days -03:04:05.6'", None),
    ("uuid", "'00112233-4455-6677-8899-AABBCCDDEEFF'", None),
    ("json", "'{\"a\" : [1, null]}'", None),
    ("jsonb", "'{\"b\":1,\"a\":[true]}'", None),
    ("mood", "'so so'", None),
    ("mood[]", "'{sad,\"so so\",NULL}'", Some("[\"sad\",\"so so\",null]")),
    ("int4[]", "'{{1,2},{3,NULL}}'", Some("[[1,2],[3,null]]")),
    ("text[]", "ARRAY['a\"b', NULL, '']", Some("[\"a\\\"b\",null,\"\"]")),
    ("positive", "7", None),
    ("money2", "12.50", None),
    ("pair", "ROW(1, 'x')", Some("{\"a\":1,\"b\":\"x\"}")),
    ("inet", "'192.168.0.1'", None),
    ("inet", "'::1/64'", None),
    ("cidr", "'10.0.0.0/8'", None),
    ("macaddr", "'08:00:2b:01:02:03'", None),
    ("int4range", "'[1,5)'", None),
    ("point", "'(1,2)'", None),
    ("bit(3)", "B'101'", None),
    ("varbit", "B'1'", None),
    ("xml", "'<a>b</a>'", None),
    ("money", "'1234.5'", None),
    ("tsvector", "'a b'", None),
    ("pg_lsn", "'16/B374D848'", None),
];

fn table_of_values() -> TestDatabase {
    let columns: Vec<String> =
        VALUES.iter().enumerate().map(|(at, (of, _, _))| format!("v{at} {of}")).collect();
    let values: Vec<&str> = VALUES.iter().map(|(_, value, _)| *value).collect();
    TestDatabase::new(&format!(
        "CREATE TYPE mood AS ENUM ('sad', 'so so');
         CREATE DOMAIN positive AS int CHECK (VALUE > 0);
         CREATE DOMAIN money0 AS numeric(9,2); CREATE DOMAIN money2 AS money0 NOT NULL DEFAULT 0;
         CREATE TYPE pair AS (a int, b text);
         CREATE TABLE t ({}); INSERT INTO t VALUES ({}); INSERT INTO t DEFAULT VALUES;",
        columns.join(", "),
        values.join(", ")
    ))
}

#[tokio::test]
async fn values_of_every_type_arrive_as_psql_prints_them() {
    let database = table_of_values();
    let pages = read(&database, &full(json!({ "table": "t" }))).await.unwrap();
    assert!(codes(&pages).is_empty(), "{:?}", pages[0].rejected);
    let rows = cells(&pages);
    for (at, (of, _, expected)) in VALUES.iter().enumerate() {
        let printed = database.run(&format!("SELECT v{at} FROM t LIMIT 1"));
        let expected = expected.map_or(printed, str::to_owned);
        assert_eq!(rows[0][at], expected, "{of}");
        let missing = if *of == "money2" { "0.00" } else { "∅" };
        assert_eq!(rows[1][at], missing, "{of}");
    }
}

#[tokio::test]
async fn every_column_can_be_declared_as_text() {
    let database = table_of_values();
    let declared = |at: usize| DeclaredColumn::new(format!("v{at}"), ColumnType::Text);
    let columns = (0..VALUES.len()).map(declared).collect();
    let request = ReadRequest { columns, ..full(json!({ "table": "t" })) };
    let pages = read(&database, &request).await.unwrap();
    assert!(codes(&pages).is_empty(), "{:?}", pages[0].rejected);
    let rows = cells(&pages);
    for (at, (of, _, expected)) in VALUES.iter().enumerate() {
        let list = of.ends_with("[]") || *of == "pair";
        let expected = match expected {
            Some(expected) if list || matches!(*of, "bool" | "char(5)") => (*expected).to_owned(),
            _ => database.run(&format!("SELECT v{at} FROM t LIMIT 1")),
        };
        assert_eq!(rows[0][at], expected, "{of}");
    }
}

#[tokio::test]
async fn declared_types_are_checked_value_by_value() {
    let database = TestDatabase::new(
        "CREATE TABLE t (id int PRIMARY KEY, n numeric, w text, at timestamp, b int8);
         INSERT INTO t VALUES (1, 1.50, '7', '2024-05-01', 1), (2, 1.505, '8', '2024-05-01', 0),
             (3, 2, 'x', '2024-05-01', 1), (4, NULL, '', '2024-05-01 00:00:01', 1),
             (5, 3, NULL, NULL, 2), (6, 'NaN', NULL, NULL, NULL);",
    );
    let decimal = ColumnType::Decimal { precision: 9, scale: 2 };
    let columns = vec![
        DeclaredColumn::new("n", decimal),
        DeclaredColumn::new("w", ColumnType::Int64),
        DeclaredColumn::new("at", ColumnType::Date),
        DeclaredColumn::new("b", ColumnType::Bool),
    ];
    let request = ReadRequest { columns, page_rows: 2, ..full(json!({ "table": "t" })) };
    let pages = read(&database, &request).await.unwrap();
    assert_eq!(cells(&pages), [["1", "1.50", "7", "2024-05-01", "true"]]);
    assert_eq!(
        rejected_at(&pages),
        [
            (2, "out-of-range", Some("n")),
            (3, "type-mismatch", Some("w")),
            (4, "out-of-range", Some("at")),
            (5, "type-mismatch", Some("b")),
            (6, "out-of-range", Some("n")),
        ]
    );
    let not_null = DeclaredColumn { not_null: true, ..DeclaredColumn::new("w", ColumnType::Text) };
    let request = ReadRequest { columns: vec![not_null], ..full(json!({ "table": "t" })) };
    let pages = read(&database, &request).await.unwrap();
    assert_eq!(rejected_at(&pages), [(5, "null-value", Some("w")), (6, "null-value", Some("w"))]);
}

#[tokio::test]
async fn values_that_nothing_can_hold_are_set_aside_with_their_row() {
    let database = TestDatabase::new(
        "CREATE TABLE t (id int PRIMARY KEY, day date, at timestamptz, f float8, n numeric(9,2));
         INSERT INTO t VALUES (1, '2024-05-01', '2024-05-01', 1, 1), (2, 'infinity', NULL, 1, 1),
             (3, NULL, '-infinity', 1, 1), (4, '10000-01-01', NULL, 1, 1),
             (5, NULL, '0001-12-31 BC', 1, 1), (6, NULL, NULL, 'NaN', 1), (7, NULL, NULL, 1, 'NaN'),
             (8, '0001-01-01', '9999-12-31 23:59:59.999999+00', 2, 2), (9, NULL, '294276-12-31', 1, 1);",
    );
    let pages = read(&database, &full(json!({ "table": "t" }))).await.unwrap();
    assert_eq!(ids(&pages), ["1", "8"]);
    assert_eq!(
        rejected_at(&pages),
        [
            (2, "out-of-range", Some("day")),
            (3, "out-of-range", Some("at")),
            (4, "out-of-range", Some("day")),
            (5, "out-of-range", Some("at")),
            (6, "not-finite", Some("f")),
            (7, "out-of-range", Some("n")),
            (9, "out-of-range", Some("at")),
        ]
    );
    let bad = &pages[0].rejected[0];
    assert_eq!((&*bad.source, bad.file.as_str()), ("postgres", "public.t"));
    assert_eq!(bad.raw, r#"{"id":2,"day":"infinity","at":null,"f":1.0,"n":"1.00"}"#);
    assert!(bad.reason.contains("as text"), "{}", bad.reason);
    let lines: Vec<_> = (0..2).map(|row| pages[0].trace(row).unwrap().1).collect();
    assert_eq!(lines, [1, 8]);

    let stream = json!({ "table": "t", "allow_nan": true });
    let columns = ["day", "at", "n"].map(|name| DeclaredColumn::new(name, ColumnType::Text));
    let request = ReadRequest { columns: columns.to_vec(), ..full(stream) };
    let pages = read(&database, &request).await.unwrap();
    assert!(codes(&pages).is_empty());
    let rows = cells(&pages);
    assert_eq!(rows[1][1], "infinity");
    assert_eq!(rows[4][2], "0001-12-31 00:00:00+00 BC");
    assert_eq!((rows[5][3].as_str(), rows[6][4].as_str()), ("NaN", "NaN"));
}

#[tokio::test]
async fn texts_that_are_not_utf8_are_set_aside() {
    let database = TestDatabase::new("");
    let name = format!("{}_ascii", database.name);
    database.run(&format!(
        "CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    ));
    let ascii = TestDatabase { name };
    ascii.run(
        r"CREATE TABLE t (id int PRIMARY KEY, v text);
        INSERT INTO t VALUES (1, 'a'), (2, E'\xff'), (3, E'\xc3\xa9'), (4, E'\xc3'), (5, E'\xa9')",
    );
    let pages = read(&ascii, &full(json!({ "table": "t" }))).await.unwrap();
    assert_eq!(cells(&pages), [["1", "a"], ["3", "é"]]);
    let bad = [2, 4, 5].map(|line| (line, "invalid-utf8", Some("v")));
    assert_eq!(rejected_at(&pages), bad);
}
