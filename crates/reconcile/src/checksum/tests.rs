//! The canonical text of every kind of value, and the queries that make it.

use super::*;
use crate::bisect::{KeySpace, Query, Range};

fn text(kind: Kind, cell: Cell<'_>) -> String {
    row_text(&[(kind, cell)])
}

#[test]
fn every_kind_has_its_text() {
    let two = Kind::Numeric { scale: 2 };
    for (kind, cell, expected) in [
        (Kind::Text, Cell::Null, "\\N"),
        (Kind::Text, Cell::Text("\\N"), "\\\\N"),
        (Kind::Text, Cell::Text("a|b"), "a\\|b"),
        (Kind::Text, Cell::Text("北京"), "北京"),
        (Kind::Integer, Cell::Integer(-7), "-7"),
        (two, Cell::Decimal { unscaled: 1, scale: 1 }, "0.10"),
        (two, Cell::Decimal { unscaled: -5, scale: 3 }, "-0.01"),
        (two, Cell::Decimal { unscaled: -4, scale: 3 }, "0.00"),
        (two, Cell::Decimal { unscaled: 12_345, scale: 3 }, "12.35"),
        (two, Cell::Decimal { unscaled: 9_995, scale: 3 }, "10.00"),
        (two, Cell::Integer(3), "3.00"),
        (Kind::Numeric { scale: 0 }, Cell::Decimal { unscaled: 25, scale: 1 }, "3"),
        (
            two,
            Cell::Decimal { unscaled: i128::MAX, scale: 2 },
            "1701411834604692317316873037158841057.27",
        ),
        (Kind::Timestamp, Cell::Timestamp(1_700_000_000_123_456), "1700000000.123456"),
        (Kind::Timestamp, Cell::Timestamp(-500_000), "-0.500000"),
        (Kind::Date, Cell::Date(19_844), "2024-05-01"),
        (Kind::Bool, Cell::Bool(true), "t"),
        (Kind::Bytes, Cell::Bytes(&[0, 255]), "00ff"),
        (Kind::Float { digits: 2 }, Cell::Float(-0.001), "0.00"),
        (Kind::Float { digits: 2 }, Cell::Float(2.0 / 3.0), "0.67"),
    ] {
        assert_eq!(text(kind, cell), expected, "{kind:?} {cell:?}");
    }
}

#[test]
fn the_border_between_two_values_cannot_be_moved() {
    let row = |a, b| row_text(&[(Kind::Text, Cell::Text(a)), (Kind::Text, Cell::Text(b))]);
    assert_ne!(row("a|b", "c"), row("a", "b|c"));
    assert_ne!(row("a\\", "b"), row("a", "\\b"));
    assert_ne!(row("", ""), row_text(&[(Kind::Text, Cell::Null), (Kind::Text, Cell::Text(""))]));
}

#[test]
fn the_digest_is_that_of_md5() {
    // md5('hello') = 5d41402abc4b2a76b9719d911017c592
    assert_eq!(hash32("hello"), 0x5d41_402a);
    let (mut forward, mut backward) = (Checksum::default(), Checksum::default());
    for row in ["a", "b", "c"] {
        forward.add_row(row);
    }
    for row in ["c", "b", "a"] {
        backward.add_row(row);
    }
    assert_eq!(forward, backward);
    assert_eq!(forward.rows, 3);
}

#[test]
fn rows_have_the_digests_that_databases_gave_for_them() {
    // PostgreSQL 15, MariaDB 10.11, SQLite 3 and DataFusion 55 gave these for the same three rows
    let row = |cells: [Cell<'_>; 7]| {
        let kinds = [
            Kind::Integer,
            Kind::Numeric { scale: 2 },
            Kind::Timestamp,
            Kind::Date,
            Kind::Bool,
            Kind::Text,
            Kind::Bytes,
        ];
        hash32(&row_text(&kinds.into_iter().zip(cells).collect::<Vec<_>>()))
    };
    let full = [
        Cell::Integer(1),
        Cell::Decimal { unscaled: 12_345, scale: 3 },
        Cell::Timestamp(1_700_000_000_123_456),
        Cell::Date(19_844),
        Cell::Bool(true),
        Cell::Text("a|b\\c"),
        Cell::Bytes(&[0, 255]),
    ];
    assert_eq!(row(full), 832_740_683);
    let negative = [
        Cell::Integer(2),
        Cell::Decimal { unscaled: -1, scale: 3 },
        Cell::Timestamp(-500_000),
        Cell::Null,
        Cell::Bool(false),
        Cell::Null,
        Cell::Null,
    ];
    assert_eq!(row(negative), 3_954_081_782);
    let mut empty = [Cell::Null; 7];
    empty[0] = Cell::Integer(3);
    empty[5] = Cell::Text("");
    assert_eq!(row(empty), 2_424_456_181);
}

