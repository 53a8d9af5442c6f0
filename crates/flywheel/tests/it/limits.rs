//! What a sync may use of its source and of memory, seen from the server and from the rows.

use std::process::Stdio;

use flywheel_testkit::Postgres;
use serde_json::Value;

use crate::house::{House, binary};
use crate::servers::postgres;

/// A shop of four tables in a database of its own, and a sync of all of them with `limits`.
fn shop(limits: &str) -> (House, String) {
    let (house, database) = (House::new(), postgres().database());
    for (table, rows) in [("a", 20_000), ("b", 120_000), ("c", 40_000), ("d", 60_000)] {
        let sql = format!(
            "create table {table} as select n id, 'a note that takes some room ' || n note from generate_series(1, {rows}) n;
             alter table {table} add primary key (id); analyze {table}"
        );
        postgres().psql(&database, &sql);
    }
    house.write("password", Postgres::PASSWORD);
    house.write(
        "connections/pg.yaml",
        format!(
            "connection: pg\ntype: postgres\noptions: {{host: 127.0.0.1, port: {}, database: {database}, user: postgres, password: '${{file:password}}'}}\n",
            postgres().port()
        ),
    );
    declare(&house, limits, "{chunk_rows: 10000, parallel: 3}");
    (house, database)
}

fn declare(house: &House, limits: &str, options: &str) {
    let more = options.trim_matches(['{', '}']);
    let streams: String = ["a", "b", "c", "d"]
        .map(|name| format!("  - {{stream: {name}, options: {{table: {name}, {more}}}}}\n"))
        .concat();
    house.write("syncs/in.yaml", format!("sync: in\nconnection: pg\n{limits}streams:\n{streams}"));
}

/// Runs the sync and tells how many connections the server had for it at most.
fn most_connections(house: &House, database: &str) -> usize {
    let mut running = binary()
        .arg("--project")
        .arg(house.dir())
        .args(["sync", "in"])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let sql = format!(
        "select count(*) from pg_stat_activity where datname = '{database}' and application_name = 'flywheel'"
    );
    let mut most = 0;
    loop {
        let ended = running.try_wait().unwrap();
        most = most.max(postgres().psql("postgres", &sql).parse().unwrap());
        if let Some(status) = ended {
            assert!(status.success());
            return most;
        }
    }
}

fn counts(house: &House) -> Vec<String> {
    ["a", "b", "c", "d"]
        .map(|name| house.cell(&format!("select count(*) from raw.{name}")))
        .to_vec()
}

/// How many pairs of streams were read at the same time.
fn overlaps(house: &House) -> usize {
    let sql = "select date_part('epoch', started_at) * 1000, duration_ms from system.tasks where kind = 'sync'";
    let span = |line: &String| {
        let (start, length) = line.split_once(',').unwrap();
        let (start, length): (f64, f64) = (start.parse().unwrap(), length.parse().unwrap());
        (start, start + length)
    };
    let spans: Vec<(f64, f64)> = house.sql(sql).iter().map(span).collect();
    assert_eq!(spans.len(), 4);
    let together = |a: &(f64, f64), b: &(f64, f64)| a.0 < b.1 && b.0 < a.1;
    let later =
        |(at, a): (usize, &(f64, f64))| spans[at + 1..].iter().filter(|b| together(a, b)).count();
    spans.iter().enumerate().map(later).sum()
}

#[test]
fn no_more_connections_are_open_than_a_sync_may_have_and_no_row_is_lost() {
    for (limits, most) in [
        ("limits: {parallelism: 4, source_connections: 3}\n", 3),
        ("limits: {parallelism: 4, source_connections: 1}\n", 1),
        ("limits: {source_connections: 2}\n", 2),
    ] {
        let (house, database) = shop(limits);
        let seen = most_connections(&house, &database);
        assert!(seen <= most, "{limits}: {seen}");
        assert_eq!(counts(&house), ["20000", "120000", "40000", "60000"], "{limits}");
    }
}

#[test]
fn streams_are_read_at_once_as_far_as_the_limits_allow_it() {
    let (house, _) = shop("limits: {parallelism: 3}\n");
    house.ok(&["sync", "in"]);
    assert!(overlaps(&house) >= 2);
    let begun =
        house.cell("select name from system.tasks where kind = 'sync' order by started_at limit 1");
    assert!(["in.b", "in.d", "in.c"].contains(&begun.as_str()), "the longest come first: {begun}");
    let (house, _) = shop("");
    house.ok(&["sync", "in"]);
    assert_eq!(overlaps(&house), 0, "without limits one comes after the other");
}

