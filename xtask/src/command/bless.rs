//! `cargo xtask bless`: writes the expected output of tests anew, to be read in the diff.

use crate::context::Context;
use crate::{Result, process};

/// `cargo xtask bless`.
pub(crate) const COMMAND: super::Command = super::Command {
    name: "bless",
    arguments: "[FILTER…]",
    about: "run the tests with UPDATE=1, which rewrites expected files; read the diff",
    run,
};

fn run(context: &Context, filters: &[String]) -> Result<bool> {
    let mut cargo = context.cargo();
    cargo.args(["test", "--release", "--workspace", "--no-fail-fast", "--"]).args(filters);
    let passed = process::succeeds(cargo.env("UPDATE", "1"))?;
    println!(
        "Expected files were rewritten where tests support it. Read `git diff` before you commit."
    );
    Ok(passed)
}
