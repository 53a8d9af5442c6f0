//! `cargo xtask ci`: everything a change must pass, cheap checks first.

use std::time::Instant;

use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process};

use super::{bench, demo_check, docs, interop, kill, snippets, test, tidy};

/// `cargo xtask ci`.
pub(crate) const COMMAND: super::Command = super::Command {
    name: "ci",
    arguments: "",
    about: "format, tidy, lint, test, licences, optional drivers, papers, demo, other readers, kills",
    run,
};

/// How often the demo project is killed here; `cargo xtask kill` does it a hundred times.
const KILLS: u64 = 10;

/// What a step says.
type Step = fn(&Context) -> Result<Tally>;

/// Every step, cheap ones first.
const STEPS: &[(&str, Step)] = &[
    ("format", |context| check("format", context.cargo().args(["fmt", "--all", "--check"]))),
    ("tidy", |context| one("tidy", (tidy::COMMAND.run)(context, &[]))),
    ("lint", |context| {
        let clippy =
            ["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"];
        check("lint", context.cargo().args(clippy))
    }),
    ("code docs", |context| {
        check("code docs", context.cargo().args(["doc", "--release", "--no-deps", "--workspace"]))
    }),
    ("licences", licences),
    ("tests", |context| test::tests(context, &[])),
    ("drivers", drivers),
    ("reference pages", |context| one("reference pages", docs::check(context))),
    ("snippets", snippets::snippets),
    ("seed numbers", |context| one("seed numbers", bench::run_one(context, "seeds"))),
    ("demo", demo_check::demo),
    ("other readers", interop::readers),
    ("kills", |context| kill::kills(context, KILLS, kill::SEED)),
];

fn run(context: &Context, arguments: &[String]) -> Result<bool> {
    super::no_arguments(arguments)?;
    let mut total = Tally::default();
    let mut times = Vec::new();
    for (name, step) in STEPS {
        println!("\n== {name}");
        let started = Instant::now();
        match step(context) {
            Ok(tally) => total.add(tally),
            Err(error) => {
                println!("error: {error}");
                total.record(name, false);
            }
        }
        times.push(vec![(*name).to_owned(), format!("{:.0}", started.elapsed().as_secs_f64())]);
    }
    times.insert(0, vec!["step".to_owned(), "seconds".to_owned()]);
    println!("\n{}", crate::figures::table(&times));
    Ok(total.close())
}

/// The connectors of optional features, against real drivers. Only the crate that has them is built again,
/// which links no query engine: the features would otherwise build everything above Arrow a second time.
fn drivers(context: &Context) -> Result<Tally> {
    let there = ["libodbc.so", "libsqlite3odbc.so", "psqlodbcw.so"].iter().all(|file| {
        let known = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        known
            .flat_map(|folder| [folder.path(), folder.path().join("odbc")])
            .any(|folder| folder.join(file).exists())
    });
    if !there {
        println!(
            "NOT RUN: there are no ODBC drivers here, so the connectors odbc and adbc were not built."
        );
        println!("Install them with `apt-get install unixodbc-dev odbc-postgresql libsqliteodbc`.");
        return Ok(Tally::default());
    }
    let test = ["test", "--release", "-p", "flywheel-connect", "--features", "odbc,adbc", "--lib"];
    check("drivers", context.cargo().args(test).args(["--", "driver", "contract", "connections"]))
}

/// A command that passes or fails as a whole.
fn check(name: &str, command: &mut std::process::Command) -> Result<Tally> {
    one(name, process::succeeds(command))
}

/// A check that passes or fails as a whole.
fn one(name: &str, outcome: Result<bool>) -> Result<Tally> {
    let mut tally = Tally::default();
    tally.record(name, outcome?);
    Ok(tally)
}

/// Licences, bans and sources of dependencies, where cargo-deny is installed.
fn licences(context: &Context) -> Result<Tally> {
    let installed = context.cargo().args(["deny", "--version"]).output()?.status.success();
    if installed {
        return check(
            "licences",
            context.cargo().args(["deny", "check", "bans", "licenses", "sources"]),
        );
    }
    println!("NOT RUN: cargo-deny is not installed here, so licences and bans were not checked.");
    println!("Install it with `cargo install cargo-deny --locked`.");
    Ok(Tally::default())
}
