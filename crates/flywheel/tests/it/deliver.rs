//! Rows leave for other systems: from files to a database, from the lake back to whoever needs it.

use std::collections::BTreeSet;

use flywheel_connect::ABSENT;
use flywheel_connect::destination::DESTINATIONS;
use flywheel_connect::source::SOURCES;
use serde_json::Value;

use crate::house::{House, binary};

/// A project that lands customers and can write into a SQLite file and into CSV files.
fn shop(sync: &str) -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "connections/shop_db.yaml",
        "connection: shop_db\ntype: sqlite\noptions: {path: out/shop.db}\n",
    );
    house.write(
        "connections/exports.yaml",
        "connection: exports\ntype: csv\noptions: {folder: out}\n",
    );
    house.write(
        "syncs/a_land.yaml",
        "sync: a_land\nconnection: files\nstreams:\n  - stream: customers\n    options: {path: '*.csv'}\n    read: incremental\n    write: merge\n    key: [id]\n    columns: [{name: id, type: int64, required: true}, {name: name, type: text}]\n",
    );
    house.write("syncs/b_out.yaml", sync);
    house.write("data/1.csv", "id,name\n1,Ann\n2,Bob\n3,Cy\n");
    house
}

/// What another program sees in the database.
fn in_database(house: &House, sql: &str) -> Vec<String> {
    let database = rusqlite::Connection::open(house.dir().join("out/shop.db")).unwrap();
    let mut statement = database.prepare(sql).unwrap();
    let width = statement.column_count();
    let row = |row: &rusqlite::Row<'_>| {
        let cell = |at| {
            row.get::<_, rusqlite::types::Value>(at).map(|value| match value {
                rusqlite::types::Value::Null => "∅".to_owned(),
                rusqlite::types::Value::Integer(n) => n.to_string(),
                rusqlite::types::Value::Real(n) => n.to_string(),
                rusqlite::types::Value::Text(text) => text,
                rusqlite::types::Value::Blob(_) => "blob".to_owned(),
            })
        };
        Ok((0..width).map(|at| cell(at).unwrap()).collect::<Vec<_>>().join("|"))
    };
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

const CHANGES: &str = "sync: b_out\nconnection: lake\ndestination: shop_db\nstreams:\n  - stream: customers\n    options: {table: raw.customers}\n    read: incremental\n    write: mirror\n    key: [id]\n    target: {table: customers}\n";

#[test]
fn a_key_that_is_not_unique_in_the_source_is_told_or_its_rows_are_set_aside() {
    let merged = "sync: b_out\nconnection: files\ndestination: shop_db\nstreams:\n  - stream: people\n    options: {path: '*.csv'}\n    read: full\n    write: merge\n    key: [id]\n    target: {table: people}\n";
    let house = shop(merged);
    house.write("data/1.csv", "id,name\n1,Ann\n2,Bob\n1,Cy\n");
    let output = house.run(&["sync", "b_out"]);
    let said = crate::house::text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 rows have a key that another row"), "{said}");
    assert_eq!(in_database(&house, "select * from people order by id"), ["1|Cy", "2|Bob"]);

    // What replaces all rows, as a mirror of a whole read does, is made with the key.
    for write in ["replace", "mirror"] {
        let house = shop(&merged.replace("write: merge", &format!("write: {write}")));
        house.write("data/1.csv", "id,name\n1,Ann\n2,Bob\n1,Cy\n");
        house.ok(&["sync", "b_out"]);
        assert_eq!(in_database(&house, "select * from people order by id"), ["1|Ann", "2|Bob"]);
        let key = "select name from pragma_table_info('people') where pk > 0";
        assert_eq!(in_database(&house, key), ["id"], "{write}");
        let aside = "select code, status from system.quarantine";
        assert_eq!(house.sql(aside), ["duplicate-key,open"], "{write}");
        // Once the key is unique, nothing waits any more.
        house.write("data/1.csv", "id,name\n1,Ann\n2,Bob\n3,Cy\n");
        house.ok(&["sync", "b_out"]);
        assert_eq!(house.sql(aside), ["duplicate-key,superseded"], "{write}");
    }
}

