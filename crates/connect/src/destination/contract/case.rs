//! One target of each destination, and how what is in it is read back. A new destination adds a case.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array,
    Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use flywheel_base::ErrorKind;
use futures::TryStreamExt;
use serde_json::{Value, json};

use crate::destination::program::tests::pyarrow;
use crate::destination::{
    Checkpoint, Destination, DestinationContext, DestinationEntry, NewTargetColumns, Progress,
    WriteMode, WriteRequest, Writer,
};
use crate::http::fake::Fake;
use crate::objects::fake::{FakeS3, connection};
use crate::page::{Page, Position};
use crate::source::contract::{Folder, cells, now};
use crate::{ColumnType, DeclaredColumn, ReadRequest};

/// A target of one destination.
pub(crate) struct Case {
    pub(crate) entry: &'static DestinationEntry,
    pub(crate) folder: Folder,
    pub(crate) connection: Value,
    pub(crate) target: Value,
    /// The stream settings that read what is visible, with the source of the same name.
    pub(crate) stream: Value,
    /// The source that reads what is visible, if it has another name.
    pub(crate) reader: Option<&'static str>,
    /// A column of a value that the target refuses, and the code it gives.
    pub(crate) bad: Option<(ArrayRef, &'static str)>,
    /// A store that the connection goes to.
    pub(crate) _server: Option<Fake>,
}

/// The tests of a destination that the contract does not run over.
pub(crate) struct Own {
    pub(crate) name: &'static str,
    /// Shows that what is written arrives as it was.
    pub(crate) arrives: &'static str,
    /// Shows that what is written again, by the same run or the next, has its effect once.
    pub(crate) once: &'static str,
    /// Shows that a bad row is refused and its neighbours land.
    pub(crate) refuses: &'static str,
}

/// Destinations that need a server, and keep the contract in their own tests against one; `certified` sees to it that
/// these tests are there.
pub(crate) const OWN: &[Own] = &[
    Own {
        name: "mysql",
        arrives: "every_type_comes_back_as_it_was_written",
        once: "a_repeated_commit_writes_nothing",
        refuses: "bad_rows_are_refused_alone_with_column_and_reason",
    },
    Own {
        name: "postgres",
        arrives: "every_type_comes_back_as_it_went",
        once: "a_sequence_that_is_committed_has_its_effect_once",
        refuses: "each_kind_of_bad_row_is_refused_alone",
    },
    Own {
        name: "kafka",
        arrives: "every_type_reads_back_as_it_was",
        once: "a_checkpoint_committed_twice_has_its_effect_once",
        refuses: "a_message_that_is_too_large_is_refused_and_its_neighbours_land",
    },
    Own {
        name: "rest",
        arrives: "ten_thousand_contacts_go_out_within_the_quota_and_none_is_lost",
        once: "rows_left_in_doubt_by_a_crash_go_out_again_under_the_same_key",
        refuses: "one_bad_row_costs_neither_its_neighbours_nor_the_run",
    },
    Own {
        name: "hubspot",
        arrives: "an_empty_value_clears_the_property_and_equal_addresses_do_not_spoil_a_batch",
        once: "ten_thousand_contacts_are_upserted_and_ten_bad_ones_named",
        refuses: "ten_thousand_contacts_are_upserted_and_ten_bad_ones_named",
    },
    Own {
        name: "salesforce",
        arrives: "many_rows_go_by_a_bulk_job_and_every_row_has_its_fate",
        once: "many_rows_go_by_a_bulk_job_and_every_row_has_its_fate",
        refuses: "few_rows_go_by_composite_requests_and_bad_ones_are_named",
    },
];

/// Destinations of messages: every row of every mode is one more of them, so that only `append` looks
/// like a table. Their own tests have the other modes.
pub(crate) const MESSAGES: [&str; 1] = ["journal"];

/// Destinations that start a program, which does not tell which columns its target has.
pub(crate) const PROGRAMS: [&str; 3] = ["singer", "airbyte", "program"];

/// A program that takes rows.
const WRITER: &[u8] = include_bytes!("../../../tests-data/programs/writer.py");

/// A program of our own protocol, which reads and takes rows.
const ARROW_PROGRAM: &[u8] = include_bytes!("../../../tests-data/programs/arrow_program.py");

/// Destinations of files, which also write into a store.
pub(crate) const FILES: [&str; 5] = ["csv", "jsonl", "parquet", "avro", "excel"];

/// The case of a destination of files in a store.
pub(crate) fn case_in_store(entry: &'static DestinationEntry) -> Case {
    let (server, _) = FakeS3::start();
    Case { connection: connection(&server, "out"), _server: Some(server), ..case(entry) }
}

/// The case of a destination.
pub(crate) fn case(entry: &'static DestinationEntry) -> Case {
    let file = |ending: &str, more: Value, bad: Option<(ArrayRef, &'static str)>| {
        let mut stream = json!({ "path": format!("t*.{ending}") });
        for (key, value) in more.as_object().into_iter().flatten() {
            stream[key] = value.clone();
        }
        Case {
            entry,
            folder: Folder::new(&[]),
            connection: json!({}),
            target: json!({ "path": format!("t.{ending}") }),
            stream,
            reader: None,
            bad,
            _server: None,
        }
    };
    let far: ArrayRef = Arc::new(Date32Array::from(vec![0, 99_999_999, 1]));
    let long = "x".repeat(40_000);
    let long: ArrayRef = Arc::new(StringArray::from(vec!["a", &long, "b"]));
    let infinite: ArrayRef = Arc::new(Float64Array::from(vec![0.5, f64::INFINITY, 1.5]));
    match entry.name {
        "csv" => file("csv", json!({ "exact": true }), Some((far, "out-of-range"))),
        "jsonl" => file("jsonl", json!({ "base64": true }), Some((infinite, "not-finite"))),
        "parquet" => file("parquet", json!({}), None),
        "avro" => file("avro", json!({}), None),
        "excel" => file("xlsx", json!({ "base64": true }), Some((long, "text-too-long"))),
        "sqlite" => Case {
            entry,
            folder: Folder::new(&[]),
            connection: json!({ "path": "out/t.db" }),
            target: json!({ "table": "t" }),
            stream: json!({ "table": "t" }),
            reader: None,
            bad: Some((infinite, "not-finite")),
            _server: None,
        },
        "journal" => Case {
            entry,
            folder: Folder::new(&[]),
            connection: json!({ "path": "out/journal" }),
            target: json!({ "topic": "t" }),
            stream: json!({ "topic": "t", "metadata": [], "base64": true }),
            reader: None,
            bad: Some((infinite, "not-finite")),
            _server: None,
        },
        "singer" | "airbyte" => {
            let folder = Folder::new(&[("writer.py", WRITER)]);
            let out = folder.path("t.jsonl");
            Case {
                entry,
                connection: json!({ "command": ["python3", "writer.py", entry.name],
                                    "config": { "out": out, "password": "battery-staple" } }),
                folder,
                target: json!({ "stream": "t" }),
                stream: json!({ "path": "t.jsonl", "base64": true }),
                reader: Some("jsonl"),
                bad: Some((infinite, "not-finite")),
                _server: None,
            }
        }
        "program" => {
            let folder = Folder::new(&[("arrow_program.py", ARROW_PROGRAM)]);
            let path = folder.path("t.parquet");
            let python = pyarrow().unwrap_or_else(|| "python3".into());
            Case {
                entry,
                connection: json!({ "command": [python, "arrow_program.py"],
                                    "config": { "path": path } }),
                folder,
                target: json!({}),
                stream: json!({ "path": "t.parquet" }),
                reader: Some("parquet"),
                bad: None,
                _server: None,
            }
        }
        #[cfg(all(feature = "odbc", feature = "adbc"))]
        "odbc" | "adbc" => {
            let database = crate::postgres::testing::Database::new("SELECT 1");
            Case {
                entry,
                folder: Folder::new(&[]),
                connection: crate::driver::tests::to_postgres(entry.name, &database.name).unwrap(),
                target: json!({ "table": "t" }),
                stream: json!({ "table": "t" }),
                reader: None,
                bad: Some((infinite, "not-finite")),
                _server: None,
            }
        }
        "mysql" => {
            use crate::source::mysql::tests;
            Case {
                entry,
                folder: Folder::new(&[]),
                connection: tests::connection(tests::server(), &tests::database("")),
                target: json!({ "table": "t" }),
                stream: json!({ "table": "t" }),
                reader: None,
                bad: Some((infinite, "not-finite")),
                _server: None,
            }
        }
        other => panic!("the destination {other} has no contract case: add one"),
    }
}

impl Case {
    /// The destination, as another run of the program would build it.
    pub(crate) fn destination(&self) -> Box<dyn Destination> {
        let ctx = DestinationContext { base_dir: self.folder.path(""), connection: "to".into() };
        self.entry.build(self.connection.clone(), &ctx).unwrap()
    }

