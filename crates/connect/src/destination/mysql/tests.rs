//! What a user sees of a MariaDB server that is written into.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array,
    StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use flywheel_base::ErrorKind;
use flywheel_testkit::MariaDb;
use futures::TryStreamExt as _;
use serde_json::{Value, json};

use super::*;
use crate::destination::{Checkpoint, DestinationEntry, NewTargetColumns, Refused, Written};
use crate::page::{Page, Position};
use crate::source::contract::{cells, now};
use crate::source::mysql::quoted;
use crate::source::mysql::tests::{connection, database, server};
use crate::source::{ReadRequest, SourceContext, SourceEntry};

fn destination(settings: Value) -> Box<dyn Destination> {
    let ctx = DestinationContext { base_dir: ".".into(), connection: "to".into() };
    DestinationEntry::named("mysql").unwrap().build(settings, &ctx).unwrap()
}

fn request(table: &str, mode: WriteMode, schema: SchemaRef) -> WriteRequest {
    WriteRequest {
        target: json!({ "table": table }),
        app: "sync/stream".to_owned(),
        schema,
        mode,
        key: vec!["id".to_owned()],
        deleted: (mode == WriteMode::Mirror).then(|| "gone".to_owned()),
        new_columns: NewTargetColumns::Add,
        now: now(),
    }
}

fn checkpoint(sequence: i64) -> Checkpoint {
    Checkpoint { sequence, position: Position(json!({ "at": sequence })) }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))
        .unwrap()
}

/// Rows of an `id` and a text.
fn rows(ids: &[i64], texts: &[&str]) -> RecordBatch {
    batch(vec![
        ("id", Arc::new(Int64Array::from(ids.to_vec()))),
        ("v", Arc::new(StringArray::from(texts.to_vec()))),
    ])
}

/// A database and how it is written into.
struct Case {
    database: String,
    destination: Box<dyn Destination>,
}

impl Case {
    fn new(sql: &str) -> Self {
        let database = database(sql);
        let destination = destination(connection(server(), &database));
        Self { database, destination }
    }

    fn sql(&self, sql: &str) -> String {
        server().sql(&self.database, sql)
    }

    async fn open(&self, mode: WriteMode, first: &RecordBatch) -> Result<Box<dyn Writer>> {
        self.destination.writer(&request("t", mode, first.schema())).await
    }

    /// Writes batches and commits them as `sequence`.
    async fn write(
        &self,
        mode: WriteMode,
        sequence: i64,
        batches: &[RecordBatch],
    ) -> (Written, Vec<Refused>) {
        let mut writer = self.open(mode, &batches[0]).await.unwrap();
        let mut refused = Vec::new();
        for batch in batches {
            refused.extend(writer.write(batch).await.unwrap());
        }
        let written = writer.commit(&checkpoint(sequence)).await.unwrap();
        writer.finish().await.unwrap();
        (written, refused)
    }
}

fn codes(refused: &[Refused]) -> Vec<(usize, &str, Option<&str>)> {
    refused.iter().map(|r| (r.row, r.code.as_str(), r.column.as_deref())).collect()
}

