//! What every queue of messages shares, be it a Kafka cluster or a journal on this disk: the settings
//! of streams and targets, the read of a topic from a position, messages as rows and rows as messages.
//!
//! ```text
//! position, extents ─► plan ─► spans ─► messages ─► records ─► rows, rejected rows ─► pages
//! rows ─► keys and values ─► messages            (each queue commits them in its own way)
//! ```

mod encode;
mod key;
mod plan;
mod read;
mod record;
mod stream;
mod target;

#[cfg(test)]
pub(crate) mod seed;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use flywheel_base::{Error, Result, Timestamp};
use serde_json::json;

use crate::files::PageRead as _;
use crate::page::Column;
use crate::source::{ChangesRequest, ReadRequest, StreamInfo, settings};

pub(crate) use encode::{Encoder, OVERHEAD_BYTES};
pub(crate) use key::Keys;
pub(crate) use plan::Stored;
pub(crate) use read::TopicRead;
pub(crate) use stream::{Format, OnGap, Start, TopicStream};
pub(crate) use target::TopicTarget;

/// The longest name of a topic.
pub(crate) const TOPIC_NAME_MAX: usize = 249;

/// Topics whose messages are looked at to discover their columns.
pub(crate) const DISCOVER_TOPICS_MAX: usize = 200;

/// Messages of a topic that are looked at to discover its columns.
const DISCOVER_ROWS: usize = 200;

/// The messages a partition holds: from `low` on, before `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The first offset that retention has left.
    pub(crate) low: i64,
    /// The offset after the last one that a reader sees.
    pub(crate) high: i64,
}

/// What to read of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The partition.
    pub(crate) partition: i32,
    /// The first offset.
    pub(crate) from: i64,
    /// The offset to stop before.
    pub(crate) to: i64,
}

/// A message as a reader gets it.
#[derive(Clone, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// When it was made or appended, in milliseconds since 1970.
    pub(crate) millis: Option<i64>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    /// In their order; the same name can be there twice.
    pub(crate) headers: Vec<Header<'a>>,
}

/// A header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: Option<&'a [u8]>,
}

/// A system that keeps topics.
pub(crate) trait Queue: Send {
    /// The source's name, `kafka`.
    fn kind(&self) -> &'static str;

    /// Opens a topic for one read.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if there is no such topic.
    fn open(&self, stream: &TopicStream) -> Result<Box<dyn TopicReader>>;
}

/// A topic that is read: first its extents, then spans of it, one after the other.
pub(crate) trait TopicReader: Send {
    /// What each partition holds now.
    fn extents(&mut self) -> Result<BTreeMap<i32, Extent>>;

    /// The first offset of a moment or later, of each partition; [`i64::MAX`] if nothing is so young.
    fn at_moment(&mut self, partitions: &[i32], millis: i64) -> Result<BTreeMap<i32, i64>>;

    /// Begins with a span.
    fn begin(&mut self, span: Span) -> Result<()>;

    /// Hands over the next message of the span; false at its end.
    fn next(&mut self, take: &mut dyn FnMut(&Message<'_>)) -> Result<bool>;
}

/// The positions of a request's streams, in their order. One that has not been read stands before the first message;
/// none if it starts elsewhere.
pub(crate) fn positions(request: &ChangesRequest) -> Result<Vec<Option<Stored>>> {
    request.streams.iter().map(position).collect()
}

fn position(request: &ReadRequest) -> Result<Option<Stored>> {
    if let Some(position) = &request.from {
        return Stored::of(position).map(Some);
    }
    let stream: TopicStream = settings("stream", request.stream.clone())?;
    let counted = stream.start == Start::Earliest;
    Ok(counted.then(|| Stored { topic: stream.topic, ..Stored::default() }))
}

/// Refuses what cannot be the name of a topic.
pub(crate) fn check_topic_name(name: &str) -> Result<()> {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty()
        || name.len() > TOPIC_NAME_MAX
        || name == "."
        || name == ".."
        || !name.chars().all(letter)
    {
        return Err(Error::invalid(format!("\"{name}\" cannot be the name of a topic"))
            .hint("A name has 1 to 249 ASCII letters, digits, points, underscores and hyphens."));
    }
    Ok(())
}

/// What there is to say of a topic; with `columns` those that its first messages show, and whether
/// they are JSON at all.
pub(crate) fn described(
    queue: &dyn Fn() -> Box<dyn Queue>,
    topic: String,
    rows: u64,
    columns: bool,
) -> Result<StreamInfo> {
    let mut info = StreamInfo {
        stream: json!({ "topic": topic }),
        name: topic,
        schema: Arc::new(Schema::empty()),
        columns: Vec::new(),
        primary_key: Vec::new(),
        cursors: Vec::new(),
        rows: Some(rows),
        bytes: None,
        unread: None,
    };
    if !columns {
        return Ok(info);
    }
    for format in [Format::Json, Format::Text, Format::Bytes] {
        if format != Format::Json {
            info.stream["format"] = json!(format);
        }
        let request = ReadRequest {
            page_rows: DISCOVER_ROWS,
            // Only what messages show is read; the moment is not looked at.
            ..ReadRequest::full(info.stream.clone(), Timestamp::from_micros(0))
        };
        let mut read = TopicRead::new(queue(), &request)?;
        let page = read.next_page()?;
        let readable =
            page.as_ref().is_none_or(|page| page.batch.num_rows() > 0 || page.rejected.is_empty());
        if let Some(page) = &page {
            info.schema = page.batch.schema();
        }
        info.columns = read.columns().iter().filter_map(Column::declarable).collect();
        if readable {
            return Ok(info);
        }
    }
    Ok(info)
}
