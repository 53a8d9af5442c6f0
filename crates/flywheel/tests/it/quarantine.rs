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
fn rows_that_nobody_wants_are_discarded() {
    let house = shop(true);
    house.ok(&["quarantine", "discard"]);
    assert_eq!(
        house.cell("select count(*) from system.quarantine where status = 'discarded'"),
        "1000"
    );
}
