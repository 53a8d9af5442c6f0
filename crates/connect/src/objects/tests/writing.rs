//! Files written into a store: committed by one write, whatever is lost on the way.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use flywheel_base::{ErrorKind, Result};
use serde_json::{Value, json};

use super::super::fake::{FakeS3, Fault, SECRET, connection};
use super::Shared;
use crate::destination::{
    Checkpoint, Destination, DestinationContext, DestinationEntry, NewTargetColumns, WriteMode,
    WriteRequest,
};
use crate::http::fake::Fake;
use crate::page::Position;
use crate::source::contract::now;

const MANIFEST: &str = "out/_flywheel/shop%2Forders@t.csv.json";

fn destination(server: &Fake) -> Box<dyn Destination> {
    let ctx = DestinationContext { base_dir: "nowhere".into(), connection: "to".into() };
    DestinationEntry::named("csv").unwrap().build(connection(server, "out"), &ctx).unwrap()
}

fn request(mode: WriteMode) -> WriteRequest {
    WriteRequest {
        target: json!({ "path": "t.csv" }),
        app: "shop/orders".into(),
        schema: Arc::new(Schema::empty()),
        mode,
        key: Vec::new(),
        deleted: None,
        new_columns: NewTargetColumns::Add,
        now: now(),
    }
}

fn texts(texts: &[&str]) -> RecordBatch {
    let column: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    RecordBatch::try_from_iter([("t", column)]).unwrap()
}

fn checkpoint(sequence: i64) -> Checkpoint {
    Checkpoint { sequence, position: Position(json!({ "at": sequence })) }
}

async fn write(server: &Fake, mode: WriteMode, sequence: i64, rows: &RecordBatch) -> Result<()> {
    let mut writer = destination(server).writer(&request(mode)).await?;
    writer.write(rows).await?;
    writer.commit(&checkpoint(sequence)).await?;
    writer.finish().await.map(drop)
}

fn object(store: &Shared, key: &str) -> Option<String> {
    let bytes = store.lock().unwrap().objects.get(key).cloned();
    bytes.map(|bytes| String::from_utf8(bytes).unwrap())
}

/// The keys of all objects but the manifest.
fn keys(store: &Shared) -> Vec<String> {
    let store = store.lock().unwrap();
    store.objects.keys().filter(|key| *key != MANIFEST).cloned().collect()
}

#[tokio::test]
async fn a_crash_after_the_manifest_and_before_the_copy_is_only_a_delay() {
    for mode in [WriteMode::Append, WriteMode::Replace] {
        let (server, store) = FakeS3::start();
        // The copy that gives the object its name fails for good.
        store.lock().unwrap().plan("PUT", "/out/t", 100, Fault::Status(403, "AccessDenied"));
        let error = write(&server, mode, 1, &texts(&["a"])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.report());
        assert!(error.message().contains("s3://shop/out/t"), "{error}");
        store.lock().unwrap().heal();
        let progress = destination(&server).progress(&request(mode)).await.unwrap();
        assert_eq!(progress.committed, Some(checkpoint(1)), "{mode}");
        let name = if mode == WriteMode::Append { "out/t-000001.csv" } else { "out/t.csv" };
        assert_eq!(object(&store, name).unwrap(), "t\na\n", "{mode}");
        write(&server, mode, 2, &texts(&["b"])).await.unwrap();
        let found = keys(&store);
        let expected: &[&str] = match mode {
            WriteMode::Append => &["out/t-000001.csv", "out/t-000002.csv"],
            _ => &["out/t.csv"],
        };
        assert_eq!(found, expected, "{mode}");
    }
}

