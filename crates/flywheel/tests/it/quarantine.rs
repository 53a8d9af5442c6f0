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
fn rows_of_a_stream_that_is_read_from_its_start_are_superseded_and_open_if_bad_again() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    let stream = |name: &str, how: &str| {
        format!(
            "  - {{stream: {name}, options: {{path: {name}.csv}}, {how}, columns: [{{name: id, type: int64}}]}}\n"
        )
    };
    let whole = stream("whole", "read: full, write: replace");
    let more = stream("more", "read: incremental, write: append");
    house.write(
        "syncs/shop.yaml",
        format!("sync: shop\nconnection: files\nstreams:\n{whole}{more}"),
    );
    house.write("data/whole.csv", "id\n1\nx\ny\n");
    house.write("data/more.csv", "id\n1\nz\n");
    house.ok(&["sync"]);
    let status = "select stream, line, status from system.quarantine order by stream, line";
    assert_eq!(house.sql(status), ["more,3,open", "whole,3,open", "whole,4,open"]);

    house.write("data/whole.csv", "id\n1\n2\ny\n");
    house.ok(&["sync"]);
    assert_eq!(house.sql("select id from raw.whole order by id"), ["1", "2"]);
    assert_eq!(house.sql(status), ["more,3,open", "whole,3,superseded", "whole,4,open"]);

    house.write("data/whole.csv", "id\n1\nx\ny\n");
    house.ok(&["sync"]);
    assert_eq!(house.sql(status), ["more,3,open", "whole,3,open", "whole,4,open"]);

    house.write("data/more.csv", "id\n1\n2\n");
    house.ok(&["sync", "shop", "--restart"]);
    assert_eq!(house.sql(status), ["more,3,superseded", "whole,3,open", "whole,4,open"]);
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

#[test]
fn rows_with_a_column_that_nobody_knows_wait_until_it_is_declared() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    let sync = |more: &str| {
        format!(
            "sync: shop\nconnection: files\nstreams:\n  - stream: people\n    options: {{path: '*.csv'}}\n    read: incremental\n    write: append\n    new_columns: quarantine\n{more}"
        )
    };
    house.write("syncs/shop.yaml", sync(""));
    house.write("data/1.csv", "id,name\n1,Ann\n2,Ben\n");
    house.ok(&["sync"]);
    // The first read makes the table; from then on it has the columns that it has.
    house.write("data/2.csv", "id,name,points\n3,Cem,\n4,Dan,7\n");
    house.ok(&["sync"]);
    assert_eq!(house.sql("select id from raw.people order by id"), ["1", "2", "3"]);
    let aside = house.sql("select \"column\", code, line, status from system.quarantine");
    assert_eq!(aside, ["points,new-column,3,open"]);
    let raw = house.cell("select raw from system.quarantine");
    assert!(raw.contains("Dan") && raw.contains('7'), "{raw}");
    let points = "select count(*) from information_schema.columns where table_name = 'people' and column_name = 'points'";
    assert_eq!(house.cell(points), "0");
    let id = house.cell("select quarantine_id from system.quarantine");
    let complaint = house.fails(3, &["quarantine", "edit", &id, "--set", "points=1"]);
    assert!(complaint.contains("declare it"), "{complaint}");

    house.write("syncs/shop.yaml", sync("    columns: [{name: points, type: int64}]\n"));
    house.ok(&["quarantine", "replay"]);
    let rows = house.sql("select id, points from raw.people order by id");
    assert_eq!(rows, ["1,", "2,", "3,", "4,7"]);
    assert_eq!(house.cell("select status from system.quarantine"), "replayed");

    // Other destinations do not do that.
    house.write("connections/out.yaml", "connection: out\ntype: sqlite\noptions: {path: out.db}\n");
    let elsewhere =
        sync("    target: {table: people}\n").replace("streams:", "destination: out\nstreams:");
    house.write("syncs/shop.yaml", elsewhere);
    let complaint = house.fails(2, &["check"]);
    assert!(complaint.contains("sets rows with new columns aside"), "{complaint}");
}

