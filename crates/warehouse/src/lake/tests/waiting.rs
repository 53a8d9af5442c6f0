//! Changes that wait beside the data files: seen as if they were merged, and merged once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind as Io;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use flywheel_base::{ErrorKind, Rng};
use serde_json::json;

use super::{append, day, merge, replace};
use crate::store::RealDisk;
use crate::testing::{
    FaultyStore, TestLake, at, batch, catalog_of, pairs, rows_of, stream, text_of,
};
use crate::{
    Catalog, Checkpoint, Expression, Lake, Maintain, RowStream, Seen, Sight, TableName, Write,
    WriteMode,
};

/// What a table is to hold: `v` by `id`.
type Model = BTreeMap<i64, String>;

/// Changes `id, v, gone`, written so that they wait.
fn changes(rows: &[(i64, &str, bool)]) -> Write {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
    let values = rows.iter().map(|row| (!row.2).then_some(row.1)).collect::<StringArray>();
    let gone = rows.iter().map(|row| Some(row.2)).collect::<BooleanArray>();
    let columns =
        [("id", ids), ("v", Arc::new(values) as ArrayRef), ("gone", Arc::new(gone) as ArrayRef)];
    waiting(stream(
        RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap(),
    ))
}

fn waiting(rows: RowStream) -> Write {
    let mode = WriteMode::Changes { key: vec!["id".to_owned()], deleted: "gone".to_owned() };
    Write::new(mode, rows, "sync").add_columns()
}

fn told(model: &Model) -> Vec<String> {
    model.iter().map(|(id, v)| format!("{id}|{v}")).collect()
}

async fn rows_at(lake: &Lake, version: i64) -> Vec<String> {
    let mut catalog = Catalog::new();
    catalog.table(&TableName::new("raw", "x"), at("raw/x"), Some(version));
    let session = lake.session(catalog).unwrap();
    let query = session.query("select id, v from raw.x order by id").await.unwrap();
    text_of(&query.collect().await.unwrap())
}

/// What changed from one version to a later one, as [`Lake::changes`] tells it, in order.
async fn between(lake: &Lake, old: i64, new: i64) -> Vec<String> {
    let (x, key) = (at("raw/x"), ["id".to_owned()]);
    let rows = lake.changes(Some((&x, old)), (&x, new), &key).await.unwrap();
    let mut rows = text_of(&rows.collect().await.unwrap());
    rows.sort();
    rows
}

fn expected(old: &Model, new: &Model) -> Vec<String> {
    let changed = new.iter().filter(|(id, v)| old.get(id) != Some(v));
    let gone = old.keys().filter(|id| !new.contains_key(id));
    let changed = changed.map(|(id, v)| format!("{id}|{v}|false"));
    let mut rows: Vec<String> = changed.chain(gone.map(|id| format!("{id}||true"))).collect();
    rows.sort();
    rows
}

/// A step of a random life of a table; returns what it did.
async fn step(t: &TestLake, rng: &mut Rng, model: &mut Model, number: i64) -> &'static str {
    let x = at("raw/x");
    match rng.below(12) {
        0 => {
            t.lake.merge_changes(&x).await.unwrap();
            "merged"
        }
        1 => {
            t.lake
                .maintain(&x, Maintain { small_files_min: 2, ..Maintain::default() })
                .await
                .unwrap();
            "compacted"
        }
        2 => {
            let id = rng.below(20) as i64;
            let session = t.lake.session(catalog_of(&t.lake).await).unwrap();
            let sql = format!("update raw.x set v = 'edit {number}' where id = {id}");
            session.edit(&sql).unwrap().run().await.unwrap();
            model.entry(id).and_modify(|v| *v = format!("edit {number}"));
            "edited"
        }
        3 => {
            let v = format!("merge {number}");
            let id = rng.below(20) as i64;
            t.lake.write(&x, merge(pairs(&[(id, v.as_str())]))).await.unwrap();
            model.insert(id, v);
            "written"
        }
        4 => {
            // Truncated at the source, it is read whole again.
            let v = format!("whole {number}");
            t.lake.write(&x, replace(pairs(&[(1, v.as_str()), (2, v.as_str())]))).await.unwrap();
            *model = BTreeMap::from([(1, v.clone()), (2, v)]);
            "replaced"
        }
        _ => {
            let mut rows: Vec<(i64, String, bool)> = Vec::new();
            for n in 0..=rng.below(6) {
                let (id, v) = (rng.below(20) as i64, format!("{number}.{n}"));
                if rng.chance(0.2) {
                    // A changed key is a row that is gone and a new one.
                    rows.push((id, String::new(), true));
                    rows.push(((id + 7) % 20, v, false));
                } else {
                    rows.push((id, v, rng.chance(0.3)));
                }
            }
            for (id, v, gone) in &rows {
                match gone {
                    true => model.remove(id),
                    false => model.insert(*id, v.clone()),
                };
            }
            let rows: Vec<(i64, &str, bool)> =
                rows.iter().map(|(id, v, gone)| (*id, v.as_str(), *gone)).collect();
            let checkpoint = Checkpoint { sequence: number + 1, position: json!(number) };
            t.lake.write(&x, changes(&rows).checkpoint("s", checkpoint)).await.unwrap();
            "changed"
        }
    }
}

