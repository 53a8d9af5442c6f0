//! Statements that change rows: which files they touch, what they leave alone, and writers beside them.

use std::collections::BTreeMap;
use std::io::ErrorKind as Io;
use std::sync::Arc;

use flywheel_base::task::TaskSet;
use flywheel_base::{Error, ErrorKind};
use serde_json::json;

use super::append;
use crate::testing::{FaultyStore, TestLake, at, catalog_of, pairs, rows_of, text_of};
use crate::{Catalog, Checkpoint, DELETED, Edited, Lake, TableName, Verb};

async fn edit(lake: &Lake, sql: &str) -> Result<Edited, Error> {
    lake.session(catalog_of(lake).await)?.edit(sql)?.run().await
}

/// Three files with keys 0..10, 10..20 and 20..30, each `v` the key's text.
async fn three_files() -> TestLake {
    three_files_of(10).await
}

async fn three_files_of(rows: i64) -> TestLake {
    let t = TestLake::new().await;
    for file in 0..3 {
        let texts: Vec<(i64, String)> =
            (file * rows..file * rows + rows).map(|id| (id, id.to_string())).collect();
        let rows: Vec<(i64, &str)> = texts.iter().map(|(id, v)| (*id, v.as_str())).collect();
        t.lake.write(&at("raw/x"), append(pairs(&rows))).await.unwrap();
    }
    t
}

/// Files kept, rewritten and written, then rows inserted, updated and deleted.
fn counts(edited: &Edited) -> [u64; 6] {
    let commit = &edited.commit;
    let files = [commit.files_kept, commit.files_removed, commit.files_added];
    let rows = [edited.rows_inserted(), commit.rows_updated, commit.rows_deleted];
    [files[0], files[1], files[2], rows[0], rows[1], rows[2]]
}

#[tokio::test]
async fn only_files_that_hold_a_row_are_rewritten_and_rows_stay_where_they_are() {
    let t = three_files().await;
    let done = edit(&t.lake, "update raw.x set v = 'new' where id in (11, 13)").await.unwrap();
    assert_eq!(counts(&done), [2, 1, 1, 0, 2, 0]);
    let ids = t.sql("select id from raw.x").await;
    let mut sorted = ids.clone();
    sorted.sort_by_key(|id| id.parse::<i64>().unwrap());
    assert_eq!(ids.len(), 30);
    let middle: Vec<String> = (10..20).map(|id| id.to_string()).collect();
    assert!(ids.windows(10).any(|some| some == middle), "{ids:?}");
    let done = edit(&t.lake, "delete from raw.x where id between 8 and 10").await.unwrap();
    assert_eq!(counts(&done), [1, 2, 1, 0, 0, 3]);
    let done = edit(&t.lake, "delete from raw.x where id >= 20").await.unwrap();
    assert_eq!(counts(&done), [1, 1, 0, 0, 0, 10], "a file that lost all rows has no successor");
    let merge =
        "merge into raw.x using (values (3, 'three'), (99, 'new')) as s(id, v) on x.id = s.id
        when matched then update set v = s.v when not matched then insert values (s.id, s.v)";
    let done = edit(&t.lake, merge).await.unwrap();
    assert_eq!(counts(&done)[3..], [1, 1, 0]);
    assert_eq!(
        t.sql("select v from raw.x where id in (3, 11, 99) order by id").await,
        ["three", "new", "new"]
    );
    assert_eq!(t.sql("select count(*) from raw.x").await, ["18"]);
    let history = t.lake.history(&at("raw/x")).await.unwrap();
    let told: Vec<_> =
        history.iter().map(|c| (c.operation.as_str(), c.rows_in, c.rows_out)).collect();
    assert_eq!(told[3], ("update", Some(2), Some(2)));
    assert_eq!(told[6], ("merge", Some(2), Some(1)));
}

