//! Every version of a row is kept, and an unchanged one makes none.

use arrow::array::{BooleanArray, Int64Array, RecordBatch, StringArray};
use std::sync::Arc;

use super::*;

fn versions(rows: RowStream, at: &str, complete: bool) -> Write {
    let mode =
        WriteMode::History { key: vec!["id".to_owned()], deleted: None, at: day(at), complete };
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
async fn a_column_of_the_history_cannot_be_given() {
    let t = TestLake::new().await;
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![1])) as _),
        ("valid_to", Arc::new(StringArray::from(vec!["x"])) as _),
    ])
    .unwrap();
    let rows = RowStream::from_batches(batch.schema(), vec![batch]);
    let error = t.lake.write(&at("raw/x"), versions(rows, "2024-01-01", true)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}
