//! What changes that fall everywhere cost: one row of a hundred of a large table, in transactions a second apart, followed
//! with every commit merged at once and with changes that wait in a table of their own.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use flywheel_testkit::Postgres;

use super::{PASSWORD_VARIABLE, same};
use crate::binary::Flywheel;
use crate::command::bench::goal::{equal, write_files};
use crate::process::Cost;
use crate::tally::Tally;
use crate::{Result, process};

/// Rows of the table.
const ROWS: u64 = 3_000_000;
/// Transactions; each changes one row of so many that all of them change one of a hundred.
const TRANSACTIONS: u64 = 20;
/// How long the follower may take to come to the end.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The kernel's clock ticks per second in `/proc/*/stat`.
const TICKS_PER_SECOND: f64 = 100.0;

/// What both sides must agree in.
const SUMS: &str = "select count(*), sum(id), sum(amount), sum(length(note)) from ";

/// What one way to write changes took.
struct Took {
    /// Processor time of the follower until all changes could be seen, in seconds.
    cpu_s: f64,
    /// What it wrote until then, in bytes.
    written_bytes: u64,
    /// Until all changes could be seen after the last was made, in seconds.
    late_s: f64,
    /// What the merge of what still waited cost, and what was written for it.
    merged: (Cost, u64),
}

/// Follows the same changes in both ways and prints what each took.
pub(super) fn run(
    flywheel: &Flywheel,
    folder: &Path,
    server: &Postgres,
    tally: &mut Tally,
) -> Result<()> {
    for changes in ["direct", "table"] {
        let took = one(flywheel, &folder.join(changes), server, changes, tally)?;
        let mebibytes = |bytes: u64| bytes as f64 / 1_048_576.0;
        let (merged, merged_bytes) = took.merged;
        println!(
            "changes: {changes}: 1 % of {ROWS} rows, everywhere: CPU {:.1} s, {:.1} MiB written, seen {:.1} s after the last; \
             what waited at the end: {merged}, {:.1} MiB in the table's folder more than before",
            took.cpu_s,
            mebibytes(took.written_bytes),
            took.late_s,
            mebibytes(merged_bytes),
        );
    }
    Ok(())
}

fn one(
    flywheel: &Flywheel,
    project: &Path,
    server: &Postgres,
    changes: &str,
    tally: &mut Tally,
) -> Result<Took> {
    let database = server.database();
    server.psql(
        &database,
        &format!(
            "create table wide (id bigint primary key, amount bigint, note text);
             insert into wide select g, g % 1000, 'note number ' || g from generate_series(1, {ROWS}) g"
        ),
    );
    files(project, server, &database, changes)?;
    let sync = || {
        let mut command = flywheel.on(project, &["sync", "--output", "csv"]);
        process::measure(command.env(PASSWORD_VARIABLE, Postgres::PASSWORD))
    };
    sync()?;
    let mut command = flywheel.on(project, &["sync", "--follow"]);
    command.env(PASSWORD_VARIABLE, Postgres::PASSWORD);
    let mut follower = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let result = followed(flywheel, project, server, &database, &mut follower);
    process::run(Command::new("kill").args(["-TERM", &follower.id().to_string()]))?;
    let ended = follower.wait()?.success();
    let (cpu_s, written_bytes, late_s) = result?;
    equal(tally, "the follower ends well when told to", &ended.to_string(), "true");
    let agree = |tally: &mut Tally, when: &str| -> Result<()> {
        let there = server.psql(&database, &format!("{SUMS} wide"));
        let equal = same(&there, &here(flywheel, project)?);
        tally.record(
            &format!("pg-cdc: changes: {changes}: the lake has the sums of the table {when}"),
            equal,
        );
        Ok(())
    };
    agree(tally, "while it is followed")?;
    let before = bytes_below(&project.join(".flywheel/lake/raw/wide"))?;
    let cost = sync()?;
    let after = bytes_below(&project.join(".flywheel/lake/raw/wide"))?;
    agree(tally, "at the end of a run")?;
    Ok(Took { cpu_s, written_bytes, late_s, merged: (cost, after.saturating_sub(before)) })
}

/// Makes the changes and waits until they are seen; processor time, bytes written, and seconds after the last change.
fn followed(
    flywheel: &Flywheel,
    project: &Path,
    server: &Postgres,
    database: &str,
    follower: &mut Child,
) -> Result<(f64, u64, f64)> {
    let share = 100 * TRANSACTIONS;
    server.psql(
        database,
        &format!(
            "do $$ begin for i in 1..{TRANSACTIONS} loop
               update wide set amount = amount + 1 where hashint8(id + i) % {share} = 0; commit; perform pg_sleep(1);
             end loop; end $$"
        ),
    );
    let wanted = server.psql(database, &format!("{SUMS} wide"));
    let started = Instant::now();
    while wanted.trim().replace('|', ",") != here(flywheel, project)? {
        if let Some(status) = follower.try_wait()? {
            return Err(format!("the follower ended with {status}").into());
        }
        if started.elapsed() > WAIT_MAX {
            return Err("the changes are not in the lake".into());
        }
        thread::sleep(LOOK_EVERY);
    }
    let late_s = started.elapsed().as_secs_f64();
    Ok((cpu_s(follower)?, written_bytes(follower)?, late_s))
}

fn files(project: &Path, server: &Postgres, database: &str, changes: &str) -> Result<()> {
    let name = format!("name: scattered_{changes}_{}\n", std::process::id());
    let connection = format!(
        "connection: db\ntype: postgres\noptions: {{host: 127.0.0.1, port: {}, database: {database}, user: postgres, password: '${{env:{PASSWORD_VARIABLE}}}'}}\n",
        server.port()
    );
    let sync = format!(
        "sync: wide\nconnection: db\nstreams:\n  - {{stream: wide, options: {{table: wide}}, read: cdc, write: mirror, key: [id], changes: {changes}}}\n"
    );
    let files =
        [("flywheel.yaml", name), ("connections/db.yaml", connection), ("syncs/wide.yaml", sync)];
    write_files(project, &files)
}

fn here(flywheel: &Flywheel, project: &Path) -> Result<String> {
    let query = format!("{SUMS} raw.wide");
    let text = process::output(&mut flywheel.on(project, &["sql", &query, "--output", "csv"]))?;
    Ok(text.lines().last().unwrap_or_default().trim().to_owned())
}

/// Processor time of a process, user and system, in seconds.
fn cpu_s(child: &Child) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    // The second field is the program's name in parentheses and may hold spaces.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    Ok(ticks.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND)
}

/// What a process has written, in bytes.
fn written_bytes(child: &Child) -> Result<u64> {
    let io = fs::read_to_string(format!("/proc/{}/io", child.id()))?;
    let line = io.lines().find_map(|line| line.strip_prefix("wchar:"));
    Ok(line.and_then(|line| line.trim().parse().ok()).unwrap_or(0))
}

/// The size of all files below a folder, in bytes.
fn bytes_below(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += match entry.file_type()?.is_dir() {
            true => bytes_below(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(bytes)
}