#[test]
fn only_what_changed_in_a_table_leaves_and_deleted_rows_are_removed() {
    let house = shop(CHANGES);
    house.ok(&["sync"]);
    let rows = "select id, name from customers order by id";
    assert_eq!(in_database(&house, rows), ["1|Ann", "2|Bob", "3|Cy"]);
    let sent = "select rows_out from system.tasks where name like 'b_out%' order by started_at desc limit 1";
    assert_eq!(house.cell(sent), "3");
    house.write("data/2.csv", "id,name\n2,Bea\n4,Di\n");
    house.ok(&["sync"]);
    assert_eq!(in_database(&house, rows), ["1|Ann", "2|Bea", "3|Cy", "4|Di"]);
    assert_eq!(house.cell(sent), "2", "unchanged rows stay at home");
    house.ok(&["sync"]);
    assert_eq!(house.cell(sent), "0");

    // The table is made anew without a row: it goes in the target, too.
    house.write(
        "syncs/a_land.yaml",
        "sync: a_land\nconnection: files\nstreams:\n  - stream: customers\n    options: {path: 'full/*.csv'}\n    read: full\n    write: replace\n    columns: [{name: id, type: int64, required: true}, {name: name, type: text}]\n",
    );
    house.write("data/full/1.csv", "id,name\n1,Ann\n4,Di\n5,Ed\n");
    house.ok(&["sync"]);
    assert_eq!(in_database(&house, rows), ["1|Ann", "4|Di", "5|Ed"]);
    assert_eq!(house.cell(sent), "1");
}

#[test]
fn a_mirror_of_a_full_read_removes_what_is_gone_in_every_target() {
    let house = shop(
        "sync: b_out\nconnection: files\ndestination: [lake, shop_db]\nstreams:\n  - stream: people\n    options: {path: '*.csv'}\n    read: full\n    write: mirror\n    key: [id]\n    target: {table: people}\n",
    );
    house.ok(&["sync", "b_out"]);
    house.write("data/1.csv", "id,name\n1,Ann\n3,Cyd\n");
    house.ok(&["sync", "b_out"]);
    let rows = "select id, name from people order by id";
    assert_eq!(in_database(&house, rows), ["1|Ann", "3|Cyd"]);
    assert_eq!(house.sql("select id, name from raw.people order by id"), ["1,Ann", "3,Cyd"]);
    house.ok(&["sync", "b_out"]);
    assert_eq!(in_database(&house, rows), ["1|Ann", "3|Cyd"]);
}

#[test]
fn a_stream_that_replaced_its_rows_may_merge_them_from_then_on_and_back() {
    let house = House::new();
    let old = rusqlite::Connection::open(house.path("old.db")).unwrap();
    let new = rusqlite::Connection::open(house.path("new.db")).unwrap();
    for database in [&old, &new] {
        database.execute_batch("create table t (id integer primary key, v text)").unwrap();
    }
    old.execute_batch("insert into t values (1, '')").unwrap();
    house.write("connections/old.yaml", "connection: old\ntype: sqlite\noptions: {path: old.db}\n");
    house.write("connections/new.yaml", "connection: new\ntype: sqlite\noptions: {path: new.db}\n");
    for (at, write) in ["mirror", "merge", "mirror"].into_iter().enumerate() {
        house.write(
            "syncs/s.yaml",
            format!("sync: s\nconnection: old\ndestination: new\nstreams:\n  - {{stream: t, options: {{table: t}}, target: {{table: t}}, read: full, write: {write}, key: [id]}}\n"),
        );
        old.execute("update t set v = ?1", [format!("v{at}")]).unwrap();
        house.ok(&["sync"]);
        let found: String = new.query_row("select v from t", [], |row| row.get(0)).unwrap();
        assert_eq!(found, format!("v{at}"), "{write}");
    }
}

