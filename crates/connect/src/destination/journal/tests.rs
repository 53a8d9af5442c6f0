//! What a user sees of topics that are written.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray};
use flywheel_base::ErrorKind;
use futures::TryStreamExt;
use serde_json::{Value, json};

use super::*;
use crate::destination::{DestinationEntry, NewTargetColumns};
use crate::page::{Page, Position};
use crate::source::ReadRequest;
use crate::source::contract::{Folder, cells, now};

fn destination(folder: &Folder) -> Box<dyn Destination> {
    let ctx = DestinationContext { base_dir: folder.path(""), connection: "to".into() };
    let connection = json!({ "path": "journal" });
    DestinationEntry::named("journal").unwrap().build(connection, &ctx).unwrap()
}

fn request(target: Value, mode: WriteMode, batch: &RecordBatch) -> WriteRequest {
    WriteRequest {
        target,
        app: "shop/orders".to_owned(),
        schema: batch.schema(),
        mode,
        key: vec!["id".to_owned()],
        deleted: (mode == WriteMode::Mirror).then(|| "gone".to_owned()),
        new_columns: NewTargetColumns::Add,
        now: now(),
    }
}

fn checkpoint(sequence: i64) -> Checkpoint {
    Checkpoint { sequence, position: Position(json!({ "read": sequence })) }
}

/// Rows with `id`, `value` and the mark of deleted rows; those called `-` are.
fn rows(rows: &[(i64, &str)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
    let values: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.1)).collect::<StringArray>());
    let gone: Vec<bool> = rows.iter().map(|row| row.1 == "-").collect();
    let gone: ArrayRef = Arc::new(BooleanArray::from(gone));
    let columns = [("id", ids, true), ("value", values, true), ("gone", gone, true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

async fn run(folder: &Folder, request: &WriteRequest, batch: &RecordBatch, at: i64) -> Written {
    let mut writer = destination(folder).writer(request).await.unwrap();
    assert_eq!(writer.write(batch).await.unwrap(), []);
    let written = writer.commit(&checkpoint(at)).await.unwrap();
    writer.finish().await.unwrap();
    written
}

/// Keys and values as text, in order; `∅` is no value.
async fn seen(folder: &Folder) -> Vec<String> {
    let stream =
        json!({ "topic": "t", "format": "text", "metadata": ["key"], "tombstones": "mark" });
    let source = folder.source_with("journal", json!({ "path": "journal" }));
    let request = ReadRequest::full(stream, now());
    let pages: Vec<Page> = source.read(&request).try_collect().await.unwrap();
    cells(&pages).iter().map(|row| format!("{} {}", row[1], row[0])).collect()
}

#[tokio::test]
async fn ten_seed_events_are_produced_and_consumed() {
    let folder = tempfile::tempdir().unwrap();
    let connection = json!({ "path": "journal" });
    crate::queue::seed::check("journal", connection, "events", folder.path()).await;
}

#[tokio::test]
async fn changed_and_deleted_rows_are_messages_under_their_key() {
    let folder = Folder::new(&[]);
    let first = rows(&[(1, "a"), (2, "b")]);
    let request = request(json!({ "topic": "t" }), WriteMode::Mirror, &first);
    run(&folder, &request, &first, 1).await;
    let written = run(&folder, &request, &rows(&[(2, "-"), (1, "c")]), 2).await;
    assert_eq!((written.rows_written, written.rows_deleted), (1, 1));
    let found = seen(&folder).await;
    assert_eq!(found[2..], ["2 ∅", "1 {\"id\":1,\"value\":\"c\"}"]);
    assert_eq!(found.len(), 4);
}

#[tokio::test]
async fn upserts_need_a_key_and_a_topic_that_loses_nothing() {
    let folder = Folder::new(&[]);
    let batch = rows(&[(1, "a")]);
    run(&folder, &request(json!({ "topic": "t" }), WriteMode::Append, &batch), &batch, 1).await;
    let asked = request(json!({ "topic": "t" }), WriteMode::Merge, &batch);
    let error = destination(&folder).writer(&asked).await.err().unwrap();
    assert!(error.message().contains("compacted"), "{error}");
    let keyless = WriteRequest { key: Vec::new(), ..asked };
    let error = destination(&folder).writer(&keyless).await.err().unwrap();
    assert!(error.hint_text().unwrap().contains("key"), "{error}");
    for (name, value, word) in [
        ("retention.ms", "1000", "retention.ms"),
        ("retention.bytes", "x", "retention.bytes"),
        ("cleanup.policy", "shred", "shred"),
        ("retention.m", "1", "retention.m"),
        ("segment.bytes", "1", "segments of 1 bytes"),
    ] {
        let target = json!({ "topic": "u", "create": { "config": { name: value } } });
        let asked = request(target, WriteMode::Merge, &batch);
        let error = destination(&folder).writer(&asked).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}: {error}");
        assert!(error.message().contains(word) && error.hint_text().is_some(), "{error}");
    }
}

#[tokio::test]
async fn one_write_at_a_time_goes_into_a_topic() {
    let folder = Folder::new(&[]);
    let batch = rows(&[(1, "a")]);
    let asked = request(json!({ "topic": "t" }), WriteMode::Append, &batch);
    let mut first = destination(&folder).writer(&asked).await.unwrap();
    first.write(&batch).await.unwrap();
    let error = destination(&folder).writer(&asked).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("\"t\""), "{error}");
    assert!(error.hint_text().is_some());
    // Another topic is another matter, and so is asking how far the first one is.
    let other = request(json!({ "topic": "u" }), WriteMode::Append, &batch);
    run(&folder, &other, &batch, 1).await;
    assert_eq!(destination(&folder).progress(&asked).await.unwrap().committed, None);
    first.commit(&checkpoint(1)).await.unwrap();
    drop(first);
    assert!(run(&folder, &asked, &batch, 1).await.skipped);
    assert_eq!(seen(&folder).await.len(), 1);
}

