//! Everything that is claimed of learning and deciding, bench after bench, and one table at the end.
//!
//! The other benches do the work and keep their own goals; here they are only called in turn. One that cannot run is
//! a line that falls short, and the next is run all the same: an afternoon's work is not lost for a missing package.

use super::{Bench, Run, online_retail};
use crate::Result;
use crate::context::Context;
use crate::figures;
use crate::tally::{Check, Tally};

/// The benches, in the order of their table: recommenders, customers, series, bandits with online learning, off-policy
/// estimates and experiments, the closed loop, stock, actions, answers.
const OF_LEARNING: &[&str] = &[
    "seeds",
    "gowalla",
    "online-retail",
    "customers",
    "forecasts",
    "bandits",
    "loop",
    "inventory",
    "actions",
    "recommend-serving",
];

/// Of which more is claimed here than by themselves.
const STRICTER: &[(&str, Run)] = &[("online-retail", online_retail::of_learning)];

/// Runs them all.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let mut tallies = Vec::new();
    for name in OF_LEARNING {
        println!("\n── {name}");
        let stricter = STRICTER.iter().find(|(stricter, _)| stricter == name);
        tallies.push((
            *name,
            tally(name, |bench| stricter.map_or(bench.run, |(_, run)| *run)(context)),
        ));
    }
    println!("\n{}", figures::table(&rows(&tallies)));
    let mut all = Tally::default();
    tallies.into_iter().for_each(|(_, tally)| all.add(tally));
    Ok(all)
}

/// What a bench counted; a bench that ends with an error, or counts nothing, is one check that falls short.
fn tally(name: &str, run: impl FnOnce(&Bench) -> Result<Tally>) -> Tally {
    let bench = super::BENCHES.iter().find(|bench| bench.name == name);
    let ended = match bench.map(run) {
        Some(Ok(tally)) if !tally.checks.is_empty() => return tally,
        Some(Ok(_)) => "it checked nothing".to_owned(),
        Some(Err(error)) => error.to_string(),
        None => "there is no such bench".to_owned(),
    };
    println!("{name}: {ended}");
    let mut tally = Tally::default();
    tally.record_figure(&format!("{name} runs"), &ended, "to its end", false);
    tally
}

fn rows(tallies: &[(&str, Tally)]) -> Vec<Vec<String>> {
    let mut rows = vec![["bench", "what", "reached", "goal", ""].map(str::to_owned).to_vec()];
    for (bench, tally) in tallies {
        for Check { name, reached, goal, holds } in &tally.checks {
            let said = if *holds { "holds" } else { "falls short" };
            let cells = [*bench, name.as_str(), reached.as_str(), goal.as_str(), said];
            rows.push(cells.map(str::to_owned).to_vec());
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bench_exists_and_its_figures_and_failures_are_in_the_table() {
        for name in OF_LEARNING {
            assert!(super::super::BENCHES.iter().any(|bench| bench.name == *name), "{name}");
        }
        assert!(STRICTER.iter().all(|(name, _)| OF_LEARNING.contains(name)));
        let good = tally("gowalla", |_| {
            let mut tally = Tally::default();
            super::super::goal::at_least(&mut tally, "ndcg", 0.5, 0.25);
            Ok(tally)
        });
        let missing = tally("loop", |_| Err("a package is missing".into()));
        let nothing = tally("actions", |_| Ok(Tally::default()));
        assert_eq!((good.failed, missing.failed, nothing.failed), (0, 1, 1));
        let rows = rows(&[("gowalla", good), ("loop", missing), ("actions", nothing)]);
        assert_eq!(rows[1], ["gowalla", "ndcg", "0.50", "at least 0.25", "holds"]);
        assert_eq!(
            rows[2][1..],
            ["loop runs", "a package is missing", "to its end", "falls short"]
        );
        assert_eq!(rows[3][4], "falls short");
    }
}
