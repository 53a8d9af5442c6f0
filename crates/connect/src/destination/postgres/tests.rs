//! What a user sees of a PostgreSQL server that is written into: a real one.

mod exactly_once;
mod refusing;
mod replacing;
mod round_trip;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use flywheel_base::ErrorKind;
use serde_json::{Value, json};

use super::*;
use crate::destination::{
    Checkpoint, DestinationEntry, NewTargetColumns, Refused, WriteMode, Written,
};
use crate::page::Position;
use crate::postgres::testing::Database as TestDatabase;
use crate::source::contract::now;

fn destination(connection: Value) -> Box<dyn Destination> {
    let ctx = DestinationContext { base_dir: ".".into(), connection: "to".into() };
    DestinationEntry::named("postgres").unwrap().build(connection, &ctx).unwrap()
}

/// What a test writes where.
struct Job {
    destination: Box<dyn Destination>,
    request: WriteRequest,
}

impl Job {
    fn new(database: &TestDatabase, table: &str, mode: WriteMode, batch: &RecordBatch) -> Self {
        Self::through(database.connection(), table, mode, batch)
    }

    fn through(connection: Value, table: &str, mode: WriteMode, batch: &RecordBatch) -> Self {
        let key = match mode {
            WriteMode::Merge | WriteMode::Mirror => vec!["id".to_owned()],
            _ => Vec::new(),
        };
        let request = WriteRequest {
            target: json!({ "table": table }),
            app: "shop/orders".to_owned(),
            schema: batch.schema(),
            mode,
            key,
            deleted: (mode == WriteMode::Mirror).then(|| "gone".to_owned()),
            new_columns: NewTargetColumns::Add,
            now: now(),
        };
        Self { destination: destination(connection), request }
    }

    async fn writer(&self) -> Box<dyn Writer> {
        self.destination.writer(&self.request).await.unwrap()
    }

    /// Writes a batch and commits it; finishes.
    async fn run(&self, batch: &RecordBatch, sequence: i64) -> (Vec<Refused>, Written) {
        let mut writer = self.writer().await;
        let refused = writer.write(batch).await.unwrap();
        let written = writer.commit(&checkpoint(sequence)).await.unwrap();
        writer.finish().await.unwrap();
        (refused, written)
    }

    /// The sequences of the visible and of the staged checkpoint.
    async fn progress(&self) -> (Option<i64>, Option<i64>) {
        let progress = self.destination.progress(&self.request).await.unwrap();
        let sequence = |checkpoint: Option<Checkpoint>| {
            checkpoint.map(|checkpoint| {
                assert_eq!(checkpoint.position, position(checkpoint.sequence));
                checkpoint.sequence
            })
        };
        (sequence(progress.committed), sequence(progress.staged))
    }
}

fn position(sequence: i64) -> Position {
    Position(json!({ "at": sequence, "text": "a\u{0}b" }))
}

fn checkpoint(sequence: i64) -> Checkpoint {
    Checkpoint { sequence, position: position(sequence) }
}

fn ints(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn texts<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

fn flags(values: impl IntoIterator<Item = bool>) -> ArrayRef {
    Arc::new(values.into_iter().map(Some).collect::<BooleanArray>())
}

fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns.iter().map(|(name, array)| (*name, Arc::clone(array), true)),
    )
    .unwrap()
}

/// Rows `id`, `v` = `text id`.
fn rows(ids: std::ops::RangeInclusive<i64>, text: &str) -> RecordBatch {
    let values: Vec<String> = ids.clone().map(|id| format!("{text} {id}")).collect();
    batch(&[("id", ints(ids)), ("v", texts(values.iter().map(|v| Some(v.as_str()))))])
}

