//! How long a change takes to arrive: 500 transactions a second are followed into the lake and into
//! another database at once.
//!
//! A change leaves when its transaction is about to commit. It has arrived in the other database
//! when the row is written there, and in the lake when the commit that holds it became visible.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use flywheel_testkit::Postgres;
use serde_json::Value;

use crate::binary::Flywheel;
use crate::command::bench::goal::{at_least, at_most, equal};
use crate::shop::Shop;
use crate::tally::Tally;
use crate::{Result, process};

/// Transactions in a second.
const RATE: u64 = 500;
/// How long they go on, in seconds.
const SECONDS: u64 = 30;
/// The 99th hundredth of the times to the other database, in milliseconds.
const SUBSCRIBER_MS_MAX: f64 = 250.0;
/// The same to the lake.
const LAKE_MS_MAX: f64 = 1_500.0;
/// The share of the wanted rate that the source must have reached for the figures to count.
const RATE_SHARE_MIN: f64 = 0.95;
/// How long the followers may take to begin, and to come to the end.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Follows the changes and judges their times.
pub(super) fn run(
    flywheel: &Flywheel,
    folder: &Path,
    server: &Postgres,
    tally: &mut Tally,
) -> Result<()> {
    let (here, there) = (server.database(), server.database());
    server.psql(
        &here,
        "create table ticks (id bigint primary key, at timestamptz not null); insert into ticks values (0, now())",
    );
    server.psql(
        &there,
        "create table ticks (id bigint primary key, at timestamptz not null, arrived timestamptz not null default clock_timestamp())",
    );
    let shop = Shop::new(flywheel, folder)?;
    shop.postgres("here", server, &here)?;
    shop.postgres("there", server, &there)?;
    shop.sync(
        "ticks",
        "connection: here\ndestination: [lake, there]",
        "stream: ticks, options: {table: ticks}, target: {table: ticks}, read: cdc, write: mirror, first_write: merge, key: [id]",
    )?;
    let mut follower = shop.command(&["sync", "--follow"]);
    let mut follower = follower.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let result = followed(&shop, server, &here, &there, &mut follower, tally);
    process::run(Command::new("kill").args(["-TERM", &follower.id().to_string()]))?;
    let ended = follower.wait()?.success();
    result?;
    equal(tally, "the follower ends well when told to", &ended.to_string(), "true");
    Ok(())
}

fn followed(
    shop: &Shop<'_>,
    server: &Postgres,
    here: &str,
    there: &str,
    follower: &mut Child,
    tally: &mut Tally,
) -> Result<()> {
    let arrived = |wanted: u64, follower: &mut Child| -> Result<()> {
        let started = Instant::now();
        loop {
            let outside = server.psql(there, "select count(*) from ticks");
            let landed: u64 = commits(shop)?.iter().map(|commit| commit.rows).sum();
            if outside == wanted.to_string() && landed == wanted {
                return Ok(());
            }
            if let Some(status) = follower.try_wait()? {
                return Err(format!("the follower ended with {status}").into());
            }
            if started.elapsed() > WAIT_MAX {
                return Err(
                    format!("{outside} rows there and {landed} in the lake of {wanted}").into()
                );
            }
            thread::sleep(LOOK_EVERY);
        }
    };
    arrived(1, follower)?;
    let count = RATE * SECONDS;
    server.psql(
        here,
        &format!(
            "do $$ declare began timestamptz := clock_timestamp(); begin for i in 1..{count} loop
               insert into ticks values (i, clock_timestamp()); commit;
               perform pg_sleep(greatest(0, extract(epoch from began + i * interval '1 second' / {RATE} - clock_timestamp())));
             end loop; end $$"
        ),
    );
    arrived(count + 1, follower)?;
    let sent = numbers(
        &server.psql(here, "select extract(epoch from at) from ticks where id > 0 order by id"),
    )?;
    let rate = match (sent.first(), sent.last()) {
        (Some(first), Some(last)) => (count - 1) as f64 / (last - first),
        _ => 0.0,
    };
    at_least(tally, "transactions in a second", rate, RATE as f64 * RATE_SHARE_MIN);
    let outside = server
        .psql(there, "select extract(epoch from arrived - at) * 1000 from ticks where id > 0");
    judge(tally, "another database", numbers(&outside)?, SUBSCRIBER_MS_MAX);
    // The first row of all came before: the commits are counted in rows from it on.
    let mut seen = commits(shop)?.into_iter().flat_map(|commit| {
        let rows = usize::try_from(commit.rows).unwrap_or(0);
        std::iter::repeat_n(commit.visible_s, rows)
    });
    seen.next();
    let times = sent.iter().zip(seen).map(|(sent, seen)| (seen - sent) * 1_000.0);
    judge(tally, "the lake", times.collect(), LAKE_MS_MAX);
    Ok(())
}

fn judge(tally: &mut Tally, where_to: &str, mut times: Vec<f64>, most: f64) {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = (times.len() as f64 * share) as usize;
        times.get(place.min(times.len().saturating_sub(1))).copied().unwrap_or(f64::INFINITY)
    };
    println!(
        "changes to {where_to}: {} in the median after {:.0} ms, 99 of 100 within {:.0} ms, all within {:.0} ms",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    at_most(tally, &format!("ms until 99 of 100 changes are in {where_to}"), at(0.99), most);
}

/// A commit of the sync: its rows, and when it became visible.
struct Commit {
    rows: u64,
    visible_s: f64,
}

/// The commits of the sync into its lake table, oldest first.
fn commits(shop: &Shop<'_>) -> Result<Vec<Commit>> {
    let folder = shop.path(".flywheel/lake/raw/ticks/_delta_log");
    let Ok(files) = fs::read_dir(&folder) else { return Ok(Vec::new()) };
    let mut files: Vec<_> = files.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    let mut commits = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        let info: Value = serde_json::from_str(text.lines().next().unwrap_or_default())?;
        let operation = info["commitInfo"]["flywheel"]["operation"].as_str().unwrap_or_default();
        if !operation.starts_with("sync ") {
            continue;
        }
        let rows = info["commitInfo"]["operationMetrics"]["numOutputRows"].as_str();
        let rows = rows.and_then(|rows| rows.parse().ok()).unwrap_or(0);
        // A commit becomes visible by getting its name, which changes the file's status.
        let status = fs::metadata(&file)?;
        let visible_s = status.ctime() as f64 + status.ctime_nsec() as f64 / 1e9;
        commits.push(Commit { rows, visible_s });
    }
    Ok(commits)
}

fn numbers(text: &str) -> Result<Vec<f64>> {
    text.lines().map(|line| Ok(line.trim().parse()?)).collect()
}