#[tokio::test]
async fn a_crash_before_the_manifest_leaves_nothing_that_a_reader_sees() {
    let (server, store) = FakeS3::start();
    write(&server, WriteMode::Append, 1, &texts(&["a"])).await.unwrap();
    let mut writer = destination(&server).writer(&request(WriteMode::Append)).await.unwrap();
    writer.write(&texts(&["lost"])).await.unwrap();
    store.lock().unwrap().plan("PUT", ".json", 100, Fault::Status(403, "AccessDenied"));
    writer.commit(&checkpoint(2)).await.unwrap_err();
    store.lock().unwrap().heal();
    let visible = keys(&store).into_iter().filter(|key| !key.contains("_flywheel"));
    assert_eq!(visible.collect::<Vec<_>>(), ["out/t-000001.csv"]);
    write(&server, WriteMode::Append, 2, &texts(&["b"])).await.unwrap();
    assert_eq!(keys(&store), ["out/t-000001.csv", "out/t-000002.csv"]);
    assert_eq!(object(&store, "out/t-000002.csv").unwrap(), "t\nb\n");
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_made_once() {
    let (server, store) = FakeS3::start();
    let mut writer = destination(&server).writer(&request(WriteMode::Append)).await.unwrap();
    for sequence in 1..4 {
        store.lock().unwrap().plan("PUT", ".json", 1, Fault::Silent);
        writer.write(&texts(&[&format!("row {sequence}")])).await.unwrap();
        let written = writer.commit(&checkpoint(sequence)).await.unwrap();
        assert_eq!(written.rows_written, 1);
    }
    writer.finish().await.unwrap();
    assert_eq!(keys(&store).len(), 3);
    assert_eq!(object(&store, "out/t-000003.csv").unwrap(), "t\nrow 3\n");
}

#[tokio::test]
async fn of_two_writers_the_earlier_one_can_commit_nothing() {
    let (server, store) = FakeS3::start();
    let mut early = destination(&server).writer(&request(WriteMode::Append)).await.unwrap();
    early.write(&texts(&["early"])).await.unwrap();
    let mut late = destination(&server).writer(&request(WriteMode::Append)).await.unwrap();
    late.write(&texts(&["late"])).await.unwrap();
    let error = early.commit(&checkpoint(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.report());
    assert!(error.hint_text().unwrap().contains("one run"), "{}", error.report());
    late.commit(&checkpoint(1)).await.unwrap();
    late.finish().await.unwrap();
    assert_eq!(object(&store, "out/t-000001.csv").unwrap(), "t\nlate\n");
    let visible = keys(&store).into_iter().filter(|key| !key.contains("_flywheel"));
    assert_eq!(visible.count(), 1);
}

#[tokio::test]
async fn a_reader_that_asks_for_progress_does_not_disturb_an_open_writer() {
    let (server, store) = FakeS3::start();
    write(&server, WriteMode::Append, 1, &texts(&["a"])).await.unwrap();
    let mut writer = destination(&server).writer(&request(WriteMode::Append)).await.unwrap();
    writer.write(&texts(&["b"])).await.unwrap();
    destination(&server).progress(&request(WriteMode::Append)).await.unwrap();
    writer.commit(&checkpoint(2)).await.unwrap();
    assert_eq!(object(&store, "out/t-000002.csv").unwrap(), "t\nb\n");
}

/// More than two parts of text that does not shrink.
fn large() -> RecordBatch {
    let mut rng = flywheel_base::Rng::new(3);
    let mut row = || -> String { (0..64).map(|_| format!("{:016x}", rng.next_u64())).collect() };
    let rows: Vec<String> = (0..12_000).map(|_| row()).collect();
    texts(&rows.iter().map(String::as_str).collect::<Vec<_>>())
}

#[tokio::test]
async fn a_large_file_is_sent_in_parts_and_an_upload_that_fails_is_aborted() {
    let (server, store) = FakeS3::start();
    let rows = large();
    // The first part comes through, the second is refused.
    store.lock().unwrap().plan("PUT", "partNumber=2", 100, Fault::Status(403, "AccessDenied"));
    let error = write(&server, WriteMode::Append, 1, &rows).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.report());
    {
        let mut store = store.lock().unwrap();
        assert!(store.uploads.is_empty(), "the upload was not aborted");
        assert!(store.objects.keys().all(|key| key == MANIFEST));
        store.heal();
        // A part that is refused for a moment is sent again.
        store.plan("PUT", "partNumber=2", 2, Fault::Status(503, "SlowDown"));
    }
    write(&server, WriteMode::Append, 1, &rows).await.unwrap();
    let text = object(&store, "out/t-000001.csv").unwrap();
    assert_eq!(text.lines().count(), 12_001);
    let store = store.lock().unwrap();
    assert_eq!(store.completed, [3]);
    let manifest: Value = serde_json::from_slice(&store.objects[MANIFEST]).unwrap();
    assert_eq!(manifest["files"][0]["size_bytes"], json!(text.len()));
}

#[tokio::test]
async fn what_is_not_ours_is_not_written_over() {
    let (server, store) = FakeS3::start();
    store.lock().unwrap().objects.insert("out/t-000001.csv".into(), b"theirs".to_vec());
    let error = write(&server, WriteMode::Append, 1, &texts(&["a"])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked, "{}", error.report());
    assert_eq!(object(&store, "out/t-000001.csv").unwrap(), "theirs");
}

#[tokio::test]
async fn a_key_that_may_only_read_is_told_before_anything_is_written() {
    let (server, store) = FakeS3::start();
    store.lock().unwrap().plan("PUT", "/out/", 100, Fault::Status(403, "AccessDenied"));
    let error = destination(&server).check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.hint_text().unwrap().contains("write"), "{}", error.report());
    assert!(!error.report().contains(SECRET));
    store.lock().unwrap().heal();
    destination(&server).check().await.unwrap();
    assert!(store.lock().unwrap().objects.is_empty());
}
