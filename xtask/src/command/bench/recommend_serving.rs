//! A recommender in process: how fast it answers with filters, how soon feedback counts, how much memory it takes.

use super::figure::{Goal, judge, most, parse};
use super::goal;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process};

/// Every goal, by the name that the example prints.
const GOALS: &[Goal] = &[
    most("41k items answers that break a filter or are short", 0.0),
    most("41k items answer p99, ms", 2.0),
    most("41k items answers with rules that are short or do not pass", 0.0),
    most("41k items answer with filter and rules p99, ms", 2.0),
    most("feedback that changed nothing", 0.0),
    most("feedback to changed answer p99, ms", 200.0),
    most("ten million events peak, GiB", 6.0),
];

/// Runs the example and checks its figures.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let example = ["--release", "--package", "flywheel-algo", "--example", "recommend_serving"];
    process::run(context.cargo().arg("build").args(example))?;
    let mut lines = Vec::new();
    let mut tally = Tally::default();
    for part in ["answers", "memory"] {
        let mut program =
            std::process::Command::new(context.target.join("release/examples/recommend_serving"));
        let text = process::output(program.arg(part))?;
        print!("{text}");
        goal::holds(&mut tally, &format!("recommend-serving: {part} ends"), !text.is_empty());
        lines.extend(parse(&text));
    }
    tally.add(judge(GOALS, &lines));
    Ok(tally)
}
