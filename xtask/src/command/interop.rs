//! `cargo xtask interop`: DuckDB and Polars read every lake table as we do.

use std::path::PathBuf;
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
    about: "compare every lake table with what DuckDB and Polars read; on a demo if none is given",
    run,
};

fn run(context: &Context, arguments: &[String]) -> Result<bool> {
    match arguments {
        [] => Ok(readers(context)?.close()),
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
    compare(context, &flywheel, project)
}

/// Compares every table of a project; the script prints one `ok` or `DIFFERENT` line per table and reader.
fn compare(context: &Context, flywheel: &Flywheel, project: PathBuf) -> Result<Tally> {
    let python = python::with_packages(context, "readers", python::LAKE_READERS)?;
    let mut script = Command::new(python);
    script.arg(context.root.join("scripts/interop.py")).arg(flywheel.path()).arg(project);
    let mut tally = Tally::default();
    let ended = process::lines(&mut script, |line| {
        println!("{line}");
        if let Some(what) = line.strip_prefix("ok ") {
            tally.record(what, true);
        } else if let Some(what) = line.strip_prefix("DIFFERENT ") {
            tally.record(&format!("other readers: {what}"), false);
        }
    })?;
    if tally.passed + tally.failed == 0 || (!ended && tally.failed == 0) {
        tally.record("other readers: the comparison did not end", false);
    }
    Ok(tally)
}
