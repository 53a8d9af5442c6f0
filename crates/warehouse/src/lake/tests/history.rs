//! Every version of a row is kept, and an unchanged one makes none.

use arrow::array::{BooleanArray, Int64Array, RecordBatch, StringArray};
use std::sync::Arc;

use super::*;

fn versions(rows: RowStream, at: &str, complete: bool) -> Write {
    let mode = WriteMode::History {
        key: vec!["id".to_owned()],
        deleted: None,
        at: day(at),
        complete,
        dated: false,
    };
    Write::new(mode, rows, "sync").add_columns()
}

/// The changes of a log: key, value, and when it was committed, if that is told; without value the row is gone.
fn changes(rows: &[(i64, Option<&str>, Option<&str>)]) -> Write {
    let batches: Vec<RecordBatch> = rows
        .iter()
        .map(|(id, v, told)| {
            let batch = RecordBatch::try_from_iter_with_nullable([
                ("id", Arc::new(Int64Array::from(vec![*id])) as _, true),
                ("v", Arc::new(StringArray::from(vec![*v])) as _, true),
                ("gone", Arc::new(BooleanArray::from(vec![v.is_none()])) as _, true),
            ]);
            crate::dated(&at("raw/x"), &batch.unwrap(), told.map(day)).unwrap()
        })
        .collect();
    let mode = WriteMode::History {
        key: vec!["id".to_owned()],
        deleted: Some("gone".to_owned()),
        at: day("2024-01-09"),
        complete: false,
        dated: true,
    };
    let rows = RowStream::from_batches(batches[0].schema(), batches);
    Write::new(mode, rows, "sync").add_columns()
}

const ALL: &str = "select id, v, cast(valid_from as date) as a, cast(valid_to as date) as b from raw.x order by id, a";

#[tokio::test]
async fn a_changed_row_closes_its_version_and_opens_another() {
    let t = TestLake::new().await;
    let x = at("raw/x");
    let first = versions(pairs(&[(1, "a"), (2, "b"), (3, "c")]), "2024-01-01", true);
    assert_eq!(t.lake.write(&x, first).await.unwrap().rows_written, 3);
    let second = versions(pairs(&[(1, "a"), (2, "B"), (4, "d")]), "2024-01-02", true);
    let commit = t.lake.write(&x, second).await.unwrap();
    assert_eq!((commit.rows_written, commit.rows_updated, commit.rows_deleted), (2, 1, 1));
    let wanted = [
        "1|a|2024-01-01|",
        "2|b|2024-01-01|2024-01-02",
        "2|B|2024-01-02|",
        "3|c|2024-01-01|2024-01-02",
        "4|d|2024-01-02|",
    ];
    assert_eq!(t.sql(ALL).await, wanted);
    // The same rows again are no change at all.
    let again = versions(pairs(&[(1, "a"), (2, "B"), (4, "d")]), "2024-01-03", true);
    assert_eq!(t.lake.write(&x, again).await.unwrap().rows_written, 0);
    assert_eq!(t.sql(ALL).await, wanted);
    // A key that comes back begins anew; its old version stays closed.
    t.lake.write(&x, versions(pairs(&[(3, "c")]), "2024-01-04", false)).await.unwrap();
    let three = "select count(*), count(valid_to) from raw.x where id = 3";
    assert_eq!(t.sql(three).await, ["2|1"]);
    let open = "select id, v from raw.x where valid_to is null order by id";
    assert_eq!(t.sql(open).await, ["1|a", "2|B", "3|c", "4|d"]);
}

#[tokio::test]
async fn rows_that_are_only_some_of_all_end_no_others() {
    let t = TestLake::new().await;
    let x = at("raw/x");
    t.lake.write(&x, versions(pairs(&[(1, "a"), (2, "b")]), "2024-01-01", true)).await.unwrap();
    t.lake.write(&x, versions(pairs(&[(2, "c")]), "2024-01-02", false)).await.unwrap();
    let open = "select id, v from raw.x where valid_to is null order by id";
    assert_eq!(t.sql(open).await, ["1|a", "2|c"]);
}

#[tokio::test]
async fn a_marked_row_ends_and_the_same_moment_leaves_no_empty_version() {
    let t = TestLake::new().await;
    let x = at("raw/x");
    t.lake.write(&x, versions(pairs(&[(1, "a"), (2, "b")]), "2024-01-01", true)).await.unwrap();
    // Twice on one day, as a replay does: the version of that moment is the last one.
    t.lake.write(&x, versions(pairs(&[(1, "b")]), "2024-01-01", false)).await.unwrap();
    assert_eq!(t.sql("select v from raw.x where id = 1").await, ["b"]);
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![2, 9])) as _),
        ("v", Arc::new(StringArray::from(vec![None::<&str>, None])) as _),
        ("gone", Arc::new(BooleanArray::from(vec![true, true])) as _),
    ])
    .unwrap();
    let mode = WriteMode::History {
        key: vec!["id".to_owned()],
        deleted: Some("gone".to_owned()),
        at: day("2024-01-05"),
        complete: false,
        dated: false,
    };
    let rows = RowStream::from_batches(batch.schema(), vec![batch]);
    let commit = t.lake.write(&x, Write::new(mode, rows, "sync").add_columns()).await.unwrap();
    assert_eq!((commit.rows_written, commit.rows_deleted), (0, 1));
    assert_eq!(
        t.sql("select cast(valid_to as date) from raw.x where id = 2").await,
        ["2024-01-05"]
    );
}

