//! `cargo xtask interop`: DuckDB and Polars read every lake table as we do, and events of lineage and data contracts are of
//! the published schemas.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binary::Flywheel;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process, python};

use super::demo_check;

/// `cargo xtask interop`.
pub(crate) const COMMAND: super::Command = super::Command {
    name: "interop",
    arguments: "[PROJECT]",
    about: "compare every lake table with what DuckDB and Polars read, on a demo, on tables whose columns were \
            widened and on a large one if none is given; validate events of OpenLineage and contracts of ODCS",
    run,
};

/// Ways to write a lake table whose columns then get wider types, by the table's name.
const WIDENED: &[(&str, &str)] = &[
    ("appended", "read: incremental, write: append"),
    ("merged", "read: incremental, write: merge, key: [id]"),
    ("mirrored", "read: full, write: mirror, key: [id]"),
    ("kept", "read: full, write: history, key: [id]"),
    ("replaced", "read: full, write: replace"),
];

/// The types of the columns of those tables before and after, and what the engine calls the latter.
const WIDENED_TYPES: &[(&str, &str, &str, &str)] = &[
    ("id", "int64", "int64", "Int64"),
    ("whole", "int32", "int64", "Int64"),
    ("price", "decimal(9,2)", "decimal(16,4)", "Decimal128(16, 4)"),
    ("float", "int32", "float64", "Float64"),
    ("exact", "int64", "decimal(22,3)", "Decimal128(22, 3)"),
];

/// Rows of a table that is not small.
const LARGE_ROWS: u32 = 200_000;

/// Rows that fit the types before.
const NARROW_ROWS: &str = "id,whole,price,float,exact
1,1,1.25,1,1
2,-2,,-2,
3,,1234567.89,3,9223372036854775807
";

/// Rows that need the types after; one of them is known.
const WIDE_ROWS: &str = "id,whole,price,float,exact
2,5000000000,123456789012.0001,1e300,1.125
4,-5000000000,0.0001,,-9223372036854775807.001
";

fn run(context: &Context, arguments: &[String]) -> Result<bool> {
    match arguments {
        [] => {
            let mut tally = readers(context)?;
            tally.add(lineage(context)?);
            tally.add(contracts(context)?);
            Ok(tally.close())
        }
        [project] => {
            Ok(compare(context, &Flywheel::build(context)?, PathBuf::from(project))?.close())
        }
        _ => Err("interop takes at most one project".into()),
    }
}

/// Makes a demo project and compares its tables.
pub(crate) fn readers(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let project = context.scratch("interop")?.join("demo");
    process::run(&mut flywheel.demo(&project, demo_check::SEED, demo_check::DAYS))?;
    let mut tally = compare(context, &flywheel, project)?;
    let project = context.scratch("interop-widened")?;
    widened(&flywheel, &project, &mut tally)?;
    large(&flywheel, &project)?;
    tally.add(compare(context, &flywheel, project)?);
    Ok(tally)
}