#[tokio::test]
async fn every_type_comes_back_as_it_was_written() {
    let case = Case::new("");
    let written = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![i64::MIN, 0, i64::MAX]))),
        ("u", Arc::new(UInt64Array::from(vec![Some(u64::MAX), Some(0), None]))),
        (
            "f",
            Arc::new(Float64Array::from(vec![Some(0.1), Some(-1.797_693_134_862_315_7e308), None])),
        ),
        (
            "d",
            Arc::new(
                Decimal128Array::from(vec![
                    Some(-12_345_678_901_234_567_890_123_456_789_012_345_678),
                    Some(1),
                    None,
                ])
                .with_precision_and_scale(38, 9)
                .unwrap(),
            ),
        ),
        ("b", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
        ("t", Arc::new(StringArray::from(vec![Some("it's \\ \"é\" 😀\0\n"), Some(""), None]))),
        ("x", Arc::new(BinaryArray::from(vec![Some(&[0_u8, 255, 39, 92][..]), Some(&[]), None]))),
        ("day", Arc::new(Date32Array::from(vec![Some(-719_528), Some(19_782), None]))),
        (
            "at",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1_714_557_600_123_456), Some(-1), None])
                    .with_timezone("UTC"),
            ),
        ),
    ]);
    let (count, refused) = case.write(WriteMode::Append, 1, std::slice::from_ref(&written)).await;
    assert_eq!((count.rows_written, refused), (3, Vec::new()));
    let ctx = SourceContext { base_dir: ".".into(), now: now(), connections: Default::default() };
    let entry = SourceEntry::named("mysql").unwrap();
    let source = entry.build(connection(server(), &case.database), &ctx).unwrap();
    let request = ReadRequest::full(json!({ "query": "SELECT * FROM t ORDER BY id" }), now());
    let pages: Vec<Page> = source.read(&request).try_collect().await.unwrap();
    let mut expected = cells(&[page(written)]);
    // A BOOLEAN of MySQL is a TINYINT, and reads as one.
    for (row, flag) in expected.iter_mut().zip(["1", "0", "∅"]) {
        row[4] = flag.to_owned();
    }
    assert_eq!(cells(&pages), expected);
    assert_eq!(
        case.sql("SELECT id, u, f, d, b, HEX(t), HEX(x), day, at FROM t WHERE id < 0"),
        [
            "-9223372036854775808",
            "18446744073709551615",
            "0.1",
            "-12345678901234567890123456789.012345678",
            "1",
            "69742773205C2022C3A92220F09F9880000A",
            "00FF275C",
            "0000-01-01",
            "2024-05-01 10:00:00.123456",
        ]
        .join("\t")
    );
}

fn page(batch: RecordBatch) -> Page {
    Page {
        batch,
        origin: Vec::new(),
        rejected: Vec::new(),
        notices: Vec::new(),
        position: Position(Value::Null),
    }
}

#[tokio::test]
async fn a_repeated_commit_writes_nothing() {
    let case = Case::new("");
    let first = rows(&[1, 2], &["a", "b"]);
    case.write(WriteMode::Append, 1, std::slice::from_ref(&first)).await;
    let (again, _) = case.write(WriteMode::Append, 1, std::slice::from_ref(&first)).await;
    assert!(again.skipped);
    assert_eq!(case.sql("SELECT id, v FROM t ORDER BY id"), "1\ta\n2\tb");
    let request = request("t", WriteMode::Append, first.schema());
    let progress = case.destination.progress(&request).await.unwrap();
    assert_eq!(progress.committed, Some(checkpoint(1)));
    let (next, _) = case.write(WriteMode::Append, 2, &[rows(&[3], &["c"])]).await;
    assert_eq!((next.rows_written, next.skipped), (1, false));
    assert_eq!(case.sql("SELECT count(*) FROM t"), "3");
}

#[tokio::test]
async fn a_merge_takes_the_last_row_of_a_key_and_keeps_absent_columns() {
    let case = Case::new(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT, kept INT); INSERT INTO t VALUES (1, 'old', 7), (9, 'other', 8)",
    );
    let (written, refused) =
        case.write(WriteMode::Merge, 1, &[rows(&[1, 2, 2, 3], &["new", "x", "y", "z"])]).await;
    assert_eq!(refused, Vec::new());
    assert_eq!((written.rows_written, written.rows_updated), (3, 1));
    assert_eq!(
        case.sql("SELECT * FROM t ORDER BY id"),
        "1\tnew\t7\n2\ty\tNULL\n3\tz\tNULL\n9\tother\t8"
    );
    // The same rows in another run change nothing.
    case.write(WriteMode::Merge, 2, &[rows(&[1, 3], &["new", "z"])]).await;
    assert_eq!(case.sql("SELECT count(*), sum(kept) FROM t"), "4\t15");
}

