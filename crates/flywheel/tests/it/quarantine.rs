//! Bad rows: set aside with their place and reason, and landed after they are mended.

use std::fmt::Write;

use crate::house::House;

const ROWS: usize = 100_000;

fn file(bad: bool) -> String {
    let mut text = String::from("id,amount,day\n");
    for row in 0..ROWS {
        let amount =
            if bad && row % 100 == 17 { "many".to_owned() } else { format!("{}.25", row % 500) };
        writeln!(text, "{row},{amount},2024-05-{:02}", row % 28 + 1).unwrap();
    }
    text
}

fn shop(bad: bool) -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: files\nstreams:\n  - stream: orders\n    options: {path: '*.csv'}\n    read: incremental\n    write: append\n    columns: [{name: id, type: int64}, {name: amount, type: 'decimal(12,2)'}, {name: day, type: date}]\n",
    );
    house.write("data/orders.csv", file(bad));
    house.ok(&["sync"]);
    house
}

#[test]
fn one_per_cent_bad_rows_are_set_aside_and_mended_to_a_clean_load() {
    let house = shop(true);
    assert_eq!(house.cell("select count(*) from raw.orders"), "99000");
    let aside = house.sql("select count(*), min(line), max(\"column\"), count(distinct reason) > 0 from system.quarantine");
    assert_eq!(aside, ["1000,19,amount,true"]);
    // Each has its own line of the file and says why: row 17 of each hundred, below the header, counted from 1.
    let whole = "select count(*), count(distinct line), bool_and((line - 19) % 100 = 0), bool_and(length(reason) > 0), count(reason), bool_and(\"column\" = 'amount') from system.quarantine where line is not null";
    assert_eq!(house.sql(whole), ["1000,1000,true,true,1000,true"]);
    assert!(house.ok(&["quarantine", "list"]).contains("many"));

    assert!(
        house.fails(1, &["quarantine", "replay"]).contains("1000 stay"),
        "nothing is mended yet"
    );
    house.write("data/orders.csv", file(false));
    house.ok(&["quarantine", "replay"]);
    house.ok(&["quarantine", "replay"]);
    house.ok(&["sync"]);
    let sums =
        "select count(*), count(distinct id), sum(amount), min(day), max(day) from raw.orders";
    assert_eq!(house.sql(sums), shop(false).sql(sums));
    assert_eq!(house.cell("select count(*) from system.quarantine where status = 'open'"), "0");
}

#[test]
fn a_budget_of_bad_rows_stops_the_run_before_anything_is_published() {
    let house = shop(false);
    let sync = house.read("syncs/shop.yaml") + "errors: {max_bad_rows: 10}\n";
    house.write("syncs/shop.yaml", sync);
    house.write("data/orders2.csv", file(true));
    let complaint = house.fails(3, &["sync"]);
    assert!(
        complaint.contains("orders2.csv:19") && complaint.contains("max_bad_rows"),
        "{complaint}"
    );
    assert_eq!(house.cell("select count(*) from raw.orders"), ROWS.to_string());
    assert_eq!(house.cell("select count(*) from system.quarantine"), "0");
}

#[test]
fn bad_rows_of_one_stream_do_not_count_for_another() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    let mut sync =
        "sync: shop\nconnection: files\nerrors: {max_bad_rows: 3}\nstreams:\n".to_owned();
    for (stream, bad) in [("broken", 10), ("some", 3), ("clean", 0)] {
        writeln!(
            sync,
            "  - {{stream: {stream}, options: {{path: {stream}.csv}}, read: incremental, write: append, columns: [{{name: id, type: int64}}]}}"
        )
        .unwrap();
        let row = |at: usize| if at < bad { format!("no {at}\n") } else { format!("{at}\n") };
        let rows: String = (0..20).map(row).collect();
        house.write(&format!("data/{stream}.csv"), format!("id\n{rows}"));
    }
    house.write("syncs/shop.yaml", sync);
    for _ in 0..2 {
        let complaint = house.fails(3, &["sync"]);
        assert!(
            complaint.contains("broken.csv:") && complaint.contains("max_bad_rows"),
            "{complaint}"
        );
        assert!(!complaint.contains("some.csv"), "{complaint}");
        let landed = "select name from system.tables where name like 'raw.%' order by name";
        assert_eq!(house.sql(landed), ["raw.clean", "raw.some"]);
        let counts =
            "select (select count(*) from raw.clean) as a, (select count(*) from raw.some) as b";
        assert_eq!(house.cell(counts), "20,17");
        assert_eq!(house.cell("select count(*) from system.quarantine"), "3");
    }
}

