//! Writers beside each other, in one process and in two.

use std::collections::BTreeMap;

use flywheel_base::task::TaskSet;

use super::{append, merge};
use crate::testing::{TestLake, at, pairs, rows_of};
use crate::{Checkpoint, Lake};

/// Replays a table's history and checks that every version is what its commit says.
async fn rows_by_version(lake: &Lake) -> BTreeMap<i64, u64> {
    let mut rows = BTreeMap::new();
    for record in lake.history(&at("raw/x")).await.unwrap() {
        let state = lake.state_at(&at("raw/x"), record.version).await.unwrap();
        rows.insert(record.version, state.rows.unwrap());
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appenders_and_mergers_of_one_table_never_fail_and_act_one_after_the_other() {
    let t = TestLake::new().await;
    t.lake.write(&at("raw/x"), merge(pairs(&[(-1, "m"), (-2, "m")]))).await.unwrap();
    let mut tasks = TaskSet::default();
    for writer in 0..4_i64 {
        let lake = t.lake.clone();
        tasks.start(async move {
            for n in 0..8 {
                let rows = pairs(&[(writer * 100 + n, "a")]);
                lake.write(&at("raw/x"), append(rows)).await.unwrap();
            }
            Ok(())
        });
    }
    for writer in 1..=2_i64 {
        let lake = t.lake.clone();
        tasks.start(async move {
            for n in 0..8 {
                let value = format!("m{n}");
                let done =
                    lake.write(&at("raw/x"), merge(pairs(&[(-writer, value.as_str())]))).await;
                assert_eq!(done.unwrap().rows_updated, 1);
            }
            Ok(())
        });
    }
    tasks.join().await.unwrap();
    let rows = t.sql("select count(*), count(distinct id), sum(id) from raw.x").await;
    let sum: i64 = (0..4).map(|w| (0..8).map(|n| w * 100 + n).sum::<i64>()).sum::<i64>() - 3;
    assert_eq!(rows, [format!("34|34|{sum}")]);
    assert_eq!(t.sql("select v from raw.x where id < 0").await, ["m7", "m7"]);
    let versions = rows_by_version(&t.lake).await;
    assert_eq!(versions.len(), 1 + 4 * 8 + 2 * 8);
    assert!(versions.values().is_sorted(), "appends add, merges keep: {versions:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_meet_and_no_row_is_lost_or_doubled() {
    let t = TestLake::new().await;
    t.lake.write(&at("raw/x"), append(pairs(&[(-1, "start")]))).await.unwrap();
    let other = t.other().await;
    let mut tasks = TaskSet::default();
    for (process, lake) in [t.lake.clone(), other].into_iter().enumerate() {
        for kind in 0..2_i64 {
            let lake = lake.clone();
            tasks.start(async move {
                for n in 0..6_i64 {
                    let id = process as i64 * 1_000 + kind * 100 + n;
                    let rows = pairs(&[(id, "x")]);
                    let write = if kind == 0 { append(rows) } else { merge(rows) };
                    let app = format!("app-{process}-{kind}");
                    let checkpoint = Checkpoint { sequence: n, position: n.into() };
                    lake.write(&at("raw/x"), write.checkpoint(app, checkpoint)).await.unwrap();
                }
                Ok(())
            });
        }
    }
    tasks.join().await.unwrap();
    let third = t.other().await;
    let rows = rows_of(&third, "select count(*), count(distinct id) from raw.x").await;
    assert_eq!(rows, ["25|25"]);
    let head = third.head(&at("raw/x")).await.unwrap().unwrap();
    assert_eq!((head.version, head.checkpoints.len()), (24, 4));
    assert!(head.checkpoints.values().all(|checkpoint| checkpoint.sequence == 5));
}

#[tokio::test]
async fn a_commit_of_another_process_is_seen_at_once() {
    let t = TestLake::new().await;
    let other = t.other().await;
    t.lake.write(&at("raw/x"), append(pairs(&[(1, "a")]))).await.unwrap();
    assert_eq!(other.head(&at("raw/x")).await.unwrap().unwrap().version, 0);
    t.lake.write(&at("raw/x"), append(pairs(&[(2, "b")]))).await.unwrap();
    assert_eq!(other.head(&at("raw/x")).await.unwrap().unwrap().rows, Some(2));
}

#[tokio::test]
async fn a_table_made_anew_below_us_is_not_mistaken_for_the_old_one() {
    let t = TestLake::new().await;
    for value in ["a", "b", "c"] {
        t.lake.write(&at("raw/x"), append(pairs(&[(1, value)]))).await.unwrap();
    }
    std::fs::remove_dir_all(t.file("raw/x")).unwrap();
    assert!(t.lake.head(&at("raw/x")).await.unwrap().is_none());
    let other = t.other().await;
    other.write(&at("raw/x"), append(pairs(&[(9, "z")]))).await.unwrap();
    assert_eq!(t.sql("select id from raw.x").await, ["9"]);
    assert_eq!(t.lake.history(&at("raw/x")).await.unwrap().len(), 1);
}
