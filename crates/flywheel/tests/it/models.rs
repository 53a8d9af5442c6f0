//! Models and tests: what readers see before, during and after a failure.

use std::process::Stdio;

use crate::house::{House, binary, text};

/// Rows whose pairs keep a build busy for some seconds.
const NUMBERS: usize = 20_000;

fn shop() -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: files\nstreams:\n  - stream: orders\n    options: {path: '*.csv'}\n    read: incremental\n    write: append\n    columns: [{name: id, type: int64}, {name: amount, type: float64}]\n",
    );
    house.write(
        "models/mart/orders.sql",
        "{{ config(materialized='table') }} select id, amount from {{ source('raw', 'orders') }}",
    );
    house.write(
        "models/mart/total.sql",
        "{{ config(materialized='table') }} select sum(amount) as total from {{ ref('orders') }}",
    );
    house.write("models/mart/mart.yml", "models:\n  - name: orders\n    columns:\n      - name: amount\n        tests: [not_null]\n");
    house.write("data/1.csv", "id,amount\n1,10\n");
    house.ok(&["sync"]);
    house.ok(&["build"]);
    house
}

#[test]
fn a_failing_error_test_leaves_readers_on_the_last_good_version() {
    let house = shop();
    let seen = |house: &House| {
        house.sql("select o.n, t.total from (select count(*) as n from mart.orders) o cross join mart.total t")
    };
    assert_eq!(seen(&house), ["1,10.0"]);
    house.write("data/2.csv", "id,amount\n2,\n");
    let numbers: String = (0..NUMBERS).map(|n| format!("{n}\n")).collect();
    house.write("counted/numbers.csv", format!("n\n{numbers}"));
    house.write(
        "connections/counted.yaml",
        "connection: counted\ntype: csv\noptions: {folder: counted}\n",
    );
    house.write("syncs/numbers.yaml", "sync: numbers\nconnection: counted\nstreams:\n  - {stream: numbers, options: {path: numbers.csv}, read: full, write: replace}\n");
    house.ok(&["sync"]);
    // Slow by its own rows: it is asked again and again while the new version is made.
    let quick = house.read("models/mart/orders.sql");
    house.write("models/mart/orders.sql", "{{ config(materialized='table') }} with pairs as (select sum(a.n * b.n % 7) as n from {{ source('raw', 'numbers') }} a cross join {{ source('raw', 'numbers') }} b) select o.id, o.amount from {{ source('raw', 'orders') }} o cross join pairs where pairs.n > 0");
    let mut build = binary();
    build.arg("-C").arg(house.dir()).arg("build").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut build = build.spawn().unwrap();
    let mut answers = 0;
    loop {
        assert_eq!(seen(&house), ["1,10.0"], "answer {answers} while it is built");
        if build.try_wait().unwrap().is_some() {
            break;
        }
        answers += 1;
    }
    let ended = build.wait_with_output().unwrap();
    let complaint = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{complaint}");
    assert!(answers > 0, "the build ended before the first answer");
    assert!(complaint.contains("amount") && complaint.contains("last good version"), "{complaint}");
    assert_eq!(seen(&house), ["1,10.0"], "during the failure");
    house.write("models/mart/orders.sql", quick);
    house.fails(3, &["turn"]);
    assert_eq!(seen(&house), ["1,10.0"], "a turn does not publish either");
    assert!(house.ok(&["status"]).contains("blocked: mart.orders, mart.total"));
    house.write("models/mart/orders.sql", "{{ config(materialized='table') }} select id, coalesce(amount, 0) as amount from {{ source('raw', 'orders') }}");
    house.ok(&["build"]);
    assert_eq!(seen(&house), ["2,10.0"], "after it is mended");
    assert!(!house.ok(&["status"]).contains("blocked"));
}

#[test]
fn a_changed_comment_rebuilds_nothing_and_a_selector_builds_what_it_names() {
    let house = shop();
    house.write("models/mart/orders.sql", "{{ config(materialized='table') }} -- a comment\nselect id,   amount from {{ source('raw', 'orders') }}");
    let report: serde_json::Value =
        serde_json::from_str(&house.ok(&["build", "--output", "json"])).unwrap();
    assert!(
        report["models"].as_array().unwrap().iter().all(|model| model["status"] == "unchanged"),
        "{report}"
    );
    house.write("data/2.csv", "id,amount\n2,5\n");
    house.ok(&["sync"]);
    let report: serde_json::Value =
        serde_json::from_str(&house.ok(&["build", "--select", "orders", "--output", "json"]))
            .unwrap();
    let names: Vec<&str> =
        report["models"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["mart.orders"]);
    assert!(house.ok(&["test"]).contains("passed"));
}
