//! Prints what draining a backlog of PostgreSQL's log of changes costs.
//!
//! Run with `cargo run --release -p flywheel-connect --example pg_cdc`; it starts a server of its own.
//! `FLYWHEEL_ROWS` sets another number of changed rows than 1,000,000: half of them are inserted in
//! transactions of 1,000, the others are updates of the same rows, one transaction for 100.
#![expect(clippy::print_stdout, reason = "an example that prints its figure")]

use std::time::Instant;

use flywheel_base::{Error, Result, Timestamp, env};
use flywheel_connect::{ChangesRequest, ReadRequest, SourceContext, SourceEntry};
use flywheel_testkit::Postgres;
use futures::TryStreamExt;
use serde_json::json;

/// Changed rows.
const ROWS: u64 = 1_000_000;

/// Clock ticks in a second of `/proc`.
const TICKS: f64 = 100.0;

fn main() -> Result<()> {
    let rows = env::optional("FLYWHEEL_ROWS").and_then(|rows| rows.parse().ok()).unwrap_or(ROWS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::internal("no runtime").caused_by(error))?;
    runtime.block_on(Box::pin(drain(rows)))
}

async fn drain(rows: u64) -> Result<()> {
    let server = Postgres::start_with(&["shared_buffers=512MB", "max_wal_size=4GB"]);
    let database = server.database();
    server.psql(
        &database,
        "CREATE TABLE t (id bigint PRIMARY KEY, customer int, amount numeric(12,2), at timestamptz,
             day date, note text, paid bool)",
    );
    let connection = json!({
        "host": "127.0.0.1",
        "port": server.port(),
        "database": database,
        "user": "postgres",
        "password": Postgres::PASSWORD,
    });
    let now = Timestamp::from_micros(0);
    let ctx = SourceContext { base_dir: ".".into(), now, connections: Default::default() };
    let source = SourceEntry::named("postgres")?.build(connection, &ctx)?;
    let stream = ReadRequest::full(json!({ "table": "t" }), now);
    let mut request =
        ChangesRequest { name: "bench".to_owned(), streams: vec![stream], follow: false };
    let mut position = None;
    for pass in ["empty", "backlog"] {
        if pass == "backlog" {
            server.psql(&database, &inserts(rows / 2));
            server.psql(&database, &updates(rows / 2));
        }
        let (begun, before) = (Instant::now(), processor_s());
        let (mut changed, mut pages) = (0, 0);
        {
            let mut read = source.changes(&request);
            while let Some(page) = read.try_next().await? {
                pages += 1;
                changed += page.page.batch.num_rows();
                if !page.page.position.0.is_null() {
                    position = Some(page.page.position);
                }
            }
        }
        let (wall, processor) = (begun.elapsed().as_secs_f64(), processor_s() - before);
        println!(
            "{pass}: {changed} rows in {pages} pages, {wall:.2} s, {:.0} rows/s, {processor:.2} s of \
             processor time, {} KiB at most",
            changed as f64 / wall,
            peak_kib()
        );
        for stream in &mut request.streams {
            stream.from.clone_from(&position);
        }
    }
    source.forget("bench").await
}

/// Rows in transactions of 1,000.
fn inserts(rows: u64) -> String {
    format!(
        "DO $$ BEGIN FOR n IN 0..{} LOOP
             INSERT INTO t SELECT n * 1000 + i, i % 977, i * 1.25, now(), current_date,
                 'a note of some length ' || i, i % 2 = 0 FROM generate_series(0, 999) i;
             COMMIT;
         END LOOP; END $$",
        rows.div_ceil(1000).saturating_sub(1)
    )
}

/// Updates of them in transactions of 100.
fn updates(rows: u64) -> String {
    format!(
        "DO $$ BEGIN FOR n IN 0..{} LOOP
             UPDATE t SET amount = amount + 1 WHERE id >= n * 100 AND id < (n + 1) * 100;
             COMMIT;
         END LOOP; END $$",
        rows.div_ceil(100).saturating_sub(1)
    )
}

/// Seconds of processor time of this process.
fn processor_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS
}

/// The most memory this process had.
fn peak_kib() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or("?").to_owned()
}
