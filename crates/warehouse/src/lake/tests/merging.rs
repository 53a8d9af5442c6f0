//! Merges against a model that is too simple to be wrong.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use flywheel_base::{ErrorKind, Rng};

use super::{append, merge};
use crate::testing::{TestLake, at, batch, pairs, stream};
use crate::{Duplicates, RowStream, Write, WriteMode};

/// Rows `id, v, gone`, as a change stream delivers them.
fn changes(rows: &[(i64, String, bool)]) -> RowStream {
    let ids: ArrayRef = std::sync::Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>());
    let values = rows.iter().map(|r| Some(r.1.as_str())).collect::<StringArray>();
    let gone = rows.iter().map(|r| Some(r.2)).collect::<BooleanArray>();
    let columns = [
        ("id", ids),
        ("v", std::sync::Arc::new(values) as ArrayRef),
        ("gone", std::sync::Arc::new(gone)),
    ];
    stream(RecordBatch::try_from_iter(columns).unwrap())
}

#[tokio::test]
async fn random_histories_give_the_same_table_as_a_map() {
    for seed in 0..200 {
        let mut rng = Rng::stream(seed, "merge");
        let t = TestLake::new().await;
        let mut model: BTreeMap<i64, String> = BTreeMap::new();
        for step in 0..6 {
            let rows: Vec<(i64, String, bool)> = (0..rng.below(8))
                .map(|n| (rng.below(12) as i64, format!("{step}.{n}"), rng.chance(0.25)))
                .collect();
            let mode = WriteMode::MergeChanges {
                key: vec!["id".to_owned()],
                duplicates: Duplicates::KeepLast,
                deleted: "gone".to_owned(),
            };
            let before = model.clone();
            let mut last: BTreeMap<i64, (String, bool)> = BTreeMap::new();
            for (id, value, gone) in &rows {
                last.insert(*id, (value.clone(), *gone));
            }
            for (id, (value, gone)) in &last {
                match gone {
                    true => model.remove(id),
                    false => model.insert(*id, value.clone()),
                };
            }
            let done =
                t.lake.write(&at("raw/x"), Write::new(mode, changes(&rows), "m")).await.unwrap();
            let live = last.iter().filter(|(_, (_, gone))| !gone);
            let updated = live.clone().filter(|(id, _)| before.contains_key(id)).count() as u64;
            let deleted = last.iter().filter(|(id, (_, gone))| *gone && before.contains_key(id));
            assert_eq!(done.rows_written, live.count() as u64, "seed {seed} step {step}");
            assert_eq!(done.rows_updated, updated, "seed {seed} step {step}");
            assert_eq!(done.rows_deleted, deleted.count() as u64, "seed {seed} step {step}");
            assert_eq!(done.rows_superseded, (rows.len() - last.len()) as u64, "seed {seed}");
            let given = done.rows_written + done.rows_superseded + done.rows_marked;
            assert_eq!(
                given,
                rows.len() as u64,
                "seed {seed}: every row that was given is counted"
            );
        }
        let expected: Vec<String> = model.iter().map(|(id, v)| format!("{id}|{v}")).collect();
        assert_eq!(t.sql("select id, v from raw.x order by id").await, expected, "seed {seed}");
    }
}

