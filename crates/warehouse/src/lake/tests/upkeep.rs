//! Maintenance changes no row, forgets no position and deletes nothing that may be read.

use std::fs;

use serde_json::json;

use super::{append, day, merge, replace};
use crate::testing::{TestLake, at, pairs, rows_of};
use crate::{Checkpoint, Maintain};

const SECOND: i64 = 1_000_000;

fn parquet_files(t: &TestLake) -> usize {
    let entries = fs::read_dir(t.file("raw/x")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".parquet")).count()
}

#[tokio::test]
async fn compaction_keeps_rows_positions_and_older_versions() {
    let t = TestLake::new().await;
    for n in 0..5 {
        let checkpoint = Checkpoint { sequence: n, position: json!(n) };
        let write = append(pairs(&[(n, "x")])).checkpoint("s", checkpoint);
        t.lake.write(&at("raw/x"), write).await.unwrap();
    }
    let options =
        Maintain { small_files_min: 3, checkpoint_bytes_min: Some(0), ..Maintain::default() };
    let done = t.lake.maintain(&at("raw/x"), options.clone()).await.unwrap();
    assert_eq!((done.files_compacted, done.files_written, done.version), (5, 1, 5));
    assert!(done.checkpointed);
    for lake in [&t.lake, &t.other().await] {
        let head = lake.head(&at("raw/x")).await.unwrap().unwrap();
        assert_eq!((head.files, head.rows, head.version), (1, Some(5), 5));
        assert_eq!(head.checkpoints["s"], Checkpoint { sequence: 4, position: json!(4) });
        assert_eq!(rows_of(lake, "select id from raw.x").await, ["0", "1", "2", "3", "4"]);
        assert_eq!(lake.state_at(&at("raw/x"), 2).await.unwrap().rows, Some(3));
    }
    let again = t.lake.maintain(&at("raw/x"), options).await.unwrap();
    assert_eq!((again.files_compacted, again.checkpointed), (0, false));
}

/// A checkpoint costs more than a short log does.
#[tokio::test]
async fn a_checkpoint_is_written_once_there_is_much_to_read_without_it() {
    let t = TestLake::new().await;
    let long = "x".repeat(100_000);
    let mut written = Vec::new();
    for n in 0..24 {
        let checkpoint = Checkpoint { sequence: n, position: json!({ "files": long }) };
        let write = append(pairs(&[(n, "x")])).checkpoint("s", checkpoint);
        t.lake.write(&at("raw/x"), write).await.unwrap();
        let done = t.lake.maintain(&at("raw/x"), Maintain::default()).await.unwrap();
        written.extend(done.checkpointed.then_some(n));
    }
    // Ten commits hold 1,000,000 bytes of positions and less than the 1,048,576 that are allowed.
    assert_eq!(written, [10, 21]);
    let head = t.other().await.head(&at("raw/x")).await.unwrap().unwrap();
    assert_eq!((head.rows, head.checkpoints["s"].sequence), (Some(24), 23));
}

#[tokio::test]
async fn compaction_leaves_alone_what_outweighs_the_rest() {
    let t = TestLake::new().await;
    // Values that do not compress to nothing, so that the sizes of files follow the rows.
    let many: Vec<(i64, String)> =
        (0..20_000_i64).map(|n| (n, format!("{:x}", n.wrapping_mul(0x9E37_79B9_7F4A)))).collect();
    let many: Vec<(i64, &str)> = many.iter().map(|(n, text)| (*n, text.as_str())).collect();
    t.lake.write(&at("raw/x"), append(pairs(&many))).await.unwrap();
    for n in 20_000..20_004 {
        t.lake.write(&at("raw/x"), append(pairs(&[(n, "x")]))).await.unwrap();
    }
    let options =
        Maintain { small_files_min: 3, checkpoint_bytes_min: Some(0), ..Maintain::default() };
    let done = t.lake.maintain(&at("raw/x"), options).await.unwrap();
    assert_eq!((done.files_compacted, done.files_written), (4, 1));
    let head = t.lake.head(&at("raw/x")).await.unwrap().unwrap();
    assert_eq!((head.files, head.rows), (2, Some(20_004)));
}

