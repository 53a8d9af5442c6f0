//! dbt's own suite for adapters, run by dbt-core through our adapter on a server of ours: what passes of each group.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::goal::{at_least, holds};
use crate::binary::Flywheel;
use crate::client::Server;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process, python};

/// The groups of the suite, each a file of the adapter's functional tests.
const GROUPS: [&str; 7] = [
    "basic",
    "incremental",
    "simple_snapshot",
    "simple_seed",
    "ephemeral",
    "store_test_failures",
    "unit_testing",
];
/// Tests of other groups, which are run and not counted.
const OTHERS: &str = "utils";
/// The share of the tests that has to pass.
const SHARE_MIN: f64 = 0.6;
/// Where the adapter lies.
const CLIENT: &str = "clients/dbt-flywheel";

/// Runs the suite.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let python = python::with_packages(context, "dbt-adapter", python::DBT_ADAPTER_SUITE)?;
    let client = context.root.join(CLIENT);
    // The adapter is installed anew each time, from a copy: building leaves files beside its sources.
    let folder = context.scratch("dbt-adapter")?;
    let copy = folder.join("dbt-flywheel");
    process::run(Command::new("cp").arg("-r").arg(&client).arg(&copy))?;
    process::run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--force-reinstall", "--no-deps"])
            .arg(&copy),
    )?;
    let mut tally = Tally::default();
    let units = process::succeeds(pytest(&python, &copy, &folder).arg("tests/unit"))?;
    holds(&mut tally, "dbt-adapter: the adapter's own tests pass", units);

    let project = folder.join("shop");
    process::output(&mut flywheel.call(&["init", &project.to_string_lossy()]))?;
    let server = Server::start(&flywheel, &project)?;
    let header = server.token(&["view", "query", "write"])?;
    let token = header.trim().rsplit(' ').next().ok_or("no token was made")?.to_owned();
    let mut all = (0, 0);
    for group in GROUPS.into_iter().chain([OTHERS]) {
        let mut command = pytest(&python, &copy, &folder);
        command
            .arg(format!("tests/functional/test_{group}.py"))
            .env("FLYWHEEL_URL", format!("http://{}", server.address))
            .env("FLYWHEEL_TOKEN", &token);
        let mut results = BTreeMap::new();
        // What fails is counted, so the status says nothing more.
        process::lines(&mut command, |line| {
            if let Some((name, passed)) = result(line) {
                results.insert(name.to_owned(), passed);
            }
        })?;
        let passed = results.values().filter(|passed| **passed).count();
        for (name, _) in results.iter().filter(|(_, passed)| !**passed) {
            println!("  fails: {name}");
        }
        println!("dbt-adapter: {group}: {passed} of {}", results.len());
        holds(&mut tally, &format!("dbt-adapter: {group} was run"), !results.is_empty());
        if group != OTHERS {
            all = (all.0 + passed, all.1 + results.len());
        }
    }
    let share = all.0 as f64 / (all.1.max(1)) as f64;
    println!("dbt-adapter: {} of {} tests pass", all.0, all.1);
    at_least(&mut tally, "dbt-adapter: share of the suite that passes", share, SHARE_MIN);
    Ok(tally)
}

fn pytest(python: &Path, client: &Path, folder: &Path) -> Command {
    let mut command = Command::new(python);
    command
        .args(["-m", "pytest", "-q", "-rA", "--tb=no", "--no-header", "-p", "no:cacheprovider"])
        .current_dir(client)
        .env("DBT_SEND_ANONYMOUS_USAGE_STATS", "false")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("TMPDIR", folder);
    command
}

/// A test and whether it passed, from a line of pytest's summary.
fn result(line: &str) -> Option<(&str, bool)> {
    let (word, rest) = line.split_once(' ')?;
    let passed = match word {
        "PASSED" => true,
        "FAILED" | "ERROR" => false,
        _ => return None,
    };
    let name = rest.split(" - ").next()?.trim();
    name.contains("::").then_some((name, passed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_read_from_a_summary() {
        assert_eq!(result("PASSED tests/a.py::T::test_x"), Some(("tests/a.py::T::test_x", true)));
        assert_eq!(result("FAILED tests/a.py::t - Boom - x"), Some(("tests/a.py::t", false)));
        assert_eq!(result("ERROR tests/a.py::t - Boom"), Some(("tests/a.py::t", false)));
        assert_eq!(result("12 passed in 3 s"), None);
        assert_eq!(result("PASSED by far"), None);
    }
}
