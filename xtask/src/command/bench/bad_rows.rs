//! A million rows of CSV, one in a hundred bad in one of five ways, beside the same file without faults; and a smaller
//! file whose five faults have five different codes.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::goal::{at_most, equal, write_files};
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
/// Rows of the file whose faults have a code each, one in a hundred bad.
const CODED_ROWS: u64 = 50_000;
/// How many rows there are of each kind of fault: of its code, in its column.
const KINDS: &str =
    "select code || ' ' || coalesce(\"column\", '-') || ' ' || cast(count(*) as varchar) as kind
     from system.quarantine group by code, \"column\" order by kind";

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

/// Faults with a code each: no number, too many digits, no value, no text, too many fields.
fn coded_file() -> Vec<u8> {
    let mut bytes = b"id,amount,day,paid,note\n".to_vec();
    for id in 0..CODED_ROWS {
        let fault = (id % 100 == 17).then_some(id / 100 % 5);
        let sign = if fault == Some(0) { "x" } else { "" };
        let amount = if fault == Some(1) { "1.255" } else { "1.25" };
        let paid = if fault == Some(2) { "" } else { "true" };
        let note: &[u8] = match fault {
            Some(3) => b"caf\xe9",
            Some(4) => b"note,one,more",
            _ => b"note",
        };
        bytes.extend_from_slice(format!("{sign}{id},{amount},2024-05-01,{paid},").as_bytes());
        bytes.extend_from_slice(note);
        bytes.push(b'\n');
    }
    bytes
}

/// The kinds of fault that were set aside in a project, as `code column rows`.
fn kinds(flywheel: &Flywheel, at: &Path) -> Result<String> {
    let rows = flywheel.sql(at, KINDS)?;
    let kinds = rows.iter().map(|row| row.get("kind").and_then(Value::as_str).unwrap_or("?"));
    Ok(kinds.collect::<Vec<_>>().join(", "))
}

/// A project that lands `data`; `paid` says what the column of that name has to be.
fn project(at: &Path, data: &[u8], paid: &str) -> Result<()> {
    let columns = format!(
        "columns: [{{name: id, type: int64}}, {{name: amount, type: 'decimal(12,2)'}}, {{name: day, type: date}}, {{name: paid, {paid}}}, {{name: note, type: text}}]"
    );
    std::fs::create_dir_all(at.join("data"))?;
    std::fs::write(at.join("data/orders.csv"), data)?;
    write_files(
        at,
        &[
            ("flywheel.yaml", "name: bad_rows\n".to_owned()),
            (
                "connections/files.yaml",
                "connection: files\ntype: csv\noptions: {folder: data}\n".to_owned(),
            ),
            (
                "syncs/shop.yaml",
                format!(
                    "sync: shop\nconnection: files\nstreams:\n  - {{stream: orders, options: {{path: '*.csv'}}, read: incremental, write: append, {columns}}}\n"
                ),
            ),
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
            project(&at, data.as_bytes(), "type: bool")?;
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
    let wanted = "ragged-row - 2000, type-mismatch amount 2000, type-mismatch day 2000, type-mismatch id 2000, type-mismatch paid 2000";
    let found = kinds(&flywheel, &at)?;
    equal(&mut tally, "bad-rows: each kind of fault is told by code and column", &found, wanted);
    let coded = folder.join("coded");
    project(&coded, &coded_file(), "type: bool, required: true")?;
    process::run(&mut flywheel.on(&coded, &["sync", "--output", "csv"]))?;
    let wanted = "invalid-utf8 note 100, null-value paid 100, out-of-range amount 100, ragged-row - 100, type-mismatch id 100";
    let found = kinds(&flywheel, &coded)?;
    equal(&mut tally, "bad-rows: five faults have five codes, and their columns", &found, wanted);
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
