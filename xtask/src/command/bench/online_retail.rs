//! Recommendation quality on the Online Retail history: ours beside popularity and implicit's ALS.
//!
//! Trained on what happened before 2011-11-09 and judged on the thirty days after, full ranking,
//! once on items a customer never bought and once on all. Our example writes the pairs it trained
//! and was judged on, and the peer reads those, so both see the same rows.

use std::fs;
use std::process::{Command, Stdio};

use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, figures, process, python};

/// What one recommender reached.
#[derive(Debug, PartialEq)]
struct Score {
    name: String,
    ndcg_new: f64,
    recall_new: f64,
    ndcg_all: f64,
    recall_all: f64,
    fit_s: f64,
}

/// The list that customers are served, as the example names it.
const SERVED: &str = "hybrid";

/// What the served list must reach at least, as NDCG@10 on never-bought items and on all items.
#[derive(Clone, Copy)]
struct Least {
    said: &'static str,
    new: f64,
    all: f64,
}

/// What is claimed of a shop's recommendations, and what beside that is claimed of learning.
const SHOP: Least = Least { said: "online-retail", new: 0.090, all: 0.360 };
const LEARNING: Least = Least { said: "online-retail, of learning", new: 0.105, all: 0.390 };

/// Prints both sides and checks the served list.
pub(super) fn run(context: &Context) -> Result<Tally> {
    Ok(judge(served(context)?, &[SHOP]))
}

/// The same, and checks the served list against both claims.
pub(super) fn of_learning(context: &Context) -> Result<Tally> {
    Ok(judge(served(context)?, &[SHOP, LEARNING]))
}

/// Prints both sides; what the served list reached, as NDCG@10 on never-bought items and on all items.
fn served(context: &Context) -> Result<(f64, f64)> {
    context.data_set("online_retail")?;
    let pairs = context.scratch("online-retail")?;
    let example = ["--release", "--package", "flywheel-algo", "--example", "online_retail"];
    process::run(context.cargo().arg("build").args(example))?;
    let mut ours = Command::new(context.target.join("release/examples/online_retail"));
    let ours = scores(ours.current_dir(&context.root).arg(&pairs), &pairs.join("ours.tsv"))?;
    let python = python::with_packages(context, "recommenders", python::RECOMMENDER_PEERS)?;
    let mut peer = Command::new(python);
    peer.arg(context.root.join("tests/parity/peer_online_retail.py")).arg(&pairs);
    let peers = scores(&mut peer, &pairs.join("peers.tsv"))?;
    println!("\n{}", figures::table(&rows(&ours, &peers)));
    let served = ours.iter().find(|score| score.name == SERVED);
    let served = served.ok_or_else(|| format!("the example printed no row \"{SERVED}\""))?;
    Ok((served.ndcg_new, served.ndcg_all))
}

fn judge((new, all): (f64, f64), claims: &[Least]) -> Tally {
    let mut tally = Tally::default();
    for claim in claims {
        for (items, reached, least) in
            [("never-bought items", new, claim.new), ("all items", all, claim.all)]
        {
            let what = format!("{}: NDCG@10 on {items}", claim.said);
            let (shown, goal) = (format!("{reached:.4}"), format!("at least {least}"));
            println!("{what}: {shown}, {goal}");
            tally.record_figure(&what, &shown, &goal, reached >= least);
        }
    }
    tally
}

/// Runs a program that prints one line per recommender, and reads the lines.
fn scores(program: &mut Command, kept: &std::path::Path) -> Result<Vec<Score>> {
    let cost = process::measure(program.stdout(Stdio::from(fs::File::create(kept)?)))?;
    println!("{}: {cost}", process::shown(program));
    if !cost.success {
        return Err(format!("{} failed", process::shown(program)).into());
    }
    Ok(parse(&fs::read_to_string(kept)?))
}

/// Lines of `name, NDCG new, recall new, NDCG all, recall all, seconds`, separated by tabs; others are comments.
fn parse(text: &str) -> Vec<Score> {
    let mut scores = Vec::new();
    for line in text.lines() {
        let mut cells = line.split('\t');
        let name = cells.next().unwrap_or_default().to_owned();
        let numbers: Vec<f64> = cells.filter_map(|cell| cell.trim().parse().ok()).collect();
        if let [ndcg_new, recall_new, ndcg_all, recall_all, fit_s] = *numbers.as_slice() {
            scores.push(Score { name, ndcg_new, recall_new, ndcg_all, recall_all, fit_s });
        }
    }
    scores
}

fn rows(ours: &[Score], peers: &[Score]) -> Vec<Vec<String>> {
    let head =
        ["who", "list", "NDCG@10 new", "recall@20 new", "NDCG@10 all", "recall@20 all", "fit s"];
    let mut rows = vec![head.iter().map(|cell| (*cell).to_owned()).collect()];
    for (who, scores) in [("flywheel", ours), ("peer", peers)] {
        for Score { name, ndcg_new, recall_new, ndcg_all, recall_all, fit_s } in scores {
            let quality =
                [ndcg_new, recall_new, ndcg_all, recall_all].map(|value| format!("{value:.4}"));
            let mut row = vec![who.to_owned(), name.clone()];
            row.extend(quality);
            row.push(format!("{fit_s:.1}"));
            rows.push(row);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_five_numbers_are_scores_and_others_are_not() {
        let scores = parse("name\tndcg_new\tx\nhybrid\t0.1\t0.11\t0.37\t0.27\t2.5\nreading…\n");
        assert_eq!(scores.len(), 1);
        let hybrid = scores.first().unwrap();
        assert_eq!((hybrid.name.as_str(), hybrid.ndcg_all, hybrid.fit_s), ("hybrid", 0.37, 2.5));
        assert_eq!(rows(&scores, &scores).len(), 3);
    }

    #[test]
    fn what_holds_for_a_shop_may_fall_short_of_what_is_claimed_of_learning() {
        let between = (0.100, 0.400);
        assert_eq!(judge(between, &[SHOP]).failed, 0);
        let tally = judge(between, &[SHOP, LEARNING]);
        assert_eq!((tally.passed, tally.failed), (3, 1));
        assert_eq!(tally.failures, ["online-retail, of learning: NDCG@10 on never-bought items"]);
    }
}
