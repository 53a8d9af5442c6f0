//! Schedules: by hand, by a server, over kills, and what is told of them.

use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::house::House;
use crate::served::{Process, ask};

/// How long something may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

const ROWS: usize = 400;

/// A shop whose orders are read from a file, as slowly as is said.
fn shop(rows_per_second: Option<u32>) -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    slowed(&house, rows_per_second);
    let mut text = String::from("id,amount\n");
    for row in 0..ROWS {
        writeln!(text, "{row},{}", row % 7).unwrap();
    }
    house.write("data/orders.csv", text);
    house
}

fn slowed(house: &House, rows_per_second: Option<u32>) {
    let limits = rows_per_second
        .map_or_else(String::new, |rows| format!("limits: {{rows_per_second: {rows}}}\n"));
    house.write(
        "syncs/orders.yaml",
        format!(
            "sync: orders\nconnection: files\n{limits}streams:\n  - {{stream: orders, options: {{path: orders.csv}}, read: full, write: replace}}\n"
        ),
    );
}

/// The owner of a server, who asks.
pub(crate) struct Owner<'a> {
    pub(crate) server: &'a Process,
    pub(crate) session: String,
}

impl Owner<'_> {
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let answer = ask(&self.server.address, &self.session, method, path, &body);
        let (status, _, answer) = answer.unwrap();
        (status, answer)
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask("GET", path, &Value::Null);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Asks for a run of a schedule; its id.
    pub(crate) fn run(&self, schedule: &str) -> String {
        let path = format!("/v1/schedules/{schedule}/run");
        let (status, answer) = self.ask("POST", &path, &json!({}));
        assert_eq!(status, 202, "{answer}");
        answer["run"]["id"].as_str().unwrap().to_owned()
    }

    /// Waits until a run of a schedule stands so.
    pub(crate) fn until(&self, id: &str, status: &str) -> Value {
        let since = Instant::now();
        loop {
            let run = self.get(&format!("/v1/schedule-runs/{id}"));
            if run["status"] == status && (status != "running" || run["run_id"].is_string()) {
                return run;
            }
            assert!(since.elapsed() < PATIENCE, "not {status}: {run}");
            std::thread::yield_now();
        }
    }

    /// Asks for work, and waits until it has ended.
    pub(crate) fn done(&self, path: &str, body: &Value) -> Value {
        let (status, asked) = self.ask("POST", path, body);
        assert_eq!(status, 202, "{path}: {asked}");
        let work = format!("/v1/work/{}", asked["work"].as_str().unwrap());
        let since = Instant::now();
        loop {
            let work = self.get(&work);
            if work["ended_at"].is_string() {
                return work;
            }
            assert!(since.elapsed() < PATIENCE, "not ended: {work}");
            std::thread::yield_now();
        }
    }
}

/// The headers of an owner who logs in again after a new start.
pub(crate) fn login(server: &Process) -> String {
    let body = json!({"name": "ada", "password": "correct horse battery"}).to_string();
    let (status, cookie, answer) = ask(&server.address, "", "POST", "/v1/login", &body).unwrap();
    assert_eq!(status, 200, "{answer}");
    format!("Cookie: {cookie}\r\nx-csrf-token: {}\r\n", answer["csrf"].as_str().unwrap())
}

