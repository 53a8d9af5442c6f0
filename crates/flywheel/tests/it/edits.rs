//! `flywheel sql` that changes rows: whose tables may be changed, and what follows from a change.

use std::fs;
use std::path::Path;

use crate::house::House;
use crate::servers;

/// A project that lands customers, builds two models of them, and sends what changed to a database.
fn shop() -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "connections/shop_db.yaml",
        "connection: shop_db\ntype: sqlite\noptions: {path: out/shop.db}\n",
    );
    house.write(
        "syncs/a_land.yaml",
        "sync: a_land\nconnection: files\nstreams:\n  - stream: customers\n    options: {path: '*.csv'}\n    read: incremental\n    write: merge\n    key: [id]\n    columns: [{name: id, type: int64, required: true}, {name: name, type: text}]\n",
    );
    house.write(
        "syncs/b_out.yaml",
        "sync: b_out\nconnection: lake\ndestination: shop_db\nstreams:\n  - stream: customers\n    options: {table: raw.customers}\n    read: incremental\n    write: mirror\n    key: [id]\n    target: {table: customers}\n",
    );
    house.write(
        "models/mart/names.sql",
        "{{ config(materialized='incremental', unique_key='id') }}\nselect id, upper(name) as name from {{ source('raw', 'customers') }}\n",
    );
    house.write(
        "models/mart/few.sql",
        "{{ config(materialized='view') }}\nselect * from {{ ref('names') }} where id < 3\n",
    );
    house.write("data/1.csv", "id,name\n1,Ann\n2,Bob\n3,Cy\n");
    house.ok(&["sync", "a_land"]);
    house.ok(&["build"]);
    house.ok(&["sync", "b_out"]);
    house
}