/// Makes a project whose lake tables were widened after their first rows.
fn widened(flywheel: &Flywheel, project: &Path, tally: &mut Tally) -> Result<()> {
    for folder in ["connections", "syncs", "data"] {
        fs::create_dir_all(project.join(folder))?;
    }
    fs::write(project.join("flywheel.yaml"), "name: widened\n")?;
    let connection = "connection: files\ntype: csv\noptions: {folder: data}\n";
    fs::write(project.join("connections/files.yaml"), connection)?;
    let narrow = |(name, before, ..): &(&str, &str, &str, &str)| column(name, before);
    let wide = |(name, _, after, _): &(&str, &str, &str, &str)| column(name, after);
    let steps: [(&str, Vec<String>, &str); 2] = [
        ("rows1", WIDENED_TYPES.iter().map(narrow).collect(), NARROW_ROWS),
        ("rows2", WIDENED_TYPES.iter().map(wide).collect(), WIDE_ROWS),
    ];
    for (file, columns, rows) in steps {
        let columns = columns.join(", ");
        let stream = |(name, how): &(&str, &str)| {
            format!(
                "  - {{stream: {name}, options: {{path: rows*.csv}}, {how}, columns: [{columns}]}}\n"
            )
        };
        let streams: String = WIDENED.iter().map(stream).collect();
        let sync = format!("sync: files\nconnection: files\nstreams:\n{streams}");
        fs::write(project.join("syncs/files.yaml"), sync)?;
        fs::write(project.join(format!("data/{file}.csv")), rows)?;
        process::run(&mut flywheel.on(project, &["sync"]))?;
    }
    for (name, _, _, expected) in WIDENED_TYPES {
        let types = format!(
            "select string_agg(distinct data_type, ' and ') from information_schema.columns \
             where table_schema = 'raw' and column_name = '{name}'"
        );
        let found = flywheel.value(project, &types)?;
        tally.record(&format!("widened: {name} is {expected}, not {found}"), found == *expected);
    }
    Ok(())
}

/// Lands a table that is large enough to be encoded and compressed as large tables are: with columns of texts that are
/// all different, that repeat themselves, and that are mostly missing.
fn large(flywheel: &Flywheel, project: &Path) -> Result<()> {
    let mut rows = String::from("id,note,kind,seldom\n");
    for id in 0..LARGE_ROWS {
        let seldom = if id % 1_000 == 0 { "here" } else { "" };
        writeln!(rows, "{id},the note of row {id},kind {},{seldom}", id % 7)?;
    }
    fs::write(project.join("data/large.csv"), rows)?;
    let sync = "sync: large\nconnection: files\nstreams:\n  - {stream: large, options: {path: large.csv}, read: full, write: replace}\n";
    fs::write(project.join("syncs/large.yaml"), sync)?;
    process::run(&mut flywheel.on(project, &["sync", "large"]))
}

/// A column of a stream as a sync declares it.
fn column(name: &str, kind: &str) -> String {
    format!("{{name: {name}, type: '{kind}'}}")
}

/// Validates the events that a project tells.
pub(crate) fn lineage(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let python = python::with_packages(context, "openlineage", python::LINEAGE_SCHEMAS)?;
    let mut script = Command::new(python);
    script.arg(context.root.join("tests/openlineage/validate.py")).arg(flywheel.path());
    judge(script, "events of lineage")
}

/// Validates data contracts, as they come and as they are exported.
pub(crate) fn contracts(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let python = python::with_packages(context, "odcs", python::CONTRACT_SCHEMA)?;
    let mut script = Command::new(python);
    script.arg(context.root.join("tests/odcs/validate.py")).arg(flywheel.path());
    judge(script, "data contracts")
}

/// Compares every table of a project; the script prints one `ok` or `DIFFERENT` line per table and reader.
fn compare(context: &Context, flywheel: &Flywheel, project: PathBuf) -> Result<Tally> {
    let python = python::with_packages(context, "readers", python::LAKE_READERS)?;
    let mut script = Command::new(python);
    script.arg(context.root.join("scripts/interop.py")).arg(flywheel.path()).arg(project);
    judge(script, "other readers")
}

/// Counts the lines of a script that say `ok` or `DIFFERENT`.
fn judge(mut script: Command, about: &str) -> Result<Tally> {
    let mut tally = Tally::default();
    let ended = process::lines(&mut script, |line| {
        println!("{line}");
        if let Some(what) = line.strip_prefix("ok ") {
            tally.record(what, true);
        } else if let Some(what) = line.strip_prefix("DIFFERENT ") {
            tally.record(&format!("{about}: {what}"), false);
        }
    })?;
    if tally.passed + tally.failed == 0 || (!ended && tally.failed == 0) {
        tally.record(&format!("{about}: the comparison did not end"), false);
    }
    Ok(tally)
}
