//! A server follows syncs by itself: beside other work, over edits, pauses, errors and kills.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::changes::{Shop, round};
use crate::house::House;
use crate::schedules::{Owner, login};
use crate::served::{Process, raw};

/// How long something may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until nothing is missing any more.
fn until(when: &str, mut missing: impl FnMut() -> Option<String>) {
    let since = Instant::now();
    while let Some(missing) = missing() {
        assert!(since.elapsed() < PATIENCE, "{when}: {missing}");
        std::thread::yield_now();
    }
}

/// What the lake has not got of the database, also before anything has landed.
fn missing(shop: &Shop) -> Option<String> {
    let landed = "select count(*) from system.tables where name in ('raw.customers', 'raw.orders')";
    match shop.house.cell(landed).as_str() {
        "2" => shop.difference(),
        tables => Some(format!("{tables} tables")),
    }
}

/// Has the shop's sync followed by whoever serves the project; `more` are lines of its file.
fn followed(shop: &Shop, more: &str) {
    let file = shop.house.read("syncs/shop.yaml");
    let streams = file.find("streams:").unwrap();
    let head = "sync: shop\nconnection: shop\nfollowed: true\n";
    shop.house.write("syncs/shop.yaml", format!("{head}{more}{}", &file[streams..]));
}

/// Waits until the shop's sync is followed as is said; what is then told of it.
fn until_state(owner: &Owner<'_>, state: &str) -> Value {
    until_state_of("shop", owner, state)
}

/// The same of any sync.
fn until_state_of(sync: &str, owner: &Owner<'_>, state: &str) -> Value {
    let mut told = Value::Null;
    until(state, || {
        told = owner.get(&format!("/v1/syncs/{sync}"))["following"].clone();
        (told["state"] != state).then(|| told.to_string())
    });
    told
}

/// A project whose files a server follows; `more` are lines of the sync's file.
fn files(more: &str) -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/files.yaml",
        format!(
            "sync: files\nconnection: files\nfollowed: true\n{more}streams:\n  - {{stream: t, options: {{path: '*.csv'}}, read: incremental, write: append}}\n"
        ),
    );
    house
}

#[test]
fn a_server_follows_what_its_files_say_beside_its_other_work() {
    let shop = Shop::new();
    let house = &shop.house;
    followed(&shop, "");
    house.write("models/many.sql", "select count(*) as n from {{ source('raw', 'orders') }}");
    house.write(
        "schedules/after.yaml",
        "schedule: after\nrun: build\nwhen: {tables: [raw.orders], look: 1s}\n",
    );
    let server = Process::start(house);
    let owner = Owner { session: server.owner(), server: &server };
    until("the whole read", || missing(&shop));
    let first = until_state(&owner, "following");
    assert!(first["behind_s"].is_number() && first["since"].is_string(), "{first}");
    // Its run goes on, so that no task of it has ended yet.
    let lag: Value = serde_json::from_str(&house.ok(&["lag", "--output", "json"])).unwrap();
    assert!(lag[0]["last_at"].is_string() && lag[0]["failure"].is_null(), "{lag}");
    shop.run(&round(1));
    until("a round of changes", || missing(&shop));

    // What is data-driven is woken by what comes.
    until("the build that follows a commit", || {
        let runs = owner.get("/v1/schedule-runs?schedule=after");
        let all = runs["items"].as_array().unwrap();
        let built = all.iter().any(|run| run["status"] == "succeeded" && run["cause"] == "change");
        shop.run("update orders set amount = amount + 1 where id = 40");
        (!built).then(|| runs.to_string())
    });

    // Work on the same tables has its turn, and following goes on behind it.
    let turn = owner.done("/v1/turns", &json!({}));
    assert_eq!(turn["status"], "succeeded", "{turn}");
    shop.run(&round(2));
    until("changes after a turn", || missing(&shop));
    let again = until_state(&owner, "following");
    assert_ne!(again["run_id"], first["run_id"], "it made way");

    // It is told of wherever one looks for it; what is built meanwhile has it make way for a moment.
    until("the table", || {
        let seen = "select state, error is null from system.followed_syncs where sync = 'shop'";
        let seen = house.sql(seen);
        (seen != ["following,true"]).then(|| format!("{seen:?}"))
    });
    until("the status", || {
        let status = house.ok(&["status"]);
        (!status.contains("sync shop: following")).then_some(status)
    });
    let asked =
        format!("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}\r\n", owner.session);
    until("the figures", || {
        let figures = raw(&server.address, asked.as_bytes());
        let told = figures.contains("flywheel_sync_followed{sync=\"shop\"} 1")
            && figures.contains("flywheel_sync_lag_seconds{sync=\"shop\"");
        (!told).then_some(figures)
    });

    // An edit begins it anew, and what is not to be followed any more ends in good order.
    followed(&shop, "description: The shop's own tables.\n");
    until("the edited file", || {
        let told = owner.get("/v1/syncs/shop");
        let anew = told["following"]["state"] == "following" && told["description"].is_string();
        (!anew).then(|| told.to_string())
    });
    shop.run(&round(3));
    until("changes after an edit", || missing(&shop));
    let file = house.read("syncs/shop.yaml").replace("followed: true\n", "");
    house.write("syncs/shop.yaml", file);
    until("the end of following", || {
        let told = owner.get("/v1/syncs/shop")["following"].clone();
        (!told.is_null()).then(|| told.to_string())
    });
    until("the end of its run", || {
        let running = house.cell("select count(*) from system.runs where status = 'running'");
        (running != "0").then_some(running)
    });
    assert_eq!(house.sql("select sync from system.followed_syncs"), [""; 0]);
}