#[tokio::test]
async fn a_table_with_changes_that_wait_is_at_every_version_what_a_merge_makes_of_it() {
    for seed in 0..12 {
        let mut rng = Rng::stream(seed, "waiting");
        let t = TestLake::new().await;
        let mut model: Model = (0..10).map(|id| (id, "first".to_owned())).collect();
        for ids in [0..5, 5..10] {
            let rows: Vec<(i64, &str)> = ids.map(|id| (id, "first")).collect();
            t.lake.write(&at("raw/x"), append(pairs(&rows))).await.unwrap();
        }
        let mut versions: BTreeMap<i64, Model> = BTreeMap::from([(1, model.clone())]);
        let mut position = None;
        for number in 0..20 {
            let did = step(&t, &mut rng, &mut model, number).await;
            if did == "changed" {
                position = Some(json!(number));
            }
            let found = t.sql("select id, v from raw.x order by id").await;
            assert_eq!(found, told(&model), "seed {seed}: {number} {did}");
            let count = t.sql("select count(*), count(v), min(id), max(id) from raw.x").await;
            let bound = |id: Option<&i64>| id.map_or_else(String::new, ToString::to_string);
            let (low, high) = (bound(model.keys().next()), bound(model.keys().next_back()));
            let rows = model.len();
            assert_eq!(
                count,
                [format!("{rows}|{rows}|{low}|{high}")],
                "seed {seed}: {number} {did}"
            );
            let head = t.lake.head(&at("raw/x")).await.unwrap().unwrap();
            versions.insert(head.version, model.clone());
            assert_eq!(head.checkpoints.get("s").map(|at| at.position.clone()), position);
        }
        let other = t.other().await;
        for (version, model) in &versions {
            assert_eq!(rows_at(&other, *version).await, told(model), "seed {seed}: {version}");
        }
        for ((old, before), (new, after)) in versions.iter().zip(versions.iter().skip(3)) {
            let found = between(&other, *old, *new).await;
            assert_eq!(found, expected(before, after), "seed {seed}: {old} to {new}");
        }
    }
}

#[tokio::test]
async fn a_commit_of_changes_leaves_the_data_files_alone_until_they_are_merged() {
    let t = TestLake::new().await;
    let x = at("raw/x");
    t.lake.write(&x, append(pairs(&[(1, "a"), (2, "b"), (3, "c")]))).await.unwrap();
    let done = t.lake.write(&x, changes(&[(2, "x", false), (2, "B", false), (3, "", true)])).await;
    let done = done.unwrap();
    assert_eq!((done.rows_written, done.rows_superseded, done.rows_marked), (1, 1, 1));
    assert_eq!((done.files_added, done.files_removed, done.files_kept), (0, 0, 1));
    t.lake.write(&x, changes(&[(2, "BB", false), (4, "d", false)])).await.unwrap();
    let head = t.lake.head(&x).await.unwrap().unwrap();
    assert_eq!((head.waiting.files, head.waiting.rows, head.rows), (2, 4, None));
    assert_eq!(t.sql("select id, v from raw.x").await, ["1|a", "2|BB", "4|d"]);
    assert_eq!(t.sql("select v from raw.x where id = 2").await, ["BB"]);
    assert!(t.sql("select v from raw.x where v = 'b'").await.is_empty(), "what it was is hidden");
    assert_eq!(t.sql("select id from raw.x where v = 'BB'").await, ["2"], "no file has that value");
    assert_eq!(t.sql("select id from raw.x limit 1").await, ["1"]);
    assert_eq!(t.sql("select count(*) from raw.x").await, ["3"]);
    assert_eq!(t.sql("select v from raw.x where id > 0 order by id limit 2").await, ["a", "BB"]);

    let merged = t.lake.merge_changes(&x).await.unwrap().unwrap();
    assert_eq!((merged.version, merged.rows_updated, merged.rows_deleted), (3, 1, 1));
    let head = t.lake.head(&x).await.unwrap().unwrap();
    assert_eq!((head.waiting.files, head.rows), (0, Some(3)));
    assert_eq!(t.sql("select id, v from raw.x").await, ["1|a", "2|BB", "4|d"]);
    assert!(t.lake.merge_changes(&x).await.unwrap().is_none(), "nothing waits any more");
    let history = t.lake.history(&x).await.unwrap();
    assert_eq!(history.last().unwrap().operation, "merge changes");
}

