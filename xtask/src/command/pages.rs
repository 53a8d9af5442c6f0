//! `cargo xtask pages`: the web pages by themselves, and in a browser over a real server.

use std::path::Path;
use std::process::Command;

use crate::binary::Flywheel;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process};

/// `cargo xtask pages`.
pub(crate) const COMMAND: super::Command = super::Command {
    name: "pages",
    arguments: "",
    about: "type-check and test the web pages, then walk through all of them and a demo's report in Chromium (CHROMIUM names another)",
    run,
};

/// Where Debian puts the browser.
const CHROMIUM: &str = "/usr/bin/chromium";

/// How often the walk is tried. A browser on a machine that others use stands still at times; what fails twice is a
/// fault of ours, and what fails once is said.
const WALKS_MAX: usize = 2;

fn run(context: &Context, arguments: &[String]) -> Result<bool> {
    super::no_arguments(arguments)?;
    Ok(pages(context)?.close())
}

/// Checks, tests and opens the pages. Without a browser the last is left out, and that is said.
pub(crate) fn pages(context: &Context) -> Result<Tally> {
    let (mut tally, folder) = (Tally::default(), context.root.join("ui"));
    if std::env::var_os("FLYWHEEL_WITHOUT_UI").is_some_and(|value| value == "1") {
        println!("NOT RUN: FLYWHEEL_WITHOUT_UI=1 leaves the web pages out.");
        return Ok(tally);
    }
    let flywheel = Flywheel::build(context)?;
    if !folder.join("node_modules").is_dir() {
        process::run(&mut npm(&folder, &["ci", "--prefer-offline"]))?;
    }
    for (what, arguments) in [("types", &["run", "check"][..]), ("units", &["test"][..])] {
        tally.record(&format!("pages: {what}"), process::succeeds(&mut npm(&folder, arguments))?);
    }
    let browser = std::env::var_os("CHROMIUM").unwrap_or_else(|| CHROMIUM.into());
    if !Path::new(&browser).is_file() {
        println!(
            "NOT RUN: there is no {}, so no page was opened. Install Chromium, or name it in CHROMIUM.",
            Path::new(&browser).display()
        );
        return Ok(tally);
    }
    let mut failed = Vec::new();
    for _ in 0..WALKS_MAX {
        let mut walk = npm(&folder, &["run", "e2e"]);
        walk.env("FLYWHEEL_BINARY", flywheel.path()).env("CHROMIUM", &browser);
        let mut why = "for a reason that is said above".to_owned();
        let passed = process::lines(&mut walk, |line| {
            println!("{line}");
            if let Some(said) = line.strip_prefix("failed ") {
                why = said.to_owned();
            }
        })?;
        if passed {
            if !failed.is_empty() {
                println!(
                    "NOT STEADY: the walk passed only after it had failed {}",
                    failed.join("; ")
                );
            }
            tally.record("pages: in a browser", true);
            return Ok(tally);
        }
        failed.push(why);
    }
    tally.record(&format!("pages: in a browser, failed {}", failed.join("; ")), false);
    Ok(tally)
}

fn npm(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
    command.args(arguments).current_dir(folder);
    command
}