#[test]
fn a_schedule_is_run_by_hand_and_what_came_of_it_can_be_read() {
    let house = shop(None);
    house.write(
        "actions/ops.yaml",
        "action: ops\ntype: file\noptions: {path: 'out/{policy}.jsonl'}\n",
    );
    house.write(
        "schedules/land.yaml",
        "schedule: land\nrun: sync\nselect: [orders]\nwhen: {cron: '30 2 * * *', zone: Asia/Shanghai}\nalert: {actions: [ops]}\n",
    );
    let listed = house.ok(&["schedule", "list", "--output", "json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["runs"], "sync orders");
    assert!(listed[0]["next"].as_str().unwrap().ends_with("02:30 +08:00"), "{listed}");
    let next = house.ok(&["schedule", "next", "land", "--count", "2", "--output", "csv"]);
    assert_eq!(next.matches("T18:30:00Z").count(), 2, "{next}");

    house.ok(&["schedule", "run", "land"]);
    assert_eq!(house.cell("select count(*) from raw.orders"), ROWS.to_string());
    let seen = "select status, cause, attempt, asked_by from system.schedule_runs";
    assert_eq!(house.cell(seen), "succeeded,manual,1,command line");
    let lines = house.sql(
        "select l.level, l.text from system.run_logs l join system.schedule_runs s on s.run_id = l.run_id order by l.line",
    );
    assert!(lines.len() >= 3, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("orders.orders succeeded")), "{lines:?}");

    // A file that is gone: the run fails, is told of once, and is in the log and among the errors.
    let orders = house.read("data/orders.csv");
    std::fs::remove_file(house.dir().join("data/orders.csv")).unwrap();
    house.fails(1, &["schedule", "run", "land"]);
    house.fails(1, &["schedule", "run", "land"]);
    assert_eq!(house.sql("select kind, status from system.alerts"), ["failed,delivered"]);
    let told = house.read("out/alerts.jsonl");
    assert!(told.contains("land failed") && told.contains("\"project\":\"shop\""), "{told}");
    let errors = house.sql("select kind, name, count, last_run_id is not null from system.errors");
    assert_eq!(errors, ["sync,orders.orders,2,true"]);
    let runs = house.ok(&["schedule", "runs", "land", "--output", "json"]);
    let runs: Value = serde_json::from_str(&runs).unwrap();
    let failed = runs.as_array().unwrap().iter().find(|run| run["status"] == "failed").unwrap();
    let id = failed["id"].as_str().unwrap();
    assert!(house.ok(&["schedule", "log", id]).contains("orders.csv"));

    // What failed is run again for its moment, and that it works again is told.
    house.write("data/orders.csv", orders);
    house.ok(&["schedule", "rerun", id]);
    let again = house.sql(&format!(
        "select count(*) from system.schedule_runs where moment = (select moment from system.schedule_runs where id = '{id}')"
    ));
    assert_eq!(again, ["2"]);
    let complaint = house.fails(1, &["schedule", "rerun", id]);
    assert!(complaint.contains("same moment and is succeeded"), "{complaint}");
    let alerts = house.sql("select kind, status from system.alerts order by made_at");
    assert_eq!(alerts, ["failed,delivered", "recovered,delivered"]);
    assert!(
        house.fails(1, &["schedule", "rerun", &run_of(&house, "succeeded")]).contains("succeeded")
    );

    for (arguments, said) in [
        (&["schedule", "run", "lnd"][..], "land"),
        (&["schedule", "pause", "lnd"], "land"),
        (&["schedule", "runs", "lnd"], "land"),
        (&["schedule", "log", "nothing"], "schedule runs"),
        (&["schedule", "run", "land", "--from", "2999-01-01"], "no moment"),
        (&["schedule", "run", "land", "--from", "2024-05-01", "--to", "2999-01-01"], "future"),
        (&["schedule", "run", "land", "--from", "1990-01-01"], "1000"),
        (&["schedule", "run", "land", "--from", "soon"], "2024-05-01"),
    ] {
        let complaint = house.fails(2, arguments);
        assert!(complaint.contains(said), "{arguments:?}: {complaint}");
    }
}

#[test]
fn what_any_earlier_attempt_has_done_is_not_done_again() {
    let house = shop(None);
    house.write(
        "syncs/later.yaml",
        "sync: later\nconnection: files\nstreams:\n  - {stream: later, options: {path: later.csv}, read: full, write: replace}\n",
    );
    house.write("schedules/all.yaml", "schedule: all\nrun: sync\nretry: {attempts: 1}\n");
    house.fails(1, &["schedule", "run", "all"]);
    for _ in 0..2 {
        let newest = "select id from system.schedule_runs where status = 'failed' order by due_at desc limit 1";
        let newest = house.cell(newest);
        house.fails(1, &["schedule", "rerun", &newest]);
    }
    let done = house
        .sql("select name, count(*) from system.tasks where kind = 'sync' group by 1 order by 1");
    assert_eq!(done, ["later.later,3", "orders.orders,1"]);
}

fn run_of(house: &House, status: &str) -> String {
    house.sql(&format!("select id from system.schedule_runs where status = '{status}' limit 1"))[0]
        .clone()
}

#[test]
fn days_of_the_past_are_run_once_each() {
    let house = shop(None);
    house.write(
        "schedules/daily.yaml",
        "schedule: daily\nrun: sync\nwhen: {cron: '30 2 * * *', zone: Europe/Berlin}\n",
    );
    let span = ["schedule", "run", "daily", "--from", "2024-03-30", "--to", "2024-04-01"];
    house.ok(&span);
    let seen = "select moment, cause, status from system.schedule_runs order by moment";
    // The clocks went forward on 31 March; the last day counts whole.
    let moments = ["2024-03-30T01:30:00Z", "2024-03-31T01:00:00Z", "2024-04-01T00:30:00Z"];
    assert_eq!(house.sql(seen), moments.map(|at| format!("{at},backfill,succeeded")));
    house.ok(&span);
    assert_eq!(house.sql(seen).len(), 3, "a moment was run again");
    let worked_for = "select logical_at from system.runs where kind = 'sync' order by 1";
    assert_eq!(house.sql(worked_for), moments);

    // A server does not say otherwise.
    let server = Process::start(&house);
    let owner = Owner { session: server.owner(), server: &server };
    let body = json!({"from": "2024-03-30", "to": "2024-04-01"});
    let (status, answer) = owner.ask("POST", "/v1/schedules/daily/run", &body);
    assert_eq!((status, &answer["moments"]), (202, &json!([])), "{answer}");
    let (status, answer) = owner.ask("GET", "/v1/schedule-runs?status=nonsense", &Value::Null);
    assert_eq!(status, 400, "{answer}");
    assert!(answer["hint"].is_string(), "{answer}");
    let said = crate::house::text(&house.run(&span).stderr);
    assert!(said.contains("nothing to do"), "{said}");
}

#[test]
fn runs_under_way_outlive_kills_of_their_server() {
    let house = shop(Some(10));
    house.write(
        "schedules/slow.yaml",
        "schedule: slow\nrun: sync\nselect: [orders]\nretry: {attempts: 1}\n",
    );
    let server = Process::start(&house);
    let owner = Owner { session: server.owner(), server: &server };
    let id = owner.run("slow");
    // What the log says so far can be read while the run is under way.
    let run = owner.until(&id, "running");
    let log = owner.get(&format!("/v1/runs/{}/log", run["run_id"].as_str().unwrap()));
    assert_eq!(log["ended"], false, "{log}");
    assert!(log["items"][0]["text"].as_str().unwrap().contains("began"), "{log}");
    let after = format!("/v1/runs/{}/log?after={}", run["run_id"].as_str().unwrap(), log["next"]);
    assert!(owner.get(&after)["next"].as_u64() >= log["next"].as_u64());
    server.kill();
    let kills = 4;
    for _ in 1..kills {
        let server = Process::start(&house);
        let owner = Owner { session: login(&server), server: &server };
        owner.until(&id, "running");
        server.kill();
    }
    assert_eq!(house.cell("select status from system.schedule_runs"), "running");

    slowed(&house, None);
    let server = Process::start(&house);
    let owner = Owner { session: login(&server), server: &server };
    let run = owner.until(&id, "succeeded");
    assert_eq!(run["attempt"], kills + 1, "{run}");
    let results: Vec<&str> = run["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["result"].as_str().unwrap())
        .collect();
    assert_eq!(results, ["interrupted", "interrupted", "interrupted", "interrupted", "succeeded"]);
    drop(server);
    assert_eq!(house.cell("select count(*), count(distinct id) from raw.orders"), "400,400");
    assert_eq!(house.cell("select count(*) from system.runs where status = 'running'"), "0");
    assert_eq!(house.cell("select count(*) from system.runs where status = 'succeeded'"), "1");
    assert_eq!(house.cell("select count(*) from system.schedule_runs"), "1");
}

#[test]
fn a_run_that_is_stopped_stays_stopped_and_the_next_one_goes_on() {
    let house = shop(Some(10));
    house.write("schedules/slow.yaml", "schedule: slow\nrun: sync\nselect: [orders]\n");
    house.write(
        "schedules/hasty.yaml",
        "schedule: hasty\nrun: sync\nselect: [orders]\ntimeout: 1s\nretry: {attempts: 1}\n",
    );
    let server = Process::start(&house);
    let owner = Owner { session: server.owner(), server: &server };
    let id = owner.run("slow");
    owner.until(&id, "running");
    let (status, answer) = owner.ask("POST", &format!("/v1/schedule-runs/{id}/cancel"), &json!({}));
    assert_eq!(status, 202, "{answer}");
    owner.until(&id, "cancelled");
    let (status, answer) = owner.ask("POST", &format!("/v1/schedule-runs/{id}/cancel"), &json!({}));
    assert_eq!((status, &answer["code"]), (409, &json!("conflict")), "{answer}");

    // Its moment is run again once, however often that is asked for.
    let rerun = format!("/v1/schedule-runs/{id}/rerun");
    let (status, again) = owner.ask("POST", &rerun, &json!({}));
    assert_eq!(status, 202, "{again}");
    let (status, answer) = owner.ask("POST", &rerun, &json!({}));
    assert_eq!((status, &answer["code"]), (409, &json!("conflict")), "{answer}");
    let again = again["id"].as_str().unwrap();
    owner.until(again, "running");
    house.ok(&["schedule", "cancel", again]);
    owner.until(again, "cancelled");

    // By its work, as a page does it.
    let id = owner.run("slow");
    owner.until(&id, "running");
    let work = owner.get("/v1/work");
    let work = work["items"][0]["work"].as_str().unwrap().to_owned();
    owner.ask("POST", &format!("/v1/work/{work}/cancel"), &json!({}));
    owner.until(&id, "cancelled");

    let late = owner.run("hasty");
    let run = owner.until(&late, "failed");
    assert_eq!(run["error_class"], "timeout", "{run}");
    let status = owner.get("/v1/status");
    let attention = status["attention"].as_array().unwrap();
    let failing = attention.iter().find(|one| one["kind"] == "failing-schedules");
    assert_eq!(failing.unwrap()["names"], json!(["hasty"]), "{status}");

    // Beside the server, the command line asks it.
    slowed(&house, None);
    house.ok(&["schedule", "run", "slow"]);
    let runs = owner.get("/v1/schedule-runs?schedule=slow&limit=1");
    let id = runs["items"][0]["id"].as_str().unwrap().to_owned();
    owner.until(&id, "succeeded");
    house.ok(&["schedule", "pause", "slow", "--reason", "night"]);
    let shown = owner.get("/v1/schedules/slow");
    assert_eq!((&shown["paused"], &shown["reason"]), (&json!(true), &json!("night")), "{shown}");
    house.ok(&["schedule", "resume", "slow"]);
    assert_eq!(owner.get("/v1/schedules/slow")["paused"], false);
    let schedules = owner.get("/v1/schedules");
    assert_eq!(schedules["items"].as_array().unwrap().len(), 2);
    assert_eq!(owner.get("/v1/alerts")["items"], json!([]), "nobody is to be told");
}

#[test]
fn a_schedule_is_known_once_the_mistake_of_another_file_is_mended() {
    let house = shop(None);
    let log = house.dir().join("server.log");
    let server = Process::start_logged(&house.dir(), &log, |_| {});
    let owner = Owner { server: &server, session: server.owner() };
    house.write("actions/ops.yaml", "action: ops\ntype: fil\noptions: {path: out.jsonl}\n");
    house.write("schedules/late.yaml", "schedule: late\nrun: sync\nselect: [orders]\n");
    let since = Instant::now();
    let told =
        || std::fs::read_to_string(&log).unwrap().contains("files were changed, but have mistakes");
    while !told() {
        assert!(since.elapsed() < PATIENCE, "nobody is told of the mistake");
        std::thread::yield_now();
    }
    let known = || owner.ask("GET", "/v1/schedules/late", &Value::Null).0 == 200;
    assert!(!known());

    house.write("actions/ops.yaml", "action: ops\ntype: file\noptions: {path: out.jsonl}\n");
    while !known() {
        assert!(since.elapsed() < PATIENCE, "the schedule is not known");
        std::thread::yield_now();
    }
    owner.until(&owner.run("late"), "succeeded");
}

#[test]
fn a_new_file_and_a_signed_call_start_runs_by_themselves() {
    let house = shop(None);
    house.write("hook.key", "hook-secret");
    house.write(
        "schedules/inbox.yaml",
        "schedule: inbox\nrun: sync\nwhen: {files: ['inbox/*.csv'], look: 1s, webhook: '${file:hook.key}'}\n",
    );
    house.write(
        "schedules/after.yaml",
        "schedule: after\nrun: sync\nwhen: {tables: [raw.orders], look: 1s}\n",
    );
    house.ok(&["sync"]);
    let server = Process::start(&house);
    let owner = Owner { session: server.owner(), server: &server };
    let until = |schedule: &str, cause: &str| {
        let since = Instant::now();
        loop {
            let runs = owner.get(&format!("/v1/schedule-runs?schedule={schedule}"));
            let found = runs["items"]
                .as_array()
                .unwrap()
                .iter()
                .find(|run| run["cause"] == cause && run["status"] == "succeeded");
            if let Some(found) = found {
                return found.clone();
            }
            assert!(since.elapsed() < PATIENCE, "{runs}");
            std::thread::yield_now();
        }
    };
    // What is there already is nothing new; each write is another file until one has been seen as new.
    let since = Instant::now();
    let mut number = 0;
    while owner.get("/v1/schedule-runs?schedule=inbox")["items"] == json!([]) {
        number += 1;
        house.write(&format!("inbox/{number}.csv"), "x\n");
        house.write("data/orders.csv", format!("id,amount\n1,{number}\n"));
        assert!(since.elapsed() < PATIENCE);
    }
    until("inbox", "change");
    // The sync made a new version of its table, which the other schedule looks at.
    until("after", "change");

    let call = |delivery: &str, signature: &str, body: &str| {
        let headers =
            format!("X-Flywheel-Delivery: {delivery}\r\nX-Flywheel-Signature: {signature}\r\n");
        let answer = ask(&server.address, &headers, "POST", "/v1/hooks/inbox", body).unwrap();
        (answer.0, answer.2["id"].as_str().map(str::to_owned))
    };
    // Python: hmac.new(b"hook-secret", b'd-1.{"ref":"main"}', "sha256").hexdigest()
    let signature = "sha256=57b2d04ceb4aac1ea9900d8ed6b88bc3859329552fa1806609efe18ac7a0b312";
    let body = "{\"ref\":\"main\"}";
    let (status, id) = call("d-1", signature, body);
    assert_eq!(status, 202);
    assert_eq!(call("d-1", signature, body), (202, id.clone()), "a repeated call is the same run");
    owner.until(&id.unwrap(), "succeeded");
    for (delivery, signature, body) in [
        ("d-2", signature, body),
        ("d-1", signature, "{\"ref\":\"other\"}"),
        ("d-1", "", body),
        ("", signature, body),
    ] {
        assert_eq!(call(delivery, signature, body).0, 401);
    }
    let (status, ..) = ask(&server.address, "", "POST", "/v1/hooks/after", body).unwrap();
    assert_eq!(status, 401, "a schedule without a webhook has no door");
}

#[test]
fn a_server_runs_each_moment_once_whenever_it_is_killed() {
    let house = shop(None);
    house.write(
        "schedules/often.yaml",
        "schedule: often\nrun: sync\nwhen: {every: 2s}\ncatch_up: all\noverlap: queue\nretry: {attempts: 5}\n",
    );
    for kill in 0..4 {
        let server = Process::start(&house);
        let session = if kill == 0 { server.owner() } else { login(&server) };
        let owner = Owner { session, server: &server };
        let since = Instant::now();
        let ended = |runs: &Value| {
            let runs = runs["items"].as_array().unwrap().iter();
            runs.filter(|run| run["status"] == "succeeded").count()
        };
        let before = ended(&owner.get("/v1/schedule-runs?limit=1000"));
        // Whatever is under way once one more has ended is cut off.
        while ended(&owner.get("/v1/schedule-runs?limit=1000")) <= before {
            assert!(since.elapsed() < PATIENCE);
        }
        server.kill();
    }
    let moments = house.sql("select moment from system.schedule_runs order by moment");
    let distinct: std::collections::BTreeSet<&String> = moments.iter().collect();
    assert_eq!(distinct.len(), moments.len(), "a moment has two runs");
    let seconds =
        |moment: &String| flywheel_base::Timestamp::parse(moment).unwrap().micros() / 1_000_000;
    let (from, to) = (seconds(&moments[0]), seconds(moments.last().unwrap()));
    assert_eq!(moments.len() as i64, (to - from) / 2 + 1, "a moment has no run: {moments:?}");
    let running = house.cell("select count(*) from system.schedule_runs where status = 'running'");
    assert!(running == "0" || running == "1", "{running} runs of one schedule are under way");
    house.write("schedules/often.yaml", "schedule: often\nrun: sync\n");
    let server = Process::start(&house);
    let owner = Owner { session: login(&server), server: &server };
    let since = Instant::now();
    loop {
        let runs = owner.get("/v1/schedule-runs?limit=1000");
        let open = runs["items"].as_array().unwrap().iter();
        if open.filter(|run| run["status"] != "succeeded").count() == 0 {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "{runs}");
        std::thread::yield_now();
    }
    drop(server);
    assert_eq!(house.cell("select count(*) from system.runs where status = 'running'"), "0");
    assert_eq!(house.cell("select count(*), count(distinct id) from raw.orders"), "400,400");
}

/// A second sync of the same kind, with a table of its own, as slow as is said.
fn beside(house: &House, name: &str, rows_per_second: Option<u32>) {
    let limits = rows_per_second
        .map_or_else(String::new, |rows| format!("limits: {{rows_per_second: {rows}}}\n"));
    house.write(
        &format!("syncs/{name}.yaml"),
        format!(
            "sync: {name}\nconnection: files\n{limits}streams:\n  - {{stream: {name}, options: {{path: orders.csv}}, read: full, write: replace}}\n"
        ),
    );
}

#[test]
fn tasks_of_a_run_begin_after_those_they_wait_for_and_a_rerun_leaves_out_what_was_done() {
    let house = shop(None);
    house.write(
        "syncs/later.yaml",
        "sync: later\nconnection: files\nstreams:\n  - {stream: later, options: {path: later.csv}, read: full, write: replace}\n",
    );
    house.write(
        "models/mart/total.sql",
        "{{ config(materialized='table') }}\nselect count(*) as orders from {{ source('raw', 'orders') }}\n",
    );
    house.write(
        "schedules/night.yaml",
        "schedule: night
tasks:
  - {task: told, after: [count, landed]}
  - {task: landed, after: [orders, later]}
  - {task: count, run: build, select: [total], after: [orders]}
  - {task: orders, run: sync, select: [orders]}
  - {task: later, run: sync, select: [later]}
retry: {attempts: 1}
",
    );
    let complaint = house.fails(1, &["schedule", "run", "night"]);
    assert!(complaint.contains("task \"later\"") && complaint.contains("later.csv"), "{complaint}");
    let tasks = "select name, status from system.tasks where kind = 'task' order by name";
    assert_eq!(
        house.sql(tasks),
        ["count,succeeded", "landed,skipped", "later,failed", "orders,succeeded", "told,skipped"]
    );
    assert_eq!(house.cell("select orders from mart.total"), ROWS.to_string());

    house.write("data/later.csv", "id\n1\n");
    house.ok(&["schedule", "rerun", &run_of(&house, "failed")]);
    let tasks = "select name, count(*) from system.tasks where kind = 'task' and status = 'succeeded' group by 1 order by 1";
    assert_eq!(house.sql(tasks), ["count,1", "landed,1", "later,1", "orders,1", "told,1"]);
    assert_eq!(house.cell("select count(*) from system.tasks where name = 'orders.orders'"), "1");
    let listed = house.ok(&["schedule", "list", "--output", "json"]);
    assert!(listed.contains("tasks told landed count orders later"), "{listed}");
}

#[test]
fn promises_that_are_not_kept_fail_the_run_of_their_schedule() {
    let house = shop(None);
    let promised = |rows: usize| {
        house.write(
            "quality/orders.yaml",
            format!(
                "quality: orders\ntable: source('raw', 'orders')\nchecks:\n  - {{metric: rowCount, mustBeGreaterThan: {rows}}}\n"
            ),
        );
    };
    promised(0);
    house.write("schedules/judge.yaml", "schedule: judge\nrun: quality\n");
    house.write(
        "schedules/steps.yaml",
        "schedule: steps\ntasks:\n  - {task: land, run: sync}\n  - {task: judge, run: quality, after: [land]}\n",
    );
    house.ok(&["sync"]);
    house.ok(&["schedule", "run", "judge"]);
    house.ok(&["schedule", "run", "steps"]);
    promised(ROWS);
    let said = house.fails(3, &["schedule", "run", "judge"]);
    assert!(said.contains("not kept") && said.contains("orders."), "{said}");
    let kept = "select status, error_class from system.schedule_runs where schedule = 'judge' order by started_at";
    assert_eq!(house.sql(kept).last().unwrap(), "blocked,blocked");
}

#[test]
fn a_server_does_what_touches_different_tables_side_by_side_and_nothing_else() {
    let house = shop(Some(1));
    beside(&house, "copies", Some(1));
    for (schedule, sync) in [("one", "orders"), ("other", "copies"), ("same", "orders")] {
        house.write(
            &format!("schedules/{schedule}.yaml"),
            format!("schedule: {schedule}\nrun: sync\nselect: [{sync}]\n"),
        );
    }
    house.write("schedules/wheel.yaml", "schedule: wheel\nrun: turn\n");
    let server = Process::start(&house);
    let owner = Owner { session: server.owner(), server: &server };
    let one = owner.run("one");
    owner.until(&one, "running");
    let (same, other) = (owner.run("same"), owner.run("other"));
    owner.until(&other, "running");
    let (_, turn) = owner.ask("POST", "/v1/turns", &json!({}));
    let shown = owner.get(&format!("/v1/schedule-runs/{same}"));
    assert_eq!(shown["status"], "waiting", "it writes the same table");
    let at_work = owner.get("/v1/status")["at_work"].as_array().unwrap().len();
    assert_eq!(at_work, 2);
    let work = owner.get(&format!("/v1/work/{}", turn["work"].as_str().unwrap()));
    assert_eq!(work["status"], "queued", "a turn is alone");

    // What is stopped does not take what is beside it along.
    owner.ask("POST", &format!("/v1/schedule-runs/{one}/cancel"), &json!({}));
    owner.until(&one, "cancelled");
    assert_eq!(owner.until(&other, "running")["attempt"], 1);
    let runs = house.sql("select status from system.runs order by started_at");
    assert_eq!(runs, ["interrupted", "running"]);
    // The turn was asked for before it could go on, so it comes first.
    let shown = owner.get(&format!("/v1/schedule-runs/{same}"));
    assert_eq!(shown["status"], "waiting");
    slowed(&house, None);
    beside(&house, "copies", None);
    owner.ask("POST", &format!("/v1/schedule-runs/{other}/cancel"), &json!({}));
    owner.until(&same, "succeeded");
    let work = owner.get(&format!("/v1/work/{}", turn["work"].as_str().unwrap()));
    assert_eq!(work["status"], "succeeded", "{work}");
}

#[test]
fn tasks_that_were_done_when_the_server_was_killed_are_not_done_again() {
    let house = shop(None);
    beside(&house, "slow", Some(1));
    house.write(
        "schedules/night.yaml",
        "schedule: night
tasks:
  - {task: first, run: sync, select: [orders]}
  - {task: second, run: sync, select: [slow], after: [first]}
  - {task: last, after: [second]}
retry: {attempts: 1}
",
    );
    let server = Process::start(&house);
    let owner = Owner { session: server.owner(), server: &server };
    let id = owner.run("night");
    owner.until(&id, "running");
    let since = Instant::now();
    let done = "select count(*) from system.tasks where kind = 'task' and status = 'succeeded'";
    while house.cell(done) != "1" {
        assert!(since.elapsed() < PATIENCE);
    }
    server.kill();
    beside(&house, "slow", None);
    let server = Process::start(&house);
    let owner = Owner { session: login(&server), server: &server };
    assert_eq!(owner.until(&id, "succeeded")["attempt"], 2);
    drop(server);
    let tasks = "select name, count(*) from system.tasks where kind = 'task' and status = 'succeeded' group by 1 order by 1";
    assert_eq!(house.sql(tasks), ["first,1", "last,1", "second,1"]);
    assert_eq!(house.cell("select count(*) from system.tasks where name = 'orders.orders'"), "1");
    assert_eq!(house.cell("select count(*) from system.runs where status = 'running'"), "0");
}
