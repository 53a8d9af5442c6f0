//! One per cent of six million lake rows merged by SQL, beside DuckDB's own MERGE of the same rows.

use std::process::Command;

use super::goal::{at_most, equal, mebibytes, succeeds};
use crate::Result;
use crate::binary::Flywheel;
use crate::context::Context;
use crate::shop::Shop;
use crate::tally::Tally;
use crate::{process, python};

/// The table, and the rows of the source that replace rows of it and that are new.
const ROWS: u64 = 6_000_000;
const UPDATED: u64 = 50_000;
const INSERTED: u64 = 10_000;

/// How much more processor time than DuckDB the statement may take, its process's start included.
const CPU_RATIO_MAX: f64 = 1.2;
const PEAK_MAX_MIB: f64 = 1_024.0;

/// The sums that both must have afterwards.
const SUMS: &str = "select concat_ws('|', count(*), sum(id), sum(qty), cast(sum(amount) as decimal(20, 2)), count(distinct note)) from";

/// The rows of the table, made of the numbers `n` of what follows.
const TABLE: &str = "select n as id, n % 1000 as qty, cast(n % 100000 as decimal(12, 2)) / 100 as amount, \
     date '2020-01-01' + cast(n % 2000 as integer) as day, 'note ' || (n % 5000) as note from";

/// The statement, for tables that are called so.
fn merge(table: &str, source: &str) -> String {
    format!(
        "merge into {table} as t using {source} as s on t.id = s.id \
         when matched then update set qty = s.qty, note = s.note \
         when not matched then insert (id, qty, note) values (s.id, s.qty, s.note)"
    )
}

/// The source: rows spread over the whole table, then new ones.
fn source(numbers: &str) -> String {
    let step = ROWS / UPDATED;
    format!(
        "select case when n < {UPDATED} then n * {step} else {ROWS} + n end as id, n % 7 as qty, 'new ' || n as note from {numbers}"
    )
}

/// Makes the table in both, merges in both, and compares.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let folder = context.scratch("edits")?;
    let shop = Shop::new(&flywheel, &folder)?;
    let mut tally = Tally::default();
    let series = |to: u64| format!("(select value as n from generate_series(0, {}))", to - 1);
    for (table, query) in [
        ("raw.lines", format!("{TABLE} {}", series(ROWS))),
        ("raw.changes", source(&series(UPDATED + INSERTED))),
    ] {
        let cost = shop.measure(&["sql", &format!("create table {table} as {query}")])?;
        succeeds(&mut tally, &format!("edits: {table} is made"), &cost);
    }
    let ours = shop.measure(&["sql", &merge("raw.lines", "raw.changes")])?;
    succeeds(&mut tally, "edits: the merge", &ours);

    let python = python::with_packages(context, "edits", &["duckdb==1.5.5"])?;
    let database = folder.join("peer.db");
    let numbers = |to: u64| format!("(select range as n from range({to}))");
    let peer = |sql: &str| {
        let mut command = Command::new(&python);
        let program = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); c.execute('set threads = 2'); print((c.execute(sys.argv[2]).fetchone() or [''])[0])";
        command.args(["-c", program]).arg(&database).arg(sql);
        command
    };
    process::run(&mut peer(&format!("create table lines as {TABLE} {}", numbers(ROWS))))?;
    let changes = source(&numbers(UPDATED + INSERTED));
    process::run(&mut peer(&format!("create table changes as {changes}")))?;
    let theirs = process::measure(&mut peer(&merge("lines", "changes")))?;
    println!("duckdb: {theirs}");

    let here = shop.value(&format!("{SUMS} raw.lines"))?;
    let there = process::output(&mut peer(&format!("{SUMS} lines")))?;
    equal(&mut tally, "edits: both have the same rows", &here, there.trim());
    at_most(
        &mut tally,
        "edits: processor time beside DuckDB",
        ours.cpu_s / theirs.cpu_s,
        CPU_RATIO_MAX,
    );
    at_most(&mut tally, "edits: peak MiB", mebibytes(&ours), PEAK_MAX_MIB);
    Ok(tally)
}