/// A project with one stream of a CSV file, or of JSON lines.
fn one_stream(connector: &str, file: &str, rest: &str, content: &str) -> House {
    let house = House::new();
    house.write(
        "connections/files.yaml",
        format!("connection: files\ntype: {connector}\noptions: {{folder: data}}\n"),
    );
    house.write(
        "syncs/shop.yaml",
        format!(
            "sync: shop\nconnection: files\nstreams:\n  - {{stream: orders, options: {{path: {file}}}, {rest}}}\n"
        ),
    );
    house.write(&format!("data/{file}"), content);
    house.ok(&["sync"]);
    house
}

const APPENDED: &str = "read: incremental, write: append, columns: [{name: id, type: int64}, {name: amount, type: 'decimal(12,2)'}, {name: day, type: date}]";
const ORDERS: &str = "id,amount,note,day\n1,2.50,a,2024-05-01\n2,many,\"b, c\",2024-05-02\n3,few,d,2024-05-03\n4,1,e,never\n";

fn id_of_line(house: &House, line: usize) -> String {
    house.cell(&format!("select quarantine_id from system.quarantine where line = {line}"))
}

#[test]
fn rows_are_mended_by_hand_tried_before_and_kept_as_they_were_read() {
    let house = one_stream("csv", "orders.csv", APPENDED, ORDERS);
    let [second, third] = [3, 4].map(|line| id_of_line(&house, line));
    assert!(house.ok(&["quarantine", "list"]).contains(&second), "the list names the rows");
    let tried = house.run(&["quarantine", "edit", &second, "--try", "--output", "json"]);
    let tried: serde_json::Value = serde_json::from_slice(&tried.stdout).unwrap();
    assert_eq!(
        (&tried[0]["fits"], &tried[0]["column"]),
        (&false.into(), &"amount".into()),
        "{tried}"
    );
    let tried = house.ok(&[
        "quarantine",
        "edit",
        &second,
        "--try",
        "--set",
        "amount=12.5",
        "--output",
        "json",
    ]);
    let tried: serde_json::Value = serde_json::from_str(&tried).unwrap();
    let lands =
        serde_json::json!({"id": "2", "amount": "12.50", "note": "b, c", "day": "2024-05-02"});
    assert_eq!((&tried[0]["fits"], &tried[0]["lands"]), (&true.into(), &lands), "{tried}");
    assert_eq!(house.cell("select count(*) from raw.orders"), "1", "trying writes nothing");
    assert_eq!(house.cell("select count(*) from system.quarantine where status = 'open'"), "3");

    house.ok(&["quarantine", "edit", &second, &third, "--set", "amount=12.5", "--unset", "day"]);
    assert_eq!(
        house.sql("select id, amount, note, day from raw.orders order by id"),
        ["1,2.50,a,2024-05-01", "2,12.50,\"b, c\",", "3,12.50,d,"]
    );
    let kept = "select status, raw, edited, ended_by from system.quarantine where line = 4";
    assert_eq!(
        house.sql(kept),
        [r#"replayed,"3,few,d,2024-05-03","{""amount"":""12.5"",""day"":null}",command line"#]
    );
    let audit = house.cell("select count(*) from system.audit where what = 'quarantine edit'");
    assert_eq!(audit, "1");
    let complaint = house.fails(1, &["quarantine", "edit", &second, "--set", "amount=1"]);
    assert!(complaint.contains("already"), "{complaint}");

    let last = id_of_line(&house, 5);
    let complaint = house.fails(2, &["quarantine", "edit", &last, "--set", "dya=2024-05-04"]);
    assert!(complaint.contains("no column \"dya\"") && complaint.contains("day"), "{complaint}");
    house.fails(2, &["quarantine", "edit", &last, "--set", "day"]);
    house.fails(2, &["quarantine", "edit", "x' or 'a'='a", "--set", "day=2024-05-04"]);
    let complaint = house.fails(1, &["quarantine", "edit", &last, "--set", "day=soon"]);
    assert!(complaint.contains("1 still do not fit"), "{complaint}");
    house.fails(2, &["quarantine", "dismiss", &last, "--reason", " "]);
    house.ok(&["quarantine", "dismiss", &last, "--reason", "a test order"]);
    let ended = "select status, ended_by, ended_why, edited from system.quarantine where line = 5";
    assert_eq!(house.sql(ended), ["discarded,command line,a test order,"]);
    let balance = "select sum(rows_in), sum(rows_out), sum(rows_rejected) from system.tasks where kind in ('quarantine', 'discard')";
    assert_eq!(house.sql(balance), ["4,2,2"], "each row that went in is told where it stays");

    house.ok(&["sync"]);
    assert_eq!(house.cell("select count(*) from raw.orders"), "3");
    assert_eq!(house.cell("select count(*) from system.quarantine"), "3", "none comes back");
}

#[test]
fn what_a_mask_hid_before_it_was_stored_lands_hidden() {
    let columns = "read: incremental, write: merge, key: [id], columns: [{name: id, type: int64}, {name: email, mask: partial(3)}, {name: amount, type: int64}]";
    let people = "{\"id\":1,\"email\":\"ann@x.example\",\"amount\":\"many\"}\n{\"id\":2,\"email\":\"bob@x.example\",\"amount\":\"few\"}\n";
    let house = one_stream("jsonl", "people.jsonl", columns, people);
    let [first, second] = [1, 2].map(|line| id_of_line(&house, line));
    let raw =
        house.ok(&["sql", "select raw from system.quarantine where line = 1", "--output", "json"]);
    let raw: serde_json::Value = serde_json::from_str(&raw).unwrap();
    let raw: serde_json::Value = serde_json::from_str(raw[0]["raw"].as_str().unwrap()).unwrap();
    let masked = raw["email"].as_str().unwrap().to_owned();
    assert!(!masked.contains("ann@"), "{masked}");
    house.ok(&["quarantine", "edit", &first, "--set", "amount=5"]);
    assert_eq!(house.cell("select email from raw.orders where id = 1"), masked);
    house.ok(&[
        "quarantine",
        "edit",
        &second,
        "--set",
        "amount=6",
        "--set",
        "email=bert@x.example",
    ]);
    let landed = house.cell("select email from raw.orders where id = 2");
    assert!(!landed.contains("bert@") && landed != masked, "{landed}");
    let all = house.ok(&["sql", "select * from system.quarantine", "--output", "json"]);
    assert!(!all.contains("bert@"), "what was given is kept nowhere unmasked: {all}");

    // What was kept before there was a mask does not land unmasked.
    let plain = columns.replace(", mask: partial(3)", ", type: text");
    let house = one_stream("jsonl", "people.jsonl", &plain, people);
    let first = id_of_line(&house, 1);
    let sync = house.read("syncs/shop.yaml").replace(", type: text", ", mask: partial(3)");
    house.write("syncs/shop.yaml", sync);
    let said = house.run(&["quarantine", "edit", &first, "--try", "--set", "amount=5"]);
    let said = crate::house::text(&said.stdout);
    assert!(said.contains("a mask hides its value"), "{said}");

    let csv = "read: incremental, write: append, columns: [{name: id, type: int64}, {name: email, mask: partial(3)}, {name: amount, type: int64}]";
    let house = one_stream(
        "csv",
        "people.csv",
        csv,
        "id,email,amount\n1,ann@x.example,many\n2,bob@x.example,2\n",
    );
    let hidden = id_of_line(&house, 2);
    let said = house.run(&["quarantine", "edit", &hidden, "--try", "--set", "amount=5"]);
    let said = crate::house::text(&said.stdout);
    assert!(said.contains("a mask hides its value"), "{said}");
    house.ok(&[
        "quarantine",
        "edit",
        &hidden,
        "--set",
        "id=1",
        "--set",
        "amount=5",
        "--set",
        "email=ann@x.example",
    ]);
    let landed = house.sql("select id, amount, email like 'ann@%' from raw.orders order by id");
    assert_eq!(landed, ["1,5,false", "2,2,false"]);
}

#[test]
fn a_row_without_a_key_is_given_one_by_hand() {
    let house = events("{\"id\":1,\"n\":1}\n{\"id\":null,\"n\":2}\n");
    house.ok(&["sync"]);
    let id = house.cell("select quarantine_id from system.quarantine");
    let said = house.run(&["quarantine", "edit", &id, "--try"]);
    assert!(crate::house::text(&said.stdout).contains("no value in a column of the key"));
    house.ok(&["quarantine", "edit", &id, "--set", "id=2"]);
    assert_eq!(house.sql("select id, n from raw.events order by id"), ["1,1", "2,2"]);
}

#[test]
fn a_row_that_the_next_read_would_remove_is_not_mended_by_hand() {
    let columns = "read: full, write: replace, columns: [{name: id, type: int64}]";
    let house = one_stream("csv", "ids.csv", columns, "id\n1\nx\n");
    let id = id_of_line(&house, 3);
    let complaint = house.fails(3, &["quarantine", "edit", &id, "--set", "id=2"]);
    assert!(complaint.contains("brings the whole table anew"), "{complaint}");
    assert_eq!(house.sql("select id from raw.orders"), ["1"]);
    house.ok(&["quarantine", "dismiss", &id, "--reason", "no number"]);
}

#[test]
fn a_mended_row_does_not_take_the_place_of_a_newer_row_of_its_key() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write(
            "syncs/shop.yaml",
            "sync: shop\nconnection: files\nstreams:\n  - {stream: orders, options: {path: '*.csv'}, read: incremental, write: merge, key: [id], columns: [{name: id, type: int64}, {name: amount, type: int64}]}\n",
        )
        .write("data/1.csv", "id,amount\n1,5\n2,many\n3,few\n");
    house.ok(&["sync"]);
    // The second order comes again, as it should be; the first one was well before and is not now.
    house.write("data/2.csv", "id,amount\n2,7\n1,none\n");
    house.ok(&["sync"]);
    let id = |raw: &str| {
        house.cell(&format!("select quarantine_id from system.quarantine where raw like '{raw}'"))
    };
    let [first, second, third] = ["1,none%", "2,many%", "3,few%"].map(id);
    let orders = || house.sql("select id, amount from raw.orders order by id");
    let said = house.run(&["quarantine", "edit", &second, "--try", "--set", "amount=6"]);
    let said = crate::house::text(&said.stdout);
    assert!(said.contains("a newer row of this key is in the table"), "{said}");
    let complaint = house.fails(1, &["quarantine", "edit", &second, "--set", "amount=6"]);
    assert!(complaint.contains("1 still do not fit"), "{complaint}");
    assert_eq!(orders(), ["1,5", "2,7"], "the newer row stays");

    house.ok(&["quarantine", "edit", &first, "--set", "amount=8"]);
    house.ok(&["quarantine", "edit", &third, "--set", "amount=9"]);
    assert_eq!(orders(), ["1,8", "2,7", "3,9"], "what is older is replaced, what is new is added");
    house.ok(&["quarantine", "edit", &second, "--set", "amount=6", "--force"]);
    assert_eq!(orders(), ["1,8", "2,6", "3,9"]);
}

