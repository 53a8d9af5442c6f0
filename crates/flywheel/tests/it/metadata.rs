//! A project whose metadata is in PostgreSQL does what every project does, and can be moved there and back.

use std::path::PathBuf;

use flywheel_testkit::Postgres;
use serde_json::Value;

use crate::house::{House, binary, text};
use crate::schedules::Owner;
use crate::served::Process;
use crate::servers::postgres;

/// A shop with a landed table and a model; the password is in a file that no declaration repeats.
fn shop() -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write("syncs/shop.yaml", "sync: shop\nconnection: files\nstreams:\n  - {stream: orders, options: {path: 'orders*.csv'}, read: incremental, write: append}\n");
    house.write("data/orders-1.csv", "id,item\n1,1\n2,2\n");
    house.write(
        "models/mart/sold.sql",
        "{{ config(materialized='table') }} select id from {{ source('raw', 'orders') }}",
    );
    house.write("password", Postgres::PASSWORD);
    house
}

/// `flywheel.yaml` with the metadata in a schema.
fn declare(house: &House, database: &str, port: u16) {
    house.write(
        "flywheel.yaml",
        format!("name: shop\nmetadata:\n  postgres:\n    schema: flywheel_shop\n    host: 127.0.0.1\n    port: {port}\n    database: {database}\n    user: postgres\n    password: '${{file:password}}'\n"),
    );
}

fn rows(database: &str, table: &str) -> String {
    postgres().psql(database, &format!("SELECT count(*) FROM flywheel_shop.{table}"))
}

#[test]
fn a_project_turns_and_is_served_with_its_metadata_in_postgres() {
    let database = postgres().database();
    let house = shop();
    declare(&house, &database, postgres().port());
    house.ok(&["check"]);
    house.ok(&["turn"]);
    assert!(!house.dir().join(".flywheel/meta.db").exists(), "nothing is in a file");
    assert_eq!(rows(&database, "turns"), "1");
    assert_eq!(house.cell("select count(*) from mart.sold"), "2");
    house.ok(&["status"]);
    house.write("data/orders-2.csv", "id,item\n3,1\n");
    house.ok(&["turn"]);
    assert_eq!(house.cell("select count(*) from mart.sold"), "3");

    let server = Process::start(&house);
    let owner = Owner { session: server.owner(), server: &server };
    let runs = owner.get("/v1/runs");
    assert!(!runs["items"].as_array().unwrap().is_empty(), "{runs}");
    let all = owner.get("/v1/databases")["items"].clone();
    assert!(all.is_array(), "{all}");
    // Who comes second is told who has it, also from another folder on another machine.
    let other = shop();
    declare(&other, &database, postgres().port());
    let told = other.fails(1, &["turn"]);
    assert!(told.contains(&server.address) && told.contains("flywheel_shop"), "{told}");
    drop(server);

    // A backup is whole without the server of the database.
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = elsewhere.path().join("backups");
    let made = PathBuf::from(house.ok(&["backup", &folder.to_string_lossy()]).trim());
    assert!(made.join("project/.flywheel/meta.db").is_file(), "{made:?}");
    // What came back says that its metadata is a file now, and does not touch the schema of the project it came from.
    let copy = elsewhere.path().join("copy");
    house.ok(&["restore", &made.to_string_lossy(), &copy.to_string_lossy()]);
    let told = binary().arg("-C").arg(&copy).arg("status").output().unwrap();
    assert_eq!(told.status.code(), Some(3), "{}", text(&told.stderr));
    std::fs::write(copy.join("flywheel.yaml"), "name: shop\n").unwrap();
    let told = binary().arg("-C").arg(&copy).arg("status").output().unwrap();
    assert!(told.status.success(), "{}", text(&told.stderr));
}

#[test]
fn metadata_moves_to_postgres_and_back_and_is_never_in_two_places() {
    let database = postgres().database();
    let house = shop();
    house.ok(&["turn"]);
    declare(&house, &database, postgres().port());
    let told = house.fails(3, &["turn"]);
    assert!(told.contains("metadata move --to postgres"), "{told}");

    let moved = house.ok(&["metadata", "move", "--to", "postgres", "--output", "json"]);
    let moved: Value = serde_json::from_str(&moved).unwrap();
    assert_eq!(moved["tables"]["turns"], 1, "{moved}");
    assert!(house.dir().join(".flywheel/moved-meta.db").is_file());
    assert_eq!(rows(&database, "turns"), "1");
    house.write("data/orders-2.csv", "id,item\n3,1\n");
    house.ok(&["turn"]);
    assert_eq!(rows(&database, "turns"), "2");
    house.ok(&["audit", "verify"]);

    house.ok(&["metadata", "move", "--to", "sqlite"]);
    let told = house.fails(3, &["status"]);
    assert!(told.contains("take `metadata` out"), "{told}");
    house.write("flywheel.yaml", "name: shop\n");
    house.ok(&["turn"]);
    assert_eq!(house.cell("select count(*) from mart.sold"), "3");
    house.ok(&["audit", "verify"]);
}

#[test]
fn what_is_wrong_with_the_place_of_the_metadata_is_said_before_anything_runs() {
    let house = shop();
    house.write("flywheel.yaml", "name: shop\nmetadata:\n  postgres:\n    schema: public\n    url: postgres://u:canary@db.example/d\n");
    let told = house.fails(2, &["check"]);
    assert!(told.contains("flywheel.yaml:4") && told.contains("flywheel.yaml:5"), "{told}");
    assert!(told.contains("clear text") && !told.contains("canary"), "{told}");

    // A server that is not there: nothing runs, and the error says where it should be.
    declare(&house, "shop", 1);
    let told = house.fails(1, &["turn"]);
    assert!(told.contains("127.0.0.1:1"), "{told}");
    assert!(!house.dir().join(".flywheel/lake").exists(), "{told}");
}
