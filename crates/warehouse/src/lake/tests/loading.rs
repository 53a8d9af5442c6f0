//! Loads: more rows than memory holds, whose columns and position are known at their end.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};

use super::*;
use crate::testing::rows_of;

fn position(sequence: i64) -> Checkpoint {
    Checkpoint { sequence, position: json!({ "after": sequence }) }
}

#[tokio::test]
async fn a_load_is_one_commit_with_the_position_at_its_end() {
    let t = TestLake::new().await;
    let orders = at("raw/orders");
    let mut load = t.lake.load(&orders, WriteMode::Append).await.unwrap();
    load.write(&batch(&[("id", vec![Some("1")]), ("v", vec![Some("a")])])).await.unwrap();
    load.write(&batch(&[("id", vec![Some("2")]), ("v", vec![Some("b")])])).await.unwrap();
    assert!(t.lake.head(&orders).await.unwrap().is_none(), "nothing is visible before the commit");
    let commit = load.commit("sync orders", "sync/orders", position(1)).await.unwrap();
    assert_eq!((commit.version, commit.rows_written), (0, 2));
    let head = t.lake.head(&orders).await.unwrap().unwrap();
    assert_eq!(head.checkpoints["sync/orders"], position(1));
    assert_eq!(t.sql("select * from raw.orders").await, ["1|a", "2|b"]);
}

#[tokio::test]
async fn a_column_that_appears_late_is_null_before_it() {
    for mode in [WriteMode::Append, WriteMode::Replace, merge(pairs(&[])).mode] {
        let t = TestLake::new().await;
        let orders = at("raw/orders");
        t.lake.write(&orders, append(pairs(&[(1, "old")]))).await.unwrap();
        let mut load = t.lake.load(&orders, mode.clone()).await.unwrap();
        load.write(&batch(&[("id", vec![Some("1")]), ("v", vec![Some("a")])])).await.unwrap();
        let wide = [("w", vec![Some("new")]), ("id", vec![Some("2")]), ("v", vec![Some("b")])];
        load.write(&batch(&wide)).await.unwrap();
        load.write(&batch(&[("id", vec![Some("3")])])).await.unwrap();
        load.commit("sync", "sync/orders", position(1)).await.unwrap();
        let rows = t.sql("select id, v, w from raw.orders order by id, v desc").await;
        let mut expected = vec!["1|a|", "2|b|new", "3||"];
        if mode == WriteMode::Append {
            expected.insert(0, "1|old|");
        }
        assert_eq!(rows, expected, "{mode:?}");
        let again = rows_of(&t.other().await, "select count(*) from raw.orders").await;
        assert_eq!(again, [expected.len().to_string()], "{mode:?}");
    }
}

#[tokio::test]
async fn a_load_whose_position_is_committed_already_adds_nothing() {
    let t = TestLake::new().await;
    let orders = at("raw/orders");
    for round in 0..2 {
        let mut load = t.lake.load(&orders, WriteMode::Append).await.unwrap();
        load.write(&batch(&[("id", vec![Some("1")]), ("v", vec![Some("a")])])).await.unwrap();
        let commit = load.commit("sync", "sync/orders", position(1)).await.unwrap();
        assert_eq!(commit.skipped, round == 1);
    }
    assert_eq!(t.sql("select * from raw.orders").await, ["1|a"]);
    assert_eq!(data_files(&t), 1, "files of the skipped load are gone");
}