#[test]
fn what_landed_before_it_was_marked_is_known_whatever_is_given_then() {
    let house = one_stream("csv", "orders.csv", APPENDED, ORDERS);
    let [second, third] = [3, 4].map(|line| id_of_line(&house, line));
    house.ok(&["quarantine", "edit", &second, &third, "--set", "amount=12.5", "--unset", "day"]);
    // As if it had been killed before it marked the rows: its last commit is not whole.
    let log = house.dir().join(".flywheel/lake/system/quarantine/_delta_log");
    let commits = std::fs::read_dir(&log).unwrap().filter_map(|e| e.ok()).map(|e| e.path());
    let newest = commits.filter(|p| p.extension().is_some_and(|e| e == "json")).max().unwrap();
    std::fs::write(&newest, b"").unwrap();

    house.ok(&["quarantine", "edit", &second, "--set", "amount=99"]);
    let amounts = "select amount from raw.orders order by id";
    assert_eq!(house.sql(amounts), ["2.50", "12.50", "12.50"], "nothing landed again");
    let kept = "select line, status, edited from system.quarantine order by line";
    let landed = r#"{""amount"":""12.5"",""day"":null}"#;
    assert_eq!(
        house.sql(kept),
        [format!("3,replayed,\"{landed}\""), "4,open,".to_owned(), "5,open,".to_owned()]
    );
    house.fails(1, &["quarantine", "replay"]);
    assert_eq!(house.sql(amounts).len(), 3, "nor by a replay");
    assert_eq!(
        house.sql(kept).get(1),
        Some(&format!("4,replayed,\"{landed}\"")),
        "each has what landed of it"
    );
}

