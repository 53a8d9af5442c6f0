//! The contract every destination keeps, checked for every entry of the list and each of its modes.

pub(crate) mod case;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use flywheel_base::ErrorKind;
use serde_json::json;

use self::case::{
    Case, FILES, MESSAGES, OWN, PROGRAMS, all_types, case, case_in_store, checkpoint, plain, rows,
};
use super::program::tests::pyarrow;
use super::*;
use crate::source::contract::reachable;

/// Every destination with every mode it can do.
fn all() -> impl Iterator<Item = (Case, WriteMode, String)> {
    let modes =
        |entry: &'static DestinationEntry| entry.modes.iter().map(move |mode| (entry, *mode));
    let files = || DESTINATIONS.iter().filter(|entry| FILES.contains(&entry.name));
    let stored = files().flat_map(modes).map(|(entry, mode)| {
        let name = format!("{} {mode} in a store", entry.name);
        (case_in_store(entry), mode, name)
    });
    let own = covered().flat_map(modes).map(|(entry, mode)| {
        let name = format!("{} {mode}", entry.name);
        (case(entry), mode, name)
    });
    let rows = |case: &Case, mode: WriteMode| {
        mode == WriteMode::Append || !MESSAGES.contains(&case.entry.name)
    };
    own.chain(stored).filter(move |(case, mode, _)| rows(case, *mode))
}

/// The destinations that have a case here.
pub(crate) fn covered() -> impl Iterator<Item = &'static DestinationEntry> {
    let (python, pyarrow) = (python(), pyarrow().is_some());
    let runs = move |name: &str| match name {
        "program" => pyarrow,
        name => python || !PROGRAMS.contains(&name),
    };
    DESTINATIONS
        .iter()
        .filter(|entry| reachable(entry.name))
        .filter(move |entry| OWN.iter().all(|own| own.name != entry.name) && runs(entry.name))
}

/// Whether there is a Python that the programs of tests can run in; if not, that is said loudly.
pub(crate) fn python() -> bool {
    let found = std::process::Command::new("python3").arg("--version").output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("NOT CHECKED: destinations that start a program; there is no python3");
    }
    found
}

/// Writes batches, commits after each, and finishes.
async fn write(case: &Case, mode: WriteMode, from: i64, batches: &[&[(i64, &str)]]) -> Written {
    let mut writer = case.writer(mode).await;
    let mut sum = Written::default();
    for (at, batch) in batches.iter().enumerate() {
        assert_eq!(writer.write(&rows(mode, batch)).await.unwrap(), []);
        let written = writer.commit(&checkpoint(from + at as i64)).await.unwrap();
        sum.rows_written += written.rows_written;
        sum.rows_updated += written.rows_updated;
        sum.rows_deleted += written.rows_deleted;
    }
    sum.rows_written += writer.finish().await.unwrap().rows_written;
    sum
}

#[tokio::test]
async fn rows_read_back_and_the_checkpoint_is_known_to_a_new_run() {
    for (case, mode, name) in all() {
        assert_eq!(case.progress(mode).await, Progress::default(), "{name}");
        case.destination().check().await.unwrap();
        let written = write(&case, mode, 1, &[&[(1, "a"), (2, "b")], &[], &[(3, "c")]]).await;
        assert_eq!(written.rows_written, 3, "{name}");
        assert_eq!(case.seen().await, ["1 a", "2 b", "3 c"], "{name}");
        let progress = case.progress(mode).await;
        assert_eq!(progress, Progress { committed: Some(checkpoint(3)), staged: None }, "{name}");
    }
}

#[tokio::test]
async fn nothing_is_visible_before_the_commit_and_a_dropped_writer_leaves_nothing() {
    for (case, mode, name) in all() {
        let mut writer = case.writer(mode).await;
        writer.write(&rows(mode, &[(1, "lost")])).await.unwrap();
        assert!(case.seen().await.is_empty(), "{name}");
        assert_eq!(case.progress(mode).await, Progress::default(), "{name}");
        drop(writer);
        assert!(case.seen().await.is_empty(), "{name}");
        write(&case, mode, 1, &[&[(1, "kept")]]).await;
        let mut writer = case.writer(mode).await;
        writer.write(&rows(mode, &[(2, "lost")])).await.unwrap();
        assert_eq!(case.seen().await, ["1 kept"], "{name}");
        drop(writer);
        assert_eq!(case.seen().await, ["1 kept"], "{name}");
        assert_eq!(case.progress(mode).await.committed, Some(checkpoint(1)), "{name}");
    }
}

