//! `kill -9` of a server that keeps schedules: whatever is under way when, each moment has one run, each task of it
//! succeeds once, each row lands once, and nothing says for ever that it is running.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Moments, judge, rows};
use crate::Result;
use crate::binary::Flywheel;
use crate::client::Server;
use crate::command::bench::goal::{at_most, equal, holds, write_files};
use crate::context::Context;
use crate::tally::Tally;

/// How often the server is killed unless told otherwise.
pub(super) const KILLS_DEFAULT: u64 = 100;

/// How long a server lives at most once it is ready, in seconds.
const LIFE_MAX_S: f64 = 1.6;
/// How soon a server has to be ready again, in seconds.
const READY_MAX_S: f64 = 5.0;
/// How often runs are due, in seconds.
const EVERY_S: i64 = 2;
/// Rows of a file; each life of a server finds one more.
const ROWS: u64 = 50;
/// Tasks of each run of the schedule with tasks.
const TASKS: [&str; 5] = ["land_a", "land_b", "landed", "count", "told"];
/// How long the last server may take for what is left.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is looked whether it is done.
const LOOK: Duration = Duration::from_millis(500);

/// Kills a server `wanted` times and looks at what is left.
pub(super) fn kills(context: &Context, wanted: u64, seed: u64) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let project = context.scratch("kill-schedule")?;
    shop(&project)?;
    let mut moments = Moments { state: seed, life_max_s: LIFE_MAX_S };
    let mut slowest_s = 0.0_f64;
    println!("kill: {wanted} servers that keep schedules; seed {seed}");
    for life in 0..wanted {
        file(&project, life)?;
        let server = Server::start(&flywheel, &project)?;
        slowest_s = slowest_s.max(server.ready_s);
        thread::sleep(moments.next());
        server.kill()?;
    }
    let server = Server::start(&flywheel, &project)?;
    slowest_s = slowest_s.max(server.ready_s);
    // A moment after the last file, then no more moments, and time for all that there were.
    thread::sleep(Duration::from_secs(2 * EVERY_S.unsigned_abs()));
    for (name, text) in schedules(true) {
        write_files(&project, &[(name, text)])?;
    }
    thread::sleep(Duration::from_secs(EVERY_S.unsigned_abs()));
    let since = Instant::now();
    let open = "select count(*) from system.schedule_runs where status in ('waiting', 'running')";
    while flywheel.value(&project, open)? != "0" && since.elapsed() < PATIENCE {
        thread::sleep(LOOK);
    }
    server.kill()?;
    let mut tally = Tally::default();
    tally.record(&format!("kill: {wanted} servers that keep schedules"), true);
    at_most(&mut tally, "kill: a server ready again at the latest, s", slowest_s, READY_MAX_S);
    compare(&flywheel, &project, wanted, &mut tally)?;
    Ok(tally)
}