#[test]
fn many_mended_rows_land_in_commits_that_name_them_so_that_a_replay_goes_on_where_it_was_killed() {
    const BAD: usize = 2_300;
    let file = |mended: usize| {
        let row = |row: usize| match row < mended {
            true => format!("{row},{row},2024-05-01\n"),
            false => format!("{row},many,2024-05-01\n"),
        };
        "id,amount,day\n-1,1,2024-05-01\n".to_owned() + &(0..BAD).map(row).collect::<String>()
    };
    let house = one_stream("csv", "orders.csv", APPENDED, &file(0));
    house.write("data/orders.csv", file(2_200));
    assert!(house.fails(1, &["quarantine", "replay"]).contains("100 stay"));
    let sums = "select count(*), count(distinct id), min(id), max(id) from raw.orders";
    assert_eq!(house.sql(sums), ["2201,2201,-1,2199"]);
    let commits = |table: &str| {
        let log = house.dir().join(format!(".flywheel/lake/{table}/_delta_log"));
        let all = std::fs::read_dir(log).unwrap().filter_map(|e| e.ok()).map(|e| e.path());
        let mut all: Vec<_> = all.filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
        all.sort();
        all
    };
    let said: Vec<usize> = commits("raw/orders")
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .filter_map(|text| {
            let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
            let mut infos = lines.filter_map(|line: serde_json::Value| {
                Some(
                    line["commitInfo"]["flywheel"]["properties"]["quarantined"]["rows"]
                        .as_array()?
                        .len(),
                )
            });
            infos.next()
        })
        .collect();
    assert_eq!(said, [1_000, 1_000, 200], "each commit names its rows");

    // As if it had been killed after two of the three commits, and before it marked the rows of any.
    for (table, lost) in [("raw/orders", 1), ("system/quarantine", 3)] {
        for path in commits(table).into_iter().rev().take(lost) {
            std::fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(
        house.sql("select status, count(*) from system.quarantine group by 1"),
        ["open,2300"]
    );
    assert_eq!(house.sql(sums), ["2001,2001,-1,1999"]);

    // More is mended meanwhile, so that it is not the same replay again.
    house.write("data/orders.csv", file(BAD));
    house.ok(&["quarantine", "replay"]);
    assert_eq!(house.sql(sums), ["2301,2301,-1,2299"], "each landed once");
    house.ok(&["sync"]);
    assert_eq!(house.sql(sums), ["2301,2301,-1,2299"], "nor are they read as new ones");
    assert_eq!(
        house.sql("select status, count(*) from system.quarantine group by 1"),
        ["replayed,2300"]
    );
}
