//! Rows and checkpoint are one transaction, whoever dies when.

use flywheel_base::ErrorKind;

use super::*;
use crate::kafka::testing;

#[tokio::test]
async fn ten_seed_events_are_produced_and_consumed() {
    let topic = testing::server().topic();
    let folder = tempfile::tempdir().unwrap();
    crate::queue::seed::check("kafka", connection(), &topic, folder.path()).await;
    // The same key is always in the same partition, and all three have some.
    let topics = testing::topics();
    let held = topics.describe(&topic).await.unwrap().partitions;
    assert!(held.iter().all(|partition| partition.latest > 0), "{held:?}");
}

#[tokio::test]
async fn nothing_is_visible_before_the_commit_and_a_dropped_writer_leaves_nothing() {
    let topic = topic(1).await;
    let batch = rows(&[(1, "a")]);
    let request = request(&topic, WriteMode::Append, &batch);
    assert_eq!(progress(&request).await, None);
    let mut first = writer(&request).await;
    first.write(&batch).await.unwrap();
    assert!(seen(&topic).await.is_empty());
    assert_eq!(progress(&request).await, None);
    drop(first);
    let mut second = writer(&request).await;
    second.write(&rows(&[(2, "b")])).await.unwrap();
    assert_eq!(second.commit(&checkpoint(1)).await.unwrap().rows_written, 1);
    second.write(&rows(&[(3, "lost")])).await.unwrap();
    second.finish().await.unwrap();
    assert_eq!(seen(&topic).await, ["2 {\"id\":2,\"value\":\"b\"}"]);
    assert_eq!(progress(&request).await, Some(checkpoint(1)));
}

#[tokio::test]
async fn a_checkpoint_committed_twice_has_its_effect_once() {
    let topic = topic(1).await;
    let batch = rows(&[(1, "a")]);
    let request = request(&topic, WriteMode::Append, &batch);
    let mut first = writer(&request).await;
    for skipped in [false, true] {
        first.write(&batch).await.unwrap();
        assert_eq!(first.commit(&checkpoint(5)).await.unwrap().skipped, skipped);
    }
    // A commit without rows moves the position.
    assert_eq!(first.commit(&checkpoint(6)).await.unwrap(), Written::default());
    drop(first);
    let (_, written) = run(&request, &batch, 6).await;
    assert!(written.skipped);
    let (_, written) = run(&request, &batch, 7).await;
    assert!(!written.skipped);
    assert_eq!(seen(&topic).await.len(), 2);
    assert_eq!(progress(&request).await, Some(checkpoint(7)));
}

#[tokio::test]
async fn syncs_keep_their_checkpoints_apart() {
    let (one, two) = (topic(1).await, topic(1).await);
    let batch = rows(&[(1, "a")]);
    let first = request(&one, WriteMode::Append, &batch);
    let second = WriteRequest { app: "shop/other".into(), ..first.clone() };
    let third = request(&two, WriteMode::Append, &batch);
    run(&first, &batch, 3).await;
    assert_eq!(progress(&second).await, None);
    assert_eq!(progress(&third).await, None);
    run(&second, &batch, 1).await;
    run(&third, &batch, 2).await;
    let sequence = |found: Option<Checkpoint>| found.map(|checkpoint| checkpoint.sequence);
    assert_eq!(sequence(progress(&first).await), Some(3));
    assert_eq!(sequence(progress(&second).await), Some(1));
    assert_eq!(sequence(progress(&third).await), Some(2));
}

#[tokio::test]
async fn a_run_that_was_thought_dead_cannot_commit() {
    let topic = topic(1).await;
    let batch = rows(&[(1, "zombie")]);
    let request = request(&topic, WriteMode::Append, &batch);
    let mut zombie = writer(&request).await;
    zombie.write(&batch).await.unwrap();
    let (_, written) = run(&request, &rows(&[(2, "alive")]), 1).await;
    assert_eq!(written.rows_written, 1);
    let error = zombie.commit(&checkpoint(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.report());
    assert!(error.message().contains(&topic), "{error}");
    let error = zombie.write(&batch).await.unwrap_err();
    assert!(error.message().contains("failed before"), "{error}");
    assert_eq!(seen(&topic).await, ["2 {\"id\":2,\"value\":\"alive\"}"]);
}

#[tokio::test]
async fn a_crash_inside_a_commit_hides_no_checkpoint() {
    use rdkafka::producer::Producer as _;
    let (topic, state_topic) = (topic(1).await, testing::server().topic());
    let mut connection = connection();
    connection["state_topic"] = json!(state_topic);
    let destination = destination(connection.clone());
    let batch = rows(&[(1, "a")]);
    let request = request(&topic, WriteMode::Append, &batch);
    let write = async |sequence| {
        let mut writer = destination.writer(&request).await.unwrap();
        writer.write(&batch).await.unwrap();
        writer.commit(&checkpoint(sequence)).await.unwrap()
    };
    let found = async || destination.progress(&request).await.unwrap().committed;
    write(1).await;
    // Another sync sent its checkpoint and died before the commit: ours is told all the same.
    let dead = testing::open_transaction(&state_topic, "dead", &["{}"]);
    assert_eq!(found().await, Some(checkpoint(1)));
    // So did this sync, and the other one runs again.
    let mine = state::Name::new("shop/orders", &topic);
    let cluster = cluster(connection);
    let id = mine.transaction(&cluster);
    let pending = testing::producer(&[("transactional.id", id.as_str())]);
    pending.init_transactions(cluster.timeout()).unwrap();
    pending.begin_transaction().unwrap();
    let (key, value) = (mine.key(), mine.value(&checkpoint(2)).unwrap());
    let message = [(0, Some(key.as_str()), Some(value.as_bytes()))];
    testing::send_by(&pending, &state_topic, &message);
    dead.abort_transaction(cluster.timeout()).unwrap();
    // Asking ends the crashed commit, and finds that it never happened.
    assert_eq!(found().await, Some(checkpoint(1)));
    assert!(!write(2).await.skipped);
    assert_eq!(found().await, Some(checkpoint(2)));
}