#[tokio::test]
async fn duplicate_and_null_keys_are_refused_by_name() {
    let t = TestLake::new().await;
    let error = t.lake.write(&at("raw/x"), merge(pairs(&[(7, "a"), (7, "b")]))).await.unwrap_err();
    assert!(error.message().contains("raw/x") && error.message().contains("id = 7"), "{error:?}");
    let nulls = stream(batch(&[("id", vec![Some("1"), None]), ("v", vec![None, None])]));
    let error = t.lake.write(&at("raw/x"), merge(nulls)).await.unwrap_err();
    assert!(error.message().contains("NULL in 1 rows"), "{error:?}");
    let mode = WriteMode::Merge { key: vec!["ID_".to_owned()], duplicates: Duplicates::Refuse };
    let error =
        t.lake.write(&at("raw/x"), Write::new(mode, pairs(&[(1, "a")]), "m")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(t.lake.head(&at("raw/x")).await.unwrap().is_none());
}

#[tokio::test]
async fn the_last_row_of_a_key_wins_and_untouched_files_stay() {
    let t = TestLake::new().await;
    let raw = at("raw/x");
    t.lake.write(&raw, append(pairs(&[(1, "a"), (2, "b")]))).await.unwrap();
    t.lake.write(&raw, append(pairs(&[(100, "z")]))).await.unwrap();
    let mode = WriteMode::Merge { key: vec!["id".to_owned()], duplicates: Duplicates::KeepLast };
    let rows = pairs(&[(2, "x"), (3, "c"), (2, "y")]);
    let done = t.lake.write(&raw, Write::new(mode, rows, "m")).await.unwrap();
    assert_eq!((done.rows_written, done.rows_updated, done.rows_superseded), (2, 1, 1));
    assert_eq!(t.sql("select * from raw.x order by id").await, ["1|a", "2|y", "3|c", "100|z"]);
    let log =
        std::fs::read_to_string(t.file("raw/x/_delta_log/00000000000000000002.json")).unwrap();
    assert_eq!(log.matches("\"remove\"").count(), 1, "the file of key 100 is left alone");
}

#[tokio::test]
async fn columns_the_rows_lack_keep_their_values_and_new_ones_are_added() {
    let t = TestLake::new().await;
    let raw = at("raw/x");
    let full = |rows: Vec<[&'static str; 3]>| {
        let column = |at: usize| rows.iter().map(|row| Some(row[at])).collect::<Vec<_>>();
        stream(batch(&[("id", column(0)), ("v", column(1)), ("w", column(2))]))
    };
    t.lake.write(&raw, append(full(vec![["1", "a", "x"], ["2", "b", "y"]]))).await.unwrap();
    t.lake.write(&raw, merge(pairs(&[(3, "c"), (2, "B")]))).await.unwrap();
    assert_eq!(t.sql("select * from raw.x order by id").await, ["1|a|x", "2|B|y", "3|c|"]);
    let fresh = stream(batch(&[("id", vec![Some("1")]), ("city", vec![Some("Ulm")])]));
    t.lake.write(&raw, merge(fresh).add_columns()).await.unwrap();
    assert_eq!(t.sql("select * from raw.x where id = 1").await, ["1|a|x|Ulm"]);
}

#[tokio::test]
async fn composite_text_keys_longer_than_a_digest_are_told_apart() {
    let t = TestLake::new().await;
    let long = "k".repeat(40);
    let row = |id: &'static str, name: String, value: &'static str| {
        let (name, key) = (Some(name), vec!["id".to_owned(), "name".to_owned()]);
        let rows = stream(batch(&[
            ("id", vec![Some(id)]),
            ("name", vec![name.as_deref()]),
            ("v", vec![Some(value)]),
        ]));
        Write::new(WriteMode::Merge { key, duplicates: Duplicates::Refuse }, rows, "m")
    };
    t.lake.write(&at("raw/x"), row("1", format!("{long}a"), "1")).await.unwrap();
    t.lake.write(&at("raw/x"), row("1", format!("{long}b"), "2")).await.unwrap();
    t.lake.write(&at("raw/x"), row("2", format!("{long}a"), "3")).await.unwrap();
    t.lake.write(&at("raw/x"), row("1", format!("{long}a"), "4")).await.unwrap();
    assert_eq!(t.sql("select v from raw.x order by v").await, ["2", "3", "4"]);
}

#[tokio::test]
async fn a_merge_larger_than_its_share_of_memory_waits_on_disk() {
    let t = TestLake::with_memory(8 << 20).await;
    let raw = at("raw/x");
    let rows = |value: &str, from: i64, to: i64| {
        let value = value.repeat(100);
        let batches: Vec<RecordBatch> = (from..to)
            .step_by(1_000)
            .map(|start| {
                let ids: ArrayRef =
                    std::sync::Arc::new((start..(start + 1_000).min(to)).collect::<Int64Array>());
                let values = StringArray::from(vec![value.as_str(); ids.len()]);
                let columns = [("id", ids), ("v", std::sync::Arc::new(values) as ArrayRef)];
                RecordBatch::try_from_iter(columns).unwrap()
            })
            .collect();
        RowStream::from_batches(batches[0].schema(), batches)
    };
    t.lake.write(&raw, merge(rows("a", 0, 40_000))).await.unwrap();
    let done = t.lake.write(&raw, merge(rows("b", 20_000, 60_000))).await.unwrap();
    assert_eq!((done.rows_written, done.rows_updated), (40_000, 20_000));
    let sql = "select left(v, 1) as l, count(*), min(id), max(id) from raw.x group by 1 order by 1";
    assert_eq!(t.sql(sql).await, ["a|20000|0|19999", "b|40000|20000|59999"]);
    let left = std::fs::read_dir(t.folder.path().join("spill")).unwrap();
    let left: Vec<_> = left.map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("merge-")), "{left:?}");
    let error = t.lake.write(&raw, merge(rows("c", 0, 400_000))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "keys that do not fit are refused: {error:?}");
}
