//! Five million landed rows compared with PostgreSQL: one changed cell, one row too many.

use flywheel_testkit::Postgres;
use serde_json::Value;

use super::goal::at_most;
use crate::Result;
use crate::binary::Flywheel;
use crate::context::Context;
use crate::shop::Shop;
use crate::tally::Tally;

const ROWS: u64 = 5_000_000;
const SECONDS_MAX: f64 = 60.0;
const QUERIES_MAX: f64 = 25.0;

/// Lands, differs, finds and repairs.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let shop = Shop::new(&flywheel, &context.scratch("reconcile")?)?;
    let server = Postgres::start_with(&["shared_buffers=1GB", "max_wal_size=4GB"]);
    let database = server.database();
    println!("seeding {ROWS} rows");
    server.psql(
        &database,
        &format!(
            "create table orders (id bigint primary key, customer_id bigint, amount numeric(12,2), status text, at timestamptz, note text);
             insert into orders select g, g % 5000, (g % 1000) / 100.0, 'new', timestamptz '2024-01-01' + g * interval '1 second', 'note number ' || g from generate_series(1, {ROWS}) g;
             analyze orders"
        ),
    );
    shop.postgres("db", &server, &database)?;
    shop.sync("shop", "connection: db", "stream: orders, options: {table: orders}, key: [id]")?;
    let landed = shop.measure(&["sync"])?;
    let mut tally = Tally::default();
    tally.record("reconcile: the table lands", landed.success);
    server.psql(
        &database,
        "update orders set note = 'changed' where id = 3141592; delete from orders where id = 2718281",
    );
    let started = std::time::Instant::now();
    let output = shop.command(&["reconcile"]).output()?;
    let seconds = started.elapsed().as_secs_f64();
    let found: Value = serde_json::from_slice(&output.stdout)?;
    let one = found.pointer("/0/found").unwrap_or(&Value::Null);
    let keys = one.get("keys").and_then(Value::as_array).map(Vec::len);
    println!("found: {}", one.get("keys").unwrap_or(&Value::Null));
    tally.record("reconcile: exactly the two rows are found", keys == Some(2));
    let queries = one.get("queries").and_then(Value::as_f64).unwrap_or(f64::MAX);
    at_most(&mut tally, "reconcile: seconds", seconds, SECONDS_MAX);
    at_most(&mut tally, "reconcile: queries a side", queries, QUERIES_MAX);
    let repaired = shop.measure(&["reconcile", "--repair"])?;
    tally.record("reconcile: both sides are equal after the repair", repaired.success);
    Ok(tally)
}
