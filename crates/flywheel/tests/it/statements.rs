//! Statements at a server's door: who may send them, what they make, and what others see of that.

use axum::http::StatusCode;
use flywheel_project::resource::rule::Role;
use serde_json::{Value, json};

use crate::house::House;
use crate::serve::{Answer, As, Served};

/// A shop of two landed tables, a model, and a rule by which the analyst sees the north alone.
fn shop() -> House {
    let house = House::new();
    house
        .write("data/customers.csv", "id,name,region\n1,Ada,north\n2,Bo,north\n3,Cy,south\n")
        .write("data/orders.csv", "id,customer,amount\n10,1,5\n11,3,7\n")
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write(
            "syncs/shop.yaml",
            "sync: shop\nconnection: files\nstreams:\n  - {stream: customers, options: {path: customers.csv}}\n  \
             - {stream: orders, options: {path: orders.csv}}\n",
        )
        .write("models/marts/names.sql", "{{ config(materialized='table') }} select 1 as one")
        .write(
            "access/customers.yaml",
            "rule: customers\ntables: [raw.customers]\nask: privacy@shop.example\nreaders:\n  \
             - roles: [owner, engineer]\n  - roles: [analyst]\n    rows: region = 'north'\n",
        );
    house.ok(&["sync"]);
    house.ok(&["build"]);
    house
}

async fn write(served: &Served, who: &As, sql: &str) -> Answer {
    served.post(who, "/v1/sql/write", &json!({"sql": sql})).await
}

/// Sends statements that have to succeed.
async fn all(served: &Served, who: &As, statements: &[&str]) {
    for sql in statements {
        let answer = write(served, who, sql).await;
        assert_eq!(answer.status, StatusCode::OK, "{sql}: {}", answer.json());
    }
}

