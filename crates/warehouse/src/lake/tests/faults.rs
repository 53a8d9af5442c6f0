//! Power cuts, full disks, read-only folders and damaged files.

use std::fs;
use std::io::ErrorKind as Io;
use std::sync::Arc;

use flywheel_base::ErrorKind;

use super::{append, merge};
use crate::store::{DurableStore, RealDisk};
use crate::testing::{FaultyStore, TestLake, WatchedDisk, at, pairs, rows_of};

const HEAD: &str = "raw/x/_delta_log/00000000000000000001.json";

async fn two_commits() -> TestLake {
    let t = TestLake::new().await;
    t.lake.write(&at("raw/x"), append(pairs(&[(1, "a")]))).await.unwrap();
    t.lake.write(&at("raw/x"), append(pairs(&[(2, "b")]))).await.unwrap();
    t
}

#[tokio::test]
async fn every_file_of_a_commit_is_forced_before_the_write_returns() {
    let t = TestLake::new().await;
    let disk = Arc::new(WatchedDisk::default());
    let store = Arc::new(DurableStore::new(Arc::clone(&disk) as _));
    let lake = t.through(Arc::clone(&disk) as _, store).await;
    disk.take();
    lake.write(&at("raw/x"), append(pairs(&[(1, "a")]))).await.unwrap();
    let forced = disk.take();
    let position = |end: &str| {
        forced
            .iter()
            .position(|line| line.ends_with(end))
            .unwrap_or_else(|| panic!("{end}: {forced:?}"))
    };
    let data = forced.iter().position(|line| line.contains("/part-")).unwrap();
    let commit = position("_delta_log/00000000000000000000.json#1");
    assert!(data < commit && commit < position("_delta_log"), "{forced:?}");
    assert!(position("/lake") < commit && position("/lake/raw") < commit, "{forced:?}");
    lake.write(&at("raw/x"), append(pairs(&[(2, "b")]))).await.unwrap();
    assert_eq!(disk.take().len(), 4, "two files and their folders, nothing else");
    disk.refuse(Some("file"));
    let error = lake.write(&at("raw/x"), append(pairs(&[(3, "c")]))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error:?}");
    assert_eq!(rows_of(&t.other().await, "select count(*) from raw.x").await, ["2"]);
}

#[tokio::test]
async fn a_commit_whose_folder_cannot_be_forced_fails_but_keeps_its_files() {
    let t = two_commits().await;
    let disk = Arc::new(WatchedDisk::default());
    let store = Arc::new(DurableStore::new(Arc::clone(&disk) as _));
    let lake = t.through(Arc::clone(&disk) as _, store).await;
    // The commit gets its name, then its folder cannot be forced.
    disk.refuse(Some("/_delta_log"));
    for write in [append(pairs(&[(3, "c")])), merge(pairs(&[(1, "z")]))] {
        let error = lake.write(&at("raw/x"), write).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted, "{error:?}");
        assert!(error.message().contains("may not survive"), "{error:?}");
    }
    disk.refuse(None);
    assert_eq!(rows_of(&lake, "select * from raw.x order by id").await, ["1|z", "2|b", "3|c"]);
}

#[tokio::test]
async fn a_torn_newest_commit_is_set_aside_loudly() {
    for torn in ["", "{\"commitInfo\":{\"timest", "\0\0\0\0"] {
        let t = two_commits().await;
        fs::write(t.file(HEAD), torn).unwrap();
        let lake = t.other().await;
        let [notice] = lake.notices().try_into().unwrap();
        assert!(notice.what.contains("commit 1") && notice.what.contains("raw/x"), "{notice:?}");
        assert!(!t.file(HEAD).exists() && t.file(&notice.moved_to.unwrap()).exists());
        assert_eq!(rows_of(&lake, "select id from raw.x").await, ["1"]);
        let next = lake.write(&at("raw/x"), append(pairs(&[(3, "c")]))).await.unwrap();
        assert_eq!(next.version, 1);
        assert!(t.other().await.notices().is_empty());
    }
}