#[tokio::test]
async fn merged_rows_meet_by_key_and_the_last_of_a_batch_wins() {
    let database = TestDatabase::new("");
    let first = batch(&[
        ("id", ints([1, 2, 2, 3])),
        ("v", texts([Some("a"), Some("old"), Some("b"), None])),
        ("n", ints([10, 20, 21, 30])),
    ]);
    let job = Job::new(&database, "t", WriteMode::Merge, &first);
    let (refused, written) = job.run(&first, 1).await;
    assert!(refused.is_empty());
    assert_eq!((written.rows_written, written.rows_updated), (3, 0));
    assert_eq!(database.run("SELECT * FROM t ORDER BY id"), "1|a|10\n2|b|21\n3|∅|30");
    // A column that a batch lacks keeps its value; one it brings is added.
    let second =
        batch(&[("id", ints([3, 4])), ("n", ints([31, 40])), ("extra", flags([true, false]))]);
    let (_, written) = job.run(&second, 2).await;
    assert_eq!((written.rows_written, written.rows_updated), (2, 1));
    let expected = "1|a|10|∅\n2|b|21|∅\n3|∅|31|t\n4|∅|40|f";
    assert_eq!(database.run("SELECT * FROM t ORDER BY id"), expected);
    database.run("UPDATE t SET v = 'kept' WHERE id = 3");
    job.run(&batch(&[("id", ints([3])), ("n", ints([32]))]), 3).await;
    assert_eq!(database.run("SELECT v, n FROM t WHERE id = 3"), "kept|32");
}

#[tokio::test]
async fn a_merge_that_lacks_needed_columns_still_changes_what_is_there() {
    let database = TestDatabase::new(
        "CREATE TABLE t (id int PRIMARY KEY, name text NOT NULL, n int); INSERT INTO t VALUES (1, 'a', 1)",
    );
    let partial = batch(&[("id", ints([1, 2])), ("n", ints([5, 6]))]);
    let job = Job::new(&database, "t", WriteMode::Merge, &partial);
    let (refused, written) = job.run(&partial, 1).await;
    assert_eq!((written.rows_written, written.rows_updated), (1, 1));
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].row, refused[0].column.as_deref()), (1, Some("name")));
    assert_eq!(database.run("SELECT * FROM t"), "1|a|5");
}

#[tokio::test]
async fn a_mirror_removes_marked_rows_and_keeps_the_mark_to_itself() {
    let database = TestDatabase::new(
        "CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL UNIQUE);
         INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')",
    );
    // 1 is removed and its unique value goes to 5; 2 comes back; 3 is changed and then removed.
    let changes = batch(&[
        ("id", ints([1, 2, 2, 3, 3, 5, 9])),
        ("v", texts([None, None, Some("b2"), Some("c2"), None, Some("a"), None])),
        ("gone", flags([true, true, false, false, true, false, true])),
    ]);
    let job = Job::new(&database, "t", WriteMode::Mirror, &changes);
    let (refused, written) = job.run(&changes, 1).await;
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!((written.rows_written, written.rows_deleted), (2, 2));
    assert_eq!(database.run("SELECT * FROM t ORDER BY id"), "2|b2\n4|d\n5|a");
}

#[tokio::test]
async fn columns_the_target_lacks_are_added_left_out_or_refused() {
    for (rule, expected) in [
        (NewTargetColumns::Add, Some("1|value 1")),
        (NewTargetColumns::Ignore, Some("1")),
        (NewTargetColumns::Fail, None),
    ] {
        let database = TestDatabase::new("CREATE TABLE t (id bigint)");
        let rows = rows(1..=1, "value");
        let mut job = Job::new(&database, "t", WriteMode::Append, &rows);
        job.request.new_columns = rule;
        let Some(expected) = expected else {
            let error = job.destination.writer(&job.request).await.err().unwrap();
            assert!(error.message().contains("\"v\""), "{error:?}");
            assert!(error.hint_text().unwrap().contains("new_columns"), "{error:?}");
            continue;
        };
        job.run(&rows, 1).await;
        assert_eq!(database.run("SELECT * FROM t"), expected);
    }
}

