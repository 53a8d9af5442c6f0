//! The M3 competition and car parts, forecast by ours and by statsforecast, and what `auto` is worth on a shop's days.
//!
//! Our example and the peer read the same files and count errors alike; reading is timed on ours and not on the
//! peer. The peer is slow and says the same each time, so it runs once between our runs.

use std::process::Command;

use super::figure::{self, between, most};
use super::goal;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, figures, process, python};

/// How often ours runs.
const RUNS: usize = 3;

/// One figure that must not exceed its goal; each is a line's name and set, and the cell that counts.
struct Goal {
    what: &'static str,
    line: (&'static str, &'static str),
    cell: usize,
    most: f64,
}

/// What counts.
const GOALS: &[Goal] = &[
    Goal { what: "M3, auto: sMAPE", line: ("auto", "total"), cell: 0, most: 12.50 },
    Goal { what: "M3, auto: MASE", line: ("auto", "total"), cell: 1, most: 1.35 },
    Goal { what: "M3, ets: sMAPE", line: ("ets", "total"), cell: 0, most: 12.9 },
    Goal { what: "M3, ets: MASE", line: ("ets", "total"), cell: 1, most: 1.39 },
    Goal { what: "M3, ets: processor seconds", line: ("ets", "total"), cell: 2, most: 12.0 },
    Goal {
        what: "M3, theta-dynamic: sMAPE",
        line: ("theta-dynamic", "total"),
        cell: 0,
        most: 12.58,
    },
    Goal {
        what: "M3, theta-dynamic: processor seconds",
        line: ("theta-dynamic", "total"),
        cell: 2,
        most: 3.2,
    },
    Goal {
        what: "car parts, fading: 100 RMSSE",
        line: ("fading", "carparts"),
        cell: 0,
        most: 0.56,
    },
];

/// What the two coverages of the intervals of `auto` may be, in percent.
const COVERAGES: [(usize, &str, f64, f64); 2] = [
    (0, "M3 monthly, auto: 80 % intervals cover", 77.0, 83.0),
    (1, "M3 monthly, auto: 95 % intervals cover", 93.0, 97.0),
];

/// What counts of a shop's days: a choice at each evening is nearly as good as the one that turns out best for all.
const DAILY: &[figure::Goal] = &[
    between("daily: items", 80.0, 80.0),
    most("daily auto: times the error of the best fixed choice", 1.10),
];

/// One line of a program: who, on which set, its figures.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    name: String,
    set: String,
    figures: Vec<f64>,
}

/// Prints both sides and checks ours.
pub(super) fn run(context: &Context) -> Result<Tally> {
    context.data_set("m3")?;
    let example = ["--release", "--package", "flywheel-algo", "--example", "m3"];
    process::run(context.cargo().arg("build").args(example))?;
    let python = python::with_packages(context, "forecasts", python::FORECAST_PEERS)?;
    let mut ours = Vec::new();
    let mut peers = Vec::new();
    for at in 0..RUNS {
        let mut program = Command::new(context.target.join("release/examples/m3"));
        ours.extend(lines(&mut program)?);
        if at == 0 {
            let script = context.root.join("tests/parity/peer_forecasts.py");
            peers = lines(Command::new(&python).arg(script))?;
        }
    }
    let (ours, peers) = (medians(&ours), medians(&peers));
    println!("\n{}", figures::table(&rows(&ours, &peers)));
    let mut tally = judge(&ours);
    tally.add(daily(context)?);
    Ok(tally)
}

/// The last four weeks of the items that sell most, day by day: `auto` beside each method.
fn daily(context: &Context) -> Result<Tally> {
    let folder = context.data_set("online_retail")?;
    let example = ["--release", "--package", "flywheel-algo", "--example", "daily"];
    process::run(context.cargo().arg("build").args(example))?;
    let mut program = Command::new(context.target.join("release/examples/daily"));
    let text = process::output(program.env("FLYWHEEL_DATA", folder.parent().unwrap_or(&folder)))?;
    print!("{text}");
    Ok(figure::judge(DAILY, &figure::parse(&text)))
}