#[tokio::test]
async fn rows_of_files_whose_statistics_exclude_them_are_not_even_read() {
    // Of two sides, a join reads the smaller one first, and chooses what it reads of the other.
    let t = three_files_of(1_000).await;
    let damaged: Vec<_> = std::fs::read_dir(t.file("raw/x"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("part-00000000000000000002"))
        .collect();
    assert_eq!(damaged.len(), 1);
    // Everything but the footer, whose length stands before the last four bytes.
    let mut bytes = std::fs::read(&damaged[0]).unwrap();
    let end = bytes.len() - 8;
    let footer = u32::from_le_bytes(bytes[end..end + 4].try_into().unwrap()) as usize;
    bytes[4..end - footer].fill(0);
    std::fs::write(&damaged[0], bytes).unwrap();
    for sql in [
        "update raw.x set v = 'a' where id = 3",
        "delete from raw.x where id < 2",
        "merge into raw.x using (values (4, 'm')) as s(id, v) on x.id = s.id when matched then update set v = s.v",
        "merge into raw.x using (values (5, 'm')) as s(id, v) on x.id = s.id
         when matched then update set v = s.v when not matched then insert values (s.id, s.v)",
        "merge into raw.x using (values (6, 'm')) as s(id, v) on x.id = s.id and x.id < 1500
         when matched and s.v <> x.v then delete",
    ] {
        let done = edit(&t.lake, sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(counts(&done)[1], 1, "{sql}");
    }
    assert!(edit(&t.lake, "update raw.x set v = 'a' where v = '2500'").await.is_err());
}

#[tokio::test]
async fn nothing_found_commits_nothing_and_all_rows_go_without_reading_a_file() {
    let t = three_files().await;
    let none = edit(&t.lake, "delete from raw.x where id = 77").await.unwrap();
    assert_eq!((none.commit.version, counts(&none)), (2, [3, 0, 0, 0, 0, 0]));
    assert_eq!(t.lake.history(&at("raw/x")).await.unwrap().len(), 3);
    let all = edit(&t.lake, "delete from raw.x").await.unwrap();
    assert_eq!((all.commit.version, counts(&all)), (3, [0, 3, 0, 0, 0, 30]));
    let again = edit(&t.lake, "truncate raw.x").await.unwrap();
    assert_eq!((again.verb, again.commit.version), (Verb::Truncate, 3), "it is empty already");
    let old = t.lake.state_at(&at("raw/x"), 2).await.unwrap();
    assert_eq!(old.rows, Some(30), "older versions keep their rows");
}

#[tokio::test]
async fn positions_and_properties_survive_and_readers_keep_their_version() {
    let t = TestLake::new().await;
    let position = Checkpoint { sequence: 7, position: json!({"file": "a.csv"}) };
    let write = append(pairs(&[(1, "a"), (2, "b")])).checkpoint("sync", position.clone());
    t.lake.write(&at("raw/x"), write).await.unwrap();
    let reader = t.lake.session(catalog_of(&t.lake).await).unwrap();
    let before = reader.query("select * from raw.x order by id").await.unwrap();
    edit(&t.lake, "update raw.x set v = 'z'").await.unwrap();
    edit(&t.lake, "insert into raw.x values (3, 'c')").await.unwrap();
    let head = t.other().await.head(&at("raw/x")).await.unwrap().unwrap();
    assert_eq!(head.checkpoints["sync"], position);
    assert_eq!(text_of(&before.collect().await.unwrap()), ["1|a", "2|b"]);
    let done =
        t.lake.write(&at("raw/x"), append(pairs(&[(1, "a")])).checkpoint("sync", position)).await;
    assert!(done.unwrap().skipped, "what was landed before does not land again");
    let mut pinned = Catalog::new();
    pinned.table(&TableName::new("raw", "x"), at("raw/x"), Some(0));
    let error = t.lake.session(pinned).unwrap().edit("delete from raw.x").unwrap().run().await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn who_reads_a_table_by_its_changes_sees_an_edit_row_by_row() {
    let t = three_files().await;
    edit(&t.lake, "update raw.x set v = 'new' where id = 11").await.unwrap();
    edit(&t.lake, "update raw.x set v = v where id < 10").await.unwrap();
    let merge = "merge into raw.x using (values (21), (40)) as s(id) on x.id = s.id
        when matched then delete when not matched then insert values (s.id, 'more')";
    edit(&t.lake, merge).await.unwrap();
    let (table, key) = (at("raw/x"), ["id".to_owned()]);
    let changes = t.lake.changes(Some((&table, 2)), (&table, 5), &key).await.unwrap();
    assert_eq!(changes.schema().field(2).name(), DELETED);
    let mut rows = text_of(&changes.collect().await.unwrap());
    rows.sort();
    assert_eq!(rows, ["11|new|false", "21||true", "40|more|false"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_writers_of_one_table_never_fail_and_act_one_after_the_other() {
    let t = TestLake::new().await;
    edit(&t.lake, "create table raw.x (id bigint, v text, n bigint)").await.unwrap();
    edit(
        &t.lake,
        "insert into raw.x values (-1, 'u', 0), (-2, 'u', 0), (-3, 'm', 0), (-4, 'm', 0)",
    )
    .await
    .unwrap();
    const ROUNDS: i64 = 25;
    let mut tasks = TaskSet::default();
    for writer in 0..8_i64 {
        let lake = t.lake.clone();
        tasks.start(async move {
            for n in 0..ROUNDS {
                let sql = match writer {
                    // Each number is one more than the largest before it.
                    0..4 => "insert into raw.x select coalesce(max(id), 0) + 1, 'a', 0 from raw.x where id >= 0".to_owned(),
                    4 | 5 => "update raw.x set n = n + 1 where v in ('u', 'a')".to_owned(),
                    _ => format!(
                        "merge into raw.x using (values (-3, {n}), (-4, {n}), ({}, {n})) as s(id, n) on x.id = s.id
                         when matched then update set n = x.n + 1 when not matched then insert values (s.id, 'new', s.n)",
                        -1_000 * writer - n
                    ),
                };
                edit(&lake, &sql).await?;
            }
            Ok(())
        });
    }
    tasks.join().await.unwrap();
    // Appenders never met: 100 numbers, none twice, none left out.
    let appended = "select count(*), count(distinct id), min(id), max(id) from raw.x where v = 'a'";
    assert_eq!(t.sql(appended).await, ["100|100|1|100"]);
    assert_eq!(t.sql("select n from raw.x where v = 'u'").await, ["50", "50"]);
    assert_eq!(t.sql("select n from raw.x where v = 'm'").await, ["50", "50"]);
    assert_eq!(
        t.sql("select count(*), count(distinct id) from raw.x where v = 'new'").await,
        ["50|50"]
    );
    // Played back one after the other, the statements in commit order give the same rows.
    let history = t.lake.history(&at("raw/x")).await.unwrap();
    let mut verbs: BTreeMap<&str, usize> = BTreeMap::new();
    let mut updates = 0;
    let mut expected: Vec<usize> = Vec::new();
    for record in &history[2..] {
        *verbs.entry(record.operation.as_str()).or_default() += 1;
        match record.operation.as_str() {
            "insert" => expected.push(updates),
            "update" => updates += 1,
            _ => {}
        }
    }
    assert_eq!(verbs, BTreeMap::from([("insert", 100), ("merge", 50), ("update", 50)]));
    let expected: Vec<String> =
        expected.iter().map(|before| (updates - before).to_string()).collect();
    assert_eq!(t.sql("select n from raw.x where v = 'a' order by id").await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_edit_one_table_and_no_change_is_lost() {
    let t = TestLake::new().await;
    t.lake.write(&at("raw/x"), append(pairs(&[(0, "x")]))).await.unwrap();
    let other = t.other().await;
    let mut tasks = TaskSet::default();
    for lake in [t.lake.clone(), other] {
        tasks.start(async move {
            for _ in 0..6 {
                edit(&lake, "update raw.x set v = v || '.' where id = 0").await?;
                edit(&lake, "insert into raw.x select max(id) + 1, 'new' from raw.x").await?;
            }
            Ok(())
        });
    }
    tasks.join().await.unwrap();
    let third = t.other().await;
    let rows = rows_of(&third, "select count(*), count(distinct id), max(id) from raw.x").await;
    assert_eq!(rows, ["13|13|12"]);
    assert_eq!(rows_of(&third, "select v from raw.x where id = 0").await, ["x............"]);
}

#[tokio::test]
async fn a_failed_edit_leaves_the_table_as_it_was_and_no_file_behind() {
    let t = three_files().await;
    let files = || std::fs::read_dir(t.file("raw/x")).unwrap().count();
    let before = files();
    let store = Arc::new(FaultyStore::new());
    let lake = t.through(Arc::new(crate::store::RealDisk), Arc::clone(&store) as _).await;
    store.fail("_delta_log/00000000000000000003", Io::StorageFull);
    let update = "update raw.x set v = 'new' where id < 15";
    let error = edit(&lake, update).await.unwrap_err();
    assert_eq!((error.kind(), files()), (ErrorKind::Exhausted, before), "{error:?}");
    store.heal();
    store.fail("/part-", Io::StorageFull);
    assert_eq!(edit(&lake, update).await.unwrap_err().kind(), ErrorKind::Exhausted);
    store.heal();
    let twice = "merge into raw.x using (values (29, 'x'), (29, 'y')) as s(id, v) on x.id = s.id
        when matched then update set v = s.v";
    let error = edit(&lake, twice).await.unwrap_err();
    assert!(error.message().contains("id = 29") && error.hint_text().is_some(), "{error:?}");
    assert_eq!(
        (files(), t.sql("select count(*) from raw.x where v = 'new'").await),
        (before, vec!["0".to_owned()])
    );
    assert_eq!(edit(&lake, update).await.unwrap().commit.rows_updated, 15);
}

#[tokio::test]
async fn an_edit_of_more_rows_than_memory_holds_spills() {
    let t = TestLake::with_memory(64 << 20).await;
    edit(&t.lake, "create table raw.x (id bigint, v text)").await.unwrap();
    let fill =
        "insert into raw.x select value, repeat('x', 60) || value from generate_series(1, 600000)";
    assert_eq!(edit(&t.lake, fill).await.unwrap().rows_inserted(), 600_000);
    let update = "update raw.x set v = v || '!'";
    assert_eq!(edit(&t.lake, update).await.unwrap().commit.rows_updated, 600_000);
    let told =
        "select count(*), count(distinct id), count(*) filter (where v like '%!') from raw.x";
    assert_eq!(t.sql(told).await, ["600000|600000|600000"]);
}

#[tokio::test]
async fn rules_of_other_programs_tables_are_kept() {
    let t = TestLake::new().await;
    t.lake.write(&at("raw/x"), append(pairs(&[(1, "a"), (2, "b")]))).await.unwrap();
    let log = t.file("raw/x/_delta_log/00000000000000000000.json");
    let first = std::fs::read_to_string(&log).unwrap();
    // Another program has made the key NOT NULL, and the table append-only.
    let changed = first.replacen("\\\"nullable\\\":true", "\\\"nullable\\\":false", 1);
    assert_ne!(first, changed);
    let changed = changed
        .replace("\"configuration\":{}", "\"configuration\":{\"delta.appendOnly\":\"true\"}");
    std::fs::write(&log, changed).unwrap();
    let lake = t.other().await;
    let error = edit(&lake, "insert into raw.x (v) values ('c')").await.unwrap_err();
    assert!(
        error.message().contains("NOT NULL") && error.message().contains("\"id\""),
        "{error:?}"
    );
    let error = edit(&lake, "update raw.x set v = 'z'").await.unwrap_err();
    assert!(error.message().contains("append-only"), "{error:?}");
    let error = edit(&lake, "truncate raw.x").await.unwrap_err();
    assert!(error.message().contains("append-only"), "{error:?}");
    edit(&lake, "insert into raw.x values (3, 'c')").await.unwrap();
    assert_eq!(rows_of(&lake, "select id from raw.x order by id").await, ["1", "2", "3"]);
}
