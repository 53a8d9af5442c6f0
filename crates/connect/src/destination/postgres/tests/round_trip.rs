//! Every type through the destination and back through the source.

use arrow::array::{
    BinaryArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Int8Array,
    Int16Array, LargeStringArray, ListArray, StringViewArray, StructArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int32Type};
use futures::TryStreamExt;

use super::*;
use crate::page::Page;
use crate::source::contract::cells;
use crate::source::{ReadRequest, SourceContext, SourceEntry};

async fn read(database: &TestDatabase, table: &str) -> Vec<Page> {
    let ctx = SourceContext { base_dir: ".".into(), now: now(), connections: Default::default() };
    let source =
        SourceEntry::named("postgres").unwrap().build(database.connection(), &ctx).unwrap();
    let request = ReadRequest::full(json!({ "table": table }), now());
    source.read(&request).try_collect().await.unwrap()
}

fn every_type() -> RecordBatch {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None, Some(3)]),
        None,
        Some(vec![]),
    ]);
    let inner = Arc::new(Field::new("a", DataType::Utf8, true));
    let object = StructArray::try_new(
        vec![inner].into(),
        vec![texts([Some("x\"y"), None, Some("")])],
        Some(vec![true, false, true].into()),
    )
    .unwrap();
    let words: DictionaryArray<Int32Type> =
        vec![Some("red"), None, Some("red")].into_iter().collect();
    let decimal = Decimal128Array::from(vec![Some(-99_999_999), None, Some(5)])
        .with_precision_and_scale(12, 3)
        .unwrap();
    let wide = Decimal128Array::from(vec![Some(10i128.pow(38) - 1), None, Some(-1)])
        .with_precision_and_scale(38, 38)
        .unwrap();
    let bytes = BinaryArray::from(vec![Some(&b"\x00\xff"[..]), None, Some(b"")]);
    let nanos = TimestampNanosecondArray::from(vec![Some(1_000), None, Some(-1_000)]);
    let micros = TimestampMicrosecondArray::from(vec![Some(1_714_557_600_123_456), None, Some(-1)]);
    batch(&[
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("i8", Arc::new(Int8Array::from(vec![Some(-128), None, Some(127)]))),
        ("i16", Arc::new(Int16Array::from(vec![Some(i16::MIN), None, Some(i16::MAX)]))),
        ("i32", Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(i32::MAX)]))),
        ("i64", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)]))),
        ("u64", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(0)]))),
        ("f32", Arc::new(Float32Array::from(vec![Some(1.5), None, Some(-0.25)]))),
        ("f64", Arc::new(Float64Array::from(vec![Some(f64::MIN), None, Some(0.1)]))),
        ("decimal", Arc::new(decimal)),
        ("wide", Arc::new(wide)),
        ("text", texts([Some("é'\"\\\n\t"), None, Some("")])),
        ("large", Arc::new(LargeStringArray::from(vec![Some("a"), None, Some("b")]))),
        (
            "view",
            Arc::new(StringViewArray::from(vec![Some("a long text in a view"), None, Some("b")])),
        ),
        ("word", Arc::new(words)),
        ("bytes", Arc::new(bytes)),
        ("day", Arc::new(Date32Array::from(vec![Some(-719_162), None, Some(2_932_896)]))),
        ("at", Arc::new(micros.clone().with_timezone("UTC"))),
        ("local", Arc::new(micros)),
        ("nanos", Arc::new(nanos.with_timezone("UTC"))),
        ("time", Arc::new(Time64MicrosecondArray::from(vec![Some(1), None, Some(86_399_999_999)]))),
        ("list", Arc::new(list)),
        ("object", Arc::new(object)),
    ])
}

