//! One per cent of a million lake rows changes; exactly those rows go to PostgreSQL.

use std::fmt::Write as _;

use flywheel_testkit::Postgres;
use serde_json::Value;

use super::goal::{at_most, mebibytes, write_files};
use crate::binary::Flywheel;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process};

const ROWS: u64 = 1_000_000;
const CHANGED: u64 = 10_000;
/// For the whole command, of which finding the difference is a part.
const SECONDS_MAX: f64 = 3.0;
const PEAK_MAX_MIB: f64 = 300.0;

/// Where the project finds the server's password.
const PASSWORD_VARIABLE: &str = "BENCH_PASSWORD";

/// Lands a million rows, delivers them, changes some and delivers again.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let project = context.scratch("reverse-etl")?.join("shop");
    let server = Postgres::start_with(&["shared_buffers=512MB", "max_wal_size=4GB"]);
    let database = server.database();
    let connection = format!(
        "connection: db\ntype: postgres\noptions: {{host: 127.0.0.1, port: {}, database: {database}, user: postgres, password: '${{env:{PASSWORD_VARIABLE}}}'}}\n",
        server.port()
    );
    let line = |text: &mut String, id: u64, segment: &str| {
        writeln!(text, "{id},customer {id},{segment},{}.25", id % 977)
    };
    let mut first = String::from("id,name,segment,value\n");
    for id in 1..=ROWS {
        line(&mut first, id, "new")?;
    }
    write_files(
        &project,
        &[
            ("flywheel.yaml", "name: reverse\n".to_owned()),
            ("connections/db.yaml", connection),
            ("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n".to_owned()),
            (
                "syncs/a_in.yaml",
                "sync: a_in\nconnection: files\nstreams:\n  - {stream: customers, options: {path: '*.csv'}, read: incremental, write: merge, key: [id], columns: [{name: id, type: int64}, {name: value, type: 'decimal(12,2)'}]}\n".to_owned(),
            ),
            (
                "syncs/b_out.yaml",
                "sync: b_out\nconnection: lake\ndestination: db\nstreams:\n  - {stream: customers, options: {table: raw.customers}, target: {table: customers}, read: incremental, write: mirror, key: [id]}\n".to_owned(),
            ),
            ("data/1.csv", first),
        ],
    )?;
    let call = |sync: &str| {
        let mut command = flywheel.on(&project, &["sync", sync, "--output", "csv"]);
        command.env(PASSWORD_VARIABLE, Postgres::PASSWORD);
        command
    };
    process::run(&mut call("a_in"))?;
    let all = process::measure(&mut call("b_out"))?;
    println!("all {ROWS} rows delivered: {all}");
    let before = server.psql(&database, "select pg_current_xact_id()");
    let mut second = String::from("id,name,segment,value\n");
    for at in 0..CHANGED {
        line(&mut second, at * (ROWS / CHANGED) + 1, "active")?;
    }
    std::fs::write(project.join("data/2.csv"), second)?;
    process::run(&mut call("a_in"))?;
    let cost = process::measure(&mut call("b_out"))?;
    println!("the difference delivered: {cost}");
    let mut tally = Tally::default();
    let written = server.psql(
        &database,
        &format!("select count(*) from customers where xmin::text::bigint > {}", before.trim()),
    );
    println!("rows of the target that were written: {}", written.trim());
    tally.record(
        "reverse-etl: exactly the changed rows are sent",
        written.trim() == CHANGED.to_string(),
    );
    let there = server.psql(
        &database,
        "select count(*), sum(id), count(*) filter (where segment = 'active') from customers",
    );
    let query = "select count(*) as n, sum(id) as s, count(*) filter (where segment = 'active') as a from raw.customers";
    let here = flywheel.sql(&project, query)?;
    let here: Vec<String> = here
        .first()
        .map(|row| {
            ["n", "s", "a"]
                .map(|name| row.get(name).map(Value::to_string).unwrap_or_default())
                .to_vec()
        })
        .unwrap_or_default();
    let here = here.join("|").replace('"', "");
    tally.record("reverse-etl: both sides have the same rows", here == there.trim());
    at_most(&mut tally, "reverse-etl: seconds", cost.wall_s, SECONDS_MAX);
    at_most(&mut tally, "reverse-etl: peak MiB", mebibytes(&cost), PEAK_MAX_MIB);
    Ok(tally)
}
