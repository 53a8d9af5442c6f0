//! What stays of older versions of tables, by the binary.

use serde_json::Value;

use crate::house::House;

fn lake_files(house: &House, table: &str) -> usize {
    let folder = house.dir().join(".flywheel/lake").join(table);
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    entries.filter(|name| name.to_string_lossy().ends_with(".parquet")).count()
}

fn shop(keep: &str) -> House {
    let house = House::new();
    house.write("flywheel.yaml", format!("name: shop\nkeep_versions: {keep}\n"));
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: files\nstreams:\n  - {stream: orders, options: {path: orders.csv}, read: full, write: replace}\n",
    );
    for amount in 1..=4 {
        house.write("data/orders.csv", format!("id,amount\n1,{amount}\n"));
        house.ok(&["sync"]);
    }
    house
}

#[test]
fn versions_stay_as_long_as_is_said_and_vacuum_removes_older_ones() {
    let house = shop("30d");
    let first = ["sql", "select amount from raw.orders", "--at", "0", "--output", "csv"];
    assert_eq!(house.ok(&first).lines().last(), Some("1"));
    let json = |arguments: &[&str]| -> Value {
        let all = [&["vacuum", "--output", "json"], arguments].concat();
        serde_json::from_str(&house.ok(&all)).unwrap()
    };
    assert_eq!(json(&[])["tables"], serde_json::json!([]), "all of it is younger than 30 days");
    assert_eq!(house.ok(&first).lines().last(), Some("1"));
    assert_eq!(lake_files(&house, "raw/orders"), 4);

    let planned = json(&["raw.orders", "--keep", "1us", "--dry-run"]);
    assert_eq!(planned["tables"][0]["files"], 3, "{planned}");
    assert_eq!(lake_files(&house, "raw/orders"), 4);
    let done = json(&["raw.orders", "--keep", "1us"]);
    assert_eq!(done["tables"][0]["files"], 3, "{done}");
    assert_eq!(done["tables"][0]["bytes"], planned["tables"][0]["bytes"]);
    assert_eq!(lake_files(&house, "raw/orders"), 1);
    assert_eq!(
        house.ok(&["sql", "select amount from raw.orders", "--output", "csv"]),
        "amount\n4\n"
    );
    let gone = house.fails(2, &first);
    assert!(gone.contains("no longer kept") && gone.contains("keep_versions"), "{gone}");

    let unknown = house.fails(2, &["vacuum", "raw.order"]);
    assert!(unknown.contains("raw.orders"), "{unknown}");
}

#[test]
fn what_an_environment_can_be_taken_back_to_is_kept() {
    let house = shop("30d");
    let model = |what: &str| {
        format!(
            "{{{{ config(materialized='table') }}}} select id, amount{what} as amount from {{{{ source('raw', 'orders') }}}}"
        )
    };
    house.write("models/mart/orders.sql", model(""));
    house.ok(&["build"]);
    house.ok(&["environment", "create", "dev"]);
    house.write("data/orders.csv", "id,amount\n1,9\n");
    house.ok(&["sync"]);
    house.ok(&["build", "--environment", "dev"]);
    house.ok(&["vacuum", "--keep", "1us"]);
    let amount = |more: &[&str]| {
        let sql = ["sql", "select amount from mart.orders", "--output", "csv"];
        house.ok(&[&sql, more].concat())
    };
    assert_eq!(amount(&[]), "amount\n4\n", "readers of prod still see what they saw");
    assert_eq!(amount(&["--environment", "dev"]), "amount\n9\n");
    house.ok(&["environment", "promote", "dev"]);
    assert_eq!(amount(&[]), "amount\n9\n");
    house.ok(&["vacuum", "--keep", "1us"]);
    house.ok(&["environment", "rollback"]);
    assert_eq!(amount(&[]), "amount\n4\n", "a promotion can be taken back after it");
}
