//! What a user sees of topics that are written: those of a real broker.

mod exactly_once;
mod refusing;
mod shapes;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use futures::TryStreamExt;
use serde_json::{Value, json};

use super::*;
use crate::destination::{Checkpoint, DestinationEntry, NewTargetColumns, Refused, Written};
use crate::kafka::Isolation;
use crate::kafka::testing::{cluster, connection, topic};
use crate::page::{Page, Position};
use crate::source::contract::{cells, now};
use crate::source::{ReadRequest, SourceContext, SourceEntry};
use crate::{ColumnType, DeclaredColumn};

fn destination(connection: Value) -> Box<dyn Destination> {
    let ctx = DestinationContext { base_dir: ".".into(), connection: "to".into() };
    DestinationEntry::named("kafka").unwrap().build(connection, &ctx).unwrap()
}

fn request(topic: &str, mode: WriteMode, batch: &RecordBatch) -> WriteRequest {
    WriteRequest {
        target: json!({ "topic": topic }),
        app: "shop/orders".to_owned(),
        schema: batch.schema(),
        mode,
        key: vec!["id".to_owned()],
        deleted: (mode == WriteMode::Mirror).then(|| "gone".to_owned()),
        new_columns: NewTargetColumns::Add,
        now: now(),
    }
}

async fn writer(request: &WriteRequest) -> Box<dyn Writer> {
    destination(connection()).writer(request).await.unwrap()
}

/// Writes a batch and commits it.
async fn run(
    request: &WriteRequest,
    batch: &RecordBatch,
    sequence: i64,
) -> (Vec<Refused>, Written) {
    let mut writer = writer(request).await;
    let refused = writer.write(batch).await.unwrap();
    let written = writer.commit(&checkpoint(sequence)).await.unwrap();
    writer.finish().await.unwrap();
    (refused, written)
}

async fn progress(request: &WriteRequest) -> Option<Checkpoint> {
    let progress = destination(connection()).progress(request).await.unwrap();
    assert_eq!(progress.staged, None);
    progress.committed
}

fn checkpoint(sequence: i64) -> Checkpoint {
    Checkpoint { sequence, position: Position(json!({ "read": sequence })) }
}

/// Rows with `id` and `value`.
fn rows(rows: &[(i64, &str)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
    let values: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.1)).collect::<StringArray>());
    RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("value", values, true)]).unwrap()
}

/// What a reader of committed messages sees.
async fn pages(stream: Value, columns: &[(&str, &str)]) -> Vec<Page> {
    let ctx = SourceContext { base_dir: ".".into(), now: now(), connections: Default::default() };
    let source = SourceEntry::named("kafka").unwrap().build(connection(), &ctx).unwrap();
    let mut request = ReadRequest::full(stream, now());
    let declared = columns.iter().map(|(name, kind)| {
        let kind: ColumnType = kind.parse().unwrap();
        DeclaredColumn::new(*name, kind)
    });
    request.columns = declared.collect();
    source.read(&request).try_collect().await.unwrap()
}

/// Waits until readers see what was committed: a broker answers a commit before it has marked the messages. A
/// transaction that a test leaves open is not waited for.
fn marked(topic: &str) {
    let cluster = cluster(connection());
    let end = |isolation| {
        let client = cluster.reader("marked", isolation).unwrap();
        let partitions = cluster.partitions_of(&client, topic).unwrap().into_iter();
        partitions.map(|one| cluster.extent(&client, topic, one).unwrap().high).sum::<i64>()
    };
    for _ in 0..MARKED_LOOKS_MAX {
        if end(Isolation::Committed) == end(Isolation::All) {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
}

/// How often is looked whether everything is marked.
const MARKED_LOOKS_MAX: usize = 50;

/// Keys and values as text, in order; `∅` is no value.
async fn seen(topic: &str) -> Vec<String> {
    marked(topic);
    let stream =
        json!({ "topic": topic, "format": "text", "metadata": ["key"], "tombstones": "mark" });
    let rows = cells(&pages(stream, &[]).await);
    rows.iter().map(|row| format!("{} {}", row[1], row[0])).collect()
}

async fn read_back(topic: &str, columns: &[(&str, &str)]) -> Vec<Page> {
    pages(json!({ "topic": topic, "metadata": [], "base64": true }), columns).await
}