#[test]
fn settings_of_streams_and_targets_take_values_from_outside() {
    let house = shop(
        "sync: b_out\nconnection: files\ndestination: shop_db\nstreams:\n  - stream: people\n    options: {path: '${env:SHOP_PART}.csv', skip_lines: '${env:SHOP_SKIP}'}\n    read: full\n    write: replace\n    target: {table: 'people_${env:SHOP_PART}'}\n",
    );
    house.write("data/2.csv", "id,name\n9,Zed\n");
    let sync = |skip: &str| {
        let mut sync = binary();
        sync.arg("-C").arg(house.dir()).args(["sync", "b_out"]);
        sync.env("SHOP_PART", "1").env("SHOP_SKIP", skip).output().unwrap()
    };
    assert!(sync("0").status.success());
    assert_eq!(in_database(&house, "select count(*) from people_1"), ["3"]);
    // A number is wanted there.
    let output = sync("many");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(!output.status.success() && said.contains("\"skip_lines\" is a text"), "{said}");
    // What they say is shown where something goes wrong, so a secret is not for them.
    let declared = house.read("syncs/b_out.yaml").replace("env:SHOP_PART", "file:part.txt");
    house.write("syncs/b_out.yaml", declared).write("part.txt", "1\n");
    assert!(house.fails(2, &["sync", "b_out"]).contains("refers to a secret"));
}

#[test]
fn a_replacement_that_was_cut_off_before_its_swap_is_swapped_in_once() {
    let house = shop(
        "sync: b_out\nconnection: files\ndestination: shop_db\nstreams:\n  - stream: customers\n    options: {path: '*.csv'}\n    read: full\n    write: replace\n    target: {table: customers}\n",
    );
    house.ok(&["sync", "b_out"]);
    let rows = "select id, name from customers order by id";
    assert_eq!(in_database(&house, rows), ["1|Ann", "2|Bob", "3|Cy"]);
    // The database takes everything but the swap: the run ends behind its last commit.
    let database = rusqlite::Connection::open(house.dir().join("out/shop.db")).unwrap();
    let trigger =
        "create trigger down before delete on customers begin select raise(abort, 'down'); end";
    database.execute_batch(trigger).unwrap();
    house.write("data/1.csv", "id,name\n1,Ann\n2,Bea\n");
    assert!(!house.run(&["sync", "b_out"]).status.success());
    assert_eq!(in_database(&house, rows), ["1|Ann", "2|Bob", "3|Cy"]);
    database.execute_batch("drop trigger down").unwrap();
    house.write("data/1.csv", "id,name\n1,Ann\n2,Bea\n4,Di\n");
    house.ok(&["sync", "b_out"]);
    assert_eq!(in_database(&house, rows), ["1|Ann", "2|Bea", "4|Di"]);
    house.ok(&["sync", "b_out"]);
    assert_eq!(in_database(&house, rows), ["1|Ann", "2|Bea", "4|Di"]);
}

#[test]
fn a_destination_that_is_down_does_not_stop_the_others_and_catches_up() {
    let house = shop(
        "sync: b_out\nconnection: files\ndestination: [shop_db, exports, lake]\nstreams:\n  - stream: people\n    options: {path: '*.csv'}\n    read: incremental\n    write: append\n    target: {}\n",
    );
    // The two destinations want different settings: each is told.
    let complaint = house.fails(2, &["check"]);
    assert!(complaint.contains("syncs/b_out.yaml") && complaint.contains("shop_db"), "{complaint}");

    let house = shop(
        "sync: b_out\nconnection: files\ndestination: [shop_db, exports, lake]\nstreams:\n  - stream: people\n    options: {path: '*.csv'}\n    read: incremental\n    write: append\n    targets: {shop_db: {table: people}, exports: {path: people.csv}}\n",
    );
    house.write(
        "out/shop.db",
        "this is no database, it is a text of some length that stands in its way",
    );
    let complaint = house.fails(1, &["sync"]);
    assert!(complaint.contains("shop.db"), "{complaint}");
    assert_eq!(house.cell("select count(*) from raw.people"), "3", "the lake has its rows");
    assert!(house.read("out/people-000001.csv").contains("Bob"), "the files, too");
    std::fs::remove_file(house.dir().join("out/shop.db")).unwrap();
    house.ok(&["sync"]);
    assert_eq!(in_database(&house, "select count(*) from people"), ["3"]);
    house.ok(&["sync"]);
    assert_eq!(in_database(&house, "select count(*) from people"), ["3"], "nothing twice");
}

