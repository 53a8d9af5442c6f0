//! Rows and settings that a topic cannot take.

use arrow::array::Float64Array;
use flywheel_base::ErrorKind;

use super::*;
use crate::kafka::testing::{topic_with, topics};
use crate::kafka::topics::TopicSpec;

fn codes(refused: &[Refused]) -> Vec<(usize, &str)> {
    refused.iter().map(|refused| (refused.row, refused.code.as_str())).collect()
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_its_neighbours_land() {
    let topic = topic_with(1, &[("max.message.bytes", "10000")]).await;
    let large = "x".repeat(10_000);
    let batch = rows(&[(1, "a"), (2, &large), (3, "c")]);
    let request = request(&topic, WriteMode::Append, &batch);
    let (refused, written) = run(&request, &batch, 1).await;
    assert_eq!((codes(&refused), written.rows_written), (vec![(1, "message-too-large")], 2));
    assert!(refused[0].reason.contains("10000"), "{}", refused[0].reason);
    assert_eq!(seen(&topic).await.len(), 2);
    // The largest that fits goes through, and many of them, compressed or not.
    let fits = "y".repeat(10_000 - 128 - "{\"id\":1,\"value\":\"\"}".len() - 1);
    let many: Vec<(i64, &str)> = (0..50).map(|_| (1, fits.as_str())).collect();
    for (sequence, compression) in
        [(2, "none"), (3, "zstd"), (4, "lz4"), (5, "gzip"), (6, "snappy")]
    {
        let target = json!({ "topic": topic, "compression": compression });
        let request = WriteRequest { target, ..request.clone() };
        let (refused, written) = run(&request, &rows(&many), sequence).await;
        assert_eq!((codes(&refused), written.rows_written), (Vec::new(), 50), "{compression}");
    }
    assert_eq!(seen(&topic).await.len(), 252);
}

#[tokio::test]
async fn a_value_that_is_no_json_is_refused_with_its_column() {
    let topic = topic(1).await;
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.5, f64::NAN, 1.5]));
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let batch = RecordBatch::try_from_iter([("id", ids), ("v", floats)]).unwrap();
    let (refused, written) = run(&request(&topic, WriteMode::Append, &batch), &batch, 1).await;
    assert_eq!((codes(&refused), written.rows_written), (vec![(1, "not-finite")], 2));
    assert_eq!(refused[0].column.as_deref(), Some("v"));
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_made_only_if_the_target_says_so() {
    let near = topic(1).await;
    let batch = rows(&[(1, "a")]);
    let missing = format!("{near}y");
    let request = request(&missing, WriteMode::Append, &batch);
    let error = destination(connection()).writer(&request).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint_text().is_some_and(|hint| hint.contains(&near) && hint.contains("create")));
    let target = json!({ "topic": missing, "create": { "partitions": 2,
        "config": { "retention.ms": "86400000" } } });
    let request = WriteRequest { target, ..request };
    run(&request, &batch, 1).await;
    let made = topics().describe(&missing).await.unwrap();
    assert_eq!(made.partitions.len(), 2);
    assert_eq!(made.config["retention.ms"].value.as_deref(), Some("86400000"));
    let target = json!({ "topic": format!("{near}z"), "create": { "config": { "no.such": "1" } } });
    let error = destination(connection()).writer(&WriteRequest { target, ..request }).await;
    assert_eq!(error.err().unwrap().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn upserts_need_a_key_and_a_compacted_topic() {
    let plain = topic(1).await;
    let batch = rows(&[(1, "a")]);
    let asked = request(&plain, WriteMode::Merge, &batch);
    let error = destination(connection()).writer(&asked).await.err().unwrap();
    assert!(error.message().contains("compacted"), "{error}");
    assert!(error.hint_text().unwrap().contains("cleanup.policy=compact"));
    let keyless = WriteRequest { key: Vec::new(), ..asked };
    let error = destination(connection()).writer(&keyless).await.err().unwrap();
    assert!(error.hint_text().unwrap().contains("key"), "{error}");
    let replace = request(&plain, WriteMode::Replace, &batch);
    let error = destination(connection()).writer(&replace).await.err().unwrap();
    assert!(error.message().contains("replace"), "{error}");
    let compacted = topic_with(1, &[("cleanup.policy", "compact")]).await;
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(2)]));
    let batch = RecordBatch::try_from_iter_with_nullable([("id", ids, true)]).unwrap();
    for mode in [WriteMode::Append, WriteMode::Merge] {
        let request =
            WriteRequest { app: format!("a/{mode}"), ..request(&compacted, mode, &batch) };
        let (refused, written) = run(&request, &batch, 1).await;
        assert_eq!((codes(&refused), written.rows_written), (vec![(0, "no-key")], 1));
        assert_eq!(refused[0].column.as_deref(), Some("id"));
    }
    let unknown =
        WriteRequest { key: vec!["idd".into()], ..request(&compacted, WriteMode::Merge, &batch) };
    let error = writer(&unknown).await.write(&batch).await.unwrap_err();
    assert_eq!(error.hint_text(), Some("Did you mean \"id\"?"));
}

#[tokio::test]
async fn a_topic_that_would_lose_checkpoints_is_refused() {
    let topic = topic(1).await;
    let name = crate::kafka::testing::server().topic();
    let spec = TopicSpec { name: name.clone(), partitions: Some(1), ..TopicSpec::default() };
    topics().create(&spec).await.unwrap();
    let mut connection = connection();
    connection["state_topic"] = json!(name);
    let batch = rows(&[(1, "a")]);
    let asked = request(&topic, WriteMode::Append, &batch);
    let error = destination(connection.clone()).writer(&asked).await.err().unwrap();
    assert!(error.message().contains("would lose checkpoints"), "{error}");
    let own = request(&name, WriteMode::Append, &batch);
    let error = destination(connection).writer(&own).await.err().unwrap();
    assert!(error.message().contains("takes no rows"), "{error}");
}

#[tokio::test]
async fn brokers_that_are_not_there_are_named() {
    let port = flywheel_testkit::free_port();
    let connection = json!({ "brokers": [format!("127.0.0.1:{port}")], "timeout": "1s" });
    let batch = rows(&[(1, "a")]);
    let asked = request("t", WriteMode::Append, &batch);
    for error in [
        destination(connection.clone()).check().await.err().unwrap(),
        destination(connection.clone()).progress(&asked).await.err().unwrap(),
        destination(connection).writer(&asked).await.err().unwrap(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.message().contains(&port.to_string()), "{error}");
    }
}