#[tokio::test]
async fn a_checkpoint_committed_twice_has_its_effect_once() {
    for (case, mode, name) in all() {
        let mut writer = case.writer(mode).await;
        for skipped in [false, true] {
            writer.write(&rows(mode, &[(1, "a")])).await.unwrap();
            let written = writer.commit(&checkpoint(5)).await.unwrap();
            assert_eq!(written.skipped, skipped, "{name}");
        }
        writer.write(&rows(mode, &[(2, "b")])).await.unwrap();
        writer.commit(&checkpoint(6)).await.unwrap();
        writer.finish().await.unwrap();
        // A run that does not know of the commit writes it again.
        let mut writer = case.writer(mode).await;
        writer.write(&rows(mode, &[(2, "again")])).await.unwrap();
        assert!(writer.commit(&checkpoint(6)).await.unwrap().skipped, "{name}");
        writer.finish().await.unwrap();
        assert_eq!(case.seen().await, ["1 a", "2 b"], "{name}");
    }
}

#[tokio::test]
async fn a_replacement_is_swapped_in_whole_at_the_end() {
    for (case, mode, name) in all().filter(|(_, mode, _)| *mode == WriteMode::Replace) {
        write(&case, mode, 1, &[&[(1, "old"), (2, "old")]]).await;
        let mut writer = case.writer(mode).await;
        writer.write(&rows(mode, &[(3, "new")])).await.unwrap();
        writer.commit(&checkpoint(2)).await.unwrap();
        assert_eq!(case.seen().await, ["1 old", "2 old"], "{name}");
        let progress = case.progress(mode).await;
        let expected = Progress { committed: Some(checkpoint(1)), staged: Some(checkpoint(2)) };
        assert_eq!(progress, expected, "{name}");
        writer.write(&rows(mode, &[(4, "new")])).await.unwrap();
        writer.commit(&checkpoint(3)).await.unwrap();
        assert_eq!(writer.finish().await.unwrap().rows_written, 2, "{name}");
        assert_eq!(case.seen().await, ["3 new", "4 new"], "{name}");
        let progress = case.progress(mode).await;
        assert_eq!(progress, Progress { committed: Some(checkpoint(3)), staged: None }, "{name}");
        // Nothing is a replacement, too.
        write(&case, mode, 4, &[&[]]).await;
        assert!(case.seen().await.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_replacement_goes_on_from_its_last_staged_commit_after_a_crash() {
    for (case, mode, name) in all().filter(|(_, mode, _)| *mode == WriteMode::Replace) {
        write(&case, mode, 1, &[&[(9, "old")]]).await;
        let mut writer = case.writer(mode).await;
        writer.write(&rows(mode, &[(1, "a")])).await.unwrap();
        writer.commit(&checkpoint(2)).await.unwrap();
        writer.write(&rows(mode, &[(2, "lost")])).await.unwrap();
        drop(writer);
        assert_eq!(case.progress(mode).await.staged, Some(checkpoint(2)), "{name}");
        assert_eq!(case.seen().await, ["9 old"], "{name}");
        write(&case, mode, 3, &[&[(2, "b")]]).await;
        assert_eq!(case.seen().await, ["1 a", "2 b"], "{name}");
    }
}

#[tokio::test]
async fn a_replacement_that_is_forgotten_leaves_no_row_in_the_next_one() {
    for (case, mode, name) in all().filter(|(_, mode, _)| *mode == WriteMode::Replace) {
        write(&case, mode, 1, &[&[(9, "old")]]).await;
        let mut writer = case.writer(mode).await;
        writer.write(&rows(mode, &[(1, "a"), (2, "b")])).await.unwrap();
        writer.commit(&checkpoint(2)).await.unwrap();
        drop(writer);
        let request = case.request(mode, Arc::new(Schema::empty()));
        case.destination().forget_staged(&request).await.unwrap();
        let progress = case.progress(mode).await;
        assert_eq!(progress, Progress { committed: Some(checkpoint(1)), staged: None }, "{name}");
        assert_eq!(case.seen().await, ["9 old"], "{name}");
        write(&case, mode, 2, &[&[(2, "x")]]).await;
        assert_eq!(case.seen().await, ["2 x"], "{name}");
    }
}

#[tokio::test]
async fn a_replacement_that_is_staged_whole_is_finished_by_a_run_that_knows_no_columns() {
    for (case, mode, name) in all().filter(|(_, mode, _)| *mode == WriteMode::Replace) {
        write(&case, mode, 1, &[&[(9, "old")]]).await;
        let mut writer = case.writer(mode).await;
        writer.write(&rows(mode, &[(1, "a"), (2, "b")])).await.unwrap();
        writer.commit(&checkpoint(2)).await.unwrap();
        drop(writer);
        let request = case.request(mode, Arc::new(Schema::empty()));
        let writer = case.destination().writer(&request).await.unwrap();
        assert_eq!(writer.finish().await.unwrap().rows_written, 2, "{name}");
        assert_eq!(case.seen().await, ["1 a", "2 b"], "{name}");
        let progress = case.progress(mode).await;
        assert_eq!(progress, Progress { committed: Some(checkpoint(2)), staged: None }, "{name}");
    }
}

#[tokio::test]
async fn a_merge_updates_by_key_and_the_last_of_equal_keys_wins() {
    let keyed = |mode: &WriteMode| matches!(mode, WriteMode::Merge | WriteMode::Mirror);
    for (case, mode, name) in all().filter(|(_, mode, _)| keyed(mode)) {
        write(&case, mode, 1, &[&[(1, "a"), (2, "b")]]).await;
        let written = write(&case, mode, 2, &[&[(2, "x"), (3, "c"), (2, "y")]]).await;
        assert!(written.rows_updated <= 2, "{name}: {written:?}");
        assert_eq!(case.seen().await, ["1 a", "2 y", "3 c"], "{name}");
        // A column that the rows lack keeps its value.
        let mut writer = case.writer(mode).await;
        let whole = rows(mode, &[(1, "ignored"), (4, "ignored")]);
        let places: Vec<usize> = (0..whole.num_columns()).filter(|at| *at != 1).collect();
        let note: ArrayRef = Arc::new(StringArray::from(vec!["n1", "n4"]));
        let narrow = with(&whole.project(&places).unwrap(), "note", note);
        writer.write(&narrow).await.unwrap();
        writer.commit(&checkpoint(3)).await.unwrap();
        writer.finish().await.unwrap();
        let columns = [("id", "int64"), ("name", "text"), ("note", "text")];
        let visible = case.visible(&columns).await;
        assert_eq!(visible[0], ["1", "a", "n1"], "{name}");
        assert_eq!(visible[1], ["2", "y", "∅"], "{name}");
        assert_eq!(visible[3], ["4", "∅", "n4"], "{name}");
        // A row without key is refused, the one beside it is not.
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(5)]));
        let mut writer = case.writer(mode).await;
        let mut columns = rows(mode, &[(0, "none"), (5, "e")]).columns().to_vec();
        columns[0] = ids;
        let schema = rows(mode, &[]).schema();
        let refused = writer.write(&RecordBatch::try_new(schema, columns).unwrap()).await.unwrap();
        assert_eq!((refused[0].row, refused[0].column.as_deref()), (0, Some("id")), "{name}");
        writer.commit(&checkpoint(4)).await.unwrap();
        writer.finish().await.unwrap();
        assert_eq!(case.seen().await.last().unwrap(), "5 e", "{name}");
        let request =
            WriteRequest { key: Vec::new(), ..case.request(mode, rows(mode, &[]).schema()) };
        let error = case.destination().writer(&request).await.err().unwrap();
        assert!(error.hint_text().is_some_and(|hint| hint.contains("key")), "{name}: {error}");
    }
}