#[tokio::test]
async fn a_mirror_removes_rows_that_are_marked() {
    let case = Case::new("");
    let rows = |ids: &[i64], texts: &[&str], gone: &[Option<bool>]| {
        batch(vec![
            ("id", Arc::new(Int64Array::from(ids.to_vec()))),
            ("v", Arc::new(StringArray::from(texts.to_vec()))),
            ("gone", Arc::new(BooleanArray::from(gone.to_vec()))),
        ])
    };
    let no = Some(false);
    case.write(WriteMode::Mirror, 1, &[rows(&[1, 2, 3], &["a", "b", "c"], &[no, None, no])]).await;
    let second = rows(
        &[2, 3, 4, 3, 5],
        &["", "", "d", "again", ""],
        &[Some(true), Some(true), no, no, Some(true)],
    );
    let (written, refused) = case.write(WriteMode::Mirror, 2, &[second]).await;
    assert_eq!(refused, Vec::new());
    assert_eq!((written.rows_written, written.rows_deleted), (2, 2));
    assert_eq!(case.sql("SELECT * FROM t ORDER BY id"), "1\ta\n3\tagain\n4\td");
}

#[tokio::test]
async fn keys_that_differ_only_in_case_or_spaces_stay_apart() {
    let case = Case::new("");
    let keyed = |keys: &[&str], values: &[i64]| {
        batch(vec![
            ("id", Arc::new(StringArray::from(keys.to_vec()))),
            ("v", Arc::new(Int64Array::from(values.to_vec()))),
        ])
    };
    let (_, refused) =
        case.write(WriteMode::Merge, 1, &[keyed(&["a", "A", "a ", "ä"], &[1, 2, 3, 4])]).await;
    assert_eq!(refused, Vec::new());
    assert_eq!(case.sql("SELECT count(*) FROM t"), "4");
    let long = "k".repeat(256);
    let (_, refused) = case.write(WriteMode::Merge, 2, &[keyed(&[&long, "b"], &[1, 2])]).await;
    assert_eq!(codes(&refused), [(0, "too-long", Some("id"))]);
    assert_eq!(case.sql("SELECT count(*) FROM t"), "5");
}

#[tokio::test]
async fn bad_rows_are_refused_alone_with_column_and_reason() {
    let case = Case::new(
        "CREATE TABLE parent (id INT PRIMARY KEY); INSERT INTO parent VALUES (1);
         CREATE TABLE t (id INT PRIMARY KEY, short VARCHAR(3), small TINYINT UNSIGNED, latin VARCHAR(9) CHARACTER SET latin1,
           must INT NOT NULL, mail VARCHAR(9) UNIQUE, parent INT, e ENUM('a','b'), n INT, d DECIMAL(5,1),
           FOREIGN KEY (parent) REFERENCES parent (id), CHECK (n < 100));",
    );
    let count = 400_i64;
    let text = |bad: usize, value: &str, good: &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(
            (0..count as usize)
                .map(|row| if row == bad { value.to_owned() } else { good.to_owned() }),
        ))
    };
    let number = |bad: usize, value: Option<i64>| -> ArrayRef {
        Arc::new(Int64Array::from_iter(
            (0..count as usize).map(|row| if row == bad { value } else { Some(1) }),
        ))
    };
    let mails: Vec<String> =
        (0..count).map(|row| format!("m{}", if row == 70 { 69 } else { row })).collect();
    let rows = batch(vec![
        ("id", Arc::new(Int64Array::from_iter_values(0..count))),
        ("short", text(10, "secret", "abc")),
        ("small", number(20, Some(256))),
        ("latin", text(30, "日本", "é")),
        ("must", number(40, None)),
        ("mail", Arc::new(StringArray::from(mails))),
        ("parent", number(50, Some(2))),
        ("e", text(60, "secret", "b")),
        ("n", number(80, Some(100))),
        ("d", text(90, "1.25", "1.5")),
    ]);
    let (written, refused) = case.write(WriteMode::Append, 1, std::slice::from_ref(&rows)).await;
    assert_eq!(
        codes(&refused),
        [
            (10, "too-long", Some("short")),
            (20, "out-of-range", Some("small")),
            (30, "invalid-text", Some("latin")),
            (40, "null-value", Some("must")),
            (50, "foreign-key", None),
            (60, "invalid-value", Some("e")),
            (70, "duplicate-key", None),
            (80, "check-failed", None),
            (90, "loses-digits", Some("d")),
        ]
    );
    assert!(!format!("{refused:?}").contains("secret"), "{refused:?}");
    assert_eq!(written.rows_written, 391);
    assert_eq!(case.sql("SELECT count(*) FROM t"), "391");
}

