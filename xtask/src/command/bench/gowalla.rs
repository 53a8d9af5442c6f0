//! Recommendation quality and cost on Gowalla in the split of LightGCN, beside popularity and implicit.
//!
//! All 29,858 users are served from the whole catalogue of 40,981 items. Each contestant is a process of
//! its own, so that its memory can be told; ours and the peer's run alternately, and the medians of their
//! processor time count, which leaves out reading.

use std::path::Path;
use std::process::{Command, Stdio};

use super::goal::{self, Yardstick};
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, figures, process, python};

/// How often each contestant runs.
const RUNS: usize = 3;

/// The threads of ours; the peer's are set in its script.
const THREADS: &str = "2";

/// Ours, as the example names them. `ease` is absent: 40,981 items are more than it takes.
const OURS: &[&str] =
    &["popularity", "bm25", "rp3beta", "gf-cf", "gf-cf-popular", "ials-128", "ials-128-frequency"];

/// The peer's, as its script names them.
const PEERS: &[&str] = &["bm25", "ials"];

/// The best of ours must reach this, in this many processor seconds for the fit and a list for everybody.
const RECALL_MIN: f64 = 0.187;
const NDCG_MIN: f64 = 0.154;
const BEST_S_MAX: f64 = 20.0;

/// iALS at implicit's options must reach this, and fit in this many processor seconds.
const IALS_NDCG_MIN: f64 = 0.1367;
const IALS_FIT_S_MAX: f64 = 6.5;

/// What implicit took where that goal was set.
const IMPLICIT_FIT_S: f64 = 9.7;

/// iALS with a penalty by frequency must reach this.
const FREQUENCY_NDCG_MIN: f64 = 0.145;

/// What one contestant reached in one run.
#[derive(Clone, Debug, PartialEq)]
struct Score {
    name: String,
    recall: f64,
    ndcg: f64,
    fit_s: f64,
    lists_s: f64,
    peak_mib: f64,
}

/// Prints both sides and checks ours.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let data = context.data_set("gowalla")?;
    let folder = context.scratch("gowalla")?;
    let example = ["--release", "--package", "flywheel-algo", "--example", "gowalla"];
    process::run(context.cargo().arg("build").args(example))?;
    let python = python::with_packages(context, "recommenders", python::RECOMMENDER_PEERS)?;
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        for name in OURS {
            let mut program = Command::new(context.target.join("release/examples/gowalla"));
            program.current_dir(&context.root).arg(name).env("RAYON_NUM_THREADS", THREADS);
            ours.push(score(&mut program, &folder.join("ours.tsv"))?);
        }
        for name in PEERS {
            let script = context.root.join("tests/parity/peer_gowalla.py");
            let mut program = Command::new(&python);
            program.arg(script).arg(&data).arg(name);
            peers.push(score(&mut program, &folder.join("peers.tsv"))?);
        }
    }
    let (ours, peers) = (medians(&ours), medians(&peers));
    println!("\n{}", figures::table(&rows(&ours, &peers)));
    let implicit = peers.iter().find(|score| score.name.starts_with("implicit-ials"));
    judge(&ours, implicit.map_or(IMPLICIT_FIT_S, |score| score.fit_s))
}

/// `implicit_s` is what implicit takes here to fit.
fn judge(ours: &[Score], implicit_s: f64) -> Result<Tally> {
    let find = |name: &str| {
        let found = ours.iter().find(|score| score.name == name);
        found.ok_or_else(|| format!("the example printed no row \"{name}\""))
    };
    let best =
        ours.iter().max_by(|a, b| a.recall.total_cmp(&b.recall).then(a.ndcg.total_cmp(&b.ndcg)));
    let best = best.ok_or("the example printed no row")?;
    let mut tally = Tally::default();
    let mut least = |what: &str, reached: f64, least: f64| {
        let said = if reached >= least { "holds" } else { "falls short" };
        println!("{what}: {reached:.4}, at least {least}: {said}");
        let (shown, goal) = (format!("{reached:.4}"), format!("at least {least}"));
        tally.record_figure(what, &shown, &goal, reached >= least);
    };
    least(&format!("{}: Recall@20", best.name), best.recall, RECALL_MIN);
    least(&format!("{}: NDCG@20", best.name), best.ndcg, NDCG_MIN);
    let (ials, frequency) = (find("ials-128")?, find("ials-128-frequency")?);
    least("ials-128: NDCG@20", ials.ndcg, IALS_NDCG_MIN);
    least("ials-128-frequency: NDCG@20", frequency.ndcg, FREQUENCY_NDCG_MIN);
    let what = format!("{}: processor seconds to fit and list for everybody", best.name);
    goal::at_most(&mut tally, &what, best.fit_s + best.lists_s, BEST_S_MAX);
    let what = "ials-128: processor seconds to fit";
    let implicit = Yardstick { peer: "implicit", there: IMPLICIT_FIT_S, here: implicit_s };
    goal::at_most_beside(&mut tally, what, ials.fit_s, IALS_FIT_S_MAX, implicit);
    Ok(tally)
}