#[tokio::test]
async fn vacuum_deletes_what_no_kept_version_needs_once_it_is_old_enough() {
    let t = TestLake::new().await;
    for (second, value) in ["a", "b", "c", "d"].into_iter().enumerate() {
        t.clock.move_to(day("2024-01-01").plus_micros(second as i64 * SECOND));
        t.lake.write(&at("raw/x"), replace(pairs(&[(1, value)]))).await.unwrap();
    }
    assert_eq!(parquet_files(&t), 4);
    let vacuum = |oldest: i64, retention: i64| Maintain {
        compact: false,
        oldest_version: Some(oldest),
        retention_us: retention,
        checkpoint_bytes_min: Some(0),
        ..Maintain::default()
    };
    let done = t.lake.maintain(&at("raw/x"), vacuum(2, 60 * SECOND)).await.unwrap();
    assert_eq!(done.files_deleted, 0, "all were removed less than a minute ago");
    t.clock.move_to(day("2024-01-02"));
    let done = t.lake.maintain(&at("raw/x"), vacuum(2, 60 * SECOND)).await.unwrap();
    assert_eq!((done.files_deleted, parquet_files(&t)), (2, 2));
    assert!(done.bytes_freed > 0);
    assert_eq!(rows_of(&t.other().await, "select v from raw.x").await, ["d"]);
    let lake = t.other().await;
    assert_eq!(lake.state_at(&at("raw/x"), 2).await.unwrap().rows, Some(1));
}

#[tokio::test]
async fn a_query_under_way_keeps_its_files() {
    let t = TestLake::new().await;
    t.lake.write(&at("raw/x"), replace(pairs(&[(1, "a")]))).await.unwrap();
    let session = t.lake.session(crate::testing::catalog_of(&t.lake).await).unwrap();
    let query = session.query("select v from raw.x").await.unwrap();
    t.clock.move_to(day("2024-01-02"));
    t.lake.write(&at("raw/x"), replace(pairs(&[(1, "b")]))).await.unwrap();
    t.clock.move_to(day("2024-01-03"));
    let options = Maintain {
        compact: false,
        oldest_version: Some(1),
        retention_us: 0,
        checkpoint_bytes_min: Some(0),
        ..Maintain::default()
    };
    t.lake.maintain(&at("raw/x"), options).await.unwrap();
    assert_eq!(crate::testing::text_of(&query.collect().await.unwrap()), ["a"]);
    let session = t.lake.session(crate::testing::catalog_of(&t.lake).await).unwrap();
    let query = session.query("select v from raw.x").await.unwrap();
    assert_eq!(crate::testing::text_of(&query.collect().await.unwrap()), ["b"]);
}

#[tokio::test]
async fn a_shortened_log_still_tells_state_and_positions() {
    let t = TestLake::new().await;
    for n in 0..4 {
        t.clock.move_to(day("2024-01-01").plus_days(n));
        let checkpoint = Checkpoint { sequence: n, position: json!({"at": n}) };
        let write = merge(pairs(&[(n, "x")])).checkpoint("s", checkpoint);
        t.lake.write(&at("raw/x"), write).await.unwrap();
    }
    t.clock.move_to(day("2024-03-01"));
    let options = Maintain {
        compact: false,
        oldest_version: Some(3),
        log_commits_min: 1,
        ..Maintain::default()
    };
    let done = t.lake.maintain(&at("raw/x"), options).await.unwrap();
    assert_eq!(done.log_files_deleted, 3);
    let lake = t.other().await;
    let head = lake.head(&at("raw/x")).await.unwrap().unwrap();
    assert_eq!((head.version, head.rows, head.committed_at), (3, Some(4), day("2024-01-04")));
    assert_eq!(head.checkpoints["s"], Checkpoint { sequence: 3, position: json!({"at": 3}) });
    let gone = lake.state_at(&at("raw/x"), 1).await.unwrap_err();
    assert!(gone.message().contains("no longer kept"), "{gone:?}");
    lake.write(&at("raw/x"), append(pairs(&[(9, "y")]))).await.unwrap();
    assert_eq!(rows_of(&t.other().await, "select count(*) from raw.x").await, ["5"]);
}

