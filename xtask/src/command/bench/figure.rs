//! Figures that a program prints, and what each must reach.

use crate::tally::Tally;

/// A figure and what it must reach.
pub(super) struct Goal {
    /// Its name, as the program prints it.
    pub(super) name: &'static str,
    /// The least it may be.
    pub(super) least: Option<f64>,
    /// The most it may be.
    pub(super) most: Option<f64>,
}

/// A figure that must reach `least`.
pub(super) const fn least(name: &'static str, least: f64) -> Goal {
    Goal { name, least: Some(least), most: None }
}

/// A figure that must not exceed `most`.
pub(super) const fn most(name: &'static str, most: f64) -> Goal {
    Goal { name, least: None, most: Some(most) }
}

/// A figure that must lie in a range, ends included.
pub(super) const fn between(name: &'static str, least: f64, most: f64) -> Goal {
    Goal { name, least: Some(least), most: Some(most) }
}

/// One line of a program: what, its figure, processor seconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    /// What it is.
    pub(super) name: String,
    /// The figure.
    pub(super) figure: f64,
    /// Processor seconds it took.
    pub(super) cpu_s: f64,
}

/// Prints and records each figure beside its goal; one that is not there falls short.
pub(super) fn judge(goals: &[Goal], ours: &[Line]) -> Tally {
    let mut tally = Tally::default();
    for Goal { name, least, most } in goals {
        let Some(line) = ours.iter().find(|line| line.name == *name) else {
            super::goal::holds(&mut tally, &format!("{name} is printed"), false);
            continue;
        };
        let holds = least.is_none_or(|least| line.figure >= least)
            && most.is_none_or(|most| line.figure <= most);
        println!("{name}: {} ({}): {}", shown(line.figure), wanted(*least, *most), said(holds));
        tally.record_figure(name, &shown(line.figure), &wanted(*least, *most), holds);
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
pub(super) fn shown(figure: f64) -> String {
    if figure.abs() >= 1000.0 { format!("{figure:.0}") } else { format!("{figure:.6}") }
}

/// Lines of `name, figure, processor seconds`, separated by tabs; others are comments.
pub(super) fn parse(text: &str) -> Vec<Line> {
    let line = |line: &str| {
        let mut cells = line.split('\t');
        let name = cells.next()?.to_owned();
        let figure = cells.next()?.trim().parse().ok()?;
        Some(Line { name, figure, cpu_s: cells.next()?.trim().parse().ok()? })
    };
    text.lines().filter_map(line).collect()
}

/// Each name once, in the order of its first line; of several runs the fastest.
pub(super) fn best(lines: &[Line]) -> Vec<Line> {
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

/// The figure that a program logged under a key for the first time; no number, which reaches no goal, if it did not.
pub(super) fn logged(log: &str, key: &str) -> f64 {
    let rest = log.split(&format!("{key}=")).nth(1).unwrap_or_default();
    let digits: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    digits.parse().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_is_judged_and_what_is_missing_or_short_fails() {
        const GOALS: &[Goal] = &[least("a", 0.95), most("b", 0.0), between("c", 1.0, 2.0)];
        let text: String = GOALS
            .iter()
            .map(|goal| format!("{}\t{}\t1.0\n", goal.name, goal.least.or(goal.most).unwrap()))
            .collect();
        let lines = best(&parse(&(text + "# not promoted: why\n")));
        assert_eq!((judge(GOALS, &lines).passed, lines.len()), (GOALS.len() as u64, GOALS.len()));
        let mut short = lines;
        short[0].figure = 0.5;
        short.pop();
        let tally = judge(GOALS, &short);
        assert_eq!(tally.failed, 2);
        assert_eq!(tally.failures[0], GOALS[0].name);
    }

    #[test]
    fn a_logged_figure_is_found_by_its_key() {
        let log = "DEBUG find: looked searched=3000 search_ms=0.42\nINFO done\n";
        assert_eq!((logged(log, "search_ms"), logged(log, "searched")), (0.42, 3000.0));
        assert!(logged(log, "answer_ms").is_nan());
    }

    #[test]
    fn of_several_runs_the_fastest_counts() {
        let lines = parse("a\t5\t2.0\nb\t1\t1.0\na\t9\t1.0\na\t7\t1.5\n");
        let kept = best(&lines);
        assert_eq!((kept.len(), kept[0].figure, kept[0].cpu_s), (2, 9.0, 1.0));
    }
}
