//! Brokers that are not there, wrong names, and messages that nobody can read.

use std::time::{Duration, Instant};

use flywheel_base::ErrorKind;

use super::*;
use crate::kafka::testing::{Plain, send, server};
use crate::{ColumnType, DeclaredColumn};

#[tokio::test]
async fn brokers_that_are_not_there_are_named_within_the_timeout() {
    let port = flywheel_testkit::free_port();
    let connection = json!({ "brokers": [format!("127.0.0.1:{port}")], "timeout": "2s" });
    let started = Instant::now();
    let error = source(connection.clone()).check().await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(error.report().contains("refused"), "{}", error.report());
    let request = incremental(json!({ "topic": "t" }), None);
    let read = source(connection).read(&request).try_collect::<Vec<Page>>().await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_broker_that_accepts_and_says_nothing_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let connection = json!({ "brokers": [address], "timeout": "1s" });
    let started = Instant::now();
    let error = source(connection).check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_login_works_and_a_wrong_password_is_told_from_a_dead_broker() {
    use flywheel_testkit::Kafka as Broker;
    let login = |password: &str| {
        json!({ "brokers": [server().login_brokers()], "timeout": "5s",
                "sasl": { "user": Broker::USER, "password": password } })
    };
    source(login(Broker::PASSWORD)).check().await.unwrap();
    let error = source(login("a canary")).check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.report());
    assert!(!error.report().contains("canary"));
    assert!(error.hint_text().unwrap().contains("sasl"));
}

#[tokio::test]
async fn a_topic_that_is_not_there_gets_the_nearest_name() {
    let topic = topic(1).await;
    let near = format!("{topic}x");
    let error = read(&incremental(json!({ "topic": near }), None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains(&near), "{error}");
    assert!(error.hint_text().unwrap().contains(&topic), "{error:?}");
    let error = read(&incremental(json!({ "topic": "a b" }), None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn settings_that_do_not_fit_are_explained() {
    let topic = topic(1).await;
    for (stream, word) in [
        (json!({ "topic": topic, "start": "yesterday" }), "yesterday"),
        (json!({ "topic": topic, "format": "protobuf" }), "protobuf"),
        (json!({}), "topic"),
    ] {
        let error = read(&incremental(stream, None)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(word), "{error}");
    }
    let mode = ReadMode::Incremental { cursor: Some("n".into()), lag: None };
    let request = ReadRequest { mode, ..incremental(json!({ "topic": topic }), None) };
    assert!(read(&request).await.unwrap_err().message().contains("cursor"));
    let other = Position(json!({ "topic": "other", "next": { "0": 1 } }));
    let error = read(&incremental(json!({ "topic": topic }), Some(&other))).await.unwrap_err();
    assert!(error.message().contains("\"other\""), "{error}");
    let foreign = Position(json!({ "file": 1 }));
    let error = read(&incremental(json!({ "topic": topic }), Some(&foreign))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn poison_messages_are_set_aside_with_their_place_and_their_text() {
    let topic = topic(2).await;
    let messages: [Plain<'_>; 9] = [
        (0, None, Some(b"{\"n\":1}")),
        (0, None, Some(b"not json")),
        (0, None, Some(b"[1]")),
        (0, None, Some(b"{\"n\":\xff}")),
        (1, None, Some(b"{\"n\":\"text\"}")),
        (1, None, Some(b"{\"n\":1,\"n\":2}")),
        (1, None, Some(b"\0\0\0\0\x01avro")),
        (1, None, None),
        (1, None, Some(b"{\"n\":2}")),
    ];
    send(&topic, &messages);
    let request = ReadRequest {
        columns: vec![DeclaredColumn::new("n", ColumnType::Int64)],
        ..incremental(json!({ "topic": topic }), None)
    };
    let pages = read(&request).await.unwrap();
    assert_eq!(column(&pages, "n"), ["1", "2"]);
    let rejected: Vec<_> = pages.iter().flat_map(|page| &page.rejected).collect();
    let found: Vec<_> = rejected
        .iter()
        .map(|r| (r.file.as_str(), r.line.unwrap(), &*r.code, r.raw.as_str()))
        .collect();
    let (zero, one) = (format!("{topic}/0"), format!("{topic}/1"));
    assert_eq!(
        found,
        [
            (zero.as_str(), 1, "invalid-json", "not json"),
            (zero.as_str(), 2, "not-an-object", "[1]"),
            (zero.as_str(), 3, "invalid-utf8", "{\"n\":\u{fffd}}"),
            (one.as_str(), 0, "type-mismatch", "{\"n\":\"text\"}"),
            (one.as_str(), 1, "duplicate-key", "{\"n\":1,\"n\":2}"),
            (one.as_str(), 2, "schema-registry", "\0\0\0\0\u{1}avro"),
            (one.as_str(), 3, "tombstone", ""),
        ]
    );
    assert_eq!(rejected[3].column.as_deref(), Some("n"));
    assert_eq!(pages.iter().find_map(|page| page.trace(0)), Some((zero.as_str(), 0)));
}
