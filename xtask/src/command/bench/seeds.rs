//! The published numbers our algorithms start from: expected, ours, difference.

use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process};

/// Prints the table and passes if every row is within its tolerance.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let example = ["--release", "--package", "flywheel-algo", "--example", "seeds"];
    process::run(context.cargo().arg("build").args(example))?;
    let mut program = std::process::Command::new(context.target.join("release/examples/seeds"));
    let cost = process::measure(program.current_dir(&context.root))?;
    println!("seeds: {cost}");
    let mut tally = Tally::default();
    tally.record("seeds: every number is within its tolerance", cost.success);
    Ok(tally)
}
