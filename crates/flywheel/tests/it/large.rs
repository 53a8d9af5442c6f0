//! A read that is larger than what is gathered in memory: one commit all the same.

use std::fmt::Write as _;

use crate::house::House;

/// More rows than are gathered: about 60 MB as arrays.
const ROWS: usize = 400_000;

fn shop(write: &str) -> House {
    let house = House::new();
    house.write(
        "connections/files.yaml",
        "connection: files\ntype: jsonl\noptions: {folder: data}\n",
    );
    house.write(
        "syncs/shop.yaml",
        format!("sync: shop\nconnection: files\nstreams:\n  - stream: events\n    options: {{path: '*.jsonl'}}\n    read: incremental\n{write}\nerrors: {{max_bad_rows: 3}}\n"),
    );
    house
}

/// Rows `id`, `text`; the last one has a column that no row before it has, and some rows are broken.
fn rows(broken: usize) -> String {
    let mut text = String::new();
    for id in 0..ROWS - 1 {
        writeln!(text, "{{\"id\":{id},\"text\":\"event number {id} of many, with some words\"}}")
            .unwrap();
    }
    for _ in 0..broken {
        text.push_str("{\"id\":\n");
    }
    writeln!(text, "{{\"id\":{},\"text\":\"last\",\"late\":7}}", ROWS - 1).unwrap();
    text
}

#[test]
fn a_large_file_lands_in_one_commit_late_columns_and_bad_rows_included() {
    for write in ["    write: append", "    write: merge\n    key: [id]"] {
        let house = shop(write);
        house.write("data/1.jsonl", rows(2));
        house.ok(&["sync"]);
        let seen =
            "select count(*) as n, count(distinct id) as ids, sum(late) as late from raw.events";
        assert_eq!(house.sql(seen), [format!("{ROWS},{ROWS},7")], "{write}");
        assert_eq!(house.cell("select version from system.tables where name = 'raw.events'"), "0");
        assert_eq!(house.cell("select count(*) from system.quarantine"), "2");
        house.ok(&["sync"]);
        assert_eq!(house.sql(seen), [format!("{ROWS},{ROWS},7")], "{write}: nothing twice");
    }
}

#[test]
fn a_large_file_beyond_its_budget_of_bad_rows_publishes_nothing() {
    let house = shop("    write: append");
    house.write("data/1.jsonl", rows(4));
    let complaint = house.fails(3, &["sync"]);
    assert!(complaint.contains("max_bad_rows") && complaint.contains("1.jsonl"), "{complaint}");
    house.fails(2, &["sql", "select * from raw.events"]);
    let folder = house.dir().join(".flywheel/lake/raw/events");
    let left = std::fs::read_dir(folder).map_or(0, Iterator::count);
    assert_eq!(left, 0, "files of the load are gone");
}