#[test]
fn a_broken_stream_keeps_no_other_from_being_mended() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    let stream = |name: &str| {
        format!(
            "  - {{stream: {name}, options: {{path: {name}.csv}}, read: full, write: replace, columns: [{{name: id, type: int64}}]}}\n"
        )
    };
    let sync = ["broken", "good"].map(stream).concat();
    let sync = format!("sync: shop\nconnection: files\nstreams:\n{sync}");
    house.write("syncs/shop.yaml", &sync);
    house.write("data/broken.csv", "id\n1\nx\n");
    house.write("data/good.csv", "id\n1\ny\n");
    house.ok(&["sync"]);
    // From now on a bad row stops the stream.
    house.write("syncs/shop.yaml", format!("{sync}errors: {{max_bad_rows: 0}}\n"));
    house.write("data/good.csv", "id\n1\n2\n");
    let complaint = house.fails(3, &["quarantine", "replay"]);
    assert!(complaint.contains("broken.csv:3"), "{complaint}");
    let status = house.sql("select stream, status from system.quarantine order by stream");
    assert_eq!(status, ["broken,open", "good,replayed"]);
    assert_eq!(house.sql("select id from raw.good order by id"), ["1", "2"]);
}

#[test]
fn rows_that_nobody_wants_are_discarded() {
    let house = shop(true);
    house.ok(&["quarantine", "discard"]);
    assert_eq!(
        house.cell("select count(*) from system.quarantine where status = 'discarded'"),
        "1000"
    );
}

/// A project that merges events by their id.
fn events(content: &str) -> House {
    let house = House::new();
    house.write(
        "connections/files.yaml",
        "connection: files\ntype: jsonl\noptions: {folder: data}\n",
    );
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: files\nstreams:\n  - {stream: events, options: {path: events.jsonl}, read: incremental, write: merge, key: [id]}\n",
    );
    house.write("data/events.jsonl", content);
    house
}

#[test]
fn rows_that_a_later_row_replaced_are_shown() {
    let house = events("{\"id\":1}\n{\"id\":1}\n");
    let shown = house.ok(&["sync", "--output", "csv"]);
    assert!(shown.contains("superseded"), "{shown}");
    let house = events("{\"id\":1}\n{\"id\":2}\n");
    let shown = house.ok(&["sync", "--output", "csv"]);
    assert!(!shown.contains("superseded"), "{shown}");
}

#[test]
fn a_row_without_a_key_is_set_aside_and_lands_once_it_has_one() {
    let house = events("{\"id\":1}\n{\"id\":null}\n");
    house.ok(&["sync"]);
    assert_eq!(house.sql("select id from raw.events"), ["1"]);
    let aside = house.sql("select line, \"column\", code from system.quarantine");
    assert_eq!(aside, ["2,id,null-key"]);
    assert!(house.fails(1, &["quarantine", "replay"]).contains("1 stay"), "nothing is mended yet");
    house.write("data/events.jsonl", "{\"id\":1}\n{\"id\":2}\n");
    house.ok(&["quarantine", "replay"]);
    assert_eq!(house.sql("select id from raw.events order by id"), ["1", "2"]);

    let house = events("{\"id\":1}\n{\"id\":null}\n");
    let sync = house.read("syncs/shop.yaml") + "errors: {max_bad_rows: 0}\n";
    house.write("syncs/shop.yaml", sync);
    assert!(house.fails(3, &["sync"]).contains("events.jsonl:2"), "the budget counts it");
}