#[tokio::test]
async fn a_merge_never_overwrites_the_row_of_another_key() {
    let case = Case::new(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, v VARCHAR(20) UNIQUE); INSERT INTO t VALUES (1, 'a'), (2, 'b')",
    );
    let (written, refused) =
        case.write(WriteMode::Merge, 1, &[rows(&[3, 1, 4], &["b", "c", "d"])]).await;
    assert_eq!(codes(&refused), [(0, "duplicate-key", None)]);
    assert_eq!((written.rows_written, written.rows_updated), (2, 1));
    assert_eq!(case.sql("SELECT * FROM t ORDER BY id"), "1\tc\n2\tb\n4\td");
}

#[tokio::test]
async fn a_merge_changes_rows_without_what_only_new_rows_need() {
    let case = Case::new(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, v VARCHAR(20), name VARCHAR(20) NOT NULL, \
         kind ENUM('x', 'y') NOT NULL, n INT NOT NULL DEFAULT 3); \
         INSERT INTO t VALUES (1, 'a', 'Ada', 'y', 1), (2, 'b', 'Bo', 'x', 2)",
    );
    let (written, refused) =
        case.write(WriteMode::Merge, 1, &[rows(&[2, 3, 1], &["c", "d", "it's"])]).await;
    assert_eq!(codes(&refused), [(1, "null-value", Some("name"))]);
    assert_eq!((written.rows_written, written.rows_updated), (2, 2));
    assert_eq!(case.sql("SELECT * FROM t ORDER BY id"), "1\tit's\tAda\ty\t1\n2\tc\tBo\tx\t2");
    // A key of two columns, one of them text.
    let case = Case::new(
        "CREATE TABLE t (id BIGINT, place VARCHAR(20), v INT, name VARCHAR(20) NOT NULL, \
         PRIMARY KEY (id, place)); INSERT INTO t VALUES (1, 'it''s', 1, 'Ada'), (1, 'b', 2, 'Bo')",
    );
    let changed = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1, 1]))),
        ("place", Arc::new(StringArray::from(vec!["it's", "b"]))),
        ("v", Arc::new(Int64Array::from(vec![10, 20]))),
    ]);
    let mut request = request("t", WriteMode::Merge, changed.schema());
    request.key = vec!["id".to_owned(), "place".to_owned()];
    let mut writer = case.destination.writer(&request).await.unwrap();
    assert_eq!(writer.write(&changed).await.unwrap(), Vec::new());
    writer.commit(&checkpoint(1)).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(case.sql("SELECT v, name FROM t ORDER BY v"), "10\tAda\n20\tBo");
}

#[tokio::test]
async fn new_columns_in_the_middle_of_a_transaction_lose_and_show_nothing() {
    let case = Case::new("");
    let first = rows(&[1], &["a"]);
    let mut writer = case.open(WriteMode::Append, &first).await.unwrap();
    writer.write(&first).await.unwrap();
    let wider = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![2]))),
        ("v", Arc::new(StringArray::from(vec!["b"]))),
        ("new", Arc::new(Float64Array::from(vec![0.5]))),
    ]);
    writer.write(&wider).await.unwrap();
    assert_eq!(case.sql("SELECT count(*) FROM t"), "0", "nothing is visible before the commit");
    writer.write(&rows(&[3], &["c"])).await.unwrap();
    let written = writer.commit(&checkpoint(1)).await.unwrap();
    assert_eq!(written.rows_written, 3);
    assert_eq!(case.sql("SELECT * FROM t ORDER BY id"), "1\ta\tNULL\n2\tb\t0.5\n3\tc\tNULL");

    let schema = wider.schema();
    let fail = WriteRequest {
        new_columns: NewTargetColumns::Fail,
        ..request("u", WriteMode::Append, schema)
    };
    case.sql("CREATE TABLE u (id INT, v TEXT)");
    let error = case.destination.writer(&fail).await.err().unwrap();
    assert!(
        error.message().contains("new") && error.hint_text().unwrap().contains("add"),
        "{error:?}"
    );
    let ignore = WriteRequest { new_columns: NewTargetColumns::Ignore, ..fail };
    let mut writer = case.destination.writer(&ignore).await.unwrap();
    writer.write(&wider).await.unwrap();
    writer.commit(&checkpoint(1)).await.unwrap();
    assert_eq!(case.sql("SELECT * FROM u"), "2\tb");
}