#[test]
fn rows_a_destination_refuses_are_set_aside_and_the_rest_arrives() {
    let house = shop(
        "sync: b_out\nconnection: files\ndestination: shop_db\nstreams:\n  - stream: people\n    options: {path: '*.csv'}\n    read: incremental\n    write: append\n    target: {table: people}\n",
    );
    std::fs::create_dir_all(house.dir().join("out")).unwrap();
    let database = rusqlite::Connection::open(house.dir().join("out/shop.db")).unwrap();
    database
        .execute_batch("create table people (id integer, name text check (length(name) > 2))")
        .unwrap();
    drop(database);
    house.ok(&["sync"]);
    assert_eq!(in_database(&house, "select name from people order by id"), ["Ann", "Bob"]);
    let set_aside = house.sql("select file, line, code, raw from system.quarantine");
    assert_eq!(set_aside.len(), 1, "{set_aside:?}");
    assert!(set_aside[0].contains("1.csv,4") && set_aside[0].contains("Cy"), "{set_aside:?}");
}

#[test]
fn each_destination_that_refuses_a_row_says_why() {
    let house = shop(
        "sync: b_out\nconnection: files\ndestination: [shop_db, other_db]\nstreams:\n  - stream: people\n    options: {path: '*.csv'}\n    read: incremental\n    write: append\n    target: {table: people}\n",
    );
    house.write(
        "connections/other_db.yaml",
        "connection: other_db\ntype: sqlite\noptions: {path: out/other.db}\n",
    );
    std::fs::create_dir_all(house.dir().join("out")).unwrap();
    for name in ["shop.db", "other.db"] {
        let database = rusqlite::Connection::open(house.dir().join("out").join(name)).unwrap();
        let table = "create table people (id integer, name text check (length(name) > 2))";
        database.execute_batch(table).unwrap();
    }
    house.ok(&["sync"]);
    let reasons = house.sql("select file, line, reason from system.quarantine order by reason");
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons.iter().all(|row| row.contains("1.csv,4")), "{reasons:?}");
    for (row, name) in reasons.iter().zip(["other_db", "shop_db"]) {
        assert!(row.contains(name), "{row}");
    }
    house.ok(&["quarantine", "discard"]);
    let open = "select count(*) from system.quarantine where status = 'open'";
    assert_eq!(house.cell(open), "0");
}

#[test]
fn a_query_over_models_is_exported_whole_each_turn() {
    let house = shop(
        "sync: b_out\nconnection: lake\ndestination: exports\nstreams:\n  - stream: names\n    options: {query: \"select name from {{ ref('people') }} order by name\"}\n    write: replace\n    target: {path: names.csv}\n",
    );
    house.write(
        "models/mart/people.sql",
        "select id, upper(name) as name from {{ source('raw', 'customers') }}",
    );
    house.ok(&["turn"]);
    let text = house.read("out/names.csv");
    assert!(text.contains("ANN") && text.contains("CY"), "{text}");
    house.ok(&["check"]);
}

/// The columns of the list of connectors.
const COLUMNS: [&str; 5] = ["type", "what it is", "read", "write", "after a crash"];

/// What the list of connectors has to say of each, by its own entry.
fn declared_connectors() -> Vec<[String; 5]> {
    let about = |name: &str| {
        let source = SOURCES.iter().find(|source| source.name == name);
        let lacking = source.is_some_and(|source| !source.in_build);
        let destination = DESTINATIONS.iter().find(|destination| destination.name == name);
        let about = source.map(|source| source.about);
        let about = about.or_else(|| destination.map(|one| one.about)).unwrap();
        format!("{about}{}", if lacking { " (optional; not in this build)" } else { "" })
    };
    let read = |name: &str| match SOURCES.iter().find(|source| source.name == name) {
        Some(source) if source.cdc => "full, incremental, cdc",
        Some(_) => "full, incremental",
        None => "",
    };
    let names = SOURCES.iter().map(|source| source.name);
    let names: BTreeSet<&str> =
        names.chain(DESTINATIONS.iter().map(|destination| destination.name)).collect();
    let row = |name: &str| {
        let destination = DESTINATIONS.iter().find(|destination| destination.name == name);
        let mut write: Vec<String> = destination
            .into_iter()
            .flat_map(|destination| destination.modes)
            .map(ToString::to_string)
            .collect();
        write
            .extend(destination.filter(|one| one.upserts).map(|_| "records of actions".to_owned()));
        let guarantee = destination.map_or("", |destination| destination.guarantee.words());
        [
            name.to_owned(),
            about(name),
            read(name).to_owned(),
            write.join(", "),
            guarantee.to_owned(),
        ]
    };
    names.into_iter().map(row).collect()
}

