//! Goals: what a figure must not exceed, or must reach.

use std::path::Path;

use crate::Result;
use crate::process::Cost;
use crate::tally::Tally;

/// Prints and records that a figure is at most `most`.
pub(in crate::command) fn at_most(tally: &mut Tally, what: &str, reached: f64, most: f64) {
    judge(tally, what, reached, "at most", most, reached <= most);
}

/// What tells how fast the machine is beside the one where a goal in processor seconds was set: another program, which
/// does the same work on both.
#[derive(Clone, Copy)]
pub(super) struct Yardstick {
    /// Its name.
    pub(super) peer: &'static str,
    /// What it took where the goal was set.
    pub(super) there: f64,
    /// What it takes here, in the same run.
    pub(super) here: f64,
}

/// Prints and records that processor seconds are at most `most`, or as many more as another program takes here, if this is
/// a slower machine than the one the goal is of.
pub(super) fn at_most_beside(
    tally: &mut Tally,
    what: &str,
    reached: f64,
    most: f64,
    Yardstick { peer, there, here }: Yardstick,
) {
    let slower = (here / there).max(1.0);
    let holds = reached <= most * slower;
    let said = if holds { "holds" } else { "falls short" };
    let goal = format!(
        "at most {:.2}, which is {most} where {peer} takes {there} and not {here:.2}",
        most * slower
    );
    println!("{what}: {reached:.2}, {goal}: {said}");
    tally.record_figure(what, &format!("{reached:.2}"), &goal, holds);
}

/// Prints and records that a figure is at least `least`.
pub(in crate::command) fn at_least(tally: &mut Tally, what: &str, reached: f64, least: f64) {
    judge(tally, what, reached, "at least", least, reached >= least);
}

/// Prints and records whether something is so.
pub(in crate::command) fn holds(tally: &mut Tally, what: &str, holds: bool) {
    println!("{what}: {}", if holds { "holds" } else { "falls short" });
    tally.record(what, holds);
}

/// Prints and records whether two answers are the same; what is instead is shown.
pub(in crate::command) fn equal(tally: &mut Tally, what: &str, found: &str, wanted: &str) {
    let same = found == wanted && !found.is_empty();
    if !same {
        println!("{what}: \"{found}\" instead of \"{wanted}\"");
    }
    holds(tally, what, same);
}

/// Records a command that failed.
pub(super) fn succeeds(tally: &mut Tally, what: &str, cost: &Cost) {
    if !cost.success {
        holds(tally, &format!("{what} succeeds"), false);
    }
}

fn judge(tally: &mut Tally, what: &str, reached: f64, word: &str, goal: f64, holds: bool) {
    let said = if holds { "holds" } else { "falls short" };
    println!("{what}: {reached:.2}, {word} {goal}: {said}");
    tally.record_figure(what, &format!("{reached:.2}"), &format!("{word} {goal}"), holds);
}

/// Processor seconds for a million of something.
pub(super) fn per_million(cost: &Cost, count: u64) -> f64 {
    cost.cpu_s / (count as f64 / 1e6)
}

/// Peak memory in MiB.
pub(super) fn mebibytes(cost: &Cost) -> f64 {
    cost.peak_bytes as f64 / 1_048_576.0
}

/// Writes the files of a project.
pub(in crate::command) fn write_files(project: &Path, files: &[(&str, String)]) -> Result<()> {
    for (name, text) in files {
        let path = project.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_falls_short_fails_and_is_named() {
        let mut tally = Tally::default();
        at_most(&mut tally, "seconds", 2.0, 3.0);
        at_least(&mut tally, "events", 2.0, 3.0);
        equal(&mut tally, "an answer that is missing", "", "");
        let beside = |here| Yardstick { peer: "another", there: 2.0, here };
        at_most_beside(&mut tally, "seconds on a slow machine", 1.4, 1.0, beside(3.0));
        at_most_beside(&mut tally, "seconds on a fast one", 1.0, 1.0, beside(1.0));
        assert_eq!((tally.passed, tally.failed), (3, 2));
        assert_eq!(tally.failures, ["events", "an answer that is missing"]);
    }
}