#[test]
fn a_paused_sync_rests_over_a_new_start_until_it_is_resumed() {
    let shop = Shop::new();
    let house = &shop.house;
    followed(&shop, "");
    let server = Process::start(house);
    let owner = Owner { session: server.owner(), server: &server };
    until("the whole read", || missing(&shop));
    until_state(&owner, "following");
    let (status, answer) =
        owner.ask("POST", "/v1/syncs/shop/pause", &json!({"reason": "the shop is moved"}));
    assert_eq!(status, 204, "{answer}");
    let told = until_state(&owner, "paused");
    assert_eq!((&told["reason"], &told["by"]), (&json!("the shop is moved"), &json!("ada")));
    until("the end of its run", || {
        let running = house.cell("select count(*) from system.runs where status = 'running'");
        (running != "0").then_some(running)
    });
    shop.run("insert into customers values (7000, 'late', null)");
    server.kill();

    let server = Process::start(house);
    let owner = Owner { session: login(&server), server: &server };
    until_state(&owner, "paused");
    assert!(house.ok(&["status"]).contains("PAUSED: sync shop is not followed"));
    assert_eq!(house.cell("select count(*) from raw.customers where id = 7000"), "0");
    let noted = "select who from system.audit where what = 'POST /v1/syncs/{sync}/pause'";
    assert_eq!(house.sql(noted), ["ada"]);

    // Also from a command line, while the server runs.
    house.ok(&["sync", "shop", "--resume"]);
    until("what came while it was paused", || missing(&shop));
    until_state(&owner, "following");
    house.ok(&["sync", "shop", "--pause", "--reason", "by hand"]);
    assert_eq!(until_state(&owner, "paused")["reason"], "by hand");
    let noted = "select what from system.audit where what like 'sync.%' order by number";
    assert_eq!(house.sql(noted), ["sync.resume", "sync.pause"]);
    let (status, _) = owner.ask("POST", "/v1/syncs/shop/resume", &json!({}));
    assert_eq!(status, 204);
    until_state(&owner, "following");
    let (status, _) = owner.ask("POST", "/v1/syncs/shp/pause", &json!({}));
    assert_eq!(status, 404);
}

