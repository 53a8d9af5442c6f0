//! Topics of a real broker.

use super::*;
use crate::kafka::testing::{connection, server, topics};

fn spec(name: &str, partitions: u32, config: &[(&str, &str)]) -> TopicSpec {
    let config = config.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    TopicSpec { name: name.into(), partitions: Some(partitions), replication: Some(1), config }
}

#[tokio::test]
async fn a_topic_is_made_once_and_described() {
    let (topics, name) = (topics(), server().topic());
    let wanted = spec(&name, 3, &[("retention.ms", "3600000")]);
    assert_eq!(topics.create(&wanted).await.unwrap(), Created::Now);
    assert_eq!(topics.create(&wanted).await.unwrap(), Created::Before);
    let least = TopicSpec { name: name.clone(), ..TopicSpec::default() };
    assert_eq!(topics.create(&least).await.unwrap(), Created::Before);
    for other in [spec(&name, 1, &[]), spec(&name, 3, &[("retention.ms", "1")])] {
        let error = topics.create(&other).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.message().contains(&name), "{error}");
    }
    let found = topics.describe(&name).await.unwrap();
    let numbers: Vec<_> = found.partitions.iter().map(|partition| partition.partition).collect();
    assert_eq!(numbers, [0, 1, 2]);
    let first = &found.partitions[0];
    assert_eq!(
        (first.leader, first.replicas.as_slice(), first.in_sync.as_slice()),
        (Some(1), &[1][..], &[1][..])
    );
    assert_eq!((first.earliest, first.latest), (0, 0));
    let own = TopicSetting { value: Some("3600000".into()), own: true };
    assert_eq!(found.config["retention.ms"], own);
    assert!(!found.config["cleanup.policy"].own);
    let listed = topics.list().await.unwrap();
    assert!(listed.contains(&TopicName { name, partitions: 3 }));
    assert!(listed.iter().all(|topic| !topic.name.starts_with("__")));
}

#[tokio::test]
async fn a_change_keeps_the_settings_it_does_not_name() {
    let (topics, name) = (topics(), server().topic());
    topics
        .create(&spec(&name, 1, &[("retention.ms", "1000"), ("segment.ms", "2000")]))
        .await
        .unwrap();
    let change = TopicChange {
        partitions: Some(2),
        config: [("retention.ms".into(), Some("5000".into())), ("segment.ms".into(), None)].into(),
    };
    let change_more = TopicChange {
        config: [("max.message.bytes".into(), Some("2000".into()))].into(),
        ..TopicChange::default()
    };
    topics.alter(&name, &change).await.unwrap();
    let found = topics.alter(&name, &change_more).await.unwrap();
    assert_eq!(found.partitions.len(), 2);
    assert_eq!(found.config["retention.ms"].value.as_deref(), Some("5000"));
    assert_eq!(found.config["max.message.bytes"].value.as_deref(), Some("2000"));
    assert!(!found.config["segment.ms"].own);
    let fewer = TopicChange { partitions: Some(1), ..TopicChange::default() };
    let error = topics.alter(&name, &fewer).await.unwrap_err();
    assert!(error.message().contains("fewer"), "{error}");
    let wrong = TopicChange {
        config: [("retention.ms".into(), Some("soon".into()))].into(),
        ..TopicChange::default()
    };
    let error = topics.alter(&name, &wrong).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().ends_with("refuse the setting retention.ms"), "{error}");
    assert!(error.hint_text().unwrap().contains("\"soon\""), "{error:?}");
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    let (topics, name) = (topics(), server().topic());
    topics.create(&spec(&name, 1, &[])).await.unwrap();
    topics.delete(&name).await.unwrap();
    for error in [
        topics.delete(&name).await.unwrap_err(),
        topics.describe(&name).await.unwrap_err(),
        topics.alter(&name, &TopicChange::default()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.message().contains(&name), "{error}");
    }
    let many = TopicSpec { replication: Some(9), ..spec(&name, 1, &[]) };
    let error = topics.create(&many).await.unwrap_err();
    assert!(error.message().contains("brokers"), "{error}");
    for wrong in [spec("a b", 1, &[]), spec(&name, 0, &[]), spec(&name, 1, &[("no.such", "1")])] {
        let error = topics.create(&wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    // Only what is wrong is named, and how; another topic tells which settings there are.
    topics.create(&spec(&server().topic(), 1, &[])).await.unwrap();
    let given = [("retention.ms", "1000"), ("retention.mz", "1"), ("segment.ms", "soon")];
    let wrong = topics.create(&spec(&name, 1, &given)).await.unwrap_err();
    assert!(wrong.message().ends_with("the setting retention.mz, segment.ms"), "{wrong}");
    let hint = wrong.hint_text().unwrap();
    assert!(hint.contains("no setting retention.mz. Did you mean \"retention.ms\"?"), "{hint}");
    assert!(hint.contains("segment.ms does not take the value \"soon\""), "{hint}");
    let cause = std::error::Error::source(&wrong).unwrap().to_string();
    assert!(cause.to_lowercase().contains("config"), "{cause}");
    let mut wrong = connection();
    wrong["brokers"] = serde_json::json!("a:1");
    assert_eq!(Topics::of(wrong).unwrap_err().kind(), ErrorKind::Invalid);
}
