//! Rules: queries by chance under sets of rules, beside physically filtered and masked copies.

use super::goal::{at_least, at_most, holds};
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process};

/// How many queries are asked.
const QUERIES: u32 = 10_000;
/// The seeds, so that what CI asks is not asked again.
const SEED: &str = "2";
/// The test that asks them.
const TEST: &str = "a_query_by_rules_answers_as_over_a_copy_of_what_is_seen";

/// Asks them all.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let mut cargo = context.cargo();
    cargo.args(["test", "--release", "--package", "flywheel-warehouse", "--lib", TEST]);
    cargo.args(["--", "--nocapture"]);
    cargo.env("RULES_QUERIES", QUERIES.to_string()).env("RULES_SEED", SEED);
    let (mut asked, mut refused) = (0.0, f64::MAX);
    let equal = process::lines(&mut cargo, |line| {
        println!("{line}");
        // `10000 queries of seed 2 under 20 sets of rules: 0 differences, 312 refused by the engine, …`
        let words: Vec<&str> = line.split_whitespace().collect();
        if let (Some(all), true) = (words.first(), line.contains(" queries of seed ")) {
            asked = all.parse().unwrap_or_default();
            let before = words.iter().position(|word| *word == "refused");
            let count = before.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok());
            refused = count.unwrap_or(f64::MAX);
        }
    })?;
    let mut tally = Tally::default();
    holds(&mut tally, "every query answers as over a copy of what is seen", equal);
    at_least(&mut tally, "queries that were asked", asked, f64::from(QUERIES));
    at_most(
        &mut tally,
        "queries that the engine has no plan for",
        refused,
        f64::from(QUERIES) / 10.0,
    );
    Ok(tally)
}
