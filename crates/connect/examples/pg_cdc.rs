//! Drains the log of changes of a PostgreSQL table and prints what it cost.
//!
//! ```text
//! cargo run --release -p flywheel-connect --example pg_cdc -- HOST PORT DATABASE USER TABLE [POSITION]
//! ```
//! The password comes from `PGPASSWORD`. Without position the table is read whole first; the last line
//! printed is the position for the next run. The slot is `flywheel_bench`.

use std::path::PathBuf;
use std::time::Instant;

use flywheel_base::{Clock as _, Error, Result, SystemClock};
use flywheel_connect::Position;
use flywheel_connect::source::{ChangesRequest, ReadRequest, SourceContext, SourceEntry};
use futures::TryStreamExt as _;
use serde_json::json;

#[expect(clippy::print_stdout, reason = "an example prints")]
#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, database, user, table, rest @ ..] = arguments.as_slice() else {
        return Err(Error::invalid("give HOST PORT DATABASE USER TABLE [POSITION]"));
    };
    let wrong = |what: &str| Error::invalid(format!("{what} cannot be read"));
    let ctx = SourceContext { base_dir: PathBuf::from("."), now: SystemClock.now() };
    let connection = json!({
        "host": host,
        "port": port.parse::<u16>().map_err(|_| wrong("PORT"))?,
        "database": database,
        "user": user,
        "password": std::env::var("PGPASSWORD").unwrap_or_default(),
    });
    let source = SourceEntry::named("postgres")?.build(connection, &ctx)?;
    let mut stream = ReadRequest::full(json!({ "table": table }), ctx.now);
    if let Some(text) = rest.first() {
        let position = serde_json::from_str(text).map_err(|_| wrong("POSITION"))?;
        stream.from = Some(Position(position));
    }
    let request = ChangesRequest { name: "bench".to_owned(), streams: vec![stream], follow: false };
    let begun = Instant::now();
    let (mut whole, mut changes, mut pages) = (0, 0, 0);
    let mut position = None;
    let mut read = source.changes(&request);
    while let Some(page) = read.try_next().await? {
        pages += 1;
        match page.committed_at {
            Some(_) => changes += page.page.batch.num_rows(),
            None => whole += page.page.batch.num_rows(),
        }
        if !page.page.position.0.is_null() {
            position = Some(page.page.position);
        }
    }
    drop(read);
    let seconds = begun.elapsed().as_secs_f64();
    println!("{whole} rows read whole, {changes} changed rows, {pages} pages in {seconds:.2} s");
    println!("{:.0} changed rows per second", changes as f64 / seconds);
    println!("{:.2} s of processor time, {} KiB at most", processor_s(), peak_kib());
    println!("{}", position.map(|position| position.0).unwrap_or_default());
    Ok(())
}

/// Seconds of processor time of this process, where the system tells them in hundredths.
fn processor_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The most memory this process had.
fn peak_kib() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or("?").to_owned()
}
