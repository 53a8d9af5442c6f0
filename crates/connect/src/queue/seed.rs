//! The ten seed events of the demo through a queue: written, read into a table, counted. Target,
//! stream and table are the same texts for every queue; only the connection differs.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use futures::TryStreamExt;
use serde_json::{Value, json};

use crate::destination::{
    Checkpoint, DestinationContext, DestinationEntry, NewTargetColumns, WriteMode, WriteRequest,
};
use crate::page::{Page, Position};
use crate::source::contract::now;
use crate::source::{ReadRequest, SourceContext, SourceEntry};

/// How the topic is written.
const TARGET: &str = r#"{ "topic": "TOPIC", "create": { "partitions": 3, "replication": 1 } }"#;

/// How it is read.
const STREAM: &str = r#"{ "topic": "TOPIC", "metadata": ["partition", "offset", "key"] }"#;

/// Where it is read into.
const TABLE: &str = r#"{ "table": "events" }"#;

fn parsed(text: &str, topic: &str) -> Value {
    serde_json::from_str(&text.replace("TOPIC", topic)).unwrap()
}

fn request(target: Value, app: &str, batch: &RecordBatch) -> WriteRequest {
    WriteRequest {
        target,
        app: app.to_owned(),
        schema: batch.schema(),
        mode: WriteMode::Append,
        key: vec!["id".to_owned()],
        deleted: None,
        new_columns: NewTargetColumns::Add,
        now: now(),
    }
}

/// Carries the events through the topic; a second run of each sync finds nothing to do.
pub(crate) async fn check(kind: &str, connection: Value, topic: &str, folder: &Path) {
    let ctx = DestinationContext { base_dir: folder.to_owned(), connection: "to".into() };
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10));
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values((0..10).map(|n| n * 100)));
    let events = RecordBatch::try_from_iter([("id", ids), ("value", values)]).unwrap();
    let queue = DestinationEntry::named(kind).unwrap().build(connection.clone(), &ctx).unwrap();
    let request_of = request(parsed(TARGET, topic), "demo/events", &events);
    for skipped in [false, true] {
        let mut writer = queue.writer(&request_of).await.unwrap();
        assert_eq!(writer.write(&events).await.unwrap(), []);
        let position = Position(json!({ "done": true }));
        let written = writer.commit(&Checkpoint { sequence: 1, position }).await.unwrap();
        assert_eq!(
            (written.skipped, written.rows_written),
            (skipped, if skipped { 0 } else { 10 })
        );
        writer.finish().await.unwrap();
    }
    let table = json!({ "path": "events.db" });
    let table = DestinationEntry::named("sqlite").unwrap().build(table, &ctx).unwrap();
    let ctx =
        SourceContext { base_dir: folder.to_owned(), now: now(), connections: Default::default() };
    let source = SourceEntry::named(kind).unwrap().build(connection, &ctx).unwrap();
    for pages_expected in [1, 0] {
        let asked = request(parsed(TABLE, topic), "demo/landed", &events);
        let committed = table.progress(&asked).await.unwrap().committed;
        let mut sequence = committed.as_ref().map_or(0, |checkpoint| checkpoint.sequence);
        let from = committed.map(|checkpoint| checkpoint.position);
        let read = ReadRequest { from, ..ReadRequest::incremental(parsed(STREAM, topic), now()) };
        let pages: Vec<Page> = source.read(&read).try_collect().await.unwrap();
        assert_eq!(pages.len(), pages_expected);
        for page in pages {
            let asked = WriteRequest { schema: page.batch.schema(), ..asked.clone() };
            let mut writer = table.writer(&asked).await.unwrap();
            assert_eq!(writer.write(&page.batch).await.unwrap(), []);
            sequence += 1;
            writer.commit(&Checkpoint { sequence, position: page.position }).await.unwrap();
            writer.finish().await.unwrap();
        }
    }
    let found = rusqlite::Connection::open(folder.join("events.db"))
        .unwrap()
        .query_row("SELECT count(*), sum(value), max(value) FROM events", [], |row| {
            Ok([row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?])
        })
        .unwrap();
    assert_eq!(found, [10, 4_500, 900]);
}