fn orders() -> TableText {
    TableText {
        table: vec!["public".into(), "orders".into()],
        key: vec![("id".into(), Kind::Integer)],
        columns: vec![("id".into(), Kind::Integer), ("amount".into(), Kind::Numeric { scale: 2 })],
        filter: None,
    }
}

fn buckets() -> Query {
    Query::Buckets { ranges: vec![Range { low: 1, high: 50 }, Range { low: 51, high: 99 }] }
}

#[test]
fn each_database_is_asked_in_its_own_words() {
    let sql = |dialect| orders().sql(dialect, &buckets()).unwrap();
    assert_eq!(
        sql(Dialect::Postgres),
        "select bucket, count(*) as row_count, sum(h) as hash_sum, min(k) as key_min, \
         max(k) as key_max from (select case when k <= 50 then 0 else 1 end as bucket, k, h from \
         (select \"id\" as k, ('x' || substr(md5(concat_ws('|', coalesce((\"id\")::text, '\\N'), \
         coalesce(round((\"amount\")::numeric, 2)::text, '\\N'))), 1, 8))::bit(32)::bigint as h \
         from \"public\".\"orders\" where \"id\" >= 1 and \"id\" <= 99) as r) as b \
         group by bucket order by bucket"
    );
    let mariadb = sql(Dialect::Mariadb);
    assert!(mariadb.contains("`public`.`orders`") && mariadb.contains("'\\\\N'"), "{mariadb}");
    assert!(mariadb.contains("cast(conv(substr(md5(convert(concat_ws('|', "), "{mariadb}");
    let sqlite = sql(Dialect::Sqlite);
    assert!(sqlite.contains("flywheel_hash32(coalesce(cast(\"id\" as text), '\\N') || '|' || "));
    let lake = sql(Dialect::Datafusion);
    assert_eq!(lake.matches("strpos('0123456789abcdef'").count(), 8);
    assert!(lake.contains("* 268435456 + ") && lake.contains("decimal(38,2)"), "{lake}");
}

#[test]
fn an_array_is_compared_as_the_json_that_is_read_of_it() {
    let mut table = orders();
    table.columns = vec![("tags".into(), Kind::Nested)];
    let sql = |dialect| table.sql(dialect, &buckets()).unwrap();
    let postgres = sql(Dialect::Postgres);
    assert!(postgres.contains("(pg_catalog.to_json(\"tags\"))::text"), "{postgres}");
    assert!(!sql(Dialect::Datafusion).contains("to_json"));
    assert_eq!(text(Kind::Nested, Cell::Text("[1,2]")), text(Kind::Text, Cell::Text("[1,2]")));
}

#[test]
fn values_that_a_database_prints_in_two_ways_are_taken_as_they_are_read() {
    let mut table = orders();
    let mut cell = |dialect: Dialect, kind| {
        table.columns = vec![("c".into(), kind)];
        table.sql(dialect, &buckets()).unwrap()
    };
    for (dialect, kind, expected) in [
        // ZEROFILL, BIT, and the year 0000.
        (Dialect::Mariadb, Kind::Integer, "coalesce(cast(cast(`c` as signed) as char), "),
        (Dialect::Mariadb, Kind::Bytes, "coalesce(lower(hex(concat(`c`))), "),
        (Dialect::Mariadb, Kind::Date, "case when month(`c`) > 0 and day(`c`) > 0 then "),
        (Dialect::Postgres, Kind::Text, "then pg_catalog.concat(\"c\") else (\"c\")::text end"),
        // An infinite moment is no number of seconds, an infinite date has no year.
        (
            Dialect::Postgres,
            Kind::Timestamp,
            "coalesce(case when pg_catalog.isfinite(\"c\") then \
             (extract(epoch from \"c\")::numeric(20,6))::text else (\"c\")::text end, ",
        ),
        (
            Dialect::Postgres,
            Kind::Date,
            "coalesce(case when pg_catalog.isfinite(\"c\") then to_char(\"c\", 'YYYY-MM-DD') \
             else (\"c\")::text end, ",
        ),
        (Dialect::Datafusion, Kind::Text, "replace(replace(cast(\"c\" as varchar), "),
    ] {
        let sql = cell(dialect, kind);
        assert!(sql.contains(expected), "{sql}");
    }
}

