//! A year of a real shop, day by day: exact counts at the end, cost per turn, memory.

use std::path::Path;

use crate::binary::Flywheel;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, figures, process};

/// The days of the data set.
const DAYS: &str = "2010-12-01..2011-12-09";

/// What the project must hold at the end: a name, the query, the exact answer.
const COUNTS: &[(&str, &str, &str)] = &[
    ("landed rows", LANDED, "541909"),
    ("invoices", "select count(distinct invoice_no) from raw.order_lines", "25900"),
    (
        "rows of cancelled invoices",
        "select count(*) from raw.order_lines where invoice_no like 'C%'",
        "9288",
    ),
    (
        "rows without a customer",
        "select count(*) from staging.stg_order_lines where customer_id is null",
        "135080",
    ),
    ("clean sales", "select count(*) from mart.sales", "397884"),
    ("customers", "select count(distinct customer_id) from mart.sales", "4338"),
    ("clean invoices", "select count(distinct invoice_no) from mart.sales", "18532"),
    ("revenue", "select cast(sum(revenue) as decimal(20, 3)) from mart.sales", "8911407.904"),
];

/// How many rows landed.
const LANDED: &str = "select count(*) from raw.order_lines";

/// The time of each turn by the machine's clock and the rows that it landed, oldest first.
const TURN_TIMES: &str = "select r.turn, max(r.ms) as ms, coalesce(sum(t.rows_out), 0) as rows \
     from (select run_id, turn, duration_ms as ms from system.runs where kind = 'turn' and status = 'succeeded') as r \
     left join (select run_id, rows_out from system.tasks where kind = 'sync') as t on t.run_id = r.run_id \
     group by r.turn order by r.turn";

/// The longest the middle turn may take, in seconds.
const MEDIAN_MAX_S: f64 = 2.0;

/// How much slower the last turns may be than the first.
const GROWTH_MAX: f64 = 1.5;

/// How many turns "first" and "last" are.
const ENDS: usize = 30;

/// The most memory the replay may hold, in bytes.
const PEAK_MAX_BYTES: u64 = 2 << 30;

/// Replays the year and checks it.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let data = context.data_set("online_retail")?;
    let flywheel = Flywheel::build(context)?;
    let project = context.scratch("replay")?.join("shop");
    let mut init = flywheel.call(&["init", "--template", "retail", "--data"]);
    process::run(init.arg(&data).arg(&project))?;
    let mut tally = Tally::default();
    let cost = process::measure(&mut flywheel.on(&project, &["turn", "--replay", DAYS]))?;
    println!("replay: {cost}");
    tally.record("replay: ends with exit code 0", cost.success);
    tally.record("replay: holds at most 2 GiB", cost.peak_bytes <= PEAK_MAX_BYTES);
    counts(&flywheel, &project, &mut tally)?;
    times(&flywheel, &project, &mut tally)?;
    let cost = process::measure(&mut flywheel.on(&project, &["turn", "--replay", DAYS]))?;
    println!("replay: a second time: {cost}");
    let rows = flywheel.value(&project, LANDED)?;
    tally.record("replay: a second run adds nothing", cost.success && rows == "541909");
    Ok(tally)
}

fn counts(flywheel: &Flywheel, project: &Path, tally: &mut Tally) -> Result<()> {
    let mut rows = vec![["what", "wanted", "found"].map(str::to_owned).to_vec()];
    for (name, query, wanted) in COUNTS {
        let found = flywheel.value(project, query)?;
        tally.record(&format!("replay: {name}"), found == *wanted);
        rows.push(vec![(*name).to_owned(), (*wanted).to_owned(), found]);
    }
    println!("{}", figures::table(&rows));
    Ok(())
}

fn times(flywheel: &Flywheel, project: &Path, tally: &mut Tally) -> Result<()> {
    let turns = flywheel.sql(project, TURN_TIMES)?;
    let column = |name: &str| -> Vec<f64> {
        turns.iter().filter_map(|row| row.get(name)?.as_f64()).collect()
    };
    let times: Vec<f64> = column("ms").into_iter().map(|ms| ms / 1_000.0).collect();
    let rows = column("rows");
    let ends = times.len().min(ENDS);
    let middle = |all: &[f64], end: bool| {
        let part = if end {
            all.len().checked_sub(ends).and_then(|from| all.get(from..))
        } else {
            all.get(..ends)
        };
        part.and_then(figures::median)
    };
    let (Some(all), Some(first), Some(last)) =
        (figures::median(&times), middle(&times, false), middle(&times, true))
    else {
        return Err("system.runs holds no turn that succeeded".into());
    };
    let growth = last / first;
    println!(
        "replay: {} turns, median {all:.2} s; first {ends}: {first:.2} s, last {ends}: {last:.2} s ({growth:.2} ×)",
        times.len()
    );
    // What a turn costs shall follow what is new, so this is what the growth is to be compared with.
    if let (Some(few), Some(many)) = (middle(&rows, false), middle(&rows, true)) {
        println!(
            "replay: rows that such a turn landed: {few:.0} and {many:.0} ({:.2} ×); a thousand of them: {:.2} s and {:.2} s",
            many / few,
            1_000.0 * first / few,
            1_000.0 * last / many
        );
    }
    tally.record("replay: the median turn takes at most 2 s", all <= MEDIAN_MAX_S);
    tally.record("replay: the last turns take at most 1.5 × the first", growth <= GROWTH_MAX);
    Ok(())
}