#[tokio::test]
async fn columns_that_come_or_widen_are_right_in_files_and_in_changes() {
    let t = TestLake::new().await;
    let x = at("raw/x");
    t.lake.write(&x, append(pairs(&[(1, "a"), (2, "b")]))).await.unwrap();
    t.lake.write(&x, changes(&[(2, "B", false)])).await.unwrap();
    let gone = ("gone", Arc::new(BooleanArray::from(vec![false])) as ArrayRef);
    let rows = batch(&[("id", vec![Some("1")]), ("v", vec![Some("A")]), ("w", vec![Some("new")])]);
    let columns = rows.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
    let with_gone = columns.iter().map(String::as_str).zip(rows.columns().iter().cloned());
    let rows = RecordBatch::try_from_iter(with_gone.chain([gone])).unwrap();
    t.lake.write(&x, waiting(stream(rows))).await.unwrap();
    let all = "select id, v, w from raw.x order by id";
    assert_eq!(t.sql(all).await, ["1|A|new", "2|B|"]);
    // Rows without the new column keep its value, so they are merged at once.
    let done = t.lake.write(&x, changes(&[(1, "AA", false)])).await.unwrap();
    assert!(done.files_added > 0, "{done:?}");
    assert_eq!(t.lake.head(&x).await.unwrap().unwrap().waiting.files, 0);
    assert_eq!(t.sql(all).await, ["1|AA|new", "2|B|"]);
}

#[tokio::test]
async fn a_merge_that_fails_or_is_cut_off_changes_nothing() {
    let t = TestLake::new().await;
    let x = at("raw/x");
    t.lake.write(&x, append(pairs(&[(1, "a"), (2, "b")]))).await.unwrap();
    let checkpoint = Checkpoint { sequence: 7, position: json!("here") };
    t.lake.write(&x, changes(&[(2, "B", false)]).checkpoint("s", checkpoint)).await.unwrap();
    let store = Arc::new(FaultyStore::new());
    let lake = t.through(Arc::new(RealDisk), Arc::clone(&store) as _).await;
    for part in ["/part-", "_delta_log/00000000000000000002"] {
        store.fail(part, Io::StorageFull);
        let error = lake.merge_changes(&x).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted, "{part}: {error:?}");
        store.heal();
        let head = lake.head(&x).await.unwrap().unwrap();
        assert_eq!((head.version, head.waiting.files), (1, 1), "{part}");
        assert_eq!(rows_of(&lake, "select v from raw.x order by id").await, ["a", "B"]);
    }
    let files = fs::read_dir(t.file("raw/x")).unwrap().count();
    assert_eq!(files, 3, "the log, the changes and a data file; nothing uncommitted stays");
    lake.merge_changes(&x).await.unwrap().unwrap();
    let again = Checkpoint { sequence: 7, position: json!("here") };
    let done = lake.write(&x, changes(&[(2, "B", false)]).checkpoint("s", again)).await.unwrap();
    assert!(done.skipped, "what was merged is not taken again");
    assert_eq!(rows_of(&lake, "select v from raw.x order by id").await, ["a", "B"]);
}

#[tokio::test]
async fn changes_that_come_while_others_are_merged_wait_on() {
    let t = TestLake::new().await;
    let x = at("raw/x");
    t.lake.write(&x, append(pairs(&[(1, "a"), (2, "b")]))).await.unwrap();
    t.lake.write(&x, changes(&[(1, "A", false)])).await.unwrap();
    let more = async {
        for n in 0..40 {
            let v = n.to_string();
            t.lake.write(&x, changes(&[(n % 4, v.as_str(), false)])).await.unwrap();
        }
    };
    let (merged, ()) = tokio::join!(t.lake.merge_changes(&x), more);
    assert!(merged.unwrap().is_some());
    let expected = ["0|36", "1|37", "2|38", "3|39"];
    assert_eq!(t.sql("select id, v from raw.x order by id").await, expected);
    t.lake.merge_changes(&x).await.unwrap();
    assert_eq!(t.sql("select id, v from raw.x order by id").await, expected);
}