async fn read(served: &Served, who: &As, sql: &str) -> Value {
    let answer = served.post(who, "/v1/sql", &json!({"sql": sql})).await.json();
    if answer["rows"].is_null() { answer } else { answer["rows"].clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_views_and_tables_are_made_changed_and_dropped() {
    let served = Served::new(shop()).await;
    let owner = served.owner().await;
    let engineer = served.user(&owner, Role::Engineer).await;
    let dbt = served.token(&engineer, &["view", "query", "write"]).await;
    all(
        &served,
        &dbt,
        &[
            "create schema if not exists dbt",
            "create schema if not exists dbt",
            "create or replace table dbt.orders as select * from raw.orders",
            "create view \"flywheel\".\"dbt\".\"large\" as select id from dbt.orders where amount > 6",
            "insert into dbt.orders values (12, 2, 9)",
        ],
    )
    .await;
    let large = "select id from dbt.large order by id";
    assert_eq!(read(&served, &dbt, large).await, json!([[11], [12]]));
    let listed = "select name, kind from system.tables where name like 'dbt.%' order by name";
    assert_eq!(
        read(&served, &dbt, listed).await,
        json!([["dbt.large", "view"], ["dbt.orders", "table"]])
    );
    let schemas = "select schema_name from information_schema.schemata where schema_name = 'dbt'";
    assert_eq!(read(&served, &dbt, schemas).await, json!([["dbt"]]));

    // A table is replaced in one commit, columns and all; its versions go on.
    let replaced =
        write(&served, &dbt, "create or replace table dbt.orders as select 20 as id, 8 as amount")
            .await;
    assert_eq!((&replaced.json()["version"], &replaced.json()["deleted"]), (&json!(2), &json!(3)));
    assert_eq!(read(&served, &dbt, large).await, json!([[20]]));
    all(
        &served,
        &dbt,
        &[
            "alter table dbt.orders add column note text, drop column amount",
            "alter table dbt.orders rename to dbt.renamed",
            "alter table dbt.large rename to small",
        ],
    )
    .await;
    assert_eq!(read(&served, &dbt, "select id, note from dbt.renamed").await, json!([[20, null]]));
    // A view outlives what it reads; whoever reads it learns what is missing, and lists go on.
    let broken = read(&served, &dbt, "select * from dbt.small").await;
    assert!(broken["detail"].as_str().unwrap().contains("dbt.orders"), "{broken}");
    let columns =
        "select column_name from information_schema.columns where table_schema = 'dbt' order by 1";
    assert_eq!(read(&served, &dbt, columns).await, json!([["id"], ["note"]]));

    let full = write(&served, &dbt, "drop schema dbt").await;
    assert!(full.json()["detail"].as_str().unwrap().contains("holds 2"), "{}", full.json());
    let dropped = write(&served, &dbt, "drop schema dbt cascade").await.json();
    assert_eq!(dropped["dropped"], json!(["dbt.renamed", "dbt.small"]));
    assert_eq!(read(&served, &dbt, schemas).await, json!([]));
    let again = write(&served, &dbt, "drop schema if exists dbt cascade").await.json();
    assert_eq!(again["changed"], json!(false));

    // Who did what stands in the audit log, with what was refused.
    let log = served.get(&owner, "/v1/audit?limit=100").await.json().to_string();
    assert!(log.contains("engineer-user/t") && log.contains("drop schema dbt cascade"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_answer_for_is_refused() {
    let served = Served::new(shop()).await;
    let owner = served.owner().await;
    for (sql, says) in [
        ("delete from marts.names", "is built by the model \"names\""),
        ("drop table marts.names", "is built by the model \"names\""),
        ("create or replace view marts.names as select 2 as one", "is built by the model"),
        ("alter table marts.names rename to marts.mine", "is built by the model"),
        ("drop schema marts cascade", "is built by the model"),
        ("drop table raw.orders", "is landed by the sync \"shop\""),
        ("drop schema raw cascade", "is landed by the sync"),
        ("update raw.orders set amount = 0", "--landed"),
        ("drop table system.runs", "written by the platform alone"),
        ("create table learn.mine (id bigint)", "written by a learner"),
        ("create schema metrics", "answered by semantic views"),
    ] {
        let answer = write(&served, &owner, sql).await;
        let told = format!("{sql}: {} {}", answer.status, answer.json());
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{told}");
        assert!(answer.json().to_string().replace('\\', "").contains(says), "{told}");
    }
    for (sql, says) in [
        ("select 1", "changes no rows"),
        ("delete from raw.orders where", "cannot be parsed"),
        ("create table loose as select 1 as x", "has no schema"),
        ("create table other.a.b as select 1 as x", "another database"),
        ("drop table marts.missing", "unknown table"),
        ("create view raw.orders as select 1 as x", "landed by"),
        ("drop table raw.nothing", "unknown table"),
        ("create view raw.v as select * from raw.v", "unknown table"),
        ("create materialized view raw.m as select 1 as x", "not supported"),
        ("create temporary table raw.t as select 1 as x", "not supported"),
        ("drop table raw.a, raw.b", "not supported"),
        ("create schema \"a/b\"", "cannot name something"),
        ("create table \"a.b\".c as select 1 as x", "cannot name something"),
        ("create view raw.\"_x\" as select 1 as x", "cannot name something"),
        ("alter table raw.nothing add column x text", "unknown table"),
    ] {
        let answer = write(&served, &owner, sql).await;
        let told = format!("{sql}: {} {}", answer.status, answer.json());
        assert!(answer.status.is_client_error(), "{told}");
        assert!(told.contains(says), "{told}");
    }
    let reading = served.post(&owner, "/v1/sql", &json!({"sql": "drop table raw.orders"})).await;
    assert!(reading.json()["hint"].as_str().unwrap().contains("/v1/sql/write"));
    assert_eq!(read(&served, &owner, "select count(*) from raw.orders").await, json!([[2]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_made_of_rows_that_a_rule_hides_is_seen_by_nobody_it_hides_them_from() {
    let served = Served::new(shop()).await;
    let owner = served.owner().await;
    let analyst = served.user(&owner, Role::Analyst).await;
    let refused = write(&served, &analyst, "create table dbt.x as select 1 as x").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let half = served.token(&owner, &["write"]).await;
    let refused = write(&served, &half, "create table dbt.x as select 1 as x").await;
    assert!(refused.json()["detail"].as_str().unwrap().contains("\"query\""));
    all(
        &served,
        &owner,
        &[
            "create table dbt.copy as select * from raw.customers",
            "create view dbt.seen as select * from raw.customers",
            "create table dbt.free as select * from raw.orders",
            // By way of a table that is gone, and of rows that are added later.
            "create table dbt.step as select name from raw.customers",
            "create table dbt.last as select name from dbt.step",
            "drop table dbt.step",
            "create table dbt.later (name text)",
            "insert into dbt.later select name from dbt.copy",
            "alter table dbt.later rename to dbt.moved",
        ],
    )
    .await;
    assert_eq!(read(&served, &owner, "select count(*) from dbt.copy").await, json!([[3]]));
    for table in ["copy", "last", "moved"] {
        let seen = read(&served, &analyst, &format!("select * from dbt.{table}")).await;
        let told = seen["detail"].as_str().unwrap_or_default();
        assert!(told.contains("raw.customers"), "{table}: {seen}");
    }
    // A view is read with its reader's rules, and what has nothing to do with the rule is for all.
    assert_eq!(read(&served, &analyst, "select count(*) from dbt.seen").await, json!([[2]]));
    assert_eq!(read(&served, &analyst, "select count(*) from dbt.free").await, json!([[2]]));
    // A table is what it was made of last.
    all(&served, &owner, &["create or replace table dbt.copy as select 1 as one"]).await;
    assert_eq!(read(&served, &analyst, "select * from dbt.copy").await, json!([[1]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_a_part_writes_what_they_see_and_changes_nothing_that_limits_them() {
    let house = shop();
    house.write(
        "access/customers.yaml",
        "rule: customers\ntables: [raw.customers, dbt.secret]\nask: privacy@shop.example\nreaders:\n  \
         - roles: [owner]\n  - everybody: true\n    \
         rows: region in (select region from dbt.assignments where who = $user)\n",
    );
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let engineer = served.user(&owner, Role::Engineer).await;
    all(
        &served,
        &owner,
        &[
            "create table dbt.assignments as select 'engineer-user' as who, 'north' as region",
            "create table dbt.secret as select * from raw.customers",
            "create table dbt.free as select * from raw.orders",
        ],
    )
    .await;
    let seen = "select count(*) from raw.customers";
    assert_eq!(read(&served, &engineer, seen).await, json!([[2]]));
    // Everything that would destroy, uncover or replace what is seen in part, and what decides that.
    let refused = async |statements: &[&str]| {
        for sql in statements {
            let answer = write(&served, &engineer, sql).await;
            let told = format!("{sql}: {} {}", answer.status, answer.json());
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{told}");
        }
    };
    refused(&[
        "delete from dbt.secret where region = 'south'",
        "insert into dbt.secret select * from dbt.secret",
        "truncate table dbt.secret",
        "create or replace table dbt.secret as select 1 as id",
        "drop table dbt.secret",
        "drop schema dbt cascade",
        "alter table dbt.secret add column note text",
        "alter table dbt.secret rename to dbt.open",
        "insert into dbt.assignments values ('engineer-user', 'south')",
        "create or replace table dbt.assignments as select 'engineer-user' as who, 'south' as region",
        "drop table dbt.assignments",
        "alter table dbt.assignments rename to dbt.other",
        "create table public.assignments as select 'engineer-user' as who, 'south' as region",
        "create view public.assignments as select 'engineer-user' as who, 'south' as region",
    ])
    .await;
    assert_eq!(read(&served, &engineer, seen).await, json!([[2]]));
    assert_eq!(read(&served, &owner, "select count(*) from dbt.secret").await, json!([[3]]));
    // What they may do goes through their eyes.
    all(
        &served,
        &engineer,
        &[
            "create table dbt.mine as select * from raw.orders",
            "insert into dbt.free select * from dbt.mine",
            "delete from dbt.free where customer in (select id from raw.customers where region = 'south')",
            "create table dbt.north as select * from raw.customers",
            "create view dbt.look as select * from raw.customers",
            "create or replace view dbt.look as select id, region from raw.customers",
        ],
    )
    .await;
    assert_eq!(read(&served, &owner, "select count(*) from dbt.free").await, json!([[4]]));
    assert_eq!(read(&served, &owner, "select count(*) from dbt.north").await, json!([[2]]));
    assert_eq!(read(&served, &owner, "select count(*) from dbt.look").await, json!([[3]]));
    assert_eq!(read(&served, &engineer, "select count(*) from dbt.look").await, json!([[2]]));
    // A rule holds for its names while nothing has them, and for what had them.
    all(&served, &owner, &["alter table dbt.secret rename to dbt.open"]).await;
    let told = read(&served, &engineer, "select * from dbt.open").await.to_string();
    assert!(told.contains("dbt.open is not for engineer-user"), "{told}");
    refused(&[
        "create table dbt.secret as select 1 as id",
        "create view dbt.secret as select * from raw.orders",
        "alter table dbt.mine rename to dbt.secret",
        "alter table dbt.look rename to dbt.secret",
    ])
    .await;
}

#[test]
fn what_was_made_of_something_stays_so_when_that_is_changed_or_gone() {
    let house = shop();
    house.ok(&["sql", "create table dbt.step as select name from raw.customers"]);
    house.ok(&["sql", "create view dbt.look as select name from raw.customers"]);
    let stored = |sql: &str| format!("{{{{ config(materialized='table') }}}} {sql}");
    house
        .write(
            "models/marts/sources.yml",
            "version: 2\nsources:\n  - name: dbt\n    tables: [{name: step}, {name: look}]\n",
        )
        .write("models/marts/stored.sql", stored("select * from {{ source('raw', 'customers') }}"))
        .write("models/marts/by_step.sql", stored("select * from {{ source('dbt', 'step') }}"))
        .write("models/marts/by_look.sql", stored("select * from {{ source('dbt', 'look') }}"));
    house.ok(&["build"]);
    house.ok(&["sql", "create table dbt.copy as select * from marts.stored"]);
    house.ok(&["sql", "create table dbt.told as select * from system.quarantine"]);
    house.write("models/marts/stored.sql", stored("select 1 as one"));
    house.ok(&["build"]);
    house.ok(&["sql", "drop table dbt.step"]);
    house.ok(&["sql", "create or replace view dbt.look as select 'x' as name"]);
    for table in ["dbt.copy", "marts.by_step", "marts.by_look"] {
        let sql = format!("select * from {table}");
        let complaint = house.fails(2, &["sql", &sql, "--as", "analyst"]);
        assert!(complaint.contains("it is made of raw.customers"), "{table}: {complaint}");
    }
    let complaint = house.fails(2, &["sql", "select * from dbt.told", "--as", "analyst"]);
    assert!(complaint.contains("it is made of system.quarantine"), "{complaint}");
    house.ok(&["sql", "select * from marts.stored", "--as", "analyst"]);
    // Once it is made of something else it is seen again.
    house.ok(&["sql", "create or replace table dbt.copy as select * from marts.stored"]);
    house.ok(&["sql", "select * from dbt.copy", "--as", "analyst"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_ends_with_its_time_and_leaves_what_was() {
    let served = Served::new(shop()).await;
    let owner = served.owner().await;
    all(&served, &owner, &["create table dbt.numbers as select value as n from range(100000)"])
        .await;
    let endless = "create or replace table dbt.numbers as \
                   select count(*) as n from dbt.numbers a, dbt.numbers b, dbt.numbers c where a.n + b.n > c.n";
    let body = json!({"sql": endless, "timeout_ms": 200});
    let answer = served.post(&owner, "/v1/sql/write", &body).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.json());
    assert!(answer.json()["hint"].as_str().unwrap().contains("look before"));
    // Its table is free again, as it was.
    all(&served, &owner, &["insert into dbt.numbers values (-1)"]).await;
    assert_eq!(read(&served, &owner, "select count(*) from dbt.numbers").await, json!([[100_001]]));
    let long = format!("insert into dbt.numbers values (1) /* {} */", "x".repeat(800 << 10));
    let answer = write(&served, &owner, &long).await;
    assert!(answer.json()["detail"].as_str().unwrap().contains("longer than"), "{}", answer.json());
}

#[test]
fn the_command_line_makes_views_and_tables_of_its_own() {
    let house = shop();
    house.ok(&["sql", "create view mine.large as select * from raw.orders where amount > 6"]);
    house.ok(&["sql", "create or replace table mine.copy as select * from mine.large"]);
    assert_eq!(house.cell("select id from mine.copy"), "11");
    let told = house.ok(&["sql", "drop view mine.large", "--output", "json"]);
    assert!(told.contains("\"dropped\""), "{told}");
    assert_eq!(house.cell("select id from mine.copy"), "11");
    let complaint = house.fails(2, &["sql", "drop table mine.large"]);
    assert!(complaint.contains("unknown table"), "{complaint}");
}