#[tokio::test]
async fn every_type_comes_back_as_it_went() {
    let database = TestDatabase::new("");
    let expected = [
        "true|false",
        "-128|127",
        "-32768|32767",
        "-2147483648|2147483647",
        "-9223372036854775808|9223372036854775807",
        "18446744073709551615|0",
        "1.5|-0.25",
        "-1.7976931348623157e308|0.1",
        "-99999.999|0.005",
        "0.99999999999999999999999999999999999999|-0.00000000000000000000000000000000000001",
        "é'\"\\\n\t|",
        "a|b",
        "a long text in a view|b",
        "red|red",
        "00ff|",
        "0001-01-01|9999-12-31",
        "2024-05-01T10:00:00.123456Z|1969-12-31T23:59:59.999999Z",
        "2024-05-01T10:00:00.123456Z|1969-12-31T23:59:59.999999Z",
        "1970-01-01T00:00:00.000001Z|1969-12-31T23:59:59.999999Z",
        "00:00:00.000001|23:59:59.999999",
        "[1, null, 3]|[]",
        "{\"a\": \"x\\\"y\"}|{\"a\": \"\"}",
    ];
    for mode in [WriteMode::Append, WriteMode::Replace, WriteMode::Merge] {
        let table = format!("t_{mode}");
        let mut rows = every_type();
        if mode == WriteMode::Merge {
            let mut columns: Vec<(&str, ArrayRef)> = vec![("id", ints([1, 2, 3]))];
            let schema = rows.schema();
            let names = schema.fields().iter().map(|field| field.name().as_str());
            columns.extend(names.zip(rows.columns().iter().cloned()));
            rows = batch(&columns);
        }
        let job = Job::new(&database, &table, mode, &rows);
        let (refused, written) = job.run(&rows, 1).await;
        assert!(refused.is_empty(), "{refused:?}");
        assert_eq!(written.rows_written, 3, "{mode}");
        let pages = read(&database, &table).await;
        let first = usize::from(mode == WriteMode::Merge);
        let cells = cells(&pages);
        for (at, expected) in expected.iter().enumerate() {
            let column: Vec<&str> = cells.iter().map(|row| row[first + at].as_str()).collect();
            let name = rows.schema().field(first + at).name().clone();
            assert_eq!(format!("{}|{}", column[0], column[2]), *expected, "{mode} {name}");
            assert_eq!(column[1], "∅", "{mode} {name}");
        }
    }
}

#[tokio::test]
async fn a_table_of_the_source_is_copied_cell_by_cell() {
    let database = TestDatabase::new(
        "CREATE TYPE mood AS ENUM ('sad', 'so so');
         CREATE TABLE a (id int PRIMARY KEY, n numeric(12,2), wide numeric, t text, v varchar(9),
             c char(4), b bytea, d date, ts timestamp, tz timestamptz, tm time, i interval, u uuid,
             j json, jb jsonb, m mood, ints int[], words text[], ip inet, f4 real, f8 float8, ok bool,
             r int4range);
         INSERT INTO a VALUES (1, 1.05, 1e30, 'x', 'y', 'z', '\\x00', '2024-05-01', '2024-05-01 10:00',
             '2024-05-01 10:00+02', '10:00:00.5', '1 day', '00112233-4455-6677-8899-aabbccddeeff',
             '{\"b\": 1}', '{\"b\": 1}', 'so so', '{1,NULL,3}', '{a,\"b c\"}', '10.0.0.1', 1.1, 0.1,
             true, '[1,5)');
         INSERT INTO a (id) VALUES (2);
         CREATE TABLE b (LIKE a INCLUDING ALL); CREATE TABLE c (LIKE a INCLUDING ALL);
         CREATE TABLE d (LIKE a INCLUDING ALL);",
    );
    let batches: Vec<RecordBatch> =
        read(&database, "a").await.into_iter().map(|page| page.batch).collect();
    for (table, mode) in
        [("b", WriteMode::Append), ("c", WriteMode::Merge), ("d", WriteMode::Replace)]
    {
        let job = Job::new(&database, table, mode, &batches[0]);
        let (refused, _) = job.run(&batches[0], 1).await;
        assert!(refused.is_empty(), "{table}: {refused:?}");
        let rows = |table: &str| database.run(&format!("SELECT * FROM {table} ORDER BY id"));
        assert_eq!(rows(table), rows("a"), "{table}");
    }
}
