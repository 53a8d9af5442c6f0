//! Each message has its effect once: over crashes, transactions, new partitions and lost messages.

use flywheel_base::ErrorKind;
use futures::StreamExt;
use rdkafka::producer::Producer as _;

use super::*;
use crate::kafka::testing::{open_transaction, send, topics};
use crate::kafka::topics::TopicChange;

#[tokio::test]
async fn reads_that_die_between_polls_lose_and_double_nothing() {
    let topic = topic(3).await;
    let values: Vec<String> = (0..300).map(|n| format!("{{\"n\":{n}}}")).collect();
    let messages: Vec<_> =
        (0..).zip(&values).map(|(n, value)| (n % 3, None, Some(value.as_bytes()))).collect();
    send(&topic, &messages);
    let (mut kept, mut position, mut died) = (Vec::new(), None, 0);
    loop {
        let request = ReadRequest {
            page_rows: 7,
            ..incremental(json!({ "topic": topic }), position.as_ref())
        };
        let source = source(connection());
        let mut pages = source.read(&request);
        // Every third run dies with a page in hand, the others after they have committed one or two.
        let commits = died % 3;
        let mut ended = true;
        for _ in 0..commits {
            if let Some(page) = pages.next().await {
                let page = page.unwrap();
                position = Some(page.position.clone());
                kept.push(page);
                ended = false;
            }
        }
        if commits == 0 {
            ended = pages.next().await.is_none();
        }
        died += 1;
        if ended {
            break;
        }
    }
    assert!(died > 20, "{died}");
    let seen = offsets(&kept);
    assert_eq!(seen.len(), 300);
    assert!(seen.values().all(|count| *count == 1));
    let numbers: i64 = column(&kept, "n").iter().map(|n| n.parse::<i64>().unwrap()).sum();
    assert_eq!(numbers, 44_850);
}

