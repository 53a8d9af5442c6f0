//! `cargo xtask release-size`: how big the binary is and how many crates are in it.

use std::collections::BTreeSet;

use crate::binary::Flywheel;
use crate::context::Context;
use crate::{Result, process};

/// `cargo xtask release-size`.
pub(crate) const COMMAND: super::Command = super::Command {
    name: "release-size",
    arguments: "",
    about: "build the binary and print its size and the number of crates in it",
    run,
};

fn run(context: &Context, arguments: &[String]) -> Result<bool> {
    super::no_arguments(arguments)?;
    let tree = [
        "tree",
        "--package",
        "flywheel",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ];
    let listing = process::output(context.cargo().args(tree))?;
    let crates: BTreeSet<&str> =
        listing.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    let flywheel = Flywheel::build(context)?;
    let bytes = std::fs::metadata(flywheel.path())?.len();
    println!("{:.1} MiB, {} crates", bytes as f64 / 1_048_576.0, crates.len());
    Ok(true)
}