#[tokio::test]
async fn many_small_files_of_changes_become_few() {
    let t = TestLake::new().await;
    let x = at("raw/x");
    t.lake.write(&x, append(pairs(&[(0, "a"), (1, "a")]))).await.unwrap();
    for n in 0..80 {
        let v = n.to_string();
        t.lake.write(&x, changes(&[(n % 3, v.as_str(), n % 5 == 0)])).await.unwrap();
    }
    let head = t.lake.head(&x).await.unwrap().unwrap();
    assert!(head.waiting.files <= 32, "{:?}", head.waiting);
    assert_eq!(t.sql("select id, v from raw.x order by id").await, ["0|78", "1|79", "2|77"]);
    t.lake.merge_changes(&x).await.unwrap().unwrap();
    assert_eq!(t.sql("select id, v from raw.x order by id").await, ["0|78", "1|79", "2|77"]);
}

#[tokio::test]
async fn files_of_changes_are_kept_as_long_as_a_version_needs_them_and_are_backed_up() {
    let t = TestLake::new().await;
    let x = at("raw/x");
    t.lake.write(&x, append(pairs(&[(1, "a"), (2, "b")]))).await.unwrap();
    t.lake.write(&x, changes(&[(2, "B", false)])).await.unwrap();
    let named = |frozen: crate::Frozen| -> Vec<bool> {
        let changes = frozen.files.iter().filter(|file| file.name.starts_with("_changes/"));
        changes.map(|file| file.digest.is_some()).collect()
    };
    let frozen = t.lake.frozen(&x, 1).await.unwrap().unwrap();
    assert!(frozen.gone.is_empty());
    assert_eq!(named(frozen), [true]);
    t.lake.merge_changes(&x).await.unwrap().unwrap();
    t.clock.move_to(day("2024-02-01"));
    let vacuum = |oldest: i64| Maintain {
        compact: false,
        oldest_version: Some(oldest),
        retention_us: 0,
        checkpoint_bytes_min: Some(0),
        ..Maintain::default()
    };
    t.lake.maintain(&x, vacuum(1)).await.unwrap();
    assert_eq!(rows_at(&t.lake, 1).await, ["1|a", "2|B"], "a kept version keeps its changes");
    let lake = t.other().await;
    lake.maintain(&x, vacuum(2)).await.unwrap();
    assert_eq!(fs::read_dir(t.file("raw/x/_changes")).unwrap().count(), 0);
    assert_eq!(rows_at(&lake, 2).await, ["1|a", "2|B"]);
}

#[tokio::test]
async fn a_checkpoint_of_the_log_does_not_forget_what_waits() {
    let t = TestLake::new().await;
    let x = at("raw/x");
    t.lake.write(&x, append(pairs(&[(1, "a")]))).await.unwrap();
    t.lake.write(&x, changes(&[(1, "A", false), (2, "b", false)])).await.unwrap();
    let options = Maintain { compact: false, checkpoint_bytes_min: Some(0), ..Maintain::default() };
    assert!(t.lake.maintain(&x, options).await.unwrap().checkpointed);
    let lake = t.other().await;
    assert_eq!(rows_of(&lake, "select id, v from raw.x order by id").await, ["1|A", "2|b"]);
    lake.write(&x, changes(&[(2, "", true)])).await.unwrap();
    assert_eq!(rows_of(&t.lake, "select id, v from raw.x order by id").await, ["1|A"]);
}

#[tokio::test]
async fn a_rule_judges_rows_as_the_changes_made_them_and_hides_the_key_too() {
    let t = TestLake::new().await;
    let x = at("raw/x");
    t.lake.write(&x, append(pairs(&[(1, "open"), (2, "open"), (3, "secret")]))).await.unwrap();
    let rows = [(2, "secret", false), (3, "open now", false), (4, "secret", false)];
    t.lake.write(&x, changes(&rows)).await.unwrap();
    let mut catalog = catalog_of(&t.lake).await;
    let condition = Expression { sql: "v <> 'secret'".to_owned(), values: BTreeMap::new() };
    let seen = Seen::Part {
        rows: vec![condition],
        masks: BTreeMap::new(),
        hidden: BTreeSet::from(["id".to_owned()]),
    };
    let sight = Sight {
        reader: "anna".to_owned(),
        rule: "rule \"x\"".to_owned(),
        because: None,
        ask: "Ask privacy@example.com.".to_owned(),
        seen,
    };
    catalog.limit(&TableName::new("raw", "x"), sight);
    let session = t.lake.session(catalog).unwrap();
    let asked = |sql: &'static str| {
        let session = &session;
        async move { text_of(&session.query(sql).await.unwrap().collect().await.unwrap()) }
    };
    assert_eq!(asked("select * from raw.x order by v").await, ["open", "open now"]);
    assert_eq!(asked("select count(*) from raw.x").await, ["2"]);
    assert!(asked("select v from raw.x where v = 'secret'").await.is_empty());
    let plan = asked("explain select v from raw.x").await.concat();
    assert!(!plan.contains("secret") && !plan.contains("MergedExec"), "{plan}");
}
