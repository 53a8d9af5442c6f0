//! Prints what reading 5,000,000 rows of PostgreSQL into Arrow pages costs.
//!
//! Run with `cargo run --release -p flywheel-connect --example pg_copy`; it starts a server of its own.
//! `FLYWHEEL_ROWS` sets another number of rows.
#![expect(clippy::print_stdout, reason = "an example that prints its figure")]

use std::time::Instant;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use flywheel_base::{Error, Result, Timestamp, env};
use flywheel_connect::{ReadRequest, SourceContext, SourceEntry};
use flywheel_testkit::Postgres;
use futures::TryStreamExt;
use serde_json::{Value, json};

/// Rows of the table.
const ROWS: u64 = 5_000_000;

/// Clock ticks in a second of `/proc`.
const TICKS: f64 = 100.0;

fn main() -> Result<()> {
    let rows = env::optional("FLYWHEEL_ROWS").and_then(|rows| rows.parse().ok()).unwrap_or(ROWS);
    let server = Postgres::start_with(&["shared_buffers=1GB", "max_wal_size=4GB"]);
    let database = server.database();
    server.psql(&database, &seed(rows));
    let connection = json!({
        "host": "127.0.0.1",
        "port": server.port(),
        "database": database,
        "user": "postgres",
        "password": Postgres::PASSWORD,
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::internal("no runtime").caused_by(error))?;
    for parallel in [1, 2] {
        let (before, started) = (cpu_seconds(), Instant::now());
        let read = runtime.block_on(read(&connection, parallel))?;
        let (cpu, wall) = (cpu_seconds() - before, started.elapsed().as_secs_f64());
        let millions = read.rows as f64 / 1e6;
        println!(
            "parallel {parallel}: {} rows in {} pages, sum {}, {:.2} CPU-s/M rows, {wall:.1} s, {:.2} M rows/s, peak {} MB",
            read.rows,
            read.pages,
            read.sum,
            cpu / millions,
            millions / wall,
            peak_megabytes()
        );
    }
    Ok(())
}

struct Totals {
    rows: usize,
    pages: usize,
    sum: i64,
}

async fn read(connection: &Value, parallel: usize) -> Result<Totals> {
    let ctx = SourceContext {
        base_dir: ".".into(),
        now: Timestamp::default(),
        connections: Default::default(),
    };
    let source = SourceEntry::named("postgres")?.build(connection.clone(), &ctx)?;
    let stream = json!({ "table": "orders_src", "parallel": parallel });
    let request = ReadRequest::full(stream, ctx.now);
    let mut pages = source.read(&request);
    let mut totals = Totals { rows: 0, pages: 0, sum: 0 };
    while let Some(page) = pages.try_next().await? {
        totals.rows += page.batch.num_rows();
        totals.pages += 1;
        let ids = page.batch.column(0).as_primitive::<Int64Type>();
        totals.sum += arrow::compute::sum(ids).unwrap_or(0);
    }
    Ok(totals)
}

fn seed(rows: u64) -> String {
    format!(
        "CREATE TABLE orders_src AS SELECT g::bigint id, (g::bigint*7919 % 200000)::bigint customer_id,
         (g%5000)::int product_id, (1+g%9)::int qty, round(((g::bigint*31)%100000)/100.0,2)::numeric(12,2) amount,
         (array['new','paid','shipped','returned'])[1+g%4]::varchar(16) status,
         timestamptz '2024-01-01'+(g||' seconds')::interval created_at, date '2024-01-01'+(g%700)::int ship_date,
         'customer comment number '||g||' lorem ipsum' note, (g%3=0) priority
         FROM generate_series(1,{rows}) g;
         ALTER TABLE orders_src ADD PRIMARY KEY (id); ANALYZE orders_src;"
    )
}

/// Processor seconds of this process, without the server's.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let fields = after.split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS
}

/// The most memory this process had.
fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1024
}