#[tokio::test]
async fn a_replacement_appears_at_once_and_goes_on_after_a_crash() {
    let case = Case::new(
        "CREATE TABLE t (id BIGINT, v VARCHAR(9), INDEX (v)); INSERT INTO t VALUES (7, 'old')",
    );
    let first = rows(&[1, 2], &["a", "b"]);
    let mut writer = case.open(WriteMode::Replace, &first).await.unwrap();
    writer.write(&first).await.unwrap();
    assert_eq!(writer.commit(&checkpoint(1)).await.unwrap(), Written::default());
    writer.write(&rows(&[9], &["lost"])).await.unwrap();
    drop(writer);
    assert_eq!(case.sql("SELECT * FROM t"), "7\told");
    let request = request("t", WriteMode::Replace, first.schema());
    let progress = case.destination.progress(&request).await.unwrap();
    assert_eq!((progress.committed, progress.staged), (None, Some(checkpoint(1))));

    let mut writer = case.open(WriteMode::Replace, &first).await.unwrap();
    assert!(writer.commit(&checkpoint(1)).await.unwrap().skipped);
    writer.write(&rows(&[3], &["c"])).await.unwrap();
    writer.commit(&checkpoint(2)).await.unwrap();
    assert_eq!(writer.finish().await.unwrap().rows_written, 3);
    assert_eq!(case.sql("SELECT * FROM t ORDER BY id"), "1\ta\n2\tb\n3\tc");
    assert_eq!(case.sql("SELECT count(*) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = database() AND TABLE_NAME = 't'"), "1");
    assert_eq!(case.sql("SHOW TABLES LIKE '%flywheel\\_s%'"), "_flywheel_sync_state");
    let progress = case.destination.progress(&request).await.unwrap();
    assert_eq!((progress.committed, progress.staged), (Some(checkpoint(2)), None));

    // A crash right after the swap: the table is new, the state row still says staged.
    let mut writer = case.open(WriteMode::Replace, &first).await.unwrap();
    writer.write(&rows(&[5], &["e"])).await.unwrap();
    writer.commit(&checkpoint(3)).await.unwrap();
    drop(writer);
    case.sql("RENAME TABLE t TO t__flywheel_replaced, t__flywheel_staging TO t");
    let progress = case.destination.progress(&request).await.unwrap();
    assert_eq!((progress.committed, progress.staged), (Some(checkpoint(3)), None));
    case.write(WriteMode::Replace, 4, &[rows(&[6], &["f"])]).await;
    assert_eq!(case.sql("SELECT * FROM t"), "6\tf");
    assert_eq!(case.sql("SHOW TABLES"), "_flywheel_sync_state\nt");
}

#[tokio::test]
async fn a_target_that_cannot_be_written_safely_is_named_with_the_fix() {
    let case = Case::new(
        "CREATE TABLE aria (id INT PRIMARY KEY, v TEXT) ENGINE = Aria;
         CREATE VIEW v AS SELECT 1 AS id; CREATE TABLE nokey (id INT, v TEXT);
         CREATE TABLE parent (id INT PRIMARY KEY, v TEXT);
         CREATE TABLE child (id INT PRIMARY KEY, v TEXT, p INT, FOREIGN KEY (p) REFERENCES parent (id));
         CREATE TABLE made (v TEXT, id INT AS (length(v)) STORED, UNIQUE (id));",
    );
    let schema = rows(&[], &[]).schema();
    let long = "x".repeat(60);
    for (table, mode, words) in [
        ("aria", WriteMode::Append, "ENGINE = InnoDB"),
        ("v", WriteMode::Append, "table behind"),
        ("nokey", WriteMode::Merge, "ADD UNIQUE (`id`)"),
        ("parent", WriteMode::Replace, "foreign keys"),
        ("child", WriteMode::Replace, "foreign keys"),
        ("made", WriteMode::Merge, "take values"),
        (&long, WriteMode::Replace, "characters"),
        ("", WriteMode::Append, "`table`"),
    ] {
        let request = request(table, mode, Arc::clone(&schema));
        let error = case.destination.writer(&request).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{table}: {error:?}");
        assert!(error.hint_text().unwrap().contains(words), "{table}: {error:?}");
    }
    let keyless =
        WriteRequest { key: Vec::new(), ..request("t", WriteMode::Merge, Arc::clone(&schema)) };
    let error = case.destination.writer(&keyless).await.err().unwrap();
    assert!(error.hint_text().unwrap().contains("primary_key"));
    let twice = Schema::new(
        [Arc::clone(&schema.fields()[0]), Arc::new(schema.field(1).clone().with_name("ID"))]
            .to_vec(),
    );
    let error = case
        .destination
        .writer(&request("t", WriteMode::Append, Arc::new(twice)))
        .await
        .err()
        .unwrap();
    assert!(error.hint_text().unwrap().contains("rename"), "{error:?}");
}