#[test]
fn every_connector_says_how_it_is_read_and_written_and_what_a_crash_leaves() {
    let house = House::new();
    let declared = declared_connectors();
    assert!(declared.len() >= SOURCES.len(), "{declared:?}");
    for [name, about, read, write, guarantee] in &declared {
        assert!(!about.is_empty(), "{name}");
        assert!(read.len() + write.len() > 0, "{name}");
        assert_eq!(write.is_empty(), guarantee.is_empty(), "{name}: {write}; {guarantee}");
    }

    // As a program reads it: exactly these, and what people look for in vain with what to use.
    let text = house.ok(&["connectors", "--output", "json"]);
    let printed: Vec<Value> = serde_json::from_str(&text).unwrap();
    let told =
        |row: &Value| COLUMNS.map(|column| row[column].as_str().unwrap_or_default().to_owned());
    let (absent, there): (Vec<_>, Vec<_>) =
        printed.iter().map(told).partition(|[_, about, ..]| about.starts_with("NOT THERE"));
    assert_eq!(there, declared);
    let absent: Vec<(&str, &str)> =
        absent.iter().map(|[name, about, ..]| (name.as_str(), about.as_str())).collect();
    let expected: Vec<String> =
        ABSENT.iter().map(|absent| format!("NOT THERE; use {}", absent.instead)).collect();
    let expected: Vec<(&str, &str)> =
        ABSENT.iter().map(|one| one.name).zip(expected.iter().map(String::as_str)).collect();
    assert_eq!(absent, expected);

    // As a person reads it: a line of each, whose cells stand under the header's.
    let list = house.ok(&["connectors"]);
    let header = list.lines().next().unwrap();
    let starts = COLUMNS.map(|column| header.find(column).unwrap());
    for row in &declared {
        let line = list.lines().find(|line| line.split(' ').next() == Some(row[0].as_str()));
        let line: Vec<char> =
            line.unwrap_or_else(|| panic!("{} is not in\n{list}", row[0])).chars().collect();
        let ends = starts[1..].iter().copied().chain([line.len()]);
        let cells: Vec<String> = starts
            .iter()
            .zip(ends)
            .map(|(start, end)| line.iter().take(end).skip(*start).collect::<String>())
            .map(|cell| cell.trim().to_owned())
            .collect();
        assert_eq!(cells, row, "{list}");
    }
}

#[test]
fn masked_values_reach_neither_the_lake_nor_the_quarantine() {
    let house = shop(
        "sync: b_out\nconnection: files\nstreams:\n  - stream: people\n    options: {path: '*.csv'}\n    read: incremental\n    write: append\n    columns: [{name: id, type: int64}, {name: name, clean: [trim, upper], mask: partial(1)}]\n",
    );
    std::fs::remove_file(house.dir().join("syncs/a_land.yaml")).unwrap();
    house.write("data/1.csv", "id,name\n1, canary-one \nx,canary-two\n");
    house.ok(&["sync"]);
    assert_eq!(house.sql("select id, right(name, 1) from raw.people"), ["1,E"]);
    assert_eq!(house.cell("select count(*) from system.quarantine"), "1");
    let lake = house.dir().join(".flywheel");
    let mut waiting = vec![lake];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                waiting.push(entry.path());
                continue;
            }
            let bytes = std::fs::read(entry.path()).unwrap();
            let shown = String::from_utf8_lossy(&bytes).to_lowercase();
            assert!(!shown.contains("canary-"), "{} holds a masked value", entry.path().display());
        }
    }
}