#[tokio::test]
async fn a_log_that_began_at_a_later_clock_is_shortened_all_the_same() {
    let t = TestLake::new().await;
    // A table that is made today, into which the days of years ago are replayed.
    t.clock.move_to(day("2026-01-01"));
    t.lake.write(&at("raw/x"), append(pairs(&[(0, "x")]))).await.unwrap();
    for n in 0..4 {
        t.clock.move_to(day("2024-01-01").plus_days(n));
        t.lake.write(&at("raw/x"), append(pairs(&[(n + 1, "x")]))).await.unwrap();
    }
    t.clock.move_to(day("2024-03-01"));
    let options = Maintain {
        compact: false,
        oldest_version: Some(3),
        log_commits_min: 1,
        retention_us: 57 * 86_400_000_000,
        ..Maintain::default()
    };
    let done = t.lake.maintain(&at("raw/x"), options).await.unwrap();
    // The commit of 2024-01-03 is younger than what is kept, those of before it are not.
    assert_eq!(done.log_files_deleted, 3);
    let lake = t.other().await;
    assert_eq!(lake.head(&at("raw/x")).await.unwrap().unwrap().rows, Some(5));
    assert_eq!(lake.state_at(&at("raw/x"), 3).await.unwrap().rows, Some(4));
}

#[tokio::test]
async fn a_long_log_gets_a_checkpoint_by_itself() {
    let t = TestLake::new().await;
    for n in 0..101 {
        t.lake.write(&at("raw/x"), append(pairs(&[(n, "x")]))).await.unwrap();
    }
    let log = fs::read_dir(t.file("raw/x/_delta_log")).unwrap();
    let names: Vec<String> =
        log.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.contains("100.checkpoint")), "{names:?}");
    assert_eq!(t.other().await.head(&at("raw/x")).await.unwrap().unwrap().rows, Some(101));
}

#[tokio::test]
async fn a_table_that_is_removed_is_gone_whole_and_can_be_made_anew() {
    let t = TestLake::new().await;
    t.lake.write(&at("mart/x/abc"), append(pairs(&[(1, "a")]))).await.unwrap();
    t.lake.write(&at("mart/x/def"), append(pairs(&[(2, "b")]))).await.unwrap();
    let mut catalog = crate::Catalog::new();
    catalog.table(&crate::TableName::new("mart", "x"), at("mart/x/abc"), None);
    let session = t.lake.session(catalog).unwrap();
    let query = session.query("select v from mart.x").await.unwrap();
    assert_eq!(t.lake.remove(&at("mart/x/abc")).await.unwrap(), None, "a query reads it");
    assert_eq!(query.collect().await.unwrap().len(), 1);
    drop((query, session));
    // What an earlier removal left behind goes, too.
    fs::create_dir_all(t.file(".removed/mart.x.old/_delta_log")).unwrap();
    assert!(t.lake.remove(&at("mart/x/abc")).await.unwrap().unwrap() > 0);
    assert_eq!(t.lake.remove(&at("mart/x/abc")).await.unwrap(), None);
    for lake in [&t.lake, &t.other().await] {
        assert_eq!(lake.locations().await.unwrap(), [at("mart/x/def")]);
        assert!(lake.head(&at("mart/x/abc")).await.unwrap().is_none());
    }
    assert!(!t.file(".removed").exists());
    let again = t.lake.write(&at("mart/x/abc"), append(pairs(&[(3, "c")]))).await.unwrap();
    assert_eq!(again.version, 0);
}