/// Runs a program that prints the line of one contestant.
fn score(program: &mut Command, kept: &Path) -> Result<Score> {
    let cost = process::measure(program.stdout(Stdio::from(std::fs::File::create(kept)?)))?;
    println!("{}: {cost}", process::shown(program));
    if !cost.success {
        return Err(format!("{} failed", process::shown(program)).into());
    }
    let text = std::fs::read_to_string(kept)?;
    parse(&text, goal::mebibytes(&cost)).ok_or_else(|| {
        format!("{} printed no figures; see {}", process::shown(program), kept.display()).into()
    })
}

/// The first line of `name, recall, NDCG, seconds, seconds`, separated by tabs; others are comments.
fn parse(text: &str, peak_mib: f64) -> Option<Score> {
    text.lines().find_map(|line| {
        let mut cells = line.split('\t');
        let name = cells.next()?.to_owned();
        let numbers: Vec<f64> = cells.filter_map(|cell| cell.trim().parse().ok()).collect();
        let [recall, ndcg, fit_s, lists_s] = *numbers.as_slice() else { return None };
        Some(Score { name, recall, ndcg, fit_s, lists_s, peak_mib })
    })
}

/// Each name once, in the order of its first run, with the medians of its runs.
fn medians(scores: &[Score]) -> Vec<Score> {
    let mut made: Vec<Score> = Vec::new();
    for Score { name, .. } in scores {
        if made.iter().any(|score| score.name == *name) {
            continue;
        }
        let middle = |value: fn(&Score) -> f64| {
            let values: Vec<f64> =
                scores.iter().filter(|score| score.name == *name).map(value).collect();
            figures::median(&values).unwrap_or(f64::NAN)
        };
        made.push(Score {
            name: name.clone(),
            recall: middle(|score| score.recall),
            ndcg: middle(|score| score.ndcg),
            fit_s: middle(|score| score.fit_s),
            lists_s: middle(|score| score.lists_s),
            peak_mib: middle(|score| score.peak_mib),
        });
    }
    made
}

fn rows(ours: &[Score], peers: &[Score]) -> Vec<Vec<String>> {
    let head = ["who", "list", "Recall@20", "NDCG@20", "fit s", "50 for everybody s", "peak MiB"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (who, scores) in [("flywheel", ours), ("peer", peers)] {
        for Score { name, recall, ndcg, fit_s, lists_s, peak_mib } in scores {
            let mut row = vec![who.to_owned(), name.clone()];
            row.extend([recall, ndcg].map(|value| format!("{value:.4}")));
            row.extend([fit_s, lists_s].map(|value| format!("{value:.2}")));
            row.push(format!("{peak_mib:.0}"));
            rows.push(row);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(name: &str, ndcg: f64, fit_s: f64) -> Score {
        let line = format!("# 3 users\n{name}\t0.19\t{ndcg}\t{fit_s}\t2.0\n");
        parse(&line, 100.0).unwrap()
    }

    #[test]
    fn goals_hold_by_the_median_and_fall_short_by_name() {
        let runs = |fit_s: [f64; 3]| {
            let each = fit_s.map(|fit_s| scored("ials-128", 0.14, fit_s));
            let mut scores = each.to_vec();
            scores.push(scored("gf-cf", 0.16, 9.0));
            scores.push(scored("ials-128-frequency", 0.15, 9.0));
            medians(&scores)
        };
        let holding = judge(&runs([6.0, 90.0, 5.0]), 9.7).unwrap();
        assert_eq!((holding.passed, holding.failed), (6, 0));
        let short = judge(&runs([7.0, 90.0, 5.0]), 9.7).unwrap();
        assert_eq!(short.failures, ["ials-128: processor seconds to fit"]);
        let slower = judge(&runs([7.0, 90.0, 5.0]), 12.0).unwrap();
        assert_eq!(slower.failed, 0, "a machine on which implicit is slower, too");
        assert!(judge(&runs([1.0; 3])[1..], 9.7).is_err());
        assert_eq!(rows(&runs([1.0; 3]), &[]).len(), 4);
        assert!(parse("a line without figures\n", 0.0).is_none());
    }
}
