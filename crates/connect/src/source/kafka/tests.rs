//! What a user sees of topics that are read: those of a real broker.

mod exactly_once;
mod failures;
mod killed;
mod values;

use std::collections::BTreeMap;

use futures::TryStreamExt;
use serde_json::{Value, json};

use super::*;
use crate::kafka::testing::{connection, send_values, topic};
use crate::page::Position;
use crate::source::contract::{cells, now};
use crate::source::{ReadMode, SourceEntry};

/// A topic of the contract: seven messages, two of them bad.
pub(crate) async fn case() -> (Value, Value) {
    let topic = topic(1).await;
    let values = [
        "{\"n\":1}",
        "{\"n\":2,\"t\":\"a\"}",
        "broken",
        "{\"n\":\"x\"}",
        "{\"n\":5}",
        "{\"n\":6}",
        "{\"n\":7,\"u\":true}",
    ];
    send_values(&topic, &values);
    (connection(), json!({ "topic": topic, "metadata": ["offset"] }))
}

fn source(connection: Value) -> Box<dyn Source> {
    let ctx = SourceContext { base_dir: ".".into(), now: now(), connections: Default::default() };
    SourceEntry::named("kafka").unwrap().build(connection, &ctx).unwrap()
}

async fn read(request: &ReadRequest) -> Result<Vec<Page>> {
    source(connection()).read(request).try_collect().await
}

fn incremental(stream: Value, from: Option<&Position>) -> ReadRequest {
    ReadRequest { from: from.cloned(), ..ReadRequest::incremental(stream, now()) }
}

/// The position after the pages.
fn last(pages: &[Page]) -> Position {
    pages.last().unwrap().position.clone()
}

/// The values of a column as text, in order.
fn column(pages: &[Page], name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for page in pages {
        let at = page.batch.schema().index_of(name);
        for row in cells(std::slice::from_ref(page)) {
            found.push(at.as_ref().map_or_else(|_| "∅".to_owned(), |at| row[*at].clone()));
        }
    }
    found
}

/// How many rows, in how many of the offsets there is more than one.
fn offsets(pages: &[Page]) -> BTreeMap<(String, String), usize> {
    let mut seen = BTreeMap::new();
    let pairs = column(pages, "_partition").into_iter().zip(column(pages, "_offset"));
    for pair in pairs {
        *seen.entry(pair).or_insert(0) += 1;
    }
    seen
}