#[test]
fn a_replay_goes_on_behind_a_stream_that_is_in_no_file() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write("connections/queue.yaml", "connection: queue\ntype: journal\noptions: {path: q}\n");
    house.write("data/days.csv", "id,day\na,2024-05-01\nb,never\n");
    house.write("data/more.csv", "id,day\nc,never\n");
    let columns = "columns: [{name: id, type: text}, {name: day, type: date}]";
    house.write(
        "syncs/a_out.yaml",
        "sync: a_out\nconnection: files\ndestination: queue\nstreams:\n  - {stream: days, options: {path: days.csv}, read: incremental, write: append, target: {topic: days}}\n",
    );
    house.write(
        "syncs/b_in.yaml",
        format!("sync: b_in\nconnection: queue\nstreams:\n  - {{stream: days, options: {{topic: days}}, read: incremental, write: merge, key: [id], {columns}}}\n"),
    );
    house.write(
        "syncs/c_files.yaml",
        format!("sync: c_files\nconnection: files\nstreams:\n  - {{stream: more, options: {{path: more.csv}}, read: incremental, write: append, {columns}}}\n"),
    );
    for sync in ["a_out", "b_in", "c_files"] {
        house.ok(&["sync", sync]);
    }
    house.write("data/more.csv", "id,day\nc,2024-05-03\n");
    let said = house.fails(1, &["quarantine", "replay"]);
    assert!(said.contains("b_in.days") && said.contains("flywheel sync b_in --restart"), "{said}");
    assert!(said.contains("1 rows landed, 1 stay"), "{said}");
    assert_eq!(house.sql("select id from raw.more"), ["c"]);
    assert_eq!(house.sql("select id from raw.days"), ["a"]);
}

#[test]
fn rows_that_no_line_tells_apart_are_set_aside_once_and_all_counted() {
    let house = House::new();
    let database = rusqlite::Connection::open(house.path("shop.db")).unwrap();
    let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME);
        INSERT INTO t VALUES (1, '2024-05-01 10:00:00'), (2, 'x'), (3, 'y');";
    database.execute_batch(table).unwrap();
    house.write(
        "connections/shop.yaml",
        "connection: shop\ntype: sqlite\noptions: {path: shop.db}\n",
    );
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: shop\nstreams:\n  - {stream: t, options: {table: t}, read: incremental, cursor: at, write: merge, key: [id]}\n",
    );
    house.ok(&["sync"]);
    let aside = "select count(*), count(line) from system.quarantine";
    assert_eq!(house.sql(aside), ["2,0"]);
    database.execute_batch("INSERT INTO t VALUES (4, '2024-05-02 10:00:00')").unwrap();
    house.ok(&["sync"]);
    assert_eq!(house.sql(aside), ["2,0"]);
    assert_eq!(house.sql("select count(*) from raw.t"), ["2"]);
    let said = house.fails(1, &["quarantine", "replay"]);
    assert!(said.contains("2 rows of shop.t lie behind"), "{said}");
}

#[test]
fn what_landed_is_shown_although_other_streams_failed() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    let stream = |name: &str| {
        format!(
            "  - {{stream: {name}, options: {{path: {name}.csv}}, read: incremental, write: append, columns: [{{name: id, type: int64, required: true}}]}}\n"
        )
    };
    let streams = [stream("broken"), stream("good"), stream("wrong")].concat();
    house.write("syncs/shop.yaml", format!("sync: shop\nconnection: files\nstreams:\n{streams}"));
    house.write("data/broken.csv", "no\n1\n");
    house.write("data/good.csv", "id\n1\n");
    house.write("data/wrong.csv", "na\n1\n");
    let output = house.run(&["sync", "--output", "json"]);
    assert_eq!(output.status.code(), Some(2));
    let landed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((landed.as_array().unwrap().len(), &landed[0]["table"]), (1, &"raw.good".into()));
    let said = crate::house::text(&output.stderr);
    assert!(said.contains("broken.csv") && said.contains("wrong.csv"), "{said}");
}

#[test]
fn a_sync_without_a_log_is_read_from_its_start_if_it_is_named() {
    let house = events("{\"id\":1}\n{\"id\":2}\n");
    house.ok(&["sync"]);
    assert!(house.fails(2, &["sync", "--restart"]).contains("flywheel sync NAME --restart"));
    house.ok(&["sync", "shop", "--restart"]);
    let read = "select sum(rows_in) from system.tasks where kind = 'sync'";
    assert_eq!(house.cell(read), "4");
    assert_eq!(house.cell("select count(*) from raw.events"), "2", "merged by the key");
}
