//! Debezium beside us: it reads the same backlog from a slot of its own, counts and drops it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use flywheel_testkit::Postgres;

use super::EVENTS;
use crate::command::bench::goal::{Yardstick, mebibytes, per_million};
use crate::context::Context;
use crate::process::Cost;
use crate::{Result, figures, process, python};

/// How long it may take, in seconds.
const SECONDS_MAX: u64 = 600;

/// Processor seconds it took for a million changes where our goal was set.
const CPU: f64 = 30.4;

/// How its figures are headed.
const HEADINGS: [&str; 5] = ["backlog of PostgreSQL", "events/s", "CPU-s/M", "wall s", "peak MiB"];

/// Makes its slot and publication, before the backlog comes.
pub(super) fn begin(server: &Postgres, database: &str) {
    server.psql(database, "create publication debezium for table orders");
    server.psql(database, "select pg_create_logical_replication_slot('debezium', 'pgoutput')");
    // A password that needs no escaping.
    server.psql(database, "create role bench login superuser password 'bench'");
}

/// Lets it read the backlog, and shows its cost beside ours; gives what it takes on this machine.
pub(super) fn measure(
    context: &Context,
    folder: &Path,
    server: &Postgres,
    database: &str,
    ours: &Cost,
) -> Result<Yardstick> {
    let python = python::with_packages(context, "pg-cdc", python::CHANGE_PEERS)?;
    let mut peer = Command::new(&python);
    peer.arg(context.root.join("tests/parity/peer_pg_cdc.py"));
    peer.args([&server.port().to_string(), database, &EVENTS.to_string()]);
    peer.arg(SECONDS_MAX.to_string()).arg(folder.join("debezium.offsets"));
    // It writes a log into the folder it is started in, and another one to the terminal.
    let said = folder.join("debezium.txt");
    peer.current_dir(folder).stderr(Stdio::null()).stdout(fs::File::create(&said)?);
    let theirs = process::measure(&mut peer)?;
    let said = String::from_utf8_lossy(&fs::read(&said)?).into_owned();
    said.lines().filter(|line| line.starts_with("Debezium:")).for_each(|line| println!("{line}"));
    let rows = [
        HEADINGS.map(str::to_owned).to_vec(),
        row("flywheel, committed into the lake", ours),
        row("Debezium, events counted and dropped", &theirs),
    ];
    println!("\n{}", figures::table(&rows));
    let here = if theirs.success { per_million(&theirs, EVENTS) } else { CPU };
    Ok(Yardstick { peer: "Debezium", there: CPU, here })
}

fn row(name: &str, cost: &Cost) -> Vec<String> {
    let failed = if cost.success { "" } else { " (failed)" };
    vec![
        format!("{name}{failed}"),
        format!("{:.0}", EVENTS as f64 / cost.wall_s),
        format!("{:.2}", per_million(cost, EVENTS)),
        format!("{:.1}", cost.wall_s),
        format!("{:.0}", mebibytes(cost)),
    ]
}