fn with(batch: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let schema = batch.schema();
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let columns = names.zip(batch.columns().iter().cloned()).chain([(name, column)]);
    RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
}

#[tokio::test]
async fn a_mirror_removes_what_is_marked() {
    for (case, mode, name) in all().filter(|(_, mode, _)| *mode == WriteMode::Mirror) {
        write(&case, mode, 1, &[&[(1, "a"), (2, "b"), (3, "c")]]).await;
        let written = write(&case, mode, 2, &[&[(2, "-"), (4, "d"), (5, "-"), (3, "-"), (3, "e")]]);
        assert_eq!(written.await.rows_deleted, 2, "{name}");
        assert_eq!(case.seen().await, ["1 a", "3 e", "4 d"], "{name}");
        let columns = case.pages(&[]).await[0].batch.schema();
        assert!(columns.index_of("gone").is_err(), "{name}: the mark is stored");
    }
}

#[tokio::test]
async fn a_bad_row_is_refused_and_its_neighbours_land() {
    for (case, mode, name) in all() {
        let Some((column, code)) = case.bad.clone() else { continue };
        let batch = with(&rows(mode, &[(1, "a"), (2, "bad"), (3, "c")]), "extra", column);
        let mut writer = case.writer(mode).await;
        let refused = writer.write(&batch).await.unwrap();
        let found: Vec<_> = refused.iter().map(|r| (r.row, r.code.as_str())).collect();
        assert_eq!(found, [(1, code)], "{name}");
        assert_eq!(refused[0].column.as_deref(), Some("extra"), "{name}");
        writer.commit(&checkpoint(1)).await.unwrap();
        writer.finish().await.unwrap();
        assert_eq!(case.seen().await, ["1 a", "3 c"], "{name}");
    }
}

