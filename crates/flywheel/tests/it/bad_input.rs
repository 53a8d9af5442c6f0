//! Every door with bad input: a clear error that names the place and the fix, and nothing lost.

use std::io::Write;

use crate::house::{House, binary, text};

fn with_csv(bytes: &[u8], name: &str) -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: files\nstreams:\n  - stream: orders\n    options: {path: '*'}\n    read: incremental\n    write: append\n    columns: [{name: id, type: int64}, {name: amount, type: float64}]\n",
    );
    house.write(&format!("data/{name}"), bytes);
    house
}

#[test]
fn every_mistake_in_a_project_is_reported_with_its_place() {
    let house = House::new();
    house.write("connections/files.yaml", "connection: files\ntype: cvs\n");
    house.write("syncs/shop.yaml", "sync: shop\nconnection: files\nstraems: []\n");
    house.write(
        "syncs/other.yaml",
        "sync: other\nconnection: fils\nstreams: [{stream: a, options: {path: a.csv}}]\n",
    );
    house.write("models/mart/a.sql", "select * from {{ ref('b') }}");
    house.write("models/mart/b.sql", "select * from {{ ref('a') }}");
    let complaint = house.fails(2, &["check"]);
    for expected in [
        "connections/files.yaml:2",
        "csv",
        "syncs/other.yaml:2",
        "files",
        "syncs/shop.yaml:3",
        "streams",
        "models/mart/a.sql",
    ] {
        assert!(complaint.contains(expected), "{expected} is missing in\n{complaint}");
    }
}

#[test]
fn broken_yaml_names_line_and_column() {
    let house = House::new();
    house.write("syncs/shop.yaml", "sync: shop\nstreams: [\n");
    assert!(house.fails(2, &["turn"]).contains("syncs/shop.yaml:"));
}

#[test]
fn sql_mistakes_get_a_suggestion() {
    let house = with_csv(b"id,amount\n1,2\n", "1.csv");
    house.ok(&["sync"]);
    assert!(house.fails(2, &["sql", "select * from raw.oders"]).contains("raw.orders"));
    assert!(house.fails(2, &["sql", "select amuont from raw.orders"]).contains("amount"));
    assert!(!house.fails(2, &["sql", "drop table raw.orders"]).is_empty());
    house.fails(2, &["sql", "copy raw.orders to '/tmp/x.csv'"]);
    assert_eq!(house.cell("select count(*) from raw.orders"), "1");
}

#[test]
fn numbers_that_are_none_bad_encoding_and_changed_headers_never_land_silently() {
    let house = with_csv(b"id,amount\n1,NaN\n2,inf\n3,1.5\n4,\xff\xfe\n", "1.csv");
    house.ok(&["sync"]);
    assert_eq!(house.sql("select id, amount from raw.orders"), ["3,1.5"]);
    assert_eq!(house.cell("select count(*) from system.quarantine"), "3");

    let house = with_csv(b"id,amount\n1,2\nid,price\n3,4\n", "1.csv");
    let output = house.run(&["sync"]);
    let quarantined =
        output.status.success() && house.cell("select count(*) from system.quarantine") != "0";
    assert!(quarantined || text(&output.stderr).contains("1.csv"), "{}", text(&output.stderr));
}

#[test]
fn a_truncated_gzip_stops_with_its_name_and_publishes_nothing() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"id,amount\n").unwrap();
    for row in 0..50_000 {
        writeln!(gzip, "{row},{row}.5").unwrap();
    }
    let bytes = gzip.finish().unwrap();
    let house = with_csv(&bytes[..bytes.len() / 2], "cut.csv.gz");
    let output = house.run(&["sync"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("cut.csv.gz"), "{}", text(&output.stderr));
    assert!(
        house.run(&["sql", "select * from raw.orders"]).status.code() != Some(0),
        "no half table"
    );
}

#[test]
fn an_empty_file_is_no_error_and_a_line_of_100_mb_is_set_aside() {
    let house = with_csv(b"", "empty.csv");
    house.ok(&["sync"]);
    assert_eq!(house.cell("select count(*) from raw.orders"), "0");

    let mut bytes = b"id,amount\n1,2\n2,".to_vec();
    bytes.resize(bytes.len() + 100_000_000, b'9');
    bytes.extend_from_slice(b"\n3,4\n");
    let house = with_csv(&bytes, "long.csv");
    house.ok(&["sync"]);
    assert_eq!(house.sql("select id from raw.orders order by id"), ["1", "3"]);
    assert_eq!(house.cell("select count(*) from system.quarantine"), "1");
}

#[test]
fn duplicate_keys_in_a_model_merge_are_named() {
    let house = with_csv(b"id,amount\n1,2\n1,3\n", "1.csv");
    house.write(
        "models/mart/orders.sql",
        "{{ config(materialized='incremental', unique_key='id') }} select id, amount from {{ source('raw', 'orders') }}",
    );
    house.ok(&["sync"]);
    let complaint = house.fails(1, &["build"]);
    assert!(complaint.contains("orders") && complaint.contains("id"), "{complaint}");
}

#[test]
fn two_processes_on_one_project_do_not_meet() {
    let house = with_csv(b"id,amount\n1,2\n", "1.csv");
    house.ok(&["sync"]);
    let lock =
        std::fs::OpenOptions::new().write(true).open(house.dir().join(".flywheel/lock")).unwrap();
    lock.lock().unwrap();
    assert!(house.fails(1, &["turn"]).contains("another flywheel"));
    assert_eq!(house.cell("select count(*) from raw.orders"), "1", "readers go on");
}

#[test]
fn a_folder_that_is_no_project_or_not_empty_is_left_alone() {
    let house = House::new();
    let output = binary().args(["-C", "/", "status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    house.write("full/keep.txt", "mine");
    let init = |template: &str| {
        let mut command = binary();
        command.args(["init", "--template", template]).arg(house.dir().join("full"));
        command.output().unwrap().status.success()
    };
    assert!(!init("retail"));
    assert_eq!(house.read("full/keep.txt"), "mine");
    assert!(!house.path("full/flywheel.yaml").exists(), "nothing is written");
    assert!(init("blank"), "a project begins beside the data it is about");
    assert!(!init("blank"), "and is not begun again");
    assert_eq!(house.read("full/keep.txt"), "mine");
    let output = binary().args(["demo", "--dir"]).arg(house.dir().join("full")).output().unwrap();
    assert!(!output.status.success());
    assert_eq!(house.read("full/keep.txt"), "mine");
}

#[test]
fn a_corrupt_metadata_file_or_lake_commit_is_said_and_not_overwritten() {
    let house = with_csv(b"id,amount\n1,2\n", "1.csv");
    house.ok(&["sync"]);
    house.write("data/2.csv", "id,amount\n2,3\n");
    house.ok(&["sync"]);
    let log = house.dir().join(".flywheel/lake/raw/orders/_delta_log");
    let newest = std::fs::read_dir(&log).unwrap().filter_map(|e| e.ok()).map(|e| e.path());
    let newest = newest.filter(|p| p.extension().is_some_and(|e| e == "json")).max().unwrap();
    std::fs::write(&newest, b"").unwrap();
    let output = house.run(&["sync"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("raw/orders"),
        "the torn commit is set aside loudly: {}",
        text(&output.stderr)
    );
    assert_eq!(
        house.sql("select id from raw.orders order by id"),
        ["1", "2"],
        "its rows are read again"
    );
}