#[tokio::test]
async fn a_load_that_is_given_up_or_does_not_fit_leaves_no_files() {
    let t = TestLake::new().await;
    let orders = at("raw/orders");
    t.lake.write(&orders, append(pairs(&[(1, "a")]))).await.unwrap();
    let mut load = t.lake.load(&orders, WriteMode::Append).await.unwrap();
    load.write(&batch(&[("id", vec![Some("2")]), ("v", vec![Some("b")])])).await.unwrap();
    load.write(&batch(&[("n", vec![Some("2")])])).await.unwrap();
    let other =
        RecordBatch::try_from_iter([("v", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
    let error = load.write(&other.unwrap()).await.unwrap_err();
    assert!(error.message().contains("raw/orders") && error.report().contains("\"v\""), "{error}");
    load.discard().await;
    assert_eq!(data_files(&t), 1);
    assert_eq!(t.sql("select * from raw.orders").await, ["1|a"]);
}

/// Data files in the folder of `raw/orders`.
fn data_files(t: &TestLake) -> usize {
    let files = fs::read_dir(t.file("raw/orders")).unwrap();
    files.filter(|file| file.as_ref().unwrap().path().extension().is_some()).count()
}

#[tokio::test]
async fn small_files_are_packed_quickly_and_large_ones_tightly() {
    let t = TestLake::new().await;
    let notes = at("raw/notes");
    let texts = |ids: std::ops::Range<u32>| -> RecordBatch {
        let (mut id, mut note, mut kind) = (Vec::new(), Vec::new(), Vec::new());
        for row in ids {
            id.push(row.to_string());
            note.push(format!("the note of row {row}, which no other row has"));
            kind.push(format!("kind {}", row % 5));
        }
        let all = |texts: &'static str, column: &[String]| {
            (texts, column.iter().map(|text| Some(text.clone())).collect::<Vec<_>>())
        };
        let columns = [all("id", &id), all("note", &note), all("kind", &kind)];
        let columns: Vec<(&str, Vec<Option<&str>>)> = columns
            .iter()
            .map(|(name, column)| (*name, column.iter().map(Option::as_deref).collect()))
            .collect();
        batch(&columns)
    };
    t.lake.write(&notes, append(stream(texts(0..100)))).await.unwrap();
    let mut load = t.lake.load(&notes, WriteMode::Append).await.unwrap();
    for part in 0..10 {
        load.write(&texts(100 + part * 10_000..100 + (part + 1) * 10_000)).await.unwrap();
    }
    load.commit("sync", "sync/notes", position(1)).await.unwrap();
    let files = fs::read_dir(t.file("raw/notes")).unwrap();
    let mut sizes: Vec<(u64, String)> = files
        .map(|file| file.unwrap())
        .filter(|file| file.path().extension().is_some_and(|end| end == "parquet"))
        .map(|file| (file.metadata().unwrap().len(), file.file_name().into_string().unwrap()))
        .collect();
    sizes.sort();
    let [(_, small), (size, large)] = sizes.as_slice() else { panic!("{sizes:?}") };
    assert!(small.ends_with(".snappy.parquet") && large.ends_with(".zstd.parquet"), "{sizes:?}");
    // 4.5 MB of notes that differ by their numbers alone.
    assert!(*size < 1 << 20, "{size}");
    let told = "select count(*), count(distinct note), count(distinct kind), min(note), max(id) from raw.notes";
    let first = "the note of row 0, which no other row has";
    assert_eq!(t.sql(told).await, [format!("100100|100100|5|{first}|100099")]);
}

fn reading(digest: &str) -> crate::Reading {
    crate::Reading { app: "sync/orders".to_owned(), sequence: 1, digest: digest.to_owned() }
}

fn row(id: &str, v: &str) -> RecordBatch {
    batch(&[("id", vec![Some(id)]), ("v", vec![Some(v)])])
}

/// Loads two rows, parks behind the first one, and is cut off.
async fn cut_off(t: &TestLake, orders: &crate::Location, mode: &WriteMode) {
    let mut load = t.lake.load(orders, mode.clone()).await.unwrap();
    assert_eq!(load.resume(reading("of all")).await.unwrap(), None);
    load.write(&row("1", "a")).await.unwrap();
    load.park(json!({ "after": 1 })).await.unwrap();
    assert!(load.is_between_files());
    load.write(&row("2", "b")).await.unwrap();
}

#[tokio::test]
async fn a_load_that_was_cut_off_goes_on_behind_what_was_parked() {
    for mode in [WriteMode::Append, WriteMode::Replace] {
        let t = TestLake::new().await;
        let orders = at("raw/orders");
        cut_off(&t, &orders, &mode).await;
        let other = t.other().await;
        let mut load = other.load(&orders, mode.clone()).await.unwrap();
        let reached = load.resume(reading("of all")).await.unwrap();
        assert_eq!(reached, Some(json!({ "after": 1 })), "{mode:?}");
        load.write(&row("2", "new")).await.unwrap();
        let commit = load.commit("sync orders", "sync/orders", position(1)).await.unwrap();
        assert_eq!(commit.rows_written, 2, "{mode:?}");
        assert_eq!(t.sql("select * from raw.orders order by id").await, ["1|a", "2|new"]);
        // What is committed is taken over by none.
        let mut load = other.load(&orders, mode).await.unwrap();
        assert_eq!(load.resume(reading("of all")).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_load_takes_over_nothing_of_another_read() {
    let t = TestLake::new().await;
    let orders = at("raw/orders");
    cut_off(&t, &orders, &WriteMode::Replace).await;
    for (mode, of) in [
        (WriteMode::Replace, reading("of some")),
        (WriteMode::Append, reading("of all")),
        (WriteMode::Replace, crate::Reading { sequence: 2, ..reading("of all") }),
        (WriteMode::Replace, crate::Reading { app: "sync/others".to_owned(), ..reading("of all") }),
        (merge(pairs(&[])).mode, reading("of all")),
    ] {
        let mut load = t.lake.load(&orders, mode.clone()).await.unwrap();
        assert_eq!(load.resume(of.clone()).await.unwrap(), None, "{mode:?} {of:?}");
    }
    // Nor what is no longer whole.
    let folder = t.folder.path().join("lake/raw/orders");
    for file in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|kind| kind == "parquet") {
            fs::write(file, "cut").unwrap();
        }
    }
    let mut load = t.lake.load(&orders, WriteMode::Replace).await.unwrap();
    assert_eq!(load.resume(reading("of all")).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_left_or_given_up_is_taken_up_as_far_as_it_stands() {
    let t = TestLake::new().await;
    let orders = at("raw/orders");
    for (left, expected) in [(true, Some(json!(1))), (false, None)] {
        let mut load = t.lake.load(&orders, WriteMode::Append).await.unwrap();
        load.resume(reading("of all")).await.unwrap();
        load.write(&row("1", "a")).await.unwrap();
        load.park(json!(1)).await.unwrap();
        load.write(&row("2", "b")).await.unwrap();
        match left {
            true => load.leave().await,
            false => load.discard().await,
        }
        let mut load = t.lake.load(&orders, WriteMode::Append).await.unwrap();
        assert_eq!(load.resume(reading("of all")).await.unwrap(), expected);
        load.discard().await;
    }
}