#[tokio::test]
async fn a_column_the_target_lacks_is_added_left_out_or_named() {
    // A message has the columns that it has, and a program does not tell.
    let tables = all().filter(|(case, ..)| {
        !MESSAGES.contains(&case.entry.name) && !PROGRAMS.contains(&case.entry.name)
    });
    for (case, mode, name) in tables.filter(|(_, mode, _)| *mode != WriteMode::Replace) {
        write(&case, mode, 1, &[&[(1, "a")]]).await;
        let extra: ArrayRef = Arc::new(StringArray::from(vec!["e"]));
        let wide = |row| with(&rows(mode, &[row]), "extra", Arc::clone(&extra));
        let columns = [("id", "int64"), ("name", "text"), ("extra", "text")];
        for (policy, sequence) in [(NewTargetColumns::Ignore, 2), (NewTargetColumns::Add, 3)] {
            let request = case.request(mode, rows(mode, &[]).schema());
            let request = WriteRequest { new_columns: policy, ..request };
            let mut writer = case.destination().writer(&request).await.unwrap();
            writer.write(&rows(mode, &[(10 * sequence, "narrow")])).await.unwrap();
            writer.write(&wide((10 * sequence + 1, "wide"))).await.unwrap();
            writer.commit(&checkpoint(sequence)).await.unwrap();
            writer.finish().await.unwrap();
            let pages = case.pages(&columns[..2]).await;
            let has = pages.iter().any(|page| page.batch.schema().index_of("extra").is_ok());
            assert_eq!(has, policy == NewTargetColumns::Add, "{name} {policy:?}");
        }
        let visible = case.visible(&columns).await;
        let found: Vec<_> = visible.iter().map(|row| row[2].as_str()).collect();
        assert_eq!(found, ["∅", "∅", "∅", "∅", "e"], "{name}");
        let other = with(&rows(mode, &[(5, "x")]), "foreign", extra);
        let request = case.request(mode, other.schema());
        let request = WriteRequest { new_columns: NewTargetColumns::Fail, ..request };
        let error = case.destination().writer(&request).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
        assert!(error.message().contains("foreign"), "{name}: {error}");
    }
}

#[tokio::test]
async fn every_type_reads_back_as_it_was() {
    let (batch, declared) = all_types();
    for (mut case, mode, name) in all() {
        if ["jsonl", "journal", "singer", "airbyte"].contains(&case.entry.name) {
            case.target["json_columns"] = json!(["json"]);
        }
        let request = WriteRequest { deleted: None, ..case.request(mode, batch.schema()) };
        let mut writer = case.destination().writer(&request).await.unwrap();
        assert_eq!(writer.write(&batch).await.unwrap(), [], "{name}");
        writer.commit(&checkpoint(1)).await.unwrap();
        writer.finish().await.unwrap();
        let pages = case.pages(&declared).await;
        let batches = pages.iter().map(|page| &page.batch);
        let found_rows = concat_batches(&pages[0].batch.schema(), batches).unwrap();
        for (field, expected) in batch.schema().fields().iter().zip(batch.columns()) {
            let found = found_rows.column_by_name(field.name()).unwrap();
            let kind = plain(field.data_type());
            let wide = |array| cast(array, &kind).unwrap();
            assert_eq!(&wide(found), &wide(expected), "{name}: {}", field.name());
        }
    }
}

#[tokio::test]
async fn settings_are_checked_and_described() {
    for entry in covered() {
        let ctx = DestinationContext { base_dir: "nowhere".into(), connection: "to".into() };
        let error = entry.build(json!({ "colour": 1 }), &ctx).err().unwrap();
        assert!(error.message().contains("colour"), "{}: {error}", entry.name);
        let error = entry.check_target(json!({ "colour": 1 })).unwrap_err();
        assert!(error.message().contains("colour"), "{}: {error}", entry.name);
        let case = case(entry);
        entry.check_target(case.target.clone()).unwrap();
        for mode in [WriteMode::Append, WriteMode::Replace, WriteMode::Merge, WriteMode::Mirror] {
            if !entry.modes.contains(&mode) {
                let request = case.request(mode, rows(mode, &[]).schema());
                let error = case.destination().writer(&request).await.err().unwrap();
                assert!(error.message().contains(&mode.to_string()), "{}: {error}", entry.name);
                assert!(error.hint_text().is_some(), "{}: {error}", entry.name);
            }
        }
        for schema in [(entry.connection_schema)(), (entry.target_schema)()] {
            let schema = schema.to_value();
            assert_eq!(schema["additionalProperties"], json!(false), "{}", entry.name);
            for (name, property) in schema["properties"].as_object().unwrap() {
                let described = property.get("description").is_some();
                assert!(described, "{}: {name} has no description", entry.name);
            }
        }
    }
    let error = DestinationEntry::named("parquett").unwrap_err();
    assert_eq!(error.hint_text(), Some("Did you mean \"parquet\"?"));
}