#[tokio::test]
async fn what_the_server_computes_takes_no_value() {
    let case = Case::new(
        "CREATE TABLE t (id INT PRIMARY KEY, n INT DEFAULT 7, v VARCHAR(9) AS (concat('n', n)) STORED)",
    );
    for (mode, sequence) in [(WriteMode::Append, 1), (WriteMode::Merge, 2), (WriteMode::Replace, 3)]
    {
        let (_, refused) =
            case.write(mode, sequence, &[rows(&[sequence, 10 * sequence], &["x", "y"])]).await;
        assert!(refused.is_empty(), "{mode}: {refused:?}");
        let found =
            case.sql(&format!("SELECT v FROM t WHERE id >= {sequence} ORDER BY id LIMIT 1"));
        assert_eq!(found, "n7", "{mode}");
    }
}

#[tokio::test]
async fn a_replacement_makes_its_table_with_the_key_and_sets_rows_aside_that_have_it_twice() {
    let case = Case::new("");
    let twice = rows(&[1, 2, 1], &["a", "b", "again"]);
    let (_, refused) = case.write(WriteMode::Replace, 1, &[twice]).await;
    assert_eq!(codes(&refused), [(2, "duplicate-key", None)]);
    assert_eq!(case.sql("SELECT * FROM t ORDER BY id"), "1\ta\n2\tb");
    let key = "SELECT COLUMN_NAME FROM information_schema.STATISTICS \
               WHERE TABLE_SCHEMA = database() AND TABLE_NAME = 't' AND INDEX_NAME = 'PRIMARY'";
    assert_eq!(case.sql(key), "id");
}

#[tokio::test]
async fn a_user_who_may_not_write_is_told_before_the_first_row() {
    let case = Case::new("CREATE TABLE t (id INT, v TEXT)");
    case.destination.check().await.unwrap();
    let name = &case.database;
    case.sql(&format!("CREATE USER reader@'127.0.0.1' IDENTIFIED BY 'x'; GRANT SELECT ON {name}.* TO reader@'127.0.0.1'"));
    let mut settings = connection(server(), name);
    settings["user"] = json!("reader");
    settings["password"] = json!("x");
    let error = destination(settings).check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(error.hint_text().unwrap().contains("GRANT"), "{error:?}");
}

#[tokio::test]
async fn a_writer_cut_off_before_or_while_committing_leaves_all_or_nothing() {
    let mut server = MariaDb::start_with(&["--innodb-flush-log-at-trx-commit=1"]);
    let name = server.database();
    let destination = destination(connection(&server, &name));
    let first = rows(&[1], &["a"]);
    let request = request("t", WriteMode::Append, first.schema());
    for sequence in 1..=4 {
        let mut writer = destination.writer(&request).await.unwrap();
        let before =
            destination.progress(&request).await.unwrap().committed.map_or(0, |c| c.sequence);
        writer.write(&rows(&[before + 1], &["x"])).await.unwrap();
        // Kill it at another moment each time: before the commit, while it runs, after it.
        let next = checkpoint(before + 1);
        let outcome = match sequence {
            1 => {
                server.stop();
                writer.commit(&next).await
            }
            2 | 3 => {
                let commit = writer.commit(&next);
                let kill = async { server.stop() };
                futures::future::join(commit, kill).await.0
            }
            _ => {
                let outcome = writer.commit(&next).await;
                server.stop();
                outcome
            }
        };
        if let Err(error) = &outcome {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            assert!(writer.write(&first).await.is_err(), "a failed writer does not go on");
        }
        server.restart();
        let after =
            destination.progress(&request).await.unwrap().committed.map_or(0, |c| c.sequence);
        assert!(after == before + 1 || (after == before && outcome.is_err()), "{before} {after}");
        let found = server.sql(&name, "SELECT count(*), coalesce(max(id), 0) FROM t");
        assert_eq!(found, format!("{after}\t{after}"), "rows and position are one");
    }
}

