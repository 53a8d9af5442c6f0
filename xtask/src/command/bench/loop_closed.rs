//! The closed loop in a world whose law is known: what it earns, and whether its guards hold.
//!
//! Three programs: the whole wheel by the product's own turns (all but the command line), a thousand challengers of
//! each kind by the same evidence and guards without the lake, and what they print beside the goals.

use super::figure::{Goal, Line, judge, least, most, parse};
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process};

/// Every goal, by the name that the examples print.
const GOALS: &[Goal] = &[
    least("loop: gain over the frozen policy, percent", 25.0),
    least("loop: share of the oracle, percent", 85.0),
    most("loop: trials of a challenger that is worse", 0.0),
    least("loop: refusals that say every reason, percent", 100.0),
    least("promotion: better challengers promoted by turns alone, percent", 100.0),
    least("guard: bad challengers taken back by turns alone, percent", 100.0),
    least("guard: worlds whose table says why each was, percent", 100.0),
    most("guard: share of a day's traffic exposed, most, percent", 2.0),
    most("worse by 5 %: promoted in 7 days", 0.01),
    most("broken by 5 %: promoted in 7 days", 0.01),
    least("better by 10 %: promoted in 7 days", 0.8),
    least("ruined on purpose: taken back in 7 days", 0.99),
    most("ruined on purpose: traffic-days exposed, 99 %", 0.02),
];

/// Runs the examples and checks their figures.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let build = |package: &str, example: &str| {
        // With the program beside it, what both need is built once, with the features of the program.
        let packages = ["--package", package, "--package", "flywheel"];
        let mut build = context.cargo();
        build.args(["build", "--release"]).args(packages).args(["--example", example]);
        process::run(&mut build)
    };
    build("flywheel-algo", "promotions")?;
    build("flywheel-runtime", "closed_loop")?;
    let folder = context.target.join("release/examples");
    let mut lines: Vec<Line> = Vec::new();
    for (program, part) in [
        ("promotions", None),
        ("closed_loop", Some("guard")),
        ("closed_loop", Some("promotion")),
        ("closed_loop", Some("loop")),
    ] {
        let mut command = std::process::Command::new(folder.join(program));
        let text = process::output(command.args(part))?;
        print!("{text}");
        lines.extend(parse(&text));
    }
    Ok(judge(GOALS, &lines))
}