#[tokio::test]
async fn json_lands_in_arrays_of_any_depth_and_in_composite_columns() {
    let database = TestDatabase::new(
        "CREATE TYPE place AS (street text, zip int, tags text[]);
         CREATE TABLE t (id bigint, one int[], two int[], at place, j jsonb[])",
    );
    let rows = batch(&[
        ("id", ints([1, 2])),
        ("one", texts([Some("[1,null,3]"), None])),
        ("two", texts([Some("[[1,2],[3,4]]"), Some("[]")])),
        (
            "at",
            texts([Some(r#"{"street":"a \"b\"","zip":7,"tags":["x","y z"]}"#), Some("(s,1,{q})")]),
        ),
        ("j", texts([Some("[[1,2],[3]]"), None])),
    ]);
    let job = Job::new(&database, "t", WriteMode::Append, &rows);
    let (refused, _) = job.run(&rows, 1).await;
    assert!(refused.is_empty(), "{refused:?}");
    let one = "SELECT one, two, at = ROW('a \"b\"', 7, '{x,y z}')::place, j[1] FROM t WHERE id = 1";
    assert_eq!(database.run(one), "{1,NULL,3}|{{1,2},{3,4}}|t|[1, 2]");
    assert_eq!(database.run("SELECT one, two, at, j FROM t WHERE id = 2"), "∅|{}|(s,1,{q})|∅");
}

#[tokio::test]
async fn targets_that_rows_cannot_go_into_are_refused_before_the_first_row() {
    let database = TestDatabase::new(
        "CREATE TABLE keyless (id bigint, v text); CREATE VIEW seen AS SELECT * FROM keyless;
         CREATE TABLE needs (id bigint, must int NOT NULL); CREATE TABLE digits (id bytea, v int[]);
         CREATE TABLE foreign_owner (id bigint);
         DO $$ BEGIN CREATE ROLE writer LOGIN PASSWORD 'pw'; EXCEPTION WHEN duplicate_object THEN END $$;",
    );
    let rows = rows(1..=1, "value");
    let (append, merge) = (WriteMode::Append, WriteMode::Merge);
    for (table, mode, message, hint) in [
        ("keyless", merge, "no unique index", "CREATE UNIQUE INDEX"),
        ("seen", append, "is not a table", "table"),
        ("needs", append, "\"must\"", "NOT NULL"),
        ("nowhere.t", append, "no schema \"nowhere\"", "CREATE SCHEMA"),
        ("digits", append, "does not fit", "Map"),
        (&"x".repeat(60), append, "cannot be the name", "bytes"),
    ] {
        let job = Job::new(&database, table, mode, &rows);
        let error = job.destination.writer(&job.request).await.err().unwrap();
        assert!(error.message().contains(message), "{table}: {error:?}");
        assert!(error.hint_text().unwrap().contains(hint), "{table}: {error:?}");
    }
    let mut job = Job::new(&database, "keyless", merge, &rows);
    job.request.key.clear();
    let error = job.destination.writer(&job.request).await.err().unwrap();
    assert!(error.hint_text().unwrap().contains("key"), "{error:?}");
    let mut connection = database.connection();
    (connection["user"], connection["password"]) = (json!("writer"), json!("pw"));
    let job = Job::through(connection, "foreign_owner", append, &rows);
    let error = job.destination.writer(&job.request).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    job.destination.check().await.unwrap();
}

#[tokio::test]
async fn a_column_that_the_source_widens_is_widened_and_keeps_its_values() {
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let narrow = batch(&[("id", ints([1, 2])), ("n", narrow)]);
    let wide = batch(&[("id", ints([2, 3])), ("n", ints([-5_000_000_000, 5_000_000_000]))]);
    let columns = ["n".to_owned()];
    let of = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute \
              WHERE attrelid = 't'::regclass AND attname = 'n'";
    let database = TestDatabase::new("");
    let mut job = Job::new(&database, "t", WriteMode::Merge, &narrow);
    job.run(&narrow, 1).await;
    // Rows of both types in one transaction; a writer that is dropped leaves the old type.
    for commits in [false, true] {
        let mut writer = job.writer().await;
        assert!(writer.write(&narrow).await.unwrap().is_empty());
        writer.widen(&columns, &wide.schema()).await.unwrap();
        assert!(writer.write(&wide).await.unwrap().is_empty());
        if commits {
            writer.commit(&checkpoint(2)).await.unwrap();
            writer.finish().await.unwrap();
        } else {
            drop(writer);
            assert_eq!(database.run(of), "integer");
        }
    }
    assert_eq!(database.run(of), "bigint");
    let expected = "1|1\n2|-5000000000\n3|5000000000";
    assert_eq!(database.run("SELECT id, n FROM t ORDER BY id"), expected);

    // It is said again after a crash, and is done then; so it is where the type is wide enough.
    let mut writer = job.writer().await;
    writer.widen(&columns, &wide.schema()).await.unwrap();
    writer.commit(&checkpoint(3)).await.unwrap();
    assert_eq!(job.progress().await.0, Some(3));

    // What may not be changed, or cannot be, is named with the statement; nothing is lost.
    database.run("ALTER TABLE t ALTER n TYPE int USING 0; CREATE VIEW w AS SELECT n FROM t");
    for mode in [NewTargetColumns::Fail, NewTargetColumns::Add] {
        job.request.new_columns = mode;
        let mut writer = job.writer().await;
        let error = writer.widen(&columns, &wide.schema()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Blocked, "{error:?}");
        assert!(error.message().contains("\"n\""), "{error:?}");
        let hint = error.hint_text().unwrap();
        assert!(hint.contains("ALTER COLUMN \"n\" TYPE bigint"), "{hint}");
    }
    job.request.new_columns = NewTargetColumns::Ignore;
    let mut writer = job.writer().await;
    writer.widen(&columns, &wide.schema()).await.unwrap();
    let refused = writer.write(&wide).await.unwrap();
    assert_eq!(refused.len(), 2, "values that do not fit are set aside: {refused:?}");
}

#[tokio::test]
async fn a_replacement_widens_the_table_that_stays_or_says_what_forbids_it() {
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let narrow = batch(&[("id", ints([1, 2])), ("n", narrow)]);
    let wide = batch(&[("id", ints([2, 3])), ("n", ints([-5_000_000_000, 5_000_000_000]))]);
    let columns = ["n".to_owned()];
    for (view, allowed) in [("SELECT id FROM t", true), ("SELECT n FROM t", false)] {
        let tables = format!("CREATE TABLE t (id bigint, n int); CREATE VIEW seen AS {view}");
        let database = TestDatabase::new(&tables);
        let job = Job::new(&database, "t", WriteMode::Replace, &narrow);
        job.run(&narrow, 1).await;
        let mut writer = job.writer().await;
        writer.widen(&columns, &wide.schema()).await.unwrap();
        assert!(writer.write(&wide).await.unwrap().is_empty());
        writer.commit(&checkpoint(2)).await.unwrap();
        let done = writer.finish().await;
        if !allowed {
            let error = done.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Blocked, "{error:?}");
            let hint = error.hint_text().unwrap();
            assert!(hint.contains("ALTER COLUMN \"n\" TYPE bigint"), "{hint}");
            assert_eq!(database.run("SELECT id, n FROM t ORDER BY id"), "1|1\n2|2", "as it was");
            // What is staged is swapped in as soon as it can be.
            database.run("DROP VIEW seen");
            job.writer().await.finish().await.unwrap();
        }
        let expected = "2|-5000000000\n3|5000000000";
        assert_eq!(database.run("SELECT id, n FROM t ORDER BY id"), expected, "{view}");
    }
}