#[tokio::test]
async fn a_deadlock_is_written_again_and_loses_nothing() {
    let case = Case::new(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, ''), (2, ''), (3, '')",
    );
    let first = rows(&[1], &["a"]);
    let mut ours = case.open(WriteMode::Merge, &first).await.unwrap();
    let other_request = WriteRequest {
        app: "other/stream".into(),
        ..request("t", WriteMode::Merge, first.schema())
    };
    let mut other = case.destination.writer(&other_request).await.unwrap();
    ours.write(&first).await.unwrap();
    other.write(&rows(&[2, 3], &["o", "o"])).await.unwrap();
    // Each waits for a row of the other; the server ends one, which writes its rows again.
    let (us, them) = (rows(&[2], &["b"]), rows(&[1], &["o"]));
    let both = futures::future::join(
        async {
            ours.write(&us).await.unwrap();
            ours.commit(&checkpoint(1)).await.unwrap()
        },
        async {
            other.write(&them).await.unwrap();
            other.commit(&checkpoint(1)).await.unwrap()
        },
    );
    let (ours, theirs) = both.await;
    assert_eq!((ours.rows_written, theirs.rows_written), (2, 3));
    let found = case.sql("SELECT group_concat(v ORDER BY id SEPARATOR '') FROM t");
    assert!(found == "abo" || found == "ooo", "one after the other: {found}");
}

/// Every one of many streams into a database commits its first rows at the same moment.
#[tokio::test]
async fn first_commits_of_many_targets_do_not_end_each_other() {
    let case = Case::new("");
    let first = rows(&[1, 2], &["a", "b"]);
    for round in 0..8 {
        let mut writers = Vec::new();
        for at in 0..8 {
            let table = format!("t{round}_{at}");
            let wanted = WriteRequest {
                app: format!("sync/{table}"),
                ..request(&table, WriteMode::Replace, first.schema())
            };
            let mut writer = case.destination.writer(&wanted).await.unwrap();
            writer.write(&first).await.unwrap();
            writers.push(writer);
        }
        let all = writers.into_iter().map(|mut writer| async move {
            writer.commit(&checkpoint(1)).await?;
            writer.finish().await
        });
        for written in futures::future::join_all(all).await {
            assert_eq!(written.unwrap().rows_written, 2);
        }
    }
}

#[tokio::test]
async fn a_commit_that_the_server_ends_is_made_again_with_its_rows() {
    let case = Case::new("CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT); CREATE TABLE w (x INT)");
    let first = rows(&[1], &["a"]);
    let mut ours = case.open(WriteMode::Merge, &first).await.unwrap();
    ours.write(&first).await.unwrap();
    ours.commit(&checkpoint(1)).await.unwrap();
    ours.write(&rows(&[1], &["b"])).await.unwrap();
    // Another has written far more, which the server will not throw away; it holds where we stand and wants our row.
    let settings: MySql = serde_json::from_value(connection(server(), &case.database)).unwrap();
    let server = Server::new(&settings, std::path::Path::new("."), Purpose::Write).unwrap();
    let mut other = server.connect().await.unwrap();
    other.run("START TRANSACTION").await.unwrap();
    other.run("INSERT INTO w SELECT seq FROM seq_1_to_1000").await.unwrap();
    let lock = format!("SELECT * FROM {} FOR UPDATE", quoted(state::STATE_TABLE));
    other.all::<mysql_async::Row>(&lock, ()).await.unwrap();
    let theirs = async {
        other.run("UPDATE t SET v = 'theirs' WHERE id = 1").await.unwrap();
        other.run("COMMIT").await.unwrap();
    };
    let next = checkpoint(2);
    let (written, ()) = futures::future::join(ours.commit(&next), theirs).await;
    assert_eq!(written.unwrap().rows_written, 1);
    assert_eq!(case.sql("SELECT v FROM t"), "b", "the one that came last");
}

