//! What a user relies on: nothing acknowledged is lost, nothing is applied twice, nothing is half there.

mod changes;
mod concurrency;
mod editing;
mod faults;
mod history;
mod interop;
mod loading;
mod merging;
mod upkeep;
mod waiting;
mod widening;

use std::fs;

use flywheel_base::{ErrorKind, Timestamp};
use serde_json::json;

use crate::testing::{TestLake, at, batch, pair_schema, pairs, stream};
use crate::{Checkpoint, Duplicates, RowStream, Write, WriteMode};

fn append(rows: RowStream) -> Write {
    Write::new(WriteMode::Append, rows, "sync")
}

fn replace(rows: RowStream) -> Write {
    Write::new(WriteMode::Replace, rows, "build")
}

fn merge(rows: RowStream) -> Write {
    let mode = WriteMode::Merge { key: vec!["id".to_owned()], duplicates: Duplicates::Refuse };
    Write::new(mode, rows, "sync")
}

fn day(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

#[tokio::test]
async fn appended_rows_are_read_in_order_and_the_history_tells() {
    let t = TestLake::new().await;
    let orders = at("raw/orders");
    assert!(t.lake.head(&orders).await.unwrap().is_none());
    let first = t.lake.write(&orders, append(pairs(&[(1, "a"), (2, "b")]))).await.unwrap();
    assert_eq!((first.version, first.rows_written), (0, 2));
    let write = append(pairs(&[(3, "c")])).property("run", json!("r7"));
    assert_eq!(t.lake.write(&orders, write).await.unwrap().version, 1);
    assert_eq!(t.sql("select * from raw.orders").await, ["1|a", "2|b", "3|c"]);

    let head = t.lake.head(&orders).await.unwrap().unwrap();
    assert_eq!((head.version, head.rows, head.files), (1, Some(3), 2));
    assert_eq!((head.committed_at, head.schema), (day("2024-01-01"), pair_schema()));
    let history = t.lake.history(&orders).await.unwrap();
    let told: Vec<_> = history.iter().map(|c| (c.version, c.rows_in, c.rows_out)).collect();
    assert_eq!(told, [(0, Some(2), Some(0)), (1, Some(1), Some(0))]);
    assert_eq!(
        (history[1].operation.as_str(), &history[1].metadata["run"]),
        ("sync", &json!("r7"))
    );
    assert_eq!(t.lake.locations().await.unwrap(), [orders]);
}

#[tokio::test]
async fn replacing_with_nothing_keeps_the_columns_and_older_versions() {
    let t = TestLake::new().await;
    let mart = at("mart/x");
    t.lake.write(&mart, replace(pairs(&[(1, "a")]))).await.unwrap();
    let emptied = t.lake.write(&mart, replace(RowStream::empty(pair_schema()))).await.unwrap();
    assert_eq!((emptied.version, emptied.rows_deleted), (1, 1));
    assert!(t.sql("select id, v from mart.x").await.is_empty());
    assert_eq!(t.lake.state_at(&mart, 0).await.unwrap().rows, Some(1));
    let again = t.lake.write(&mart, replace(RowStream::empty(pair_schema()))).await.unwrap();
    assert_eq!(again.version, 2, "a replace is a commit even if nothing changes");
}

#[tokio::test]
async fn a_checkpoint_commits_with_its_rows_and_a_repeated_one_is_skipped() {
    let t = TestLake::new().await;
    let raw = at("raw/x");
    let step = |sequence: i64, lsn: &str| Checkpoint { sequence, position: json!({"lsn": lsn}) };
    t.lake.write(&raw, append(pairs(&[(1, "a")])).checkpoint("s1", step(1, "A"))).await.unwrap();
    t.lake.write(&raw, append(pairs(&[(2, "b")])).checkpoint("s2", step(9, "Z"))).await.unwrap();
    let again = append(pairs(&[(1, "a")])).checkpoint("s1", step(1, "A"));
    let again = t.lake.write(&raw, again).await.unwrap();
    assert!(again.skipped && again.version == 1, "{again:?}");
    let moved = append(RowStream::empty(pair_schema())).checkpoint("s1", step(2, "B"));
    assert_eq!(t.lake.write(&raw, moved).await.unwrap().version, 2);
    let idle = t.lake.write(&raw, append(RowStream::empty(pair_schema()))).await.unwrap();
    assert_eq!(idle.version, 2, "no rows and no position is no commit");
    for lake in [&t.lake, &t.other().await] {
        let head = lake.head(&raw).await.unwrap().unwrap();
        assert_eq!(head.checkpoints["s1"], step(2, "B"));
        assert_eq!(head.checkpoints["s2"], step(9, "Z"));
    }
    assert_eq!(t.sql("select count(*) from raw.x").await, ["2"]);
}

#[tokio::test]
async fn time_travel_follows_the_lakes_own_clock() {
    let t = TestLake::new().await;
    let raw = at("raw/x");
    for (date, value) in [("2011-03-01", "a"), ("2011-03-02", "b"), ("2011-03-03", "c")] {
        t.clock.move_to(day(date));
        t.lake.write(&raw, append(pairs(&[(1, value)]))).await.unwrap();
    }
    for lake in [&t.lake, &t.other().await] {
        assert_eq!(lake.version_at(&raw, day("2011-02-28")).await.unwrap(), None);
        assert_eq!(lake.version_at(&raw, day("2011-03-02 12:00")).await.unwrap(), Some(1));
        assert_eq!(lake.version_at(&raw, day("2030-01-01")).await.unwrap(), Some(2));
        let then = lake.state_at(&raw, 1).await.unwrap();
        assert_eq!((then.rows, then.committed_at), (Some(2), day("2011-03-02")));
        let missing = lake.state_at(&raw, 3).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
    let nowhere = t.lake.history(&at("raw/y")).await.unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn new_columns_are_refused_or_added_and_older_rows_have_null_there() {
    let t = TestLake::new().await;
    let raw = at("raw/x");
    t.lake.write(&raw, append(pairs(&[(1, "a")]))).await.unwrap();
    let wider = || stream(batch(&[("id", vec![Some("2")]), ("city", vec![Some("北京")])]));
    let refused = t.lake.write(&raw, append(wider())).await.unwrap_err();
    assert!(refused.message().contains("\"city\"") && refused.hint_text().is_some());
    t.lake.write(&raw, append(wider()).add_columns()).await.unwrap();
    assert_eq!(t.sql("select * from raw.x order by id").await, ["1|a|", "2||北京"]);
    assert_eq!(t.sql("select count(*) from raw.x where city is null").await, ["1"]);
    let other = replace(stream(batch(&[("n", vec![Some("5")])]))).add_columns();
    t.lake.write(&raw, other).await.unwrap();
    assert_eq!(
        t.sql("select * from raw.x").await,
        ["5"],
        "a replace takes the new columns exactly"
    );
    assert_eq!(t.lake.state_at(&raw, 1).await.unwrap().schema.fields().len(), 3);
}

#[tokio::test]
async fn deleting_by_condition_rewrites_only_what_it_must() {
    let t = TestLake::new().await;
    let raw = at("raw/x");
    t.lake.write(&raw, append(pairs(&[(1, "a"), (2, "b")]))).await.unwrap();
    t.lake.write(&raw, append(pairs(&[(3, "c")]))).await.unwrap();
    let delete = |condition: &str| {
        let mode = WriteMode::DeleteWhere { condition: condition.to_owned() };
        Write::new(mode, RowStream::empty(pair_schema()), "erase")
    };
    let gone = t.lake.write(&raw, delete("v in ('b', 'zz') or v is null")).await.unwrap();
    assert_eq!((gone.rows_deleted, gone.version), (1, 2));
    assert_eq!(t.sql("select id from raw.x order by id").await, ["1", "3"]);
    assert_eq!(t.lake.write(&raw, delete("id = 99")).await.unwrap().version, 2);
    let log = fs::read_to_string(t.file("raw/x/_delta_log/00000000000000000002.json")).unwrap();
    assert!(!log.contains("zz"), "values to erase must not be written into the log: {log}");
    for wrong in ["id", "nope = 1", "id = ", "id in (select 1)"] {
        let error = t.lake.write(&raw, delete(wrong)).await.unwrap_err();
        assert_ne!(error.kind(), ErrorKind::Internal, "{wrong}: {error:?}");
    }
}

#[tokio::test]
async fn a_table_does_not_lie_inside_another_one() {
    let t = TestLake::new().await;
    t.lake.write(&at("mart/x"), append(pairs(&[(1, "a")]))).await.unwrap();
    let error = t.lake.write(&at("mart/x/y"), append(pairs(&[(1, "a")]))).await.unwrap_err();
    assert!(error.message().contains("inside"), "{error:?}");
}