#[tokio::test]
async fn every_change_of_a_log_is_a_version_of_its_own_moment() {
    let t = TestLake::new().await;
    let x = at("raw/x");
    t.lake.write(&x, versions(pairs(&[(1, "a"), (2, "x")]), "2024-01-01", true)).await.unwrap();
    let log = [
        (1, Some("b"), Some("2024-01-02")),
        (1, Some("c"), Some("2024-01-03")),
        (2, None, Some("2024-01-03")),
        (3, Some("n"), Some("2024-01-03")),
        (1, Some("d"), Some("2024-01-04")),
        (2, Some("x"), Some("2024-01-05")),
        (3, None, Some("2024-01-05")),
    ];
    let commit = t.lake.write(&x, changes(&log)).await.unwrap();
    assert_eq!((commit.version, commit.rows_written, commit.rows_superseded), (1, 5, 0));
    let wanted = [
        "1|a|2024-01-01|2024-01-02",
        "1|b|2024-01-02|2024-01-03",
        "1|c|2024-01-03|2024-01-04",
        "1|d|2024-01-04|",
        "2|x|2024-01-01|2024-01-03",
        "2|x|2024-01-05|",
        "3|n|2024-01-03|2024-01-05",
    ];
    assert_eq!(t.sql(ALL).await, wanted);
    // The same changes again are there already, also those of a row that is gone.
    assert_eq!(t.lake.write(&x, changes(&log)).await.unwrap().rows_written, 0);
    assert_eq!(t.lake.write(&x, changes(&log[3..])).await.unwrap().rows_written, 0);
    assert_eq!(t.sql(ALL).await, wanted);
}

#[tokio::test]
async fn changes_of_one_transaction_are_one_version_and_may_be_dated_by_its_end() {
    let t = TestLake::new().await;
    let x = at("raw/x");
    let log = [
        (1, Some("a"), None),
        (1, Some("b"), None),
        (2, Some("x"), Some("2024-01-02")),
        (2, None, Some("2024-01-03")),
        (2, Some("y"), Some("2024-01-03")),
        (1, Some("b"), Some("2024-01-04")),
    ];
    let commit = t.lake.write(&x, changes(&log)).await.unwrap();
    assert_eq!((commit.rows_written, commit.rows_superseded), (3, 2));
    let wanted = ["1|b|2024-01-02|", "2|x|2024-01-02|2024-01-03", "2|y|2024-01-03|"];
    assert_eq!(t.sql(ALL).await, wanted);
    // A read of everything that follows ends what is not in it, by the clock of the read.
    t.lake.write(&x, versions(pairs(&[(2, "y")]), "2024-01-06", true)).await.unwrap();
    let wanted = ["1|b|2024-01-02|2024-01-06", "2|x|2024-01-02|2024-01-03", "2|y|2024-01-03|"];
    assert_eq!(t.sql(ALL).await, wanted);
}

#[tokio::test]
async fn a_version_that_began_after_its_end_by_another_clock_is_kept() {
    let t = TestLake::new().await;
    let x = at("raw/x");
    let whole = pairs(&[(1, "a"), (2, "b"), (3, "c")]);
    t.lake.write(&x, versions(whole, "2024-01-01T12:00:00.5Z", true)).await.unwrap();
    // A log in whole seconds: what comes after the read seems to have been before it.
    let second = Some("2024-01-01T12:00:00Z");
    let log = [(1, Some("A"), second), (2, None, second)];
    t.lake.write(&x, changes(&log)).await.unwrap();
    let ended = "select id, v from raw.x where valid_to > valid_from order by id";
    assert_eq!(t.sql(ended).await, ["1|a", "2|b"]);
    let open = "select id, v from raw.x where valid_to is null order by id";
    assert_eq!(t.sql(open).await, ["1|A", "3|c"]);
    let met = "select a.v as was, b.v as became from raw.x a join raw.x b on a.id = b.id and a.valid_to = b.valid_from";
    assert_eq!(t.sql(met).await, ["a|A"]);
    // What a read of everything has seen already, and its log tells again, makes no version.
    let log = [
        (3, Some("b"), Some("2024-01-01T11:59:58Z")),
        (3, None, Some("2024-01-01T11:59:59Z")),
        (3, Some("c"), second),
    ];
    assert_eq!(t.lake.write(&x, changes(&log)).await.unwrap().rows_written, 0);
    // A row that comes back in that second does not overlap with what it was.
    t.lake.write(&x, changes(&[(2, Some("B"), second)])).await.unwrap();
    let apart = "select count(*) from raw.x a join raw.x b on a.id = b.id and a.v = 'b' and b.v = 'B' and a.valid_to <= b.valid_from";
    assert_eq!(t.sql(apart).await, ["1"]);
    assert_eq!(t.sql(ended).await, ["1|a", "2|b"]);
}

#[tokio::test]
async fn a_column_of_the_history_cannot_be_given() {
    let t = TestLake::new().await;
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![1])) as _),
        ("valid_to", Arc::new(StringArray::from(vec!["x"])) as _),
    ])
    .unwrap();
    let error = crate::dated(&at("raw/x"), &batch, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let rows = RowStream::from_batches(batch.schema(), vec![batch]);
    let error = t.lake.write(&at("raw/x"), versions(rows, "2024-01-01", true)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}