    pub(crate) fn request(&self, mode: WriteMode, schema: SchemaRef) -> WriteRequest {
        WriteRequest {
            target: self.target.clone(),
            app: "shop/orders".into(),
            schema,
            mode,
            key: vec!["id".into()],
            deleted: (mode == WriteMode::Mirror).then(|| "gone".into()),
            new_columns: NewTargetColumns::Add,
            now: now(),
        }
    }

    pub(crate) async fn writer(&self, mode: WriteMode) -> Box<dyn Writer> {
        let schema = rows(mode, &[]).schema();
        self.destination().writer(&self.request(mode, schema)).await.unwrap()
    }

    pub(crate) async fn progress(&self, mode: WriteMode) -> Progress {
        let request = self.request(mode, rows(mode, &[]).schema());
        self.destination().progress(&request).await.unwrap()
    }

    /// What a reader of the target sees, sorted; nothing if there is no target yet.
    pub(crate) async fn visible(&self, columns: &[(&str, &str)]) -> Vec<Vec<String>> {
        let mut rows = cells(&self.pages(columns).await);
        rows.sort_by_key(|row| row[0].parse::<i64>().unwrap_or(i64::MAX));
        rows
    }

    pub(crate) async fn pages(&self, columns: &[(&str, &str)]) -> Vec<Page> {
        let columns = columns.iter().map(|(name, kind)| {
            let kind: ColumnType = kind.parse().unwrap();
            DeclaredColumn::new(*name, kind)
        });
        let mut request = ReadRequest::full(self.stream.clone(), now());
        if self.entry.name != "sqlite" {
            request.columns = columns.collect();
        }
        let source = match self.reader {
            Some(reader) => self.folder.source(reader),
            None => self.folder.source_with(self.entry.name, self.connection.clone()),
        };
        match source.read(&request).try_collect::<Vec<Page>>().await {
            Ok(pages) => {
                let rejected: Vec<_> = pages.iter().flat_map(|page| &page.rejected).collect();
                assert!(rejected.is_empty(), "{}: {rejected:?}", self.entry.name);
                pages
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => panic!("{}: {}", self.entry.name, error.report()),
        }
    }

    /// The ids and names that a reader sees, as `1 a`.
    pub(crate) async fn seen(&self) -> Vec<String> {
        let rows = self.visible(&[("id", "int64"), ("name", "text")]).await;
        rows.iter().map(|row| format!("{} {}", row[0], row[1])).collect()
    }
}

/// A checkpoint.
pub(crate) fn checkpoint(sequence: i64) -> Checkpoint {
    Checkpoint { sequence, position: Position(json!({ "read": sequence })) }
}

/// Rows with `id` and `name`; with mode `mirror` those called `-` are marked as deleted.
pub(crate) fn rows(mode: WriteMode, rows: &[(i64, &str)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
    let names: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.1)).collect::<StringArray>());
    let mut columns = vec![("id", ids, true), ("name", names, true)];
    if mode == WriteMode::Mirror {
        let marks: Vec<bool> = rows.iter().map(|row| row.1 == "-").collect();
        columns.push(("gone", Arc::new(BooleanArray::from(marks)), true));
    }
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// A table with every type of ours, with its extremes and with rows without values.
pub(crate) fn all_types() -> (RecordBatch, Vec<(&'static str, &'static str)>) {
    let texts = vec![
        Some("00123"),
        Some("=1+1"),
        Some("a,\"b\"\n;c\r\n"),
        Some(" edge "),
        Some("true"),
        None,
    ];
    let decimals = |values: Vec<Option<i128>>, precision, scale| {
        let array = Decimal128Array::from(values);
        Arc::new(array.with_precision_and_scale(precision, scale).unwrap()) as ArrayRef
    };
    let most = 10i128.pow(38) - 1;
    // 2024-05-01T12:30:00.123456Z, .5Z, the last microsecond of 9999, before 1900, 1970
    let moments = vec![
        Some(1_714_566_600_123_456),
        Some(1_714_566_600_500_000),
        Some(253_402_300_799_999_999),
        Some(-2_500_000_000_000_001),
        Some(0),
        None,
    ];
    let columns: Vec<(&'static str, &'static str, ArrayRef)> = vec![
        ("id", "int64", Arc::new(Int64Array::from_iter_values(1..=6))),
        (
            "whole",
            "int64",
            Arc::new(Int64Array::from(vec![
                Some(i64::MAX),
                Some(i64::MIN),
                Some(9_007_199_254_740_993),
                Some(0),
                Some(-1),
                None,
            ])),
        ),
        (
            "small",
            "int32",
            Arc::new(Int32Array::from(vec![
                Some(i32::MAX),
                Some(i32::MIN),
                Some(0),
                Some(7),
                Some(-7),
                None,
            ])),
        ),
        (
            "float",
            "float64",
            Arc::new(Float64Array::from(vec![
                Some(0.1),
                Some(1e300),
                Some(-5e-324),
                Some(3.0),
                Some(123_456_789.123_456_79),
                None,
            ])),
        ),
        (
            "price",
            "decimal(12,2)",
            decimals(
                vec![Some(1250), Some(-5), Some(0), Some(999_999_999_999), Some(100), None],
                12,
                2,
            ),
        ),
        (
            "wide",
            "decimal(38,10)",
            decimals(vec![Some(most), Some(-most), Some(1), Some(0), Some(-1), None], 38, 10),
        ),
        (
            "flag",
            "bool",
            Arc::new(BooleanArray::from(vec![
                Some(true),
                Some(false),
                Some(true),
                Some(false),
                None,
                None,
            ])),
        ),
        (
            "day",
            "date",
            Arc::new(Date32Array::from(vec![
                Some(19_844),
                Some(0),
                Some(-719_162),
                Some(2_932_896),
                Some(-25_509),
                None,
            ])),
        ),
        (
            "at",
            "timestamp",
            Arc::new(TimestampMicrosecondArray::from(moments).with_timezone("UTC")),
        ),
        ("text", "text", Arc::new(StringArray::from(texts))),
        (
            "json",
            "json",
            Arc::new(StringArray::from(vec![
                Some("{\"a\": [1, null]}"),
                Some("\"x\""),
                Some("1.50"),
                Some("{\"k\": null}"),
                Some("[]"),
                None,
            ])),
        ),
        (
            "bytes",
            "binary",
            Arc::new(BinaryArray::from(vec![
                Some(&b"\xff\x00\xfe"[..]),
                Some(b"plain"),
                Some(b"\n\""),
                Some(b"0"),
                Some(b"=A1"),
                None,
            ])),
        ),
    ];
    let declared = columns.iter().map(|(name, kind, _)| (*name, *kind)).collect();
    let arrays = columns.into_iter().map(|(name, _, array)| (name, array, true));
    (RecordBatch::try_from_iter_with_nullable(arrays).unwrap(), declared)
}

/// Whether two types hold the same values for a source that knows fewer types.
pub(crate) fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Int32 => DataType::Int64,
        other => other.clone(),
    }
}
