//! One per cent of a million lake rows changes; exactly those rows go to PostgreSQL.

use std::fmt::Write as _;

use flywheel_testkit::Postgres;

use super::goal::{at_most, mebibytes};
use crate::Result;
use crate::binary::Flywheel;
use crate::context::Context;
use crate::process::Cost;
use crate::shop::Shop;
use crate::tally::Tally;

const ROWS: u64 = 1_000_000;
const CHANGED: u64 = 10_000;
/// For the whole command, of which finding the difference is a part.
const SECONDS_MAX: f64 = 3.0;
const PEAK_MAX_MIB: f64 = 300.0;

/// Lands a million rows, delivers them, changes some and delivers again.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let shop = Shop::new(&flywheel, &context.scratch("reverse-etl")?)?;
    let server = Postgres::start_with(&["shared_buffers=512MB", "max_wal_size=4GB"]);
    let database = server.database();
    let line = |text: &mut String, id: u64, segment: &str| {
        writeln!(text, "{id},customer {id},{segment},{}.25", id % 977)
    };
    let mut first = String::from("id,name,segment,value\n");
    for id in 1..=ROWS {
        line(&mut first, id, "new")?;
    }
    shop.write("data/1.csv", first)?;
    shop.postgres("db", &server, &database)?;
    shop.write(
        "connections/files.yaml",
        "connection: files\ntype: csv\noptions: {folder: data}\n",
    )?;
    shop.sync(
        "a_in",
        "connection: files",
        "stream: customers, options: {path: '*.csv'}, read: incremental, write: merge, key: [id], columns: [{name: id, type: int64}, {name: value, type: 'decimal(12,2)'}]",
    )?;
    shop.sync(
        "b_out",
        "connection: lake\ndestination: db",
        "stream: customers, options: {table: raw.customers}, target: {table: customers}, read: incremental, write: mirror, key: [id]",
    )?;
    let mut tally = Tally::default();
    let sync = |tally: &mut Tally, name: &str| -> Result<Cost> {
        let cost = shop.measure(&["sync", name])?;
        tally.record(&format!("reverse-etl: sync {name} succeeds"), cost.success);
        Ok(cost)
    };
    sync(&mut tally, "a_in")?;
    sync(&mut tally, "b_out")?;
    let before = server.psql(&database, "select pg_current_xact_id()");
    let mut second = String::from("id,name,segment,value\n");
    for at in 0..CHANGED {
        line(&mut second, at * (ROWS / CHANGED) + 1, "active")?;
    }
    shop.write("data/2.csv", second)?;
    sync(&mut tally, "a_in")?;
    let cost = sync(&mut tally, "b_out")?;
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
    let here = shop.value(
        "select concat_ws('|', count(*), sum(id), count(*) filter (where segment = 'active')) from raw.customers",
    )?;
    tally.record("reverse-etl: both sides have the same rows", here == there.trim());
    at_most(&mut tally, "reverse-etl: seconds", cost.wall_s, SECONDS_MAX);
    at_most(&mut tally, "reverse-etl: peak MiB", mebibytes(&cost), PEAK_MAX_MIB);
    Ok(tally)
}
