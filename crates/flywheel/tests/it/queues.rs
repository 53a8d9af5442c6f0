//! One pipeline through a queue, whichever it is: a Kafka cluster or a journal, which differ in the connection's file alone.

use std::time::{Duration, Instant};

use crate::house::House;
use crate::servers::kafka;

/// How often each of both syncs is killed.
const KILLS: u32 = 6;

/// Rows of each file that comes between two kills.
const ROWS_EACH: u32 = 2_000;

/// Rows go from files into a topic, which the first write makes.
const PRODUCE: &str = "sync: a_produce\nconnection: files\ndestination: queue\nstreams:\n  - {stream: events, options: {path: '*.csv'}, read: incremental, write: append, key: [id], columns: [{name: id, type: int64}, {name: value, type: int64}], target: {topic: TOPIC, create: {partitions: 3, replication: 1}}}\n";

/// And from the topic into the lake.
const CONSUME: &str = "sync: b_consume\nconnection: queue\nstreams:\n  - {stream: events, options: {topic: TOPIC, metadata: [key]}, read: incremental, write: append, columns: [{name: id, type: int64}, {name: value, type: int64}]}\n";

/// The connection's file for the cluster.
fn cluster() -> String {
    format!("connection: queue\ntype: kafka\noptions: {{brokers: ['{}']}}\n", kafka().brokers())
}

/// The connection's file for the journal.
fn journal() -> String {
    "connection: queue\ntype: journal\noptions: {path: q}\n".to_owned()
}

/// The project of the pipeline; of its files only the connection's is given.
fn pipeline(topic: &str, connection: &str) -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write("connections/queue.yaml", connection)
        .write("syncs/a_produce.yaml", PRODUCE.replace("TOPIC", topic))
        .write("syncs/b_consume.yaml", CONSUME.replace("TOPIC", topic));
    house
}

/// A file of events, as CSV.
fn events(ids: std::ops::Range<u32>) -> String {
    let lines = ids.map(|id| format!("{id},{}\n", id * 100));
    format!("id,value\n{}", lines.collect::<String>())
}

#[test]
fn ten_events_go_through_kafka_and_by_another_connection_file_through_a_journal() {
    let topic = "seed_events";
    let landed = |connection: &str| {
        let house = pipeline(topic, connection);
        house.write("data/seed.csv", events(0..10));
        let before = house.ok(&["topic", "list"]);
        assert!(!before.contains(topic), "{before}");
        // Both again: nothing is produced twice, and nothing consumed twice.
        for _ in 0..2 {
            house.ok(&["sync", "a_produce"]);
            house.ok(&["sync", "b_consume"]);
            assert_eq!(
                house.cell("select count(*), sum(value), max(value) from raw.events"),
                "10,4500,900"
            );
        }
        let after = house.ok(&["topic", "list"]);
        assert!(after.contains(topic), "{after}");
        assert_eq!(house.cell("select count(*) from system.quarantine"), "0");
        house.sql("select id, value, _key from raw.events order by id")
    };
    let (by_kafka, by_journal) = (landed(&cluster()), landed(&journal()));
    assert_eq!(by_kafka[9], "9,900,9");
    assert_eq!(by_journal, by_kafka);
}

/// How long a sync takes undisturbed.
fn calm(house: &House, sync: &str) -> Duration {
    let begun = Instant::now();
    house.ok(&["sync", sync]);
    begun.elapsed()
}

/// Kills both ends of the pipeline again and again, then counts.
fn assert_survives_kills(topic: &str, connection: &str) {
    let house = pipeline(topic, connection);
    let file = |n: u32| {
        house.write(&format!("data/{n}.csv"), events(n * ROWS_EACH..(n + 1) * ROWS_EACH));
    };
    // The first write also makes the topic, which would make a run seem longer than it is.
    file(0);
    house.ok(&["sync", "a_produce"]);
    house.ok(&["sync", "b_consume"]);
    file(1);
    let calm = ["a_produce", "b_consume"].map(|sync| (sync, calm(&house, sync)));
    let mut kills = 0;
    for n in 1..=KILLS {
        file(n + 1);
        for (sync, whole) in calm {
            let after = whole * n / (KILLS + 1);
            kills += u32::from(house.killed(&["sync", sync], after, || ()));
            if sync == "a_produce" {
                // What a killed write left open is ended by the next one, so that there is something to consume.
                house.ok(&["sync", sync]);
            }
        }
    }
    assert!(kills >= KILLS, "only {kills} of {} runs were killed before they ended", KILLS * 2);
    house.ok(&["sync", "b_consume"]);
    let rows = u64::from(ROWS_EACH * (KILLS + 2));
    assert_eq!(
        house.cell("select count(*), count(distinct id), max(id), sum(value) from raw.events"),
        format!("{rows},{rows},{},{}", rows - 1, rows * (rows - 1) / 2 * 100),
        "after {kills} kills"
    );
    assert_eq!(house.cell("select count(*) from system.quarantine"), "0");
}

#[test]
fn syncs_through_kafka_that_are_killed_land_every_event_once() {
    assert_survives_kills("killed_events", &cluster());
}

#[test]
fn syncs_through_a_journal_that_are_killed_land_every_event_once() {
    assert_survives_kills("killed_events", &journal());
}
