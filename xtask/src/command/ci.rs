//! `cargo xtask ci`: everything a change must pass, cheap checks first.

use std::time::Instant;

use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process};

use super::{bench, demo_check, docs, interop, kill, pages, snippets, test, tidy};

/// `cargo xtask ci`.
pub(crate) const COMMAND: super::Command = super::Command {
    name: "ci",
    arguments: "",
    about: "format, tidy, lint, test, licences, papers, demo, web pages, other readers, kills",
    run,
};

/// How often the demo project is killed here; `cargo xtask kill` does it a hundred times.
const KILLS: u64 = 10;

/// How often a server under load is killed here; `cargo xtask kill serve` does it two hundred times.
const SERVER_KILLS: u64 = 10;
/// How often a server that keeps schedules is killed here; `cargo xtask kill schedule` does it a hundred times.
const SCHEDULE_KILLS: u64 = 15;

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
    ("reference pages", |context| one("reference pages", docs::check(context))),
    ("snippets", snippets::snippets),
    ("seed numbers", |context| one("seed numbers", bench::run_one(context, "seeds"))),
    ("demo", demo_check::demo),
    ("web pages", pages::pages),
    ("other readers", interop::readers),
    ("events of lineage", interop::lineage),
    ("data contracts", interop::contracts),
    ("kills", |context| kill::kills(context, KILLS, kill::SEED)),
    ("kills of servers", |context| kill::servers(context, SERVER_KILLS)),
    ("kills of schedules", |context| kill::schedules(context, SCHEDULE_KILLS)),
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