fn in_database(house: &House, sql: &str) -> Vec<String> {
    let database = rusqlite::Connection::open(house.dir().join("out/shop.db")).unwrap();
    let mut statement = database.prepare(sql).unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        Ok(format!("{}|{}", row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    };
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_change_of_a_landed_table_is_asked_for_and_reaches_models_and_other_systems() {
    let house = shop();
    let update = "update raw.customers set name = 'Anna' where id = 1";
    let complaint = house.fails(2, &["sql", update]);
    assert!(complaint.contains("a_land") && complaint.contains("--landed"), "{complaint}");
    assert_eq!(house.cell("select name from raw.customers where id = 1"), "Ann");

    let told = house.ok(&["sql", "--landed", update, "--output", "csv"]);
    assert_eq!(told.lines().nth(1).unwrap(), "update,raw.customers,1,0,1,0,0,1,1");
    let erase = "delete from raw.customers where name = 'Bob'";
    let told = house.ok(&["sql", "--landed", erase, "--output", "json"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["deleted"], &told["version"]), (&1.into(), &2.into()));

    house.ok(&["build"]);
    assert_eq!(
        house.sql("select id, name from mart.names where id <> 2 order by id"),
        ["1,ANNA", "3,CY"]
    );
    house.ok(&["sync"]);
    let rows = "select id, name from customers order by id";
    assert_eq!(
        in_database(&house, rows),
        ["1|Anna", "3|Cy"],
        "only the difference left, with the row that went"
    );
    let sent = "select rows_out from system.tasks where name like 'b_out%' order by started_at desc limit 1";
    assert_eq!(house.cell(sent), "1", "unchanged rows stay at home; a key that went is no row");
    assert_eq!(
        house.sql("select id, name from raw.customers order by id"),
        ["1,Anna", "3,Cy"],
        "files that were landed are not landed again"
    );
    house.write("data/2.csv", "id,name\n2,Bea\n");
    house.ok(&["sync"]);
    assert_eq!(in_database(&house, rows), ["1|Anna", "2|Bea", "3|Cy"]);
    assert_eq!(house.cell("select name from raw.customers where id = 2"), "Bea");
    let was = house.ok(&[
        "sql",
        "select name from raw.customers order by id",
        "--at",
        "raw.customers@0",
        "--output",
        "csv",
    ]);
    assert_eq!(was.lines().collect::<Vec<_>>(), ["name", "Ann", "Bob", "Cy"]);
    let runs = "select t.name, t.rows_out, r.status from system.tasks t join system.runs r using (run_id) where r.kind = 'sql' order by t.started_at";
    assert_eq!(house.sql(runs), ["raw.customers,1,succeeded", "raw.customers,1,succeeded"]);
}

#[test]
fn tables_that_are_made_from_something_else_are_not_changed() {
    let house = shop();
    for (statement, told) in [
        ("delete from mart.names", "model \"names\""),
        ("delete from names", "model \"names\""),
        ("update mart.few set name = 'x'", "model \"few\""),
        ("delete from system.decisions", "platform"),
        ("insert into system.runs select * from system.runs", "platform"),
        ("truncate raw.customers", "--landed"),
        ("create table learn.mine (id bigint)", "learner"),
        ("create table mart.names (id bigint)", "model \"names\""),
        ("drop table raw.customers", "is landed by the sync"),
        ("update raw.custmers set id = 1", "raw.customers"),
    ] {
        let complaint = house.fails(2, &["sql", statement]);
        assert!(complaint.contains(told), "{statement}: {complaint}");
    }
    let complaint = house.fails(2, &["sql", "delete from raw.customers", "--at", "2024-01-01"]);
    assert!(complaint.contains("--at"), "{complaint}");
    assert_eq!(house.cell("select count(*) from mart.names"), "3");
    assert_eq!(house.cell("select count(*) from raw.customers"), "3");
}

#[test]
fn a_table_of_ones_own_is_made_changed_and_read_by_models() {
    let house = shop();
    house.ok(&["sql", "create table if not exists raw.corrections (id bigint, name text)"]);
    house.ok(&["sql", "insert into raw.corrections values (2, 'Robert'), (3, 'Cyril')"]);
    house.ok(&["sql", "merge into raw.corrections c using raw.customers r on r.id = c.id when not matched then insert values (r.id, r.name) when matched and c.id = 3 then delete"]);
    assert_eq!(
        house.sql("select id, name from raw.corrections order by id"),
        ["1,Ann", "2,Robert"]
    );
    house.write(
        "models/mart/sources.yml",
        "version: 2\nsources:\n  - name: raw\n    tables: [{name: corrections}]\n",
    );
    house.write(
        "models/mart/corrected.sql",
        "{{ config(materialized='table') }}\nselect r.id, coalesce(c.name, r.name) as name from {{ source('raw', 'customers') }} r left join {{ source('raw', 'corrections') }} c on c.id = r.id\n",
    );
    house.ok(&["build"]);
    assert_eq!(house.cell("select name from mart.corrected where id = 2"), "Robert");
    house.ok(&["sql", "update raw.corrections set name = 'Rob' where id = 2"]);
    house.ok(&["build"]);
    assert_eq!(house.cell("select name from mart.corrected where id = 2"), "Rob");
}

/// A statement or query of an `.slt` file, as far as these files use the format.
#[derive(Debug)]
struct Record {
    head: String,
    sql: String,
    answer: Vec<String>,
}

fn records(file: &str) -> Vec<Record> {
    let mut found = Vec::new();
    for block in file.split("\n\n") {
        let mut lines = block.lines().filter(|line| !line.starts_with('#'));
        let Some(head) = lines.next() else { continue };
        let mut record = Record { head: head.to_owned(), sql: String::new(), answer: Vec::new() };
        let mut answers = false;
        for line in lines {
            match (answers, line) {
                (false, "----") => answers = true,
                (false, line) => record.sql += &format!("{line}\n"),
                (true, line) => record.answer.push(line.to_owned()),
            }
        }
        found.push(record);
    }
    found
}

#[test]
fn postgresql_gives_the_answers_that_are_expected_of_us() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/slt/edits");
    let server = servers::postgres();
    for name in ["delete", "insert", "merge", "update"] {
        let database = server.database();
        server.psql(&database, "create schema edits");
        let file = fs::read_to_string(folder.join(format!("{name}.slt"))).unwrap();
        for record in records(&file) {
            let (head, sql) = (record.head.as_str(), record.sql.trim());
            if head.starts_with("statement error") {
                // Whether it fails there is not asked: text for a number and a repeated FROM are taken.
                continue;
            }
            let rows = server.psql(&database, sql);
            if head.starts_with("query") {
                let rows = rows.replace('|', " ").replace('∅', "NULL");
                let rows: Vec<&str> = rows.lines().collect();
                assert_eq!(rows, record.answer, "{name}: {sql}");
            }
        }
    }
}