#[test]
fn kills_of_a_server_that_follows_neither_lose_nor_double_a_change() {
    let shop = Shop::new();
    followed(&shop, "");
    for n in 1..6_u32 {
        let server = Process::start(&shop.house);
        shop.run(&round(2 * n));
        // It is killed while it reads the rows that are there, while changes come, and when some of them are committed.
        match n {
            1 => {}
            2 | 3 => until("a round", || missing(&shop)),
            _ => until("rows of a round", || {
                let there = format!("select count(*) from raw.orders where id > {}0000", 2 * n);
                let rows = shop.house.cell(&there);
                (rows == "0").then_some(rows)
            }),
        }
        shop.run(&round(2 * n + 1));
        server.kill();
    }
    let server = Process::start(&shop.house);
    until("the last start", || missing(&shop));
    drop(server);
    for table in ["raw.orders", "raw.customers"] {
        let twice = format!(
            "select count(*) from (select id from {table} group by id having count(*) > 1)"
        );
        assert_eq!(shop.house.cell(&twice), "0", "{table}");
    }
}

#[test]
fn a_wrong_password_is_told_and_the_mended_file_begins_it_again() {
    let shop = Shop::new();
    let house = &shop.house;
    followed(&shop, "");
    let file = house.read("connections/shop.yaml");
    // A port at which nobody listens is tried again and again.
    let (start, rest) = file.split_once("port: ").unwrap();
    let (_, rest) = rest.split_once(',').unwrap();
    house.write("connections/shop.yaml", format!("{start}port: 1,{rest}"));
    let server = Process::start(house);
    let owner = Owner { session: server.owner(), server: &server };
    let told = until_state(&owner, "failing");
    assert!(told["attempt"].as_u64().unwrap() >= 1 && told["next_at"].is_string(), "{told}");
    assert!(told["error"].is_string(), "{told}");

    // Who it does not let in is not asked again.
    let password = house.read("password");
    house.write("password", "not this one");
    house.write("connections/shop.yaml", file);
    let told = until_state(&owner, "failed");
    let error = told["error"].as_str().unwrap();
    assert!(error.contains("refuses") || error.contains("credentials"), "{told}");
    assert!(!error.contains("not this one"), "{told}");
    assert!(house.ok(&["status"]).contains("FAILED: sync shop is not followed any more"));
    let run = told["run_id"].as_str().unwrap();
    let run = owner.get(&format!("/v1/runs/{run}"));
    assert_eq!(run["status"], "failed", "{run}");
    let wheel = owner.get("/v1/status").to_string();
    assert!(wheel.contains("failed-follows"), "{wheel}");

    house.write("password", password);
    until("the mended password", || missing(&shop));
    assert!(until_state(&owner, "following")["error"].is_null());
}

#[test]
fn files_are_read_again_by_a_server_and_what_is_read_whole_cannot_be_followed() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    let sync = |read: &str, write: &str| {
        format!(
            "sync: files\nconnection: files\nfollowed: true\nstreams:\n  - {{stream: t, options: {{path: '*.csv'}}, read: {read}, write: {write}}}\n"
        )
    };
    house.write("data/1.csv", "id\n1\n");
    house.write("syncs/files.yaml", sync("full", "replace"));
    let complaint = house.fails(2, &["check"]);
    assert!(complaint.contains("its stream \"t\" is read whole each time"), "{complaint}");
    assert!(complaint.contains("syncs/files.yaml:5"), "{complaint}");
    house.write("syncs/files.yaml", sync("incremental", "append").replace("followed: true\n", ""));
    let complaint = house.fails(2, &["sync", "files", "--pause"]);
    assert!(complaint.contains("followed: true"), "{complaint}");
    house.write("syncs/files.yaml", sync("incremental", "append"));
    let server = Process::start(&house);
    let rows = |expected: &str| {
        until("rows", || {
            let found = house.sql("select count(*) from raw.t");
            (found != [expected]).then(|| format!("{found:?} for {expected}"))
        });
    };
    until("the first file", || {
        let landed = house.sql("select count(*) from system.tables where name = 'raw.t'");
        (landed != ["1"]).then(|| format!("{landed:?}"))
    });
    rows("1");
    house.write("data/2.csv", "id\n2\n3\n");
    rows("3");
    drop(server);
}

