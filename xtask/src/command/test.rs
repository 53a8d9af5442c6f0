//! `cargo xtask test`: every test, and one closing line.

use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, marked, process, servers};

/// `cargo xtask test`.
pub(crate) const COMMAND: super::Command = super::Command {
    name: "test",
    arguments: "[--fast|--drivers] [FILTER…]",
    about: "run the tests; --fast: only floors 0 and 1 and xtask; --drivers: those of ODBC and ADBC",
    run: |context, arguments| Ok(tests(context, arguments)?.close()),
};

/// The highest floor whose tests link no query engine.
const FAST_FLOOR_MAX: u32 = 1;

/// The connectors that are not in the default build.
const DRIVERS: &str = "odbc,adbc";

/// What the names of the tests contain that drive them.
const DRIVERS_TESTS: [&str; 2] = ["driver::", "contract"];

/// Runs the tests and counts them.
pub(crate) fn tests(context: &Context, arguments: &[String]) -> Result<Tally> {
    let fast = arguments.iter().any(|argument| argument == "--fast");
    // They link the system's driver manager and have other features of their dependencies, which would
    // compile those twice in every run.
    let drivers = arguments.iter().any(|argument| argument == "--drivers");
    let modes = ["--fast", "--drivers"];
    let mut filters: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| !modes.contains(argument)).collect();
    if let Some(flag) = filters.iter().find(|filter| filter.starts_with('-')) {
        return Err(format!("unknown argument \"{flag}\"").into());
    }
    if fast && drivers {
        return Err("--fast and --drivers are two different runs".into());
    }
    servers::ensure()?;
    let mut cargo = context.cargo();
    cargo.args(["test", "--release", "--no-fail-fast"]);
    if drivers {
        cargo.args(["--package", "flywheel-connect", "--features", DRIVERS, "--lib"]);
        if filters.is_empty() {
            filters.extend(DRIVERS_TESTS);
        }
    } else if fast {
        cargo.args(fast_packages(context)?.iter().flat_map(|name| ["--package", name]));
    } else {
        cargo.arg("--workspace");
    }
    if !filters.is_empty() {
        cargo.arg("--").args(&filters);
    }
    if let Some(data) = &context.data {
        cargo.env("FLYWHEEL_DATA", data);
    } else {
        println!("FLYWHEEL_DATA is not set: tests on real data sets say that they are skipped");
    }
    let mut tally = Tally::default();
    let succeeded = process::lines(&mut cargo, |line| {
        println!("{line}");
        tally.read(line);
    })?;
    if !succeeded && tally.failed == 0 {
        tally.record("cargo test: a test program could not be built or did not end", false);
    }
    Ok(tally)
}

/// The packages of the lower floors, from the table in ARCHITECTURE.md.
fn fast_packages(context: &Context) -> Result<Vec<String>> {
    let paper = std::fs::read_to_string(context.root.join("ARCHITECTURE.md"))?;
    let rows = marked::rows(&paper, "floors").ok_or("ARCHITECTURE.md has no table of floors")?;
    let mut packages = vec!["xtask".to_owned()];
    for cells in &rows {
        if let [floor, name, ..] = cells.as_slice()
            && floor.parse::<u32>().is_ok_and(|floor| floor <= FAST_FLOOR_MAX)
        {
            packages.extend(marked::words(name).into_iter().map(|name| format!("flywheel-{name}")));
        }
    }
    Ok(packages)
}