#[test]
fn a_key_that_is_no_number_is_divided_by_its_digest() {
    let mut table = orders();
    assert_eq!(table.key_space(), KeySpace::Integer);
    table.key = vec![("region".into(), Kind::Text), ("no".into(), Kind::Integer)];
    table.filter = Some("region <> 'test'".into());
    assert_eq!(table.key_space(), KeySpace::Hashed);
    let bounds = table.sql(Dialect::Postgres, &Query::Bounds).unwrap();
    assert!(bounds.contains("case when \"region\" is not null and \"no\" is not null then ('x'"));
    assert!(bounds.contains("where (region <> 'test')"), "{bounds}");
    let rows =
        table.sql(Dialect::Sqlite, &Query::Rows { range: Range { low: 3, high: 9 } }).unwrap();
    assert!(rows.contains("where (region <> 'test') and flywheel_hash32("), "{rows}");
    assert!(rows.ends_with("order by key_text"));
}

#[test]
fn names_with_quotes_stay_names() {
    let mut table = orders();
    table.table = vec!["o\"; drop table x; --".into()];
    let sql = table.sql(Dialect::Postgres, &Query::Bounds).unwrap();
    assert!(sql.contains("\"o\"\"; drop table x; --\""), "{sql}");
    table.table = vec!["o`x".into()];
    assert!(table.sql(Dialect::Mariadb, &Query::Bounds).unwrap().contains("`o``x`"));
}

#[test]
fn a_table_that_cannot_be_compared_is_refused() {
    for spoil in [
        |table: &mut TableText| table.table.clear(),
        |table: &mut TableText| table.key.clear(),
        |table: &mut TableText| table.columns.clear(),
    ] {
        let mut table = orders();
        spoil(&mut table);
        let error = table.sql(Dialect::Postgres, &Query::Bounds).unwrap_err();
        assert!(error.hint_text().is_some(), "{error}");
    }
}

#[test]
fn keys_come_back_from_their_texts_and_cannot_break_out_of_a_query() {
    let table = |key: &[(&str, Kind)]| TableText {
        table: vec!["t".into()],
        key: key.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(),
        columns: Vec::new(),
        filter: None,
    };
    let both = table(&[("id", Kind::Integer), ("name", Kind::Text)]);
    let text = row_text(&[(Kind::Integer, Cell::Integer(7)), (Kind::Text, Cell::Text("o'x|\\"))]);
    let keys = [text];
    let found = both.has_key(Dialect::Mariadb, &keys).unwrap();
    assert_eq!(found, r"(`id` = 7 and `name` = 'o''x|\\')");
    let found = both.has_key(Dialect::Postgres, &keys).unwrap();
    assert_eq!(found, r#"("id" = 7 and "name" = 'o''x|\')"#);
    let one = table(&[("id", Kind::Integer)]);
    assert!(one.has_key(Dialect::Postgres, &["1 or true".to_owned()]).is_err());
    assert!(one.has_key(Dialect::Postgres, &["1|2".to_owned()]).is_err());
    let day = table(&[("day", Kind::Date)]);
    let never = ["-infinity".to_owned()];
    let found = day.has_key(Dialect::Postgres, &never).unwrap();
    assert_eq!(found, r#"("day" = date '-infinity')"#);
    assert_eq!(day.has_key(Dialect::Datafusion, &never).unwrap(), r#"("day" = null)"#);
    // BIGINT UNSIGNED arrives as a decimal.
    let wide = table(&[("id", Kind::Numeric { scale: 0 })]);
    let most = [u64::MAX.to_string()];
    let found = wide.has_key(Dialect::Mariadb, &most).unwrap();
    assert_eq!(found, "(`id` = 18446744073709551615)");
    let found = wide.has_key(Dialect::Datafusion, &most).unwrap();
    assert_eq!(found, r#"("id" = cast('18446744073709551615' as decimal(38, 0)))"#);
    let price = table(&[("price", Kind::Numeric { scale: 2 })]);
    let found = price.has_key(Dialect::Postgres, &["-0.50".to_owned()]).unwrap();
    assert_eq!(found, r#"("price" = -0.50)"#);
    assert!(price.has_key(Dialect::Postgres, &["1 or 1=1".to_owned()]).is_err());
    let at = table(&[("at", Kind::Timestamp)]);
    assert!(at.has_key(Dialect::Postgres, &["1.0".to_owned()]).unwrap_err().hint_text().is_some());
}
