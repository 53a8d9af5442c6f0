//! What becomes of keys, values, headers and moments.

use rdkafka::message::{Header, OwnedHeaders};

use super::*;
use crate::kafka::testing::{send, send_with_headers, topic_with};

#[tokio::test]
async fn numbers_keep_their_digits_and_late_members_become_columns() {
    let topic = topic(1).await;
    let mut values: Vec<String> = (0..1_500)
        .map(|n| {
            format!(
                "{{\"id\":{},\"z\":\"00123\",\"o\":{{\"a\":[1,null]}}}}",
                9_007_199_254_740_993_i64 + n
            )
        })
        .collect();
    values.push("{\"id\":1,\"wide\":18446744073709551616,\"late\":\"2024-05-01\"}".to_owned());
    send_values(&topic, &values.iter().map(String::as_str).collect::<Vec<_>>());
    let pages = read(&incremental(json!({ "topic": topic, "metadata": [] }), None)).await.unwrap();
    let ids = column(&pages, "id");
    assert_eq!(ids.len(), 1_501);
    assert_eq!((ids[0].as_str(), ids[1_499].as_str()), ("9007199254740993", "9007199254742492"));
    let (z, o) = (column(&pages, "z"), column(&pages, "o"));
    assert_eq!((z[0].as_str(), o[0].as_str()), ("00123", "{\"a\":[1,null]}"));
    assert_eq!(column(&pages, "wide")[1_500], "18446744073709551616");
    assert_eq!(column(&pages, "late")[1_500], "2024-05-01");
    // The next read knows the columns.
    send_values(&topic, &["{\"id\":\"x\"}", "{\"id\":7}"]);
    let next = incremental(json!({ "topic": topic, "metadata": [] }), Some(&last(&pages)));
    let more = read(&next).await.unwrap();
    assert_eq!(column(&more, "id"), ["7"]);
    assert_eq!(more[0].rejected[0].code, "type-mismatch");
}

#[tokio::test]
async fn a_member_that_is_null_at_first_gets_the_type_of_its_first_value() {
    let topic = topic(1).await;
    send_values(&topic, &["{\"n\":null,\"a\":1}"]);
    let stream = json!({ "topic": topic });
    let pages = read(&incremental(stream.clone(), None)).await.unwrap();
    assert!(pages[0].batch.schema().index_of("n").is_err());
    send_values(&topic, &["{\"n\":1.5,\"a\":2}"]);
    let more = read(&incremental(stream, Some(&last(&pages)))).await.unwrap();
    let schema = more[0].batch.schema();
    assert_eq!(schema.field_with_name("n").unwrap().data_type().to_string(), "Float64");
}

#[tokio::test]
async fn texts_bytes_keys_and_headers_come_as_they_are() {
    let topic = topic(1).await;
    send(&topic, &[(0, Some("2024-05-01"), Some(b"00123 \"x\"\n")), (0, None, Some(b""))]);
    let stream = json!({ "topic": topic, "format": "text", "key_column": "day" });
    let pages = read(&incremental(stream, None)).await.unwrap();
    assert_eq!(column(&pages, "value"), ["00123 \"x\"\n", ""]);
    // A key is a text, whatever it looks like.
    assert_eq!(column(&pages, "day"), ["2024-05-01", "∅"]);
    assert_eq!(
        pages[0].batch.schema().field_with_name("day").unwrap().data_type().to_string(),
        "Utf8"
    );
    let stream = json!({ "topic": topic, "format": "bytes", "key_format": "bytes" });
    let pages = read(&incremental(stream, None)).await.unwrap();
    assert_eq!(column(&pages, "value")[0], "3030313233202278220a");
    assert_eq!(
        pages[0].batch.schema().field_with_name("_key").unwrap().data_type().to_string(),
        "Binary"
    );
    let headers = OwnedHeaders::new()
        .insert(Header { key: "trace", value: Some("a\"1") })
        .insert(Header { key: "trace", value: Some(&b"\xff"[..]) })
        .insert(Header::<&[u8]> { key: "none", value: None });
    send_with_headers(&topic, "{}", headers);
    let stream = json!({ "topic": topic, "format": "text", "metadata": ["headers", "topic"] });
    let pages = read(&incremental(stream, None)).await.unwrap();
    assert_eq!(
        column(&pages, "_headers")[2],
        r#"[{"name":"trace","value":"a\"1"},{"name":"trace","base64":"/w=="},{"name":"none","value":null}]"#
    );
    assert_eq!(column(&pages, "_headers")[0], "[]");
    assert_eq!(column(&pages, "_topic")[2], topic);
}

