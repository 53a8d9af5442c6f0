//! k-means on a million rows and churn beside scikit-learn, how long lifetimes of a million customers take, and those of
//! CDNOW beside the published ones.
//!
//! Our example writes the rows and the first centres, and the peer reads those. Both run alternately; the
//! medians of their processor time count, which leaves out reading, but not checking the rows.

use std::path::Path;
use std::process::Command;

use super::figure::{self, Goal, between, most};
use super::goal;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, figures, process, python};

/// How often each side runs.
const RUNS: usize = 3;

/// What both sides compute, as both name it.
const SAME_START: &str = "k-means from given centres";

/// The inertia of ours over that of the peer, at most.
const INERTIA_MAX: f64 = 1.001;

/// Processor seconds that a fit to a million customers may take.
const FIT_S_MAX: f64 = 10.0;

/// One line of a program: what, its figure, processor seconds.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    name: String,
    figure: f64,
    cpu_s: f64,
}

/// What churn is foretold by, and how well at least, as the area under the curve.
const CHURN: [(&str, f64); 2] =
    [("churn: boosted trees", 0.848), ("churn: logistic regression", 0.845)];

/// What is published of CDNOW's customers: parameters to half a per cent, and how well their purchases are foretold.
const CDNOW: &[Goal] = &[
    between("cdnow customers", 2357.0, 2357.0),
    most("cdnow bg-nbd: parameters off by, percent", 0.5),
    most("cdnow mbg-nbd: parameters off by, percent", 0.5),
    most("cdnow pareto-nbd: parameters off by, percent", 0.5),
    most("cdnow gamma-gamma: parameters off by, percent", 0.5),
    most("cdnow chosen: held-back purchases, mean error", 0.755),
];

/// Prints both sides and checks ours.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let folder = context.scratch("customers")?;
    let example = ["--release", "--package", "flywheel-algo", "--example", "customers"];
    process::run(context.cargo().arg("build").args(example))?;
    let python = python::with_packages(context, "customers", python::CUSTOMER_PEERS)?;
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let mut program = Command::new(context.target.join("release/examples/customers"));
        ours.extend(lines(program.arg(&folder))?);
        let script = context.root.join("tests/parity/peer_customers.py");
        peers.extend(lines(Command::new(&python).arg(script).arg(&folder))?);
    }
    let (ours, peers) = (medians(&ours), medians(&peers));
    println!("\n{}", figures::table(&rows(&ours, &peers)));
    let mut tally = judge(&ours, &peers, &folder)?;
    churn(context, &python, &mut tally)?;
    tally.add(cdnow(context)?);
    Ok(tally)
}

/// The lifetimes of a music shop's customers, which the field's papers are about.
fn cdnow(context: &Context) -> Result<Tally> {
    let example = ["--release", "--package", "flywheel-algo", "--example", "cdnow"];
    process::run(context.cargo().arg("build").args(example))?;
    let folder = context.data_set("cdnow")?;
    let mut program = Command::new(context.target.join("release/examples/cdnow"));
    let text = process::output(program.env("FLYWHEEL_DATA", folder.parent().unwrap_or(&folder)))?;
    print!("{text}");
    Ok(figure::judge(CDNOW, &figure::parse(&text)))
}

/// Who leaves a telephone company, in the same five folds on both sides.
fn churn(context: &Context, python: &Path, tally: &mut Tally) -> Result<()> {
    let example = ["--release", "--package", "flywheel-algo", "--example", "churn"];
    process::run(context.cargo().arg("build").args(example))?;
    let telco = context.data_set("telco_churn")?;
    let data = telco.parent().unwrap_or(&telco);
    let mut program = Command::new(context.target.join("release/examples/churn"));
    let ours = lines(program.env("FLYWHEEL_DATA", data))?;
    let mut peer = Command::new(python);
    let script = peer.arg(context.root.join("tests/parity/peer_churn.py"));
    let peers = lines(script.env("FLYWHEEL_DATA", data))?;
    for Line { name, figure, cpu_s } in ours.iter().chain(&peers) {
        println!("{name}: AUC {figure:.4} in {cpu_s:.2} CPU-s");
    }
    for (name, least) in CHURN {
        let found = ours.iter().find(|line| line.name == name);
        goal::at_least(
            tally,
            &format!("{name}: AUC"),
            found.map_or(0.0, |line| line.figure),
            least,
        );
    }
    Ok(())
}