#[tokio::test]
async fn syncs_keep_their_checkpoints_apart_over_full_segments_and_retention() {
    let folder = Folder::new(&[]);
    let text = "x".repeat(2_000);
    let batch = rows(&[(1, &text)]);
    let config = json!({ "segment.bytes": "1024", "retention.bytes": "1" });
    let target = json!({ "topic": "t", "create": { "config": config } });
    let first = request(target, WriteMode::Append, &batch);
    let second = WriteRequest { app: "shop/other".into(), ..first.clone() };
    run(&folder, &first, &batch, 3).await;
    for sequence in 1..5 {
        run(&folder, &second, &batch, sequence).await;
    }
    // Retention removed all messages but the newest, and with them the file that the first checkpoint was in.
    assert_eq!(seen(&folder).await.len(), 1);
    let found = async |request: &WriteRequest| {
        destination(&folder).progress(request).await.unwrap().committed
    };
    assert_eq!(found(&first).await, Some(checkpoint(3)));
    assert_eq!(found(&second).await, Some(checkpoint(4)));
    assert!(run(&folder, &first, &batch, 3).await.skipped);
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_its_neighbours_land() {
    let folder = Folder::new(&[]);
    let large = "x".repeat(10_000);
    let batch = rows(&[(1, "a"), (2, &large), (3, "c")]);
    let target = json!({ "topic": "t", "create": { "config": { "max.message.bytes": "10000" } } });
    let asked = request(target, WriteMode::Append, &batch);
    let mut writer = destination(&folder).writer(&asked).await.unwrap();
    let refused = writer.write(&batch).await.unwrap();
    assert_eq!((refused[0].row, refused[0].code.as_str()), (1, "message-too-large"));
    assert_eq!(writer.commit(&checkpoint(1)).await.unwrap().rows_written, 2);
    assert_eq!(seen(&folder).await.len(), 2);
}