/// Compares what is there with what has to be.
fn compare(flywheel: &Flywheel, project: &Path, files: u64, tally: &mut Tally) -> Result<()> {
    let runs = flywheel.sql(
        project,
        "select id, schedule, cast(to_unixtime(moment) as bigint) as moment, status, cause, attempt, run_id, attempts from system.schedule_runs order by moment",
    )?;
    let text = |row: &Value, key: &str| -> String {
        row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    for schedule in ["graph", "alone"] {
        let own: Vec<&Value> =
            runs.iter().filter(|run| text(run, "schedule") == schedule).collect();
        let moment = |run: &&Value| run.get("moment").and_then(Value::as_i64);
        let found: BTreeSet<i64> = own.iter().filter_map(moment).collect();
        let span = found.last().zip(found.first()).map_or(0, |(last, first)| last - first);
        let due = span / EVERY_S + 1;
        let begun: i64 =
            own.iter().filter_map(|run| run.get("attempt").and_then(Value::as_i64)).sum();
        println!("kill: {schedule}: {due} moments, {} runs, {begun} attempts", own.len());
        equal(
            tally,
            &format!("kill: {schedule}: each moment has one run"),
            &format!("{} runs of {} moments", own.len(), found.len()),
            &format!("{due} runs of {due} moments"),
        );
        let good = own.iter().filter(|run| text(run, "status") == "succeeded").count();
        equal(
            tally,
            &format!("kill: {schedule}: each run succeeded"),
            &good.to_string(),
            &own.len().to_string(),
        );
    }
    // A task belongs to the run whose attempt it was done in.
    let mut run_of: BTreeMap<String, String> = BTreeMap::new();
    for run in runs.iter().filter(|run| text(run, "schedule") == "graph") {
        let id = text(run, "id");
        let attempts: Vec<Value> = serde_json::from_str(&text(run, "attempts"))?;
        let ids = attempts.iter().map(|attempt| text(attempt, "run_id"));
        run_of.extend(ids.chain([text(run, "run_id")]).map(|run_id| (run_id, id.clone())));
    }
    let done = flywheel.sql(
        project,
        "select run_id, name from system.tasks where kind = 'task' and status = 'succeeded'",
    )?;
    let done: Vec<String> = done
        .iter()
        .filter_map(|task| {
            Some(format!("{} {}", run_of.get(&text(task, "run_id"))?, text(task, "name")))
        })
        .collect();
    let graphs: BTreeSet<&String> = run_of.values().collect();
    let wanted: Vec<String> =
        graphs.iter().flat_map(|id| TASKS.map(|task| format!("{id} {task}"))).collect();
    judge("kill: tasks of runs", &sorted(wanted), &sorted(done), tally);
    let running = "select count(*) from system.runs where status = 'running'";
    holds(tally, "kill: no run says that it is running", flywheel.value(project, running)? == "0");
    let ids = (0..files).flat_map(|file| (0..ROWS).map(move |row| (file * ROWS + row).to_string()));
    let ids = sorted(ids.collect());
    for table in ["raw.a", "raw.b"] {
        let found = rows::read(flywheel, project, &format!("select id from {table}"))?;
        let found = found.iter().map(|row| row.trim_matches('"').to_owned()).collect();
        judge(&format!("kill: rows of {table}"), &ids, &sorted(found), tally);
    }
    let counted = flywheel.value(project, "select row_count from mart.counted")?;
    equal(tally, "kill: rows that the last build counted", &counted, &(files * ROWS).to_string());
    Ok(())
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

/// One more file for each of the two syncs.
fn file(project: &Path, number: u64) -> Result<()> {
    let mut text = String::from("id\n");
    for row in 0..ROWS {
        writeln!(text, "{}", number * ROWS + row)?;
    }
    // A file that is half written when it is read would be another fault than the one that is looked for.
    for sync in ["a", "b"] {
        let folder = project.join("data").join(sync);
        std::fs::create_dir_all(&folder)?;
        let (whole, part) = (folder.join(format!("{number:05}.csv")), folder.join("part"));
        std::fs::write(&part, &text)?;
        std::fs::rename(part, whole)?;
    }
    Ok(())
}

/// The schedules; they have no more moments once they are paused.
fn schedules(over: bool) -> [(&'static str, String); 2] {
    let every = if over { String::new() } else { format!("when: {{every: {EVERY_S}s}}\n") };
    let rest = "catch_up: all\noverlap: queue\nretry: {attempts: 20, wait: 1s}\n";
    let graph = "tasks:
  - {task: land_a, run: sync, select: [a]}
  - {task: land_b, run: sync, select: [b]}
  - {task: landed, after: [land_a, land_b]}
  - {task: count, run: build, after: [landed]}
  - {task: told, after: [count]}
";
    [
        ("schedules/graph.yaml", format!("schedule: graph\n{graph}{every}{rest}")),
        ("schedules/alone.yaml", format!("schedule: alone\nrun: sync\nselect: [c]\n{every}{rest}")),
    ]
}

fn shop(project: &Path) -> Result<()> {
    let text = |text: &str| text.to_owned();
    let sync = |name: &str| {
        format!(
            "sync: {name}\nconnection: files\nstreams:\n  - {{stream: {name}, options: {{path: '{name}/*.csv'}}, read: incremental, write: append}}\n"
        )
    };
    let mut files = vec![
        ("flywheel.yaml", text("name: killed\n")),
        ("connections/files.yaml", text("connection: files\ntype: csv\noptions: {folder: data}\n")),
        ("syncs/a.yaml", sync("a")),
        ("syncs/b.yaml", sync("b")),
        ("syncs/c.yaml", sync("c")),
        ("data/c/0.csv", text("id\n1\n")),
        (
            "models/mart/counted.sql",
            text(
                "{{ config(materialized='table') }}\nselect count(*) as row_count from {{ source('raw', 'a') }}\n",
            ),
        ),
    ];
    files.extend(schedules(false));
    write_files(project, &files)?;
    file(project, 0)
}
