//! A column whose type became wider in a source: the table follows, and every value stays what it was.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;

use super::*;
use crate::Lake;

/// Rows `id, n, price, rate` as the source has them before its columns are widened.
fn narrow(rows: &[(i32, i32)]) -> RowStream {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int32Array>());
    let numbers: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<Int32Array>());
    let prices = rows.iter().map(|row| i128::from(row.1) * 100 + 25).collect::<Decimal128Array>();
    let prices: ArrayRef = Arc::new(prices.with_precision_and_scale(12, 2).unwrap());
    let rates: ArrayRef = Arc::new(rows.iter().map(|_| 0.1_f32).collect::<Float32Array>());
    let columns = [("id", ids), ("n", numbers), ("price", prices), ("rate", rates)];
    stream(RecordBatch::try_from_iter(columns).unwrap())
}

/// The same afterwards.
fn wide(rows: &[(i64, i64)]) -> RowStream {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
    let numbers: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>());
    let prices = rows.iter().map(|row| i128::from(row.1) * 10_000 + 1).collect::<Decimal128Array>();
    let prices: ArrayRef = Arc::new(prices.with_precision_and_scale(20, 4).unwrap());
    let rates: ArrayRef = Arc::new(rows.iter().map(|_| 1e300).collect::<Float64Array>());
    let columns = [("id", ids), ("n", numbers), ("price", prices), ("rate", rates)];
    stream(RecordBatch::try_from_iter(columns).unwrap())
}

const BEYOND: i64 = 5_000_000_000;

/// What the table holds after the rows 1 and 2 came before the widening, and 3 after it.
const ALL: [&str; 3] = [
    "1|7|7.2500|0.10000000149011612",
    "2|8|8.2500|0.10000000149011612",
    "3|5000000000|5000000000.0001|1e300",
];

async fn types(lake: &Lake) -> Vec<String> {
    let head = lake.head(&at("raw/x")).await.unwrap().unwrap();
    head.schema.fields().iter().map(|field| field.data_type().to_string()).collect()
}

const WIDE: [&str; 4] = ["Int64", "Int64", "Decimal128(20, 4)", "Float64"];

#[tokio::test]
async fn every_way_of_writing_widens_the_columns_and_keeps_the_values() {
    let key = || vec!["id".to_owned()];
    let history = WriteMode::History {
        key: key(),
        deleted: None,
        at: day("2024-02-01"),
        complete: false,
        dated: false,
    };
    for mode in [
        WriteMode::Append,
        WriteMode::Merge { key: key(), duplicates: Duplicates::KeepLast },
        history,
    ] {
        let t = TestLake::new().await;
        let raw = at("raw/x");
        let write = |rows| Write::new(mode.clone(), rows, "sync").add_columns();
        t.lake.write(&raw, write(narrow(&[(1, 7)]))).await.unwrap();
        t.lake.write(&raw, write(narrow(&[(2, 8)]))).await.unwrap();
        let before = t.lake.head(&raw).await.unwrap().unwrap();
        let told = t.lake.write(&raw, write(wide(&[(3, BEYOND)]))).await.unwrap();
        assert_eq!((told.version, told.rows_written), (3, 1), "one commit to widen, one for rows");
        assert_eq!(types(&t.lake).await[..4], WIDE, "{mode:?}");
        let sql = "select id, n, price, rate from raw.x order by id";
        assert_eq!(t.sql(sql).await, ALL, "{mode:?}");
        let then = t.lake.state_at(&raw, before.version).await.unwrap();
        assert_eq!((then.schema, then.rows), (before.schema, Some(2)), "what was stays readable");
        let other = t.other().await;
        assert_eq!(crate::testing::rows_of(&other, sql).await, ALL, "another process");
        let history = t.lake.history(&raw).await.unwrap();
        let operations: Vec<&str> = history.iter().map(|c| c.operation.as_str()).collect();
        assert_eq!(operations, ["sync", "sync", "widen columns", "sync"]);
        // Rows of the narrow type still come, and cost no further rewriting.
        t.lake.write(&raw, write(narrow(&[(4, 9)]))).await.unwrap();
        assert_eq!(t.lake.history(&raw).await.unwrap().len(), 5);
        assert_eq!(t.sql("select n, price from raw.x where id = 4").await, ["9|9.2500"]);
    }
}