#[test]
fn ten_events_go_through_a_journal_and_arrive_once() {
    let house = House::new();
    let amounts: Vec<u32> = (0..10).map(|n| n * 100).collect();
    let lines = amounts.iter().enumerate().map(|(n, amount)| format!("e{n},{amount}\n"));
    house.write("data/events.csv", format!("id,amount\n{}", lines.collect::<String>()));
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write("connections/queue.yaml", "connection: queue\ntype: journal\noptions: {path: q}\n");
    house.write(
        "syncs/a_produce.yaml",
        "sync: a_produce\nconnection: files\ndestination: queue\nstreams:\n  - {stream: events, options: {path: '*.csv'}, read: incremental, write: append, target: {topic: events}}\n",
    );
    house.write(
        "syncs/b_consume.yaml",
        "sync: b_consume\nconnection: queue\nstreams:\n  - {stream: events, options: {topic: events}, read: incremental, write: append}\n",
    );
    let sums =
        "select count(*), sum(cast(amount as bigint)), max(cast(amount as bigint)) from raw.events";
    for _ in 0..2 {
        house.ok(&["sync", "a_produce"]);
        house.ok(&["sync", "b_consume"]);
        assert_eq!(house.cell(sums), "10,4500,900");
    }
    house.write("data/more.csv", "id,amount\nlate,1\n");
    house.ok(&["sync", "a_produce"]);
    let behind = house.ok(&["lag", "--output", "csv"]);
    assert!(behind.contains("1 messages") || behind.contains(",1,"), "{behind}");
    house.ok(&["sync", "b_consume"]);
    assert_eq!(house.cell(sums), "11,4501,900");
}

#[test]
fn a_source_that_is_away_is_waited_for_once() {
    let house = House::new();
    house.write(
        "connections/shop.yaml",
        "connection: shop\ntype: postgres\noptions: {host: 127.0.0.1, port: 1, database: shop, user: postgres, password: '${file:password}'}\n",
    );
    house.write("password", "none");
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: shop\nstreams:\n  - {stream: a, options: {table: a}, read: cdc, write: mirror, key: [id]}\n  - {stream: b, options: {table: b}, read: cdc, write: mirror, key: [id]}\n",
    );
    let output = house.run(&["lag", "--output", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let lags: Value = serde_json::from_slice(&output.stdout).unwrap();
    let again = "\"shop\" has not answered before";
    let said = |at: usize| lags[at]["error"].as_str().unwrap().contains(again);
    assert_eq!([said(0), said(1)], [false, true], "{lags}");
}

#[test]
fn messages_without_value_that_mark_rows_have_to_end_them() {
    let house = House::new();
    house.write("connections/queue.yaml", "connection: queue\ntype: journal\noptions: {path: q}\n");
    let sync = "sync: customers\nconnection: queue\nstreams:\n  - {stream: customers, options: {topic: customers, tombstones: mark}, read: incremental, write: mirror, key: [_key]}\n";
    for write in ["mirror", "history"] {
        house.write("syncs/customers.yaml", sync.replace("mirror", write));
        let said = house.fails(2, &["check"]);
        assert!(said.contains("without value") && said.contains("deleted: _deleted"), "{said}");
    }
    house.write("syncs/customers.yaml", sync.replace("key:", "deleted: _deleted, key:"));
    house.ok(&["check"]);
}

#[test]
fn a_declared_column_that_a_table_lost_stays_and_is_empty() {
    let house = House::new();
    let database = rusqlite::Connection::open(house.dir().join("shop.db")).unwrap();
    let run = |sql: &str| database.execute_batch(sql).unwrap();
    run("create table t (id integer primary key, b text); insert into t values (1, 'x')");
    house.write(
        "connections/shop_db.yaml",
        "connection: shop_db\ntype: sqlite\noptions: {path: shop.db}\n",
    );
    let sync = "sync: shop\nconnection: shop_db\nstreams:\n  - {stream: t, options: {table: t}, read: full, write: replace, columns: [{name: id, type: int64}, {name: b, type: text}]}\n";
    house.write("syncs/shop.yaml", sync.replace("name: b", "name: bb"));
    assert!(house.fails(2, &["sync"]).contains("no column \"bb\""), "a wrong name is an error");
    house.write("syncs/shop.yaml", sync);
    house.ok(&["sync"]);
    run("alter table t drop column b; insert into t values (2)");
    for _ in 0..2 {
        let output = house.run(&["sync"]);
        let said = crate::house::text(&output.stderr);
        assert!(output.status.success() && said.contains("no column \"b\" any more"), "{said}");
        assert_eq!(house.cell("select count(*), count(b) from raw.t"), "2,0");
    }
}
