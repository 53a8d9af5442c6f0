//! Bandits, online learning, drift, off-policy estimates, experiments and uplift: each figure beside its goal.
//!
//! The peer writes the digits that our example plays, and our example the events that the peer learns, so that both
//! see the same. Figures of quality are the same in every run; of figures a second the best run counts, because
//! others work on the machine too.

use std::path::Path;
use std::process::Command;

use super::figure::{Goal, Line, best, between, judge, least, most, parse, shown};
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, figures, process, python};

/// How often each side runs.
const RUNS: usize = 3;

/// Every goal, by the name that the example prints.
const GOALS: &[Goal] = &[
    least("digits lin-ucb .3", 0.950),
    least("lin-ucb decisions a second, digits", 100_000.0),
    least("lin-ucb decisions a second, dense", 100_000.0),
    least("ftrl accuracy", 0.922),
    least("ftrl events a second", 2_000_000.0),
    most("adwin delay, median", 200.0),
    most("adwin false alarms in a million", 0.0),
    least("adwin values a second", 5_000_000.0),
    between("open bandit ips", 0.005_65, 0.005_67),
    between("open bandit snips", 0.005_73, 0.005_75),
    between("open bandit effective", 2869.0, 2870.0),
    most("open bandit promoted", 0.0),
    least("open bandit refused, and told by which interval", 1.0),
    most("off-policy ips bias, percent", 1.0),
    most("off-policy snips bias, percent", 1.0),
    most("off-policy dr bias, percent", 1.0),
    between("off-policy ips coverage", 0.93, 0.97),
    between("off-policy snips coverage", 0.93, 0.97),
    between("off-policy dr coverage", 0.93, 0.97),
    least("growthbook's fixtures within 1e-5, share", 1.0),
    least("welch's tests of scipy within 1e-9, share", 1.0),
    least("intervals of shares of statsmodels within 1e-12, share", 1.0),
    least("mismatches of scipy within 1e-10 of themselves, share", 1.0),
    most("a/a with 100 peeks, share wrong", 0.05),
    between("sound splits, share alarmed", 0.0005, 0.002),
    least("hillstrom womens t-learner qini", 0.0074),
    least("hillstrom womens t-learner effect at 30 %", 0.071),
];

/// Prints both sides and checks ours.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let data = context.data_set("open_bandit")?;
    context.data_set("hillstrom")?;
    let folder = context.scratch("bandits")?;
    let example = ["--release", "--package", "flywheel-algo", "--example", "bandits"];
    process::run(context.cargo().arg("build").args(example))?;
    let python = python::with_packages(context, "bandits", python::BANDIT_PEERS)?;
    let peer = |what: &str| {
        let mut program = Command::new(&python);
        program.arg(context.root.join("tests/parity/peer_bandits.py")).arg(what).arg(&folder);
        program
    };
    process::run(&mut peer("digits"))?;
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let mut program = Command::new(context.target.join("release/examples/bandits"));
        let root = data.parent().unwrap_or_else(|| Path::new("."));
        ours.extend(parse(&process::output(program.arg(&folder).env("FLYWHEEL_DATA", root))?));
        peers.extend(parse(&process::output(&mut peer("run"))?));
    }
    let (ours, peers) = (best(&ours), best(&peers));
    println!("\n{}", figures::table(&rows(&ours, &peers)));
    Ok(judge(GOALS, &ours))
}

fn rows(ours: &[Line], peers: &[Line]) -> Vec<Vec<String>> {
    let head = ["who", "what", "figure", "processor s"];
    let mut rows = vec![head.iter().map(|cell| (*cell).to_owned()).collect()];
    for (who, lines) in [("flywheel", ours), ("peer", peers)] {
        for Line { name, figure, cpu_s } in lines {
            let cells = [who.to_owned(), name.clone(), shown(*figure), format!("{cpu_s:.2}")];
            rows.push(cells.into());
        }
    }
    rows
}
