//! Whoever operates sees how databases and our own stores do.

use flywheel_testkit::Postgres;
use serde_json::{Value, json};

use crate::house::House;
use crate::schedules::Owner;
use crate::served::Process;
use crate::servers::postgres;

/// A connection to a database of the server, or to a port that nobody listens at.
fn connection(name: &str, port: u16, database: &str) -> String {
    format!(
        "connection: {name}\ntype: postgres\noptions: {{host: 127.0.0.1, port: {port}, database: {database}, user: postgres, password: '${{file:password}}'}}\n"
    )
}

fn named<'a>(all: &'a Value, name: &str) -> &'a Value {
    all.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()
}

#[test]
fn what_a_slot_keeps_and_what_does_not_answer_is_seen() {
    let database = postgres().database();
    let slot = format!("kept_{}", database.replace('-', "_").to_lowercase());
    let run = |sql: &str| postgres().psql(&database, sql);
    run("create table t (n int)");
    run(&format!("select pg_create_physical_replication_slot('{slot}', true)"));
    run("insert into t select generate_series(1, 20000)");
    let house = House::new();
    house.write("password", Postgres::PASSWORD);
    house.write("connections/shop.yaml", connection("shop", postgres().port(), &database));
    house.write("connections/gone.yaml", connection("gone", 1, &database));
    house.write("connections/out.yaml", "connection: out\ntype: csv\noptions: {folder: data}\n");

    let answer = house.run(&["databases", "--output", "json"]);
    assert_eq!(answer.status.code(), Some(1), "one does not answer");
    let all: Value = serde_json::from_slice(&answer.stdout).unwrap();
    let ours = |all: &Value| {
        let slots = named(all, "shop")["health"]["slots"].clone();
        slots.as_array().unwrap().iter().find(|one| one["name"] == slot.as_str()).unwrap().clone()
    };
    assert!(ours(&all)["kept_bytes"].as_u64().unwrap() > 100_000, "{all}");
    assert_eq!(ours(&all)["active"], false);
    assert_eq!(named(&all, "gone")["reachable"], false);
    assert_eq!(named(&all, "gone")["error"]["kind"], "unavailable", "{all}");
    assert_eq!(named(&all, "out")["reachable"], Value::Null, "files are not asked");
    assert!(house.sql("select name from system.databases").is_empty(), "nothing was kept");

    let server = Process::start(&house);
    let owner = Owner { session: server.owner(), server: &server };
    let (status, all) = owner.ask("POST", "/v1/databases/check", &json!({}));
    assert_eq!(status, 200, "{all}");
    let all = owner.get("/v1/databases")["items"].clone();
    assert!(ours(&all)["kept_bytes"].as_u64().unwrap() > 100_000, "{all}");
    let shop = named(&all, "shop");
    assert!(shop["health"]["connections"].as_u64() <= shop["health"]["connections_max"].as_u64());
    assert!(named(&all, "lake")["tables"].as_u64().unwrap() > 0, "{all}");
    assert!(named(&all, "metadata")["health"]["size_bytes"].as_u64().unwrap() > 0);

    // What was found is kept: nobody is asked by a query.
    let rows = house.sql(
        "select name, reachable, slot_kept_bytes > 100000, last_error_kind from system.databases where not own order by name",
    );
    assert_eq!(rows, ["gone,false,,unavailable", "out,,,", "shop,true,true,"]);
    let own = house.sql("select name from system.databases where own order by name");
    assert_eq!(own, ["disk", "journal", "lake", "metadata"]);

    // Of every table it is known how good it is, for whoever may see it.
    let trust = owner.get("/v1/trust")["items"].clone();
    assert!(trust.as_array().unwrap().iter().all(|one| one["held"].is_null()), "{trust}");
    run(&format!("select pg_drop_replication_slot('{slot}')"));
}
