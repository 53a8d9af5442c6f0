//! `cargo xtask demo-check`: the demo turns thirty times, learns something, and repeats exactly.
//!
//! Its time is printed here and judged by `cargo xtask bench demo` only: what every commit must pass does not depend on what
//! else the machine does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::binary::Flywheel;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process};

/// `cargo xtask demo-check`.
pub(crate) const COMMAND: super::Command = super::Command {
    name: "demo-check",
    arguments: "",
    about: "run the demo twice with one seed: turns, lift, equal results, memory",
    run: |context, arguments| {
        super::no_arguments(arguments)?;
        Ok(demo(context)?.close())
    },
};

/// The seed of the demo in the README.
pub(crate) const SEED: u64 = 7;

/// How many days the demo has.
pub(crate) const DAYS: u64 = 30;

const PEAK_MAX_BYTES: u64 = 1 << 30;

/// What two demos of one seed must agree on, each in an order that does not depend on storage.
const REPEATED: &[(&str, &str)] = &[
    ("decisions", "select * from system.decisions order by decision_id"),
    ("actions", "select * from system.actions order by key"),
    ("outcomes", "select * from system.outcomes order by decision_id, event_id"),
    ("lift", "select * from system.lift order by turn, policy"),
];

/// Runs the demo twice and checks it.
pub(crate) fn demo(context: &Context) -> Result<Tally> {
    Ok(twice(context, &Flywheel::build(context)?)?.0)
}

/// Runs the demo twice and checks it; also the seconds that each run took.
pub(crate) fn twice(context: &Context, flywheel: &Flywheel) -> Result<(Tally, Vec<f64>)> {
    let folder = context.scratch("demo")?;
    let (first, second) = (folder.join("first"), folder.join("second"));
    let (mut tally, mut seconds) = (Tally::default(), Vec::new());
    for project in [&first, &second] {
        let cost = process::measure(&mut flywheel.demo(project, SEED, DAYS))?;
        println!("demo: {cost}");
        seconds.push(cost.wall_s);
        tally.record("demo: ends with exit code 0", cost.success);
        tally.record("demo: holds at most 1 GiB", cost.peak_bytes <= PEAK_MAX_BYTES);
    }
    lift(flywheel, &first, &mut tally)?;
    repeated(flywheel, &first, &second, &mut tally)?;
    Ok((tally, seconds))
}

/// The demo has its turns, and at the end the holdout shows that at least one policy works.
fn lift(flywheel: &Flywheel, project: &Path, tally: &mut Tally) -> Result<()> {
    let turns = flywheel.value(project, "select count(distinct turn) from system.lift")?;
    println!("demo: {turns} turns with a measured lift");
    tally.record("demo: every day is a turn", turns.parse::<u64>()? >= DAYS);
    let ends = "select policy, lift, lower, upper from system.lift \
                where turn = (select max(turn) from system.lift) order by policy";
    let mut clear = false;
    for row in flywheel.sql(project, ends)? {
        let number = |key: &str| row.get(key).and_then(serde_json::Value::as_f64);
        println!("demo: {row}");
        clear |= number("lower").is_some_and(|lower| lower > 0.0);
    }
    tally.record("demo: the interval of a policy's lift lies above 0 at the end", clear);
    Ok(())
}

/// One seed gives one result, byte for byte.
fn repeated(flywheel: &Flywheel, first: &Path, second: &Path, tally: &mut Tally) -> Result<()> {
    for (name, query) in REPEATED {
        let text = |project| {
            process::output(&mut flywheel.on(project, &["sql", query, "--output", "csv"]))
        };
        let (ours, again) = (text(first)?, text(second)?);
        println!("demo: {} rows of {name}", ours.lines().count().saturating_sub(1));
        tally.record(
            &format!("demo: {name} are the same twice"),
            ours == again && ours.lines().count() > 1,
        );
    }
    let reports = [reports(first)?, reports(second)?];
    let [ours, again] = &reports;
    tally.record("demo: the report is the same twice", !ours.is_empty() && ours == again);
    let outside = ["src=\"http", "href=\"http", "src='http", "url(http"];
    let alone = ours.values().all(|text| !outside.iter().any(|link| text.contains(link)));
    tally.record("demo: the report loads nothing from outside", alone);
    Ok(())
}

/// The reports of a project by file name.
fn reports(project: &Path) -> Result<BTreeMap<String, String>> {
    let mut reports = BTreeMap::new();
    for entry in fs::read_dir(project)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "html") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            reports.insert(name, fs::read_to_string(&path)?);
        }
    }
    Ok(reports)
}
