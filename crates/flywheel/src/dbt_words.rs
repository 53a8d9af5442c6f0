//! Commands of dbt that have no namesake here, and what to write instead.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use flywheel_base::Error;

/// dbt's command, and what does its work here.
const WORDS: &[(&str, &str)] = &[
    ("run", "Write `flywheel build`: it builds what changed, and publishes what passed its tests."),
    ("seed", "Write `flywheel build --select resource_type:seed`."),
    ("snapshot", "Write `flywheel build --select resource_type:snapshot`."),
    ("retry", "Write `flywheel build`: what was built and did not change is not built again."),
    ("clone", "Write `flywheel environment create`."),
    ("parse", "Write `flywheel check`."),
    ("compile", "Write `flywheel check`, or `flywheel plan` to see what a build would change."),
    ("debug", "Write `flywheel check`: it reads every file and tells every mistake."),
    (
        "deps",
        "The usual packages are built in; `flywheel check` names those that are missing in dbt_packages/.",
    ),
    ("clean", "Nothing is to be cleaned; `flywheel vacuum` removes old versions of tables."),
    ("ls", "Write `flywheel catalogue`."),
    ("list", "Write `flywheel catalogue`."),
    ("show", "Write `flywheel sql \"select * from …\"`."),
    (
        "docs",
        "Write `flywheel serve`: its pages show tables, columns, tests and lineage. `flywheel catalogue` lists them.",
    ),
    (
        "run-operation",
        "Put the statements of the macro into `on-run-start` or `on-run-end`, or write them to `flywheel sql`.",
    ),
    ("sl", "Write `flywheel metric query`."),
];

/// What to say of a command line that clap refused because its command is one of dbt's.
pub(crate) fn told(error: &clap::Error) -> Option<Error> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    // `Usage: flywheel [OPTIONS] <COMMAND>`; below a command of ours, its own words are meant.
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else { return None };
    let usage = usage.to_string();
    let (before, _) = usage.split_once('[')?;
    if before.split_whitespace().count() != 2 {
        return None;
    }
    let (_, hint) = WORDS.iter().find(|(known, _)| known == word)?;
    Some(Error::invalid(format!("\"{word}\" is a command of dbt's")).hint(*hint))
}