#[test]
fn following_a_log_says_how_many_connections_it_takes() {
    let (house, _) = shop("");
    let sync = "sync: in\nconnection: pg\nlimits: {source_connections: 1}\nstreams:\n  - {stream: a, options: {table: a}, read: cdc, write: mirror, key: [id]}\n";
    house.write("syncs/in.yaml", sync);
    let message = house.fails(2, &["sync", "in"]);
    assert!(
        message.contains("takes 2 connections") && message.contains("source_connections: 2"),
        "{message}"
    );
    house.write("syncs/in.yaml", sync.replace("connections: 1", "connections: 2"));
    house.ok(&["sync", "in"]);
    assert_eq!(house.cell("select count(*) from raw.a"), "20000");
}

#[test]
fn pages_and_row_groups_shrink_to_the_memory_and_a_row_that_does_not_fit_is_named() {
    let (house, database) = shop("limits: {parallelism: 2, memory: 12MiB}\n");
    house.ok(&["sync", "in"]);
    assert_eq!(counts(&house), ["20000", "120000", "40000", "60000"]);
    declare(&house, "limits: {memory: 64KiB}\n", "{parallel: 1}");
    let small = house.fails(2, &["sync", "in"]);
    assert!(small.contains("is too little") && small.contains("Write at least"), "{small}");
    postgres().psql(&database, "insert into c values (40001, repeat('x', 3000000))");
    declare(&house, "limits: {memory: 8MiB}\n", "{parallel: 1}");
    let message = house.fails(1, &["sync", "in"]);
    assert!(message.contains("public.c:") && message.contains("the sync's memory"), "{message}");
    assert!(message.contains("memory") && message.contains("Raise"), "{message}");
    assert_eq!(counts(&house), ["20000", "120000", "40000", "60000"], "the others landed again");
    declare(&house, "limits: {memory: 128MiB}\n", "{parallel: 1}");
    house.ok(&["sync", "in"]);
    assert_eq!(house.cell("select max(length(note)) from raw.c"), "3000000");
}

#[test]
fn a_plan_shows_who_reads_what_and_what_each_may_use() {
    let (house, _) = shop("");
    house.write("connections/out.yaml", "connection: out\ntype: sqlite\noptions: {path: out.db}\n");
    let streams: String = ["a", "b", "c", "d"]
        .map(|name| format!("  - {{stream: {name}, options: {{table: {name}}}, key: [id], target: {{table: {name}}}}}\n"))
        .concat();
    house.write("out.db", "");
    house.write(
        "syncs/in.yaml",
        format!("sync: in\nconnection: pg\ndestination: out\nlimits: {{parallelism: 2, source_connections: 4, memory: 64MiB}}\nstreams:\n{streams}"),
    );
    let plan: Value =
        serde_json::from_str(&house.ok(&["migrate", "plan", "in", "--output", "json"])).unwrap();
    let worker = |name: &str| {
        let found = plan.as_array().unwrap().iter().find(|one| one["stream"] == name).unwrap();
        found["worker"].as_u64().unwrap()
    };
    // 120,000 rows on one side, 60,000 + 40,000 + 20,000 on the other.
    assert_eq!(worker("d"), worker("c"));
    assert_eq!(worker("c"), worker("a"));
    assert_ne!(worker("b"), worker("d"));
    let share = plan[0]["share"].as_str().unwrap();
    assert!(share.starts_with("2 streams at once, each by at most 1 connection,"), "{share}");
}

#[test]
fn a_cap_on_connections_that_are_not_counted_is_refused() {
    let house = House::new();
    house.write("connections/f.yaml", "connection: f\ntype: csv\noptions: {folder: data}\n");
    house.write("data/a.csv", "id\n1\n");
    house.write(
        "syncs/in.yaml",
        "sync: in\nconnection: f\nlimits: {source_connections: 2}\nstreams:\n  - {stream: a, options: {path: a.csv}}\n",
    );
    let message = house.fails(2, &["sync", "in"]);
    assert!(message.contains("source_connections") && message.contains("postgres"), "{message}");
}

#[test]
fn connectors_of_optional_features_are_listed_and_a_build_without_them_says_how_to_get_them() {
    let house = House::new();
    for (name, options) in [("odbc", "{connection_string: DSN=x}"), ("adbc", "{driver: x}")] {
        house.write(
            &format!("connections/{name}.yaml"),
            format!("connection: {name}\ntype: {name}\noptions: {options}\n"),
        );
        house.write(
            &format!("syncs/{name}.yaml"),
            format!("sync: {name}\nconnection: {name}\nstreams:\n  - {{stream: t, to: raw.{name}, options: {{table: t}}}}\n"),
        );
        assert!(house.ok(&["connectors", "--output", "csv"]).contains(name));
        let message = house.fails(2, &["sync", name]);
        // A build that has them looks for the driver.
        let told = message.contains(&format!("--features {name}")) || message.contains("driver");
        assert!(told, "{message}");
    }
}