#[tokio::test]
async fn a_message_without_value_is_set_aside_left_out_or_marked() {
    let topic = topic(1).await;
    send(&topic, &[(0, Some("a"), Some(b"{\"n\":1}")), (0, Some("a"), None)]);
    let read_with = |how: &str| {
        let request = incremental(json!({ "topic": topic, "tombstones": how }), None);
        async move { read(&request).await.unwrap() }
    };
    let pages = read_with("reject").await;
    assert_eq!((column(&pages, "n").len(), &*pages[0].rejected[0].code), (1, "tombstone"));
    let pages = read_with("skip").await;
    assert_eq!((column(&pages, "n").len(), pages[0].rejected.len()), (1, 0));
    let pages = read_with("mark").await;
    assert_eq!(column(&pages, "n"), ["1", "∅"]);
    assert_eq!(column(&pages, "_key"), ["a", "a"]);
    assert_eq!(column(&pages, "_deleted"), ["false", "true"]);
}

#[tokio::test]
async fn a_read_starts_at_a_moment() {
    let topic = topic_with(2, &[("retention.ms", "-1")]).await;
    let producer = crate::kafka::testing::producer(&[]);
    for (partition, millis) in
        [(0, 1_714_557_600_000), (0, 1_714_557_600_001), (1, 1_714_557_599_999)]
    {
        let value = format!("{{\"at\":{millis}}}");
        let record: rdkafka::producer::BaseRecord<'_, str, str> =
            rdkafka::producer::BaseRecord::to(&topic)
                .partition(partition)
                .payload(value.as_str())
                .timestamp(millis);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    rdkafka::producer::Producer::flush(&producer, std::time::Duration::from_secs(20)).unwrap();
    let stream = json!({ "topic": topic, "start": "2024-05-01T10:00:00.001Z" });
    let pages = read(&incremental(stream.clone(), None)).await.unwrap();
    assert_eq!(column(&pages, "at"), ["1714557600001"]);
    assert_eq!(column(&pages, "_timestamp"), ["2024-05-01T10:00:00.001Z"]);
    assert!(read(&incremental(stream, Some(&last(&pages)))).await.unwrap().is_empty());
}

#[tokio::test]
async fn discovered_topics_can_be_read_as_they_are() {
    let (json, text) = (topic(1).await, topic(1).await);
    send_values(&json, &["{\"id\":1,\"at\":\"2024-05-01\"}"]);
    send_values(&text, &["plain words"]);
    let found = source(connection()).discover().await.unwrap();
    let info = |name: &str| found.iter().find(|info| info.name == name).unwrap();
    assert_eq!(info(&json).rows, Some(1));
    let columns: Vec<_> =
        info(&json).columns.iter().map(|c| format!("{} {}", c.name, c.kind)).collect();
    assert!(columns.contains(&"at date".to_owned()), "{columns:?}");
    assert_eq!(info(&text).stream["format"], "text");
    let pages = read(&incremental(info(&text).stream.clone(), None)).await.unwrap();
    assert_eq!(column(&pages, "value"), ["plain words"]);
    assert!(found.iter().all(|info| !info.name.starts_with("__")));
}