/// Checks every goal; what was not printed falls short.
fn judge(ours: &[Line]) -> Tally {
    let mut tally = Tally::default();
    let figure = |name: &str, set: &str, cell: usize| {
        let line = ours.iter().find(|line| line.name == name && line.set == set);
        line.and_then(|line| line.figures.get(cell)).copied()
    };
    for Goal { what, line: (name, set), cell, most } in GOALS {
        let scale = if what.contains("100 ") { 100.0 } else { 1.0 };
        let reached = figure(name, set, *cell).unwrap_or(f64::INFINITY);
        goal::at_most(&mut tally, what, scale * reached, scale * most);
    }
    for (cell, what, least, most) in COVERAGES {
        let reached = figure("auto intervals", "monthly", cell).unwrap_or(f64::NAN);
        goal::at_least(&mut tally, what, reached, least);
        goal::at_most(&mut tally, what, reached, most);
    }
    tally
}

fn lines(program: &mut Command) -> Result<Vec<Line>> {
    Ok(parse(&process::output(program)?))
}

/// Lines of `name, set, figures…`, separated by tabs; others are comments.
fn parse(text: &str) -> Vec<Line> {
    let line = |line: &str| {
        let mut cells = line.split('\t');
        let (name, set) = (cells.next()?.to_owned(), cells.next()?.to_owned());
        let figures = cells.map(|cell| cell.trim().parse().ok()).collect::<Option<Vec<f64>>>()?;
        (!figures.is_empty()).then_some(Line { name, set, figures })
    };
    text.lines().filter_map(line).collect()
}

/// Each line once, in the order of its first one, with the medians of its figures.
fn medians(lines: &[Line]) -> Vec<Line> {
    let mut made: Vec<Line> = Vec::new();
    for Line { name, set, figures } in lines {
        if made.iter().any(|line| line.name == *name && line.set == *set) {
            continue;
        }
        let same = || lines.iter().filter(|line| line.name == *name && line.set == *set);
        let middle = |cell: usize| {
            let column: Vec<f64> =
                same().filter_map(|line| line.figures.get(cell).copied()).collect();
            figures::median(&column).unwrap_or(f64::NAN)
        };
        let figures = (0..figures.len()).map(middle).collect();
        made.push(Line { name: name.clone(), set: set.clone(), figures });
    }
    made
}

fn rows(ours: &[Line], peers: &[Line]) -> Vec<Vec<String>> {
    let head =
        ["who", "what", "on", "sMAPE, RMSSE or in 80 %", "MASE, total or in 95 %", "processor s"];
    let mut rows = vec![head.iter().map(|cell| (*cell).to_owned()).collect()];
    for (who, lines) in [("flywheel", ours), ("statsforecast", peers)] {
        for Line { name, set, figures } in lines {
            let mut cells = vec![who.to_owned(), name.clone(), set.clone()];
            cells.extend(figures.iter().map(|figure| format!("{figure:.4}")));
            rows.push(cells);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "ets\ttotal\t12.8\t1.38\t3.0\nreading\nauto\ttotal\t12.6\t1.33\t60\n\
        fading\tcarparts\t0.551\t1.91\t0.3\nauto intervals\tmonthly\t80.1\t97.5\n";

    #[test]
    fn every_goal_is_judged_and_what_is_missing_falls_short() {
        let again = OURS.replace("3.0", "4.0") + &OURS.replace("3.0", "99.0");
        let ours = medians(&parse(&(OURS.to_owned() + &again)));
        assert_eq!((ours.len(), ours[0].figures[2]), (4, 4.0));
        let tally = judge(&ours);
        assert_eq!((tally.passed, tally.failed), (8, 4), "{:?}", tally.failures);
        assert!(tally.failures.iter().any(|what| what == "M3, auto: sMAPE"));
        assert_eq!(rows(&ours, &ours).len(), 9);
    }

    #[test]
    fn a_choice_that_costs_more_than_a_tenth_falls_short() {
        let text = "daily: items\t80.0000\t1\ndaily auto: times the error of the best fixed choice\t1.0400\t1\n";
        assert_eq!(figure::judge(DAILY, &figure::parse(text)).failed, 0);
        let worse = figure::judge(DAILY, &figure::parse(&text.replace("1.0400", "1.1100")));
        assert_eq!(worse.failures, ["daily auto: times the error of the best fixed choice"]);
    }
}