#[tokio::test]
async fn two_runs_of_one_stream_do_not_both_commit() {
    let case = Case::new("");
    let first = rows(&[1], &["a"]);
    let mut one = case.open(WriteMode::Append, &first).await.unwrap();
    let mut two = case.open(WriteMode::Append, &first).await.unwrap();
    one.write(&first).await.unwrap();
    two.write(&first).await.unwrap();
    one.commit(&checkpoint(1)).await.unwrap();
    let error = two.commit(&checkpoint(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    assert_eq!(case.sql("SELECT count(*) FROM t"), "1");
}

#[tokio::test]
async fn a_row_larger_than_a_packet_is_refused_alone() {
    let server = MariaDb::start_with(&["--max-allowed-packet=1M"]);
    let name = server.database();
    let destination = destination(connection(&server, &name));
    let huge = "x".repeat(2 << 20);
    let middle = "y".repeat(600_000);
    let rows = rows(&[1, 2, 3, 4], &["a", &huge, &middle, &middle]);
    let mut writer =
        destination.writer(&request("t", WriteMode::Append, rows.schema())).await.unwrap();
    let refused = writer.write(&rows).await.unwrap();
    assert_eq!(codes(&refused), [(1, "too-long", None)]);
    writer.commit(&checkpoint(1)).await.unwrap();
    assert_eq!(
        server.sql(&name, "SELECT id, length(v) FROM t ORDER BY id"),
        "1\t1\n3\t600000\n4\t600000"
    );
}

#[tokio::test]
async fn a_column_that_the_source_widens_is_widened_with_all_that_is_said_of_it() {
    let case = Case::new(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, n INT NOT NULL DEFAULT 7 COMMENT 'how, many', \
         p DECIMAL(9,2), KEY (n))",
    );
    let make = |ids: &[i64], numbers: &[i64], prices: &[i128], digits: u8, scale: i8| {
        let prices = Decimal128Array::from(prices.to_vec());
        let prices = prices.with_precision_and_scale(digits, scale).unwrap();
        batch(vec![
            ("id", Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef),
            ("n", Arc::new(Int64Array::from(numbers.to_vec()))),
            ("p", Arc::new(prices)),
        ])
    };
    let narrow = make(&[1, 2], &[1, 2], &[125, 225], 9, 2);
    let wide = make(&[2, 3], &[-5_000_000_000, 5_000_000_000], &[1, 99_999_999_990_001], 14, 4);
    let mut writer = case.open(WriteMode::Merge, &narrow).await.unwrap();
    assert!(writer.write(&narrow).await.unwrap().is_empty());
    let columns = ["n".to_owned(), "p".to_owned()];
    writer.widen(&columns, &wide.schema()).await.unwrap();
    assert!(writer.write(&wide).await.unwrap().is_empty());
    writer.commit(&checkpoint(1)).await.unwrap();
    // Said again after a crash, it changes nothing.
    writer.widen(&columns, &wide.schema()).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(
        case.sql("SELECT id, n, p FROM t ORDER BY id"),
        "1\t1\t1.2500\n2\t-5000000000\t0.0001\n3\t5000000000\t9999999999.0001"
    );
    let facts = "SELECT DATA_TYPE, IS_NULLABLE, COLUMN_DEFAULT, COLUMN_COMMENT \
                 FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() \
                 AND TABLE_NAME = 't' AND COLUMN_NAME = 'n'";
    assert_eq!(case.sql(facts), "bigint\tNO\t7\thow, many");

    case.sql("DROP TABLE t; CREATE TABLE t (id BIGINT PRIMARY KEY, n INT, p DECIMAL(9,2))");
    let mut refusing = request("t", WriteMode::Merge, narrow.schema());
    refusing.new_columns = NewTargetColumns::Fail;
    let mut writer = case.destination.writer(&refusing).await.unwrap();
    let error = writer.widen(&columns, &wide.schema()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked, "{error:?}");
    assert!(error.hint_text().unwrap().contains("MODIFY COLUMN `n` BIGINT"), "{error:?}");
}