#[tokio::test]
async fn a_torn_first_commit_leaves_no_table_but_a_notice() {
    let t = TestLake::new().await;
    t.lake.write(&at("raw/x"), append(pairs(&[(1, "a")]))).await.unwrap();
    fs::write(t.file("raw/x/_delta_log/00000000000000000000.json"), "").unwrap();
    let lake = t.other().await;
    assert_eq!(lake.notices().len(), 1);
    assert!(lake.head(&at("raw/x")).await.unwrap().is_none());
    lake.write(&at("raw/x"), append(pairs(&[(5, "e")]))).await.unwrap();
    assert_eq!(rows_of(&lake, "select id from raw.x").await, ["5"]);
}

#[tokio::test]
async fn an_older_damaged_commit_is_an_error_not_an_empty_one() {
    let t = two_commits().await;
    for damaged in ["", "{", "not json\n"] {
        fs::write(t.file("raw/x/_delta_log/00000000000000000000.json"), damaged).unwrap();
        let error = t.other().await.head(&at("raw/x")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert!(error.message().contains("commit 0") && error.hint_text().is_some());
    }
}

#[tokio::test]
async fn a_damaged_or_missing_data_file_is_an_error_that_names_the_way_out() {
    for truncate in [true, false] {
        let t = two_commits().await;
        let parquet = fs::read_dir(t.file("raw/x"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|end| end == "parquet"))
            .unwrap();
        match truncate {
            true => fs::write(&parquet, "PAR1").unwrap(),
            false => fs::remove_file(&parquet).unwrap(),
        }
        let session = t.lake.session(crate::testing::catalog_of(&t.lake).await).unwrap();
        let query = session.query("select sum(id) from raw.x").await.unwrap();
        let error = query.collect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        let error =
            t.lake.write(&at("raw/x"), merge(pairs(&[(1, "z"), (2, "z")]))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    }
}

#[tokio::test]
async fn a_full_disk_publishes_nothing_and_the_next_write_goes_on() {
    let t = two_commits().await;
    let store = Arc::new(FaultyStore::new());
    let lake = t.through(Arc::new(RealDisk), Arc::clone(&store) as _).await;
    for (part, io, kind) in [
        (".parquet", Io::StorageFull, ErrorKind::Exhausted),
        ("_delta_log", Io::StorageFull, ErrorKind::Exhausted),
        (".parquet", Io::PermissionDenied, ErrorKind::Denied),
        ("_delta_log", Io::ReadOnlyFilesystem, ErrorKind::Denied),
    ] {
        store.fail(part, io);
        for write in [append(pairs(&[(3, "c")])), merge(pairs(&[(1, "z")]))] {
            let error = lake.write(&at("raw/x"), write).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{part} {error:?}");
            assert!(error.hint_text().is_some(), "{error:?}");
        }
        store.heal();
        assert_eq!(rows_of(&lake, "select id, v from raw.x order by id").await, ["1|a", "2|b"]);
    }
    let files = fs::read_dir(t.file("raw/x")).unwrap().count();
    assert_eq!(files, 3, "the log and two data files; nothing uncommitted stays");
    lake.write(&at("raw/x"), append(pairs(&[(3, "c")]))).await.unwrap();
    assert_eq!(rows_of(&lake, "select count(*) from raw.x").await, ["3"]);
}

#[tokio::test]
async fn a_lake_cannot_be_made_where_a_file_is_in_the_way() {
    let t = TestLake::new().await;
    fs::write(t.folder.path().join("file"), "x").unwrap();
    let options = crate::LakeOptions {
        memory_bytes: 1 << 20,
        spill_dir: t.folder.path().join("spill"),
        partitions: 1,
        clock: Arc::clone(&t.clock) as _,
        exact_division: false,
    };
    let path = t.folder.path().join("file/lake");
    let error = crate::Lake::open(&path, options).await.unwrap_err();
    assert!(error.message().contains("file/lake"), "{error:?}");
}
