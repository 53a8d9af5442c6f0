//! `cargo xtask tidy`: what a compiler and a linter do not check about this house.
//!
//! A new check is one file in `tidy/` and one line in [`CHECKS`]. Checks are pure functions of a
//! [`Tree`], so that each is tested with a bad tree made in memory.

mod edges;
mod executables;
mod features;
mod fragments;
mod lessons;
mod modules;
mod papers;
mod registries;
mod text;
mod tree;
mod untested;

use std::collections::BTreeSet;

use crate::Result;
use crate::context::Context;
use tree::Tree;

/// `cargo xtask tidy`.
pub(crate) const COMMAND: super::Command = super::Command {
    name: "tidy",
    arguments: "",
    about: "check floors, registries, names, papers and fragments",
    run,
};

/// One check.
type Check = fn(&Tree, &mut Findings);

/// Every check, cheap ones first.
const CHECKS: &[(&str, Check)] = &[
    ("modules", modules::check),
    ("text", text::check),
    ("papers", papers::check),
    ("fragments", fragments::check),
    ("lessons", lessons::check),
    ("edges", edges::check),
    ("executables", executables::check),
    ("untested", untested::check),
    ("registries", registries::check),
];

/// The names of every test in the sources.
pub(super) fn test_names(context: &Context) -> Result<BTreeSet<String>> {
    let tree = Tree::read(context)?;
    let names = tree.sources().flat_map(|file| lessons::tests(&file.text)).map(str::to_owned);
    Ok(names.collect())
}

/// What the checks found.
#[derive(Debug, Default)]
struct Findings {
    /// What has to be mended.
    problems: Vec<String>,
    /// What could not be checked yet, and why.
    notices: Vec<String>,
}

impl Findings {
    fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    fn notice(&mut self, text: impl Into<String>) {
        self.notices.push(text.into());
    }
}

fn run(context: &Context, arguments: &[String]) -> Result<bool> {
    super::no_arguments(arguments)?;
    let tree = Tree::read(context)?;
    let mut clean = true;
    for (name, check) in CHECKS {
        let mut findings = Findings::default();
        check(&tree, &mut findings);
        clean &= report(name, &findings);
    }
    let mut findings = Findings::default();
    features::check(context, &mut findings)?;
    clean &= report("features", &findings);
    if clean {
        println!("tidy: {} checks over {} files are clean", CHECKS.len() + 1, tree.files.len());
    }
    Ok(clean)
}

fn report(name: &str, findings: &Findings) -> bool {
    for notice in &findings.notices {
        println!("tidy: note: {name}: {notice}");
    }
    for problem in &findings.problems {
        println!("tidy: {name}: {problem}");
    }
    findings.problems.is_empty()
}

/// The problems a check finds in a tree.
#[cfg(test)]
fn problems(check: Check, tree: &Tree) -> Vec<String> {
    let mut findings = Findings::default();
    check(tree, &mut findings);
    findings.problems
}