#[tokio::test]
async fn a_merge_finds_the_rows_whose_key_was_narrower() {
    let t = TestLake::new().await;
    let raw = at("raw/x");
    t.lake.write(&raw, merge(narrow(&[(1, 7), (2, 8)])).add_columns()).await.unwrap();
    let done = t.lake.write(&raw, merge(wide(&[(2, 9), (3, 10)])).add_columns()).await.unwrap();
    assert_eq!((done.rows_written, done.rows_updated), (2, 1));
    assert_eq!(t.sql("select id, n from raw.x order by id").await, ["1|7", "2|9", "3|10"]);
}

#[tokio::test]
async fn widening_is_no_change_of_rows() {
    let t = TestLake::new().await;
    let raw = at("raw/x");
    t.lake.write(&raw, append(narrow(&[(1, 7), (2, 8)]))).await.unwrap();
    t.lake.write(&raw, append(wide(&[(3, BEYOND)])).add_columns()).await.unwrap();
    let changes = t.lake.changes(Some((&raw, 0)), (&raw, 2), &["id".to_owned()]).await.unwrap();
    let rows = changes.collect().await.unwrap();
    let told: usize = rows.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(told, 1, "only the row that is new: {rows:?}");
}

#[tokio::test]
async fn a_load_may_meet_the_wider_type_on_its_way() {
    for mode in [
        WriteMode::Append,
        WriteMode::Replace,
        WriteMode::Merge { key: vec!["id".to_owned()], duplicates: Duplicates::KeepLast },
    ] {
        let t = TestLake::new().await;
        let raw = at("raw/x");
        t.lake.write(&raw, append(narrow(&[(1, 7)]))).await.unwrap();
        let mut load = t.lake.load(&raw, mode.clone()).await.unwrap();
        for rows in [narrow(&[(1, 7), (2, 8)]), wide(&[(3, BEYOND)])] {
            for batch in rows.collect().await.unwrap() {
                load.write(&batch).await.unwrap();
            }
        }
        let checkpoint = Checkpoint { sequence: 1, position: json!(1) };
        let done = load.commit("sync", "s", checkpoint).await.unwrap();
        assert_eq!(done.rows_written, 3, "{mode:?}");
        assert_eq!(types(&t.lake).await, WIDE, "{mode:?}");
        let sql = "select distinct id, n, price, rate from raw.x order by id";
        assert_eq!(t.sql(sql).await, ALL, "{mode:?}");
        let rows = if mode == WriteMode::Append { "4" } else { "3" };
        assert_eq!(t.sql("select count(*) from raw.x").await, [rows], "{mode:?}");
    }
}

#[tokio::test]
async fn a_type_that_no_type_holds_together_with_the_old_one_changes_nothing() {
    let t = TestLake::new().await;
    let raw = at("raw/x");
    t.lake.write(&raw, append(narrow(&[(1, 7)]))).await.unwrap();
    let text: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["seven"]));
    let rows = || stream(RecordBatch::try_from_iter([("n", Arc::clone(&text))]).unwrap());
    let error = t.lake.write(&raw, append(rows()).add_columns()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("\"n\"") && error.hint_text().is_some(), "{error:?}");
    // A write that may not change the columns does not widen them.
    let error = t.lake.write(&raw, append(wide(&[(2, 8)]))).await.unwrap_err();
    assert!(error.message().contains("cannot hold"), "{error:?}");
    let head = t.lake.head(&raw).await.unwrap().unwrap();
    assert_eq!((head.version, head.schema.field(1).data_type()), (0, &DataType::Int32));
}
