//! The binary and the test build use the same features of every dependency.
//!
//! Cargo joins the features of everything it builds together. If a dev-dependency asks for one
//! feature more of a crate below DataFusion, then `cargo run` and `cargo test` each compile the five
//! hundred crates above it on their own, and a newcomer waits twice.

use std::collections::{BTreeMap, BTreeSet};

use super::Findings;
use crate::context::Context;
use crate::{Result, process};

/// Features of each crate, by name and version.
type Features = BTreeMap<String, BTreeSet<String>>;

/// Compares what is built for the binary with what is built for the tests.
pub(super) fn check(context: &Context, findings: &mut Findings) -> Result<()> {
    let binary = resolved(context, &["--package", "flywheel", "--edges", "normal"])?;
    let tests = resolved(context, &["--workspace", "--edges", "normal,dev"])?;
    for (name, features) in &binary {
        let Some(more) = tests.get(name).filter(|more| *more != features) else { continue };
        let added: Vec<&str> = more.difference(features).map(String::as_str).collect();
        findings.problem(format!(
            "the tests build {name} with the features {} more than the binary, so everything above it is compiled twice; ask for them in the [dependencies] of a crate below the binary",
            added.join(", ")
        ));
    }
    Ok(())
}

fn resolved(context: &Context, selection: &[&str]) -> Result<Features> {
    let format = ["tree", "--prefix", "none", "--format", "{p}\t{f}"];
    Ok(parse(&process::output(context.cargo().args(format).args(selection))?))
}

fn parse(tree: &str) -> Features {
    let mut features = Features::new();
    for line in tree.lines() {
        let Some((package, list)) = line.split_once('\t') else { continue };
        let list = list.trim_end_matches("(*)").trim();
        let set = features.entry(package.to_owned()).or_default();
        set.extend(list.split(',').filter(|feature| !feature.is_empty()).map(str::to_owned));
    }
    features
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_line_is_the_same_crate() {
        let features =
            parse("md-5 v0.10.6\tdefault,std\nsnap v1.1.1\t\nmd-5 v0.10.6\tdefault,std (*)\n");
        assert_eq!(features.len(), 2);
        assert_eq!(features.get("md-5 v0.10.6").map(BTreeSet::len), Some(2));
    }
}
