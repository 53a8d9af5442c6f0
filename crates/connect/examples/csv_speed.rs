//! Prints how fast plain CSV becomes typed Arrow columns on one core.
//!
//! Run with `cargo run --release -p flywheel-connect --example csv_speed`.
#![expect(clippy::print_stdout, reason = "an example that prints its figure")]

use std::fmt::Write as _;
use std::time::Instant;

use flywheel_base::{Result, Timestamp};
use flywheel_connect::{ReadRequest, SourceContext, SourceEntry};
use futures::TryStreamExt;
use serde_json::json;

/// Rows of the file that is read.
const ROWS: u64 = 3_000_000;

/// How often it is read; the fastest counts.
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let folder = std::env::temp_dir().join("flywheel-csv-speed");
    let fail = |error| flywheel_base::Error::io("write", &folder, error);
    std::fs::create_dir_all(&folder).map_err(fail)?;
    let text = orders();
    std::fs::write(folder.join("orders.csv"), &text).map_err(fail)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let rows = runtime.block_on(read(&folder))?;
        let seconds = started.elapsed().as_secs_f64();
        best = best.min(seconds);
        println!("{rows} rows, {} MB in {seconds:.2} s", text.len() / 1_000_000);
    }
    let megabytes = text.len() as f64 / 1e6;
    println!("best: {:.0} MB/s, {:.2} M rows/s", megabytes / best, ROWS as f64 / 1e6 / best);
    std::fs::remove_dir_all(&folder).map_err(fail)
}

async fn read(folder: &std::path::Path) -> Result<usize> {
    let ctx = SourceContext {
        base_dir: folder.to_path_buf(),
        now: Timestamp::default(),
        connections: Default::default(),
    };
    let source = SourceEntry::named("csv")?.build(json!({}), &ctx)?;
    let request = ReadRequest::full(json!({ "path": "orders.csv" }), ctx.now);
    let mut pages = source.read(&request);
    let mut rows = 0;
    while let Some(page) = pages.try_next().await? {
        rows += page.batch.num_rows();
    }
    Ok(rows)
}

/// Orders: a whole number, two texts, an amount, a day, a moment and a truth value.
fn orders() -> String {
    let mut text = String::from("id,customer,product,quantity,amount,day,placed_at,paid\n");
    for id in 0..ROWS {
        let (day, second) = (id % 28 + 1, id % 60);
        let written = writeln!(
            text,
            "{id},C{:05},\"Product, no. {}\",{},{}.{:02},2024-05-{day:02},2024-05-{day:02} 12:30:{second:02},{}",
            id % 40_000,
            id % 900,
            id % 7,
            id % 500,
            id % 100,
            id % 3 == 0
        );
        if written.is_err() {
            break;
        }
    }
    text
}
