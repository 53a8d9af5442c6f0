//! An incremental model that merges one per cent of six million rows, beside the same project under dbt-core on
//! DuckDB: from the command to the end of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::goal::{at_most, equal, mebibytes, succeeds, write_files};
use crate::binary::Flywheel;
use crate::context::Context;
use crate::process::Cost;
use crate::tally::Tally;
use crate::{Result, figures, process, python};

/// The rows of the table; of each round's changes, how many replace rows and how many are new.
const ROWS: u64 = 6_000_000;
const UPDATED: u64 = 50_000;
const INSERTED: u64 = 10_000;
/// How many increments each does, in turn.
const ROUNDS: u64 = 3;
/// The longest an increment may take beside dbt's.
const WALL_RATIO_MAX: f64 = 0.8;
const PEAK_MAX_MIB: f64 = 1_024.0;

/// The model, unmodified for both.
const MODEL: &str = "{{ config(materialized='incremental', unique_key='id', incremental_strategy='merge') }}\n\
    select * from {{ source('raw', 'lines') }}\n\
    {% if is_incremental() %}where round > (select max(round) from {{ this }}){% endif %}\n";

/// The rows of the source, made of the numbers `n` of what follows.
const TABLE: &str = "select n as id, n % 1000 as qty, cast(n % 100000 as decimal(12, 2)) / 100 as amount, \
     'note ' || (n % 5000) as note, 0 as round from";

/// The sums that both must have afterwards.
const SUMS: &str = "select concat_ws('|', count(*), sum(id), sum(qty), cast(sum(amount) as decimal(20, 2)), \
     count(distinct note), sum(round)) from";

/// Runs a statement on a DuckDB file and prints the first value of its answer.
const STATEMENT: &str = "import duckdb, sys\n\
    c = duckdb.connect(sys.argv[1]); c.execute('set threads = 2')\n\
    print((c.execute(sys.argv[2]).fetchone() or [''])[0])\n";

/// dbt and its database.
struct Peer {
    python: PathBuf,
    project: PathBuf,
}

impl Peer {
    fn statement(&self, sql: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.args(["-c", STATEMENT]).arg(self.project.join("peer.duckdb")).arg(sql);
        command
    }

    fn run(&self) -> Result<Cost> {
        let mut command = Command::new(self.python.with_file_name("dbt"));
        command.args(["--quiet", "run", "--profiles-dir", "."]).current_dir(&self.project);
        command.env("DBT_SEND_ANONYMOUS_USAGE_STATS", "false");
        process::measure(&mut command)
    }
}

/// Builds the model in both, then increments both in turn, and compares.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let folder = context.scratch("increments")?;
    let python = python::with_packages(context, "dbt", python::DBT_PEERS)?;
    let (ours, theirs) = (folder.join("ours"), folder.join("theirs"));
    for at in [&ours, &theirs] {
        project(at)?;
    }
    let peer = Peer { python, project: theirs };
    let mut tally = Tally::default();
    let measured = |arguments: &[&str]| {
        let mut command = flywheel.on(&ours, arguments);
        process::measure(command.stdout(Stdio::null()))
    };
    let series = |to: u64| format!("(select value as n from generate_series(0, {}))", to - 1);
    let range = |to: u64| format!("(select range as n from range({to}))");
    let made = measured(&["sql", &format!("create table raw.lines as {TABLE} {}", series(ROWS))])?;
    succeeds(&mut tally, "increments: the source is made", &made);
    process::run(&mut peer.statement("create schema raw"))?;
    process::run(
        &mut peer.statement(&format!("create table raw.lines as {TABLE} {}", range(ROWS))),
    )?;
    let (first, firsts) = (measured(&["build"])?, peer.run()?);
    println!("increments: the first build: flywheel {first}; dbt-duckdb {firsts}");
    let (mut here, mut there) = (Vec::new(), Vec::new());
    let mut peak = 0.0_f64;
    for round in 1..=ROUNDS {
        let changed = measured(&["sql", &changes(round, &series(UPDATED + INSERTED))])?;
        succeeds(&mut tally, "increments: the source is changed", &changed);
        process::run(&mut peer.statement(&changes(round, &range(UPDATED + INSERTED))))?;
        let (one, other) = (measured(&["build"])?, peer.run()?);
        println!("increments: round {round}: flywheel {one}; dbt-duckdb {other}");
        succeeds(&mut tally, "increments: our build", &one);
        succeeds(&mut tally, "increments: dbt's run", &other);
        peak = peak.max(mebibytes(&one));
        here.push(one.wall_s);
        there.push(other.wall_s);
    }
    let found = flywheel.value(&ours, &format!("{SUMS} main.facts"))?;
    let wanted = process::output(&mut peer.statement(&format!("{SUMS} main.facts")))?;
    equal(&mut tally, "increments: both have the same rows", &found, wanted.trim());
    let median = |walls: &[f64]| figures::median(walls).unwrap_or(f64::MAX);
    let ratio = median(&here) / median(&there);
    at_most(&mut tally, "increments: time beside dbt-duckdb", ratio, WALL_RATIO_MAX);
    at_most(&mut tally, "increments: peak MiB", peak, PEAK_MAX_MIB);
    Ok(tally)
}

/// A round's changes to the source: rows spread over the whole table, then new ones.
fn changes(round: u64, numbers: &str) -> String {
    let (step, new) = (ROWS / UPDATED, ROWS + (round - 1) * INSERTED - UPDATED);
    format!(
        "merge into raw.lines as t using (select case when n < {UPDATED} then n * {step} + {round} else {new} + n end as id, \
         n % 7 as qty, 'round {round}' as note from {numbers}) as s on t.id = s.id \
         when matched then update set qty = s.qty, note = s.note, round = {round} \
         when not matched then insert (id, qty, amount, note, round) values (s.id, s.qty, 1, s.note, {round})"
    )
}

fn project(at: &Path) -> Result<()> {
    write_files(
        at,
        &[
            ("dbt_project.yml", "name: increments\nversion: '1.0'\nprofile: increments\n".to_owned()),
            (
                "profiles.yml",
                "increments: {target: dev, outputs: {dev: {type: duckdb, path: peer.duckdb, threads: 2}}}\n".to_owned(),
            ),
            ("models/facts.sql", MODEL.to_owned()),
            (
                "models/sources.yml",
                "version: 2\nsources:\n  - name: raw\n    schema: raw\n    tables: [{name: lines}]\n".to_owned(),
            ),
        ],
    )
}
