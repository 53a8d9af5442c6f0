//! Stock kept on the held-out past: fill rate, and cost beside the textbook's normal approximation.

use super::figure::{Goal, between, judge, least, parse};
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process};

/// Every goal, by the name that the example prints.
const GOALS: &[Goal] = &[
    between("online retail ses fill rate by item, percent", 93.5, 96.5),
    least("online retail ses cost below the textbook, percent", 10.0),
    between("online retail pooled fill rate by item, percent", 93.5, 96.5),
    least("online retail pooled cost below the textbook, percent", 10.0),
    between("carparts pooled fill rate by item, percent", 93.5, 96.5),
    least("carparts pooled cost below the textbook, percent", 10.0),
];

/// Runs the example and checks its figures.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let data = context.data_set("online_retail")?;
    context.data_set("m3")?;
    let example = ["--release", "--package", "flywheel-algo", "--example", "inventory"];
    process::run(context.cargo().arg("build").args(example))?;
    let mut program = std::process::Command::new(context.target.join("release/examples/inventory"));
    let text = process::output(program.env("FLYWHEEL_DATA", data.parent().unwrap_or(&data)))?;
    print!("{text}");
    Ok(judge(GOALS, &parse(&text)))
}
