//! A million rows of CSV, one in a hundred bad in one of five ways, beside the same file without faults.

use std::fmt::Write as _;
use std::path::Path;

use super::goal::{at_most, write_files};
use crate::binary::Flywheel;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, figures, process};

const ROWS: u64 = 1_000_000;
const BAD: u64 = 10_000;
/// How often both files are read, in turn.
const ROUNDS: usize = 11;
/// What bad rows may cost: ten per cent more.
const COST_MAX: f64 = 1.1;

/// The five kinds of fault, each in a row of its own.
fn line(id: u64, bad: bool) -> String {
    let amount = format!("{}.25", id % 977);
    let day = format!("2024-05-{:02}", id % 28 + 1);
    match (bad && id % 100 == 17, id / 100 % 5) {
        (true, 0) => format!("x{id},{amount},{day},true,note {id}"),
        (true, 1) => format!("{id},1.2.3,{day},true,note {id}"),
        (true, 2) => format!("{id},{amount},2024-02-31,true,note {id}"),
        (true, 3) => format!("{id},{amount},{day},perhaps,note {id}"),
        (true, _) => format!("{id},{amount},{day},true,note {id},one,more"),
        _ => format!("{id},{amount},{day},true,note {id}"),
    }
}

fn file(bad: bool) -> Result<String> {
    let mut text = String::from("id,amount,day,paid,note\n");
    for id in 0..ROWS {
        writeln!(text, "{}", line(id, bad))?;
    }
    Ok(text)
}

fn project(at: &Path, data: &str) -> Result<()> {
    write_files(
        at,
        &[
            ("flywheel.yaml", "name: bad_rows\n".to_owned()),
            ("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n".to_owned()),
            (
                "syncs/shop.yaml",
                "sync: shop\nconnection: files\nstreams:\n  - {stream: orders, options: {path: '*.csv'}, read: incremental, write: append, columns: [{name: id, type: int64}, {name: amount, type: 'decimal(12,2)'}, {name: day, type: date}, {name: paid, type: bool}, {name: note, type: text}]}\n".to_owned(),
            ),
            ("data/orders.csv", data.to_owned()),
        ],
    )
}

/// Lands both files, counts, mends, and compares.
pub(super) fn run(context: &Context) -> Result<Tally> {
    const SUMS: &str = "select count(*) || '/' || sum(id) || '/' || sum(amount) || '/' || min(day) from raw.orders";
    let flywheel = Flywheel::build(context)?;
    let folder = context.scratch("bad-rows")?;
    let (clean, faulty) = (file(false)?, file(true)?);
    let (mut calm, mut stormy) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for (name, data, costs) in [("clean", &clean, &mut calm), ("faulty", &faulty, &mut stormy)]
        {
            let at = folder.join(format!("{name}-{round}"));
            project(&at, data)?;
            let cost = process::measure(&mut flywheel.on(&at, &["sync", "--output", "csv"]))?;
            println!("{name}: {cost}");
            costs.push(cost.cpu_s);
        }
    }
    let mut tally = Tally::default();
    let at = folder.join("faulty-0");
    let ask = |query: &str| flywheel.value(&at, query);
    let kept = ask("select count(*) from raw.orders")?;
    tally.record("bad-rows: 990,000 rows are kept", kept == (ROWS - BAD).to_string());
    let aside = ask(
        "select count(*) || '/' || count(line) || '/' || count(reason) || '/' || count(distinct code) from system.quarantine",
    )?;
    println!("set aside, with line, with reason, kinds: {aside}");
    let wanted = format!("{BAD}/{BAD}/{BAD}/");
    tally.record("bad-rows: 10,000 are set aside with line and reason", aside.starts_with(&wanted));
    let named = ask("select count(\"column\") from system.quarantine")?;
    // A row with too many fields has no column to blame.
    tally.record("bad-rows: the column is named", named == (BAD / 5 * 4).to_string());
    let median = |costs: &[f64]| figures::median(costs).unwrap_or(f64::MAX);
    at_most(
        &mut tally,
        "bad-rows: cost beside the clean file",
        median(&stormy) / median(&calm),
        COST_MAX,
    );
    std::fs::write(at.join("data/orders.csv"), &clean)?;
    process::run(&mut flywheel.on(&at, &["quarantine", "replay"]))?;
    let mended = ask(SUMS)?;
    let whole = flywheel.value(&folder.join("clean-0"), SUMS)?;
    tally.record("bad-rows: mended rows make the table equal to a clean load", mended == whole);
    Ok(tally)
}
