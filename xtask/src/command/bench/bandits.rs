//! Bandits, online learning, drift, off-policy estimates, experiments and uplift: each figure beside its goal.
//!
//! The peer writes the digits that our example plays, and our example the events that the peer learns, so that both
//! see the same. Figures of quality are the same in every run; of figures a second the best run counts, because
//! others work on the machine too.

use std::path::Path;
use std::process::Command;

use super::goal;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, figures, process, python};

/// How often each side runs.
const RUNS: usize = 3;

/// A figure and what it must reach.
struct Goal {
    name: &'static str,
    least: Option<f64>,
    most: Option<f64>,
}

/// Shortens the table below.
const fn least(name: &'static str, least: f64) -> Goal {
    Goal { name, least: Some(least), most: None }
}

/// Shortens the table below.
const fn most(name: &'static str, most: f64) -> Goal {
    Goal { name, least: None, most: Some(most) }
}

/// Shortens the table below.
const fn between(name: &'static str, least: f64, most: f64) -> Goal {
    Goal { name, least: Some(least), most: Some(most) }
}

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
    most("off-policy ips bias, percent", 1.0),
    most("off-policy dr bias, percent", 1.0),
    between("off-policy ips coverage", 0.93, 0.97),
    between("off-policy snips coverage", 0.93, 0.97),
    between("off-policy dr coverage", 0.93, 0.97),
    most("a/a with 100 peeks, share wrong", 0.05),
    between("sound splits, share alarmed", 0.0005, 0.002),
    least("hillstrom womens t-learner qini", 0.0074),
    least("hillstrom womens t-learner effect at 30 %", 0.071),
];

/// One line of a program: what, its figure, processor seconds.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    name: String,
    figure: f64,
    cpu_s: f64,
}

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
    Ok(judge(&ours))
}

fn judge(ours: &[Line]) -> Tally {
    let mut tally = Tally::default();
    for Goal { name, least, most } in GOALS {
        let Some(line) = ours.iter().find(|line| line.name == *name) else {
            goal::holds(&mut tally, &format!("{name} is printed"), false);
            continue;
        };
        let holds = least.is_none_or(|least| line.figure >= least)
            && most.is_none_or(|most| line.figure <= most);
        println!("{name}: {} ({}): {}", shown(line.figure), wanted(*least, *most), said(holds));
        tally.record(name, holds);
    }
    tally
}

fn said(holds: bool) -> &'static str {
    if holds { "holds" } else { "falls short" }
}

fn wanted(least: Option<f64>, most: Option<f64>) -> String {
    match (least, most) {
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) => format!("at least {least}"),
        (None, Some(most)) => format!("at most {most}"),
        (None, None) => "any".to_owned(),
    }
}

/// Large figures without, small ones with their decimals.
fn shown(figure: f64) -> String {
    if figure.abs() >= 1000.0 { format!("{figure:.0}") } else { format!("{figure:.6}") }
}

/// Lines of `name, figure, processor seconds`, separated by tabs; others are comments.
fn parse(text: &str) -> Vec<Line> {
    let line = |line: &str| {
        let mut cells = line.split('\t');
        let name = cells.next()?.to_owned();
        let figure = cells.next()?.trim().parse().ok()?;
        Some(Line { name, figure, cpu_s: cells.next()?.trim().parse().ok()? })
    };
    text.lines().filter_map(line).collect()
}

/// Each name once, in the order of its first line; of several runs the fastest.
fn best(lines: &[Line]) -> Vec<Line> {
    let mut made: Vec<Line> = Vec::new();
    for line in lines {
        match made.iter_mut().find(|kept| kept.name == line.name) {
            None => made.push(line.clone()),
            Some(kept) if line.cpu_s < kept.cpu_s => *kept = line.clone(),
            Some(_) => {}
        }
    }
    made
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_is_judged_and_what_is_missing_or_short_fails() {
        let text: String = GOALS
            .iter()
            .map(|goal| format!("{}\t{}\t1.0\n", goal.name, goal.least.or(goal.most).unwrap()))
            .collect();
        let lines = best(&parse(&(text + "# not promoted: why\n")));
        assert_eq!((judge(&lines).passed, lines.len()), (GOALS.len() as u64, GOALS.len()));
        let mut short = lines.clone();
        short[0].figure = 0.5;
        short.pop();
        let tally = judge(&short);
        assert_eq!(tally.failed, 2);
        assert_eq!(tally.failures[0], GOALS[0].name);
        assert_eq!(rows(&lines, &lines).len(), 1 + 2 * GOALS.len());
    }

    #[test]
    fn of_several_runs_the_fastest_counts() {
        let lines = parse("a\t5\t2.0\nb\t1\t1.0\na\t9\t1.0\na\t7\t1.5\n");
        let kept = best(&lines);
        assert_eq!((kept.len(), kept[0].figure, kept[0].cpu_s), (2, 9.0, 1.0));
    }
}