#[test]
fn a_destination_that_fails_is_set_aside_while_the_others_go_on() {
    let shop = Shop::new();
    let house = &shop.house;
    shop.run("create schema copies");
    let connection = house.read("connections/shop.yaml");
    let connection = connection.replacen("connection: shop", "connection: copies", 1);
    house.write("connections/copies.yaml", connection);
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: shop\nfollowed: true\ndestination: [lake, copies]\nstreams:\n  - {stream: customers, options: {table: customers}, read: cdc, write: mirror, key: [id], new_columns: fail, target: {table: copies.customers}}\n",
    );
    let server = Process::start(house);
    let owner = Owner { session: server.owner(), server: &server };
    until_state(&owner, "following");

    // The lake has the new column, the other system is not given it.
    shop.run("alter table customers add column extra text");
    shop.run("update customers set extra = 'new' where id <= 10");
    let told = until_state(&owner, "partial");
    let aside = "shop.customers \u{2192} copies";
    let streams = told["streams"].as_array().unwrap();
    let is_aside = |one: &Value| one["aside"] == true;
    let names: Vec<&str> =
        streams.iter().filter(|one| is_aside(one)).filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, [aside], "{told}");
    assert!(told["error"].as_str().unwrap().contains("extra"), "{told}");
    assert!(told["attempt"].as_u64().unwrap() >= 1 && told["next_at"].is_string(), "{told}");
    shop.run("insert into customers (id, name, extra) values (9001, 'later', 'x')");
    until("the lake", || {
        let rows = house.cell("select count(*) from raw.customers where id = 9001");
        (rows != "1").then_some(rows)
    });

    // It is told of wherever one looks, and stays so until it is tried again.
    until("the table", || {
        let seen = "select state, aside from system.followed_syncs where sync = 'shop'";
        let seen = house.sql(seen);
        (seen != [format!("partial,{aside}")]).then(|| format!("{seen:?}"))
    });
    until("the status", || {
        let status = house.ok(&["status"]);
        (!status.contains(&format!("SET ASIDE: {aside}"))).then_some(status)
    });
    until("the first page", || {
        let wheel = owner.get("/v1/status").to_string();
        (!wheel.contains("follows-aside")).then_some(wheel)
    });
    let asked =
        format!("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}\r\n", owner.session);
    until("the figures", || {
        let figures = raw(&server.address, asked.as_bytes());
        let told = figures.contains("flywheel_sync_follow_aside{sync=\"shop\"} 1");
        (!told).then_some(figures)
    });

    // It is tried again by itself, and at once when somebody who has mended the other system says so.
    until("another attempt", || {
        let told = owner.get("/v1/syncs/shop")["following"].clone();
        (told["attempt"].as_u64() < Some(2)).then(|| told.to_string())
    });
    shop.run("alter table copies.customers add column extra text");
    let (status, answer) = owner.ask("POST", "/v1/syncs/shop/resume", &json!({}));
    assert_eq!(status, 204, "{answer}");
    until_state(&owner, "following");
    until("the other system", || {
        let rows = shop.run("select count(*) from copies.customers where extra is not null");
        (rows != "11").then_some(rows)
    });
}