fn judge(ours: &[Line], peers: &[Line], folder: &Path) -> Result<Tally> {
    let missing = || format!("a side printed no line \"{SAME_START}\"; see {}", folder.display());
    let find = |lines: &[Line]| lines.iter().find(|l| l.name.starts_with(SAME_START)).cloned();
    let (our, peer) = (find(ours).ok_or_else(missing)?, find(peers).ok_or_else(missing)?);
    let mut tally = Tally::default();
    let slower = our.cpu_s / peer.cpu_s;
    goal::at_most(&mut tally, "k-means: processor time over scikit-learn's", slower, 1.0);
    let worse = our.figure / peer.figure;
    goal::at_most(&mut tally, "k-means: inertia over scikit-learn's", worse, INERTIA_MAX);
    for model in ["bg-nbd", "mbg-nbd", "pareto-nbd"] {
        let fit = ours.iter().find(|line| line.name == model);
        let seconds = fit.map_or(f64::INFINITY, |line| line.cpu_s);
        let what = format!("{model} of a million customers: processor seconds");
        goal::at_most(&mut tally, &what, seconds, FIT_S_MAX);
    }
    Ok(tally)
}

fn lines(program: &mut Command) -> Result<Vec<Line>> {
    Ok(parse(&process::output(program)?))
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

/// Each name once, in the order of its first line, with the medians of what its lines say.
fn medians(lines: &[Line]) -> Vec<Line> {
    let mut made: Vec<Line> = Vec::new();
    for Line { name, .. } in lines {
        if made.iter().any(|line| line.name == *name) {
            continue;
        }
        let same = || lines.iter().filter(|line| line.name == *name);
        let middle = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let figure = middle(same().map(|line| line.figure).collect());
        let cpu_s = middle(same().map(|line| line.cpu_s).collect());
        made.push(Line { name: name.clone(), figure, cpu_s });
    }
    made
}

fn rows(ours: &[Line], peers: &[Line]) -> Vec<Vec<String>> {
    let head = ["who", "what", "inertia or log-likelihood", "processor s"];
    let mut rows = vec![head.iter().map(|cell| (*cell).to_owned()).collect()];
    for (who, lines) in [("flywheel", ours), ("peer", peers)] {
        for Line { name, figure, cpu_s } in lines {
            let cells =
                [who.to_owned(), name.clone(), format!("{figure:.1}"), format!("{cpu_s:.2}")];
            rows.push(cells.into());
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "k-means from given centres\t100.05\t1.0\nbg-nbd\t-5\t2\nreading\n";
    const PEER: &str = "k-means from given centres sklearn-1\t100\t1.5\n";

    #[test]
    fn medians_are_judged_and_what_is_missing_falls_short() {
        let again = OURS.replace("1.0", "1.2") + &OURS.replace("1.0", "9.0");
        let ours = medians(&parse(&(OURS.to_owned() + &again)));
        assert_eq!((ours.len(), ours[0].cpu_s), (2, 1.2));
        let peers = medians(&parse(PEER));
        let tally = judge(&ours, &peers, Path::new("f")).unwrap();
        assert_eq!((tally.passed, tally.failed), (3, 2), "two models were not timed");
        assert_eq!(rows(&ours, &peers).len(), 4);
        assert!(judge(&[], &peers, Path::new("f")).is_err());
    }

    #[test]
    fn a_published_parameter_that_is_off_by_more_than_half_a_per_cent_falls_short() {
        let line = |goal: &Goal| format!("{}\t{}\t0.1\n", goal.name, goal.most.unwrap());
        let text: String = CDNOW.iter().map(line).collect();
        assert_eq!(figure::judge(CDNOW, &figure::parse(&text)).passed, 6);
        let off = text.replace(
            "pareto-nbd: parameters off by, percent\t0.5",
            "pareto-nbd: parameters off by, percent\t0.51",
        );
        let tally = figure::judge(CDNOW, &figure::parse(&off));
        assert_eq!(tally.failures, ["cdnow pareto-nbd: parameters off by, percent"]);
    }
}