#[tokio::test]
async fn a_read_ends_at_what_was_there_when_it_began_and_the_next_goes_on() {
    let topic = topic(1).await;
    send_values(&topic, &["{\"n\":1}", "{\"n\":2}"]);
    let request = ReadRequest { page_rows: 1, ..incremental(json!({ "topic": topic }), None) };
    let source = source(connection());
    let mut read_first = source.read(&request);
    let mut pages = vec![read_first.next().await.unwrap().unwrap()];
    send_values(&topic, &["{\"n\":3}"]);
    while let Some(page) = read_first.next().await {
        pages.push(page.unwrap());
    }
    assert_eq!(column(&pages, "n"), ["1", "2"]);
    let more = read(&incremental(json!({ "topic": topic }), Some(&last(&pages)))).await.unwrap();
    assert_eq!(column(&more, "n"), ["3"]);
    let none = read(&incremental(json!({ "topic": topic }), Some(&last(&more)))).await.unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn only_committed_transactions_are_read() {
    let topic = topic(1).await;
    send_values(&topic, &["{\"n\":1}"]);
    let wait = std::time::Duration::from_secs(20);
    open_transaction(&topic, "aborts", &["{\"n\":100}"]).abort_transaction(wait).unwrap();
    open_transaction(&topic, "commits", &["{\"n\":2}"]).commit_transaction(wait).unwrap();
    let open = open_transaction(&topic, "stays-open", &["{\"n\":3}"]);
    send_values(&topic, &["{\"n\":4}"]);
    let stream = json!({ "topic": topic });
    let pages = read(&incremental(stream.clone(), None)).await.unwrap();
    assert_eq!(column(&pages, "n"), ["1", "2"]);
    open.commit_transaction(wait).unwrap();
    let more = read(&incremental(stream.clone(), Some(&last(&pages)))).await.unwrap();
    assert_eq!(column(&more, "n"), ["3", "4"]);
    // Behind the marks of transactions there is nothing to read, and nothing to say.
    assert!(read(&incremental(stream, Some(&last(&more)))).await.unwrap().is_empty());
}

#[tokio::test]
async fn partitions_that_are_added_are_read_from_their_start() {
    let topic = topic(1).await;
    send_values(&topic, &["{\"n\":1}"]);
    // What was there is not wanted; what comes is, wherever it comes.
    let stream = json!({ "topic": topic, "start": "latest" });
    let pages = read(&incremental(stream.clone(), None)).await.unwrap();
    assert!(column(&pages, "_offset").is_empty());
    let change = TopicChange { partitions: Some(3), ..TopicChange::default() };
    topics().alter(&topic, &change).await.unwrap();
    let value = |text: &'static str| Some(text.as_bytes());
    send(&topic, &[(0, None, value("{\"n\":2}")), (2, None, value("{\"n\":3}"))]);
    let more = read(&incremental(stream, Some(&last(&pages)))).await.unwrap();
    assert_eq!(column(&more, "n"), ["2", "3"]);
    assert_eq!(column(&more, "_partition"), ["0", "2"]);
}

#[tokio::test]
async fn messages_that_retention_removed_stop_the_read_unless_it_may_skip_them() {
    let topic = topic(1).await;
    send_values(&topic, &["{\"n\":1}", "{\"n\":2}"]);
    let stream = json!({ "topic": topic });
    let pages = read(&incremental(stream.clone(), None)).await.unwrap();
    send_values(&topic, &["{\"n\":3}", "{\"n\":4}", "{\"n\":5}"]);
    topics().forget_before(&topic, 0, 4).await;
    let error = read(&incremental(stream, Some(&last(&pages)))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked);
    assert!(error.message().contains("partition 0, offsets 2 to 3 (2 messages)"), "{error}");
    assert!(error.hint_text().unwrap().contains("on_gap: skip"));
    let stream = json!({ "topic": topic, "on_gap": "skip" });
    let more = read(&incremental(stream, Some(&last(&pages)))).await.unwrap();
    assert_eq!(column(&more, "n"), ["5"]);
    assert_eq!(more[0].notices[0].code, "messages-lost");
    assert!(more[0].notices[0].message.contains("offsets 2 to 3"));
}

#[tokio::test]
async fn a_topic_made_anew_under_its_name_is_not_taken_for_the_old_one() {
    let topic = topic(1).await;
    send_values(&topic, &["{\"n\":1}", "{\"n\":2}"]);
    let stream = json!({ "topic": topic });
    let pages = read(&incremental(stream.clone(), None)).await.unwrap();
    topics().delete(&topic).await.unwrap();
    let spec = crate::kafka::topics::TopicSpec {
        name: topic.clone(),
        partitions: Some(1),
        ..Default::default()
    };
    topics().create(&spec).await.unwrap();
    send_values(&topic, &["{\"n\":9}"]);
    let error = read(&incremental(stream.clone(), Some(&last(&pages)))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked, "{error}");
    let anew = read(&incremental(stream, None)).await.unwrap();
    assert_eq!(column(&anew, "n"), ["9"]);
}

#[tokio::test]
async fn a_read_in_full_starts_anew_after_its_end_and_goes_on_before_it() {
    let topic = topic(2).await;
    let value = |text: &'static str| Some(text.as_bytes());
    send(&topic, &[(0, None, value("{\"n\":1}")), (1, None, value("{\"n\":2}"))]);
    let full = |from: Option<Position>| ReadRequest {
        from,
        page_rows: 1,
        ..ReadRequest::full(json!({ "topic": topic, "start": "latest" }), now())
    };
    let pages = read(&full(None)).await.unwrap();
    assert_eq!(column(&pages, "n"), ["1", "2"]);
    let rest = read(&full(Some(pages[0].position.clone()))).await.unwrap();
    assert_eq!(column(&rest, "n"), ["2"]);
    let again = read(&full(Some(last(&pages)))).await.unwrap();
    assert_eq!(column(&again, "n"), ["1", "2"]);
    // What follows a read in full is what is new.
    send_values(&topic, &["{\"n\":3}"]);
    let more = incremental(json!({ "topic": topic }), Some(&last(&again)));
    assert_eq!(column(&read(&more).await.unwrap(), "n"), ["3"]);
}

#[tokio::test]
async fn a_group_is_told_how_far_the_read_has_come() {
    let topic = topic(2).await;
    let value = |text: &'static str| Some(text.as_bytes());
    send(&topic, &[(0, None, value("{\"n\":1}")), (1, None, value("{\"n\":2}"))]);
    let request = incremental(json!({ "topic": topic }), None);
    let pages = read(&request).await.unwrap();
    let request = ReadRequest { from: Some(last(&pages)), ..request };
    let done = ChangesRequest { name: "orders".into(), streams: vec![request], follow: false };
    source(connection()).acknowledge(&done).await.unwrap();
    let cluster = crate::kafka::testing::cluster(connection());
    let client = cluster.reader("flywheel.orders", crate::kafka::Isolation::All).unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_range(&topic, 0, 1);
    let committed = client.committed_offsets(list, cluster.timeout()).unwrap();
    let offsets: Vec<_> = committed.elements().iter().map(|e| e.offset()).collect();
    assert_eq!(offsets, [Offset::Offset(1), Offset::Offset(1)]);
}
