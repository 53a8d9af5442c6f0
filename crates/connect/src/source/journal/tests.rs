//! What a user sees of topics that are read.

use std::collections::BTreeMap;

use flywheel_base::ErrorKind;
use futures::TryStreamExt;
use serde_json::{Value, json};

use super::*;
use crate::destination::Checkpoint;
use crate::journal::TopicWriter;
use crate::page::Position;
use crate::source::SourceEntry;
use crate::source::contract::{Folder, cells, now};

/// A message to be written: its key and its value.
type Plain<'a> = (Option<&'a str>, Option<&'a [u8]>);

/// Writes messages and commits them.
fn send(folder: &Folder, topic: &str, millis: i64, messages: &[Plain<'_>]) {
    send_with(folder, topic, &[], millis, messages);
}

fn send_with(
    folder: &Folder,
    topic: &str,
    config: &[(&str, &str)],
    millis: i64,
    messages: &[Plain<'_>],
) {
    let settings = Journal { path: "journal".into(), ..Journal::default() };
    let journal = settings.folder(&folder.path("")).unwrap();
    let config: BTreeMap<String, String> =
        config.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let mut writer = TopicWriter::open(&journal, topic, &config, millis).unwrap();
    for (key, value) in messages {
        writer.append(key.map(str::as_bytes), *value).unwrap();
    }
    let sequence = writer.checkpoint("test").map_or(0, |checkpoint| checkpoint.sequence) + 1;
    let position = Position(json!({ "sent": sequence }));
    writer.commit("test", &Checkpoint { sequence, position }).unwrap();
}

/// The topic of the contract: seven messages, two of them bad.
pub(crate) fn case() -> Folder {
    let folder = Folder::new(&[]);
    let long = format!("{{\"n\":2,\"t\":\"{}\"}}", "a".repeat(1_200));
    let values = [
        "{\"n\":1}",
        &long,
        "broken",
        "{\"n\":\"x\"}",
        "{\"n\":5}",
        "{\"n\":6}",
        "{\"n\":7,\"u\":true}",
    ];
    let messages: Vec<Plain<'_>> = values.iter().map(|v| (None, Some(v.as_bytes()))).collect();
    // In two segments.
    send_with(&folder, "t", &[("segment.bytes", "1024")], 0, &messages[..3]);
    send(&folder, "t", 0, &messages[3..]);
    folder
}

fn source(folder: &Folder) -> Box<dyn Source> {
    folder.source_with("journal", json!({ "path": "journal" }))
}

fn incremental(stream: Value, from: Option<&Position>) -> ReadRequest {
    ReadRequest { from: from.cloned(), ..ReadRequest::incremental(stream, now()) }
}

async fn read(folder: &Folder, request: &ReadRequest) -> Result<Vec<Page>> {
    source(folder).read(request).try_collect().await
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

#[tokio::test]
async fn a_journal_gives_the_rows_that_kafka_gives_for_the_same_stream() {
    use crate::kafka::testing;
    let topic = testing::topic(1).await;
    let messages: [Plain<'_>; 7] = [
        (Some("a"), Some(b"{\"n\":1,\"t\":\"x\"}")),
        (None, Some(b"{\"n\":2}")),
        (Some("a"), None),
        (Some("b"), Some(b"not json")),
        (None, Some(b"{\"n\":\xff}")),
        (Some("c"), Some(b"")),
        (Some("d"), Some(b"{\"n\":3,\"late\":true}")),
    ];
    let plain: Vec<testing::Plain<'_>> = messages.iter().map(|(k, v)| (0, *k, *v)).collect();
    testing::send(&topic, &plain);
    let folder = Folder::new(&[]);
    send(&folder, &topic, 0, &messages);
    let kafka = folder.source_with("kafka", testing::connection());
    let meta = json!(["topic", "partition", "offset", "key", "headers"]);
    for more in [
        json!({}),
        json!({ "tombstones": "mark" }),
        json!({ "tombstones": "skip", "key_column": "k" }),
        json!({ "format": "bytes", "key_format": "bytes" }),
        json!({ "format": "text", "start": "latest" }),
    ] {
        let mut stream = json!({ "topic": topic, "metadata": meta });
        for (name, value) in more.as_object().unwrap() {
            stream[name] = value.clone();
        }
        let request = ReadRequest { page_rows: 3, ..incremental(stream.clone(), None) };
        let expected: Vec<Page> = kafka.read(&request).try_collect().await.unwrap();
        let found = read(&folder, &request).await.unwrap();
        assert_eq!(cells(&found), cells(&expected), "{stream}");
        let aside = |pages: &[Page]| -> Vec<_> {
            let rejected = pages.iter().flat_map(|page| page.rejected.clone());
            rejected.map(|r| (r.file, r.line, r.code, r.raw)).collect()
        };
        assert_eq!(aside(&found), aside(&expected), "{stream}");
        let positions =
            |pages: &[Page]| -> Vec<_> { pages.iter().map(|page| page.position.clone()).collect() };
        assert_eq!(positions(&found), positions(&expected), "{stream}");
    }
}

#[tokio::test]
async fn a_read_starts_where_the_stream_says() {
    let folder = Folder::new(&[]);
    let value = |text: &'static str| (None, Some(text.as_bytes()));
    let config = [("segment.bytes", "1024")];
    let moment = 1_714_557_600_000;
    let padding = format!("{{\"n\":1,\"p\":\"{}\"}}", "x".repeat(1_200));
    send_with(&folder, "t", &config, moment, &[(None, Some(padding.as_bytes()))]);
    send(&folder, "t", moment + 5, &[value("{\"n\":2}")]);
    send(&folder, "t", moment + 9, &[value("{\"n\":3}")]);
    for (start, expected) in [
        ("earliest", &["1", "2", "3"][..]),
        ("2024-05-01T10:00:00.001Z", &["2", "3"]),
        ("2024-05-01T10:00:00.006Z", &["3"]),
        ("2024-05-01T10:00:01Z", &[]),
        ("latest", &[]),
    ] {
        let stream = json!({ "topic": "t", "start": start });
        let pages = read(&folder, &incremental(stream.clone(), None)).await.unwrap();
        assert_eq!(column(&pages, "n"), expected, "{start}");
        let last = pages.last().map(|page| page.position.clone());
        assert!(read(&folder, &incremental(stream, last.as_ref())).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn lag_counts_the_messages_behind_a_position() {
    let folder = case();
    let request = incremental(json!({ "topic": "t" }), None);
    let pages = read(&folder, &request).await.unwrap();
    let from = pages.last().map(|page| page.position.clone());
    let asked = ReadRequest { from, ..request };
    send(&folder, "t", 0, &[(None, Some(b"{}")), (None, Some(b"{}"))]);
    let mut streams = vec![asked];
    // Never read: all that is there is behind, if it is to be read.
    for stream in [
        json!({ "topic": "t" }),
        json!({ "topic": "t", "start": "latest" }),
        json!({ "topic": "not_yet" }),
    ] {
        streams.push(incremental(stream, None));
    }
    let changes = ChangesRequest { name: "t".into(), streams, follow: false };
    let lag = source(&folder).lag(&changes).await.unwrap();
    let messages = |behind| Some(Lag { behind, unit: "messages" });
    assert_eq!(lag, [messages(2), messages(9), None, messages(0)]);
}

#[tokio::test]
async fn messages_that_are_gone_stop_the_read_unless_it_may_skip_them() {
    let folder = Folder::new(&[]);
    let config = [("segment.bytes", "1024"), ("retention.bytes", "1")];
    let long = format!("{{\"n\":1,\"p\":\"{}\"}}", "x".repeat(1_200));
    send_with(&folder, "t", &config, 0, &[(None, Some(b"{\"n\":0}"))]);
    let stream = json!({ "topic": "t" });
    let pages = read(&folder, &incremental(stream.clone(), None)).await.unwrap();
    let position = pages.last().unwrap().position.clone();
    send(&folder, "t", 0, &[(None, Some(long.as_bytes()))]);
    send(&folder, "t", 0, &[(None, Some(b"{\"n\":2}"))]);
    let error = read(&folder, &incremental(stream, Some(&position))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked, "{error}");
    assert!(error.message().contains("partition 0, offsets 1 to 1 (1 messages)"), "{error}");
    let stream = json!({ "topic": "t", "on_gap": "skip" });
    let more = read(&folder, &incremental(stream, Some(&position))).await.unwrap();
    assert_eq!(column(&more, "n"), ["2"]);
    assert_eq!(more[0].notices[0].code, "messages-lost");
}

#[tokio::test]
async fn what_is_not_there_or_does_not_fit_is_named() {
    let folder = Folder::new(&[("file", b"")]);
    let error = read(&folder, &incremental(json!({ "topic": "t" }), None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint_text().unwrap().contains("first write"), "{error:?}");
    send(&folder, "orders", 0, &[(None, Some(b"{}"))]);
    let error = read(&folder, &incremental(json!({ "topic": "order" }), None)).await.unwrap_err();
    assert_eq!(error.hint_text(), Some("Did you mean \"orders\"?"));
    for topic in ["..", "a/b", ""] {
        let error = read(&folder, &incremental(json!({ "topic": topic }), None)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{topic}");
    }
    let file = folder.source_with("journal", json!({ "path": "file" }));
    assert!(file.check().await.unwrap_err().message().contains("no folder"));
    let ctx =
        SourceContext { base_dir: folder.path(""), now: now(), connections: Default::default() };
    for (connection, word) in [
        (json!({ "path": "" }), "path"),
        (json!({ "path": "j", "segment_bytes": "1B" }), "segments of 1 bytes"),
        (json!({ "path": "j", "segment_bytes": "much" }), "segment_bytes"),
        (json!({ "path": "j", "retention_age": "0s" }), "retention_age"),
    ] {
        let built = SourceEntry::named("journal").unwrap().build(connection, &ctx);
        let error = built.err().unwrap();
        assert!(error.message().contains(word), "{error}");
    }
}