#[test]
fn a_followed_table_that_is_truncated_stops_alone_until_it_is_read_whole() {
    let shop = Shop::new();
    let house = &shop.house;
    followed(&shop, "");
    let server = Process::start(house);
    let owner = Owner { session: server.owner(), server: &server };
    until_state(&owner, "following");
    shop.run("truncate orders");
    shop.run("insert into customers (id, name) values (9001, 'beside')");
    let told = until_state(&owner, "partial");
    let streams = told["streams"].as_array().unwrap();
    let stopped = streams.iter().filter(|one| one["aside"] == true);
    let names: Vec<&str> = stopped.filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["shop.orders"], "{told}");
    assert!(told["error"].as_str().unwrap().contains("truncated"), "{told}");
    assert!(told["next_at"].is_null(), "no waiting mends it: {told}");
    for n in 1..3 {
        shop.run(&format!("insert into customers (id, name) values (910{n}, 'later'); insert into orders values ({n}, 1, 1, date_trunc('second', now()))"));
        until("the other table", || {
            let seen = house.cell(&format!("select count(*) from raw.customers where id = 910{n}"));
            (seen != "1").then_some(seen)
        });
    }
    assert_eq!(house.cell("select count(*) from raw.orders"), "1000", "it stays as it was");
    until("the status", || {
        let status = house.ok(&["status"]);
        (!status.contains("STOPPED: shop.orders")).then_some(status)
    });
    drop(server);

    house.ok(&["sync", "shop", "--restart", "--stream", "orders"]);
    assert_eq!(shop.difference(), None);
    let server = Process::start(house);
    let owner = Owner { session: login(&server), server: &server };
    until_state(&owner, "following");
    shop.run("delete from orders where id = 1; update customers set note = 'x' where id = 3");
    until("both tables", || missing(&shop));
}

#[test]
fn a_turn_goes_on_without_what_is_read_whole_for_the_first_time() {
    // That takes longer than this test may.
    let house = files("limits: {rows_per_second: 2}\n");
    let rows: String = (0..1_000).map(|row| format!("{row}\n")).collect();
    house.write("data/1.csv", format!("id\n{rows}"));
    let server = Process::start(&house);
    let owner = Owner { session: server.owner(), server: &server };
    until_state_of("files", &owner, "starting");
    let turn = owner.done("/v1/turns", &json!({}));
    assert_eq!(turn["status"], "succeeded", "{turn}");
    assert!(turn["log"].to_string().contains("is left out of this turn"), "{turn}");
    assert_eq!(house.sql("select name from system.tasks where status = 'skipped'"), ["files.t"]);
    let told = owner.get("/v1/syncs/files")["following"].clone();
    assert_eq!((&told["state"], &told["reached"]), (&json!("starting"), &Value::Null), "{told}");
}

#[test]
fn an_alert_rings_while_a_followed_sync_is_behind_and_is_over_once_it_is_not() {
    let house = files("read_every: 1s\n");
    house.write("data/1.csv", "id\n1\n");
    house.write(
        "actions/ops.yaml",
        "action: ops\ntype: file\noptions: {path: 'out/{policy}.jsonl'}\n",
    );
    house.write(
        "alerts/late.yaml",
        "alert: late\nwhen: {lag: files, longer_than: 5s, every: 1s}\nsend: [ops]\n",
    );
    let server = Process::start(&house);
    let owner = Owner { session: server.owner(), server: &server };
    until_state_of("files", &owner, "following");
    let until_open = |when: &str, expected: &[&str]| {
        until(when, || {
            let text = house.ok(&["alert", "list", "--output", "json"]);
            let all: Value = serde_json::from_str(&text).unwrap();
            let open = all[0]["open"].as_array().unwrap();
            let subjects: Vec<&str> =
                open.iter().filter_map(|one| one["subject"].as_str()).collect();
            (subjects != expected).then_some(text)
        });
    };
    until_open("what is read again and again", &[]);
    let (status, answer) =
        owner.ask("POST", "/v1/syncs/files/pause", &json!({"reason": "the disk is full"}));
    assert_eq!(status, 204, "{answer}");
    until_open("nothing is read", &["sync files.t is late"]);
    let (status, answer) = owner.ask("POST", "/v1/syncs/files/resume", &json!({}));
    assert_eq!(status, 204, "{answer}");
    until_open("it is read again", &[]);
    until("both are told", || {
        let told =
            "select kind from system.alerts where alert = 'late' order by made_at desc limit 2";
        let told = house.sql(told);
        (told != ["recovered", "raised"]).then(|| format!("{told:?}"))
    });
}

#[test]
fn how_often_streams_are_read_again_is_declared_within_reason() {
    let house = files("read_every: 100ms\n");
    let complaint = house.fails(2, &["check"]);
    assert!(complaint.contains("read again more often than once a second"), "{complaint}");
    assert!(complaint.contains("syncs/files.yaml:4"), "{complaint}");
}
