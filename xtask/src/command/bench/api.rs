//! Every route of the API asked by Schemathesis, as its reference describes it: no server error, no status, header or body
//! that the reference does not declare.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::goal::{at_least, at_most, equal, holds};
use crate::binary::Flywheel;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process, python};

const SCRIPT: &str = include_str!("api/ask.py");
/// Questions that are asked at least.
const CASES: u64 = 20_000;
/// Examples for each route in one round; rounds differ by their seed.
const EXAMPLES: u64 = 100;
/// Rounds after which it is given up.
const ROUNDS_MAX: u64 = 20;

/// What an owner may do, in the order of the alphabet: everything.
const SCOPES: &str =
    "administer, audit, author, call, decide, ingest, operate, promote, query, view, write";

/// A server that ends with its round.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        // One that has ended already is fine.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Asks until there are enough questions.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let python = python::with_packages(context, "api", python::API_PEERS)?;
    let folder = context.scratch("api")?;
    let script = folder.join("ask.py");
    std::fs::write(&script, SCRIPT)?;
    let mut tally = Tally::default();
    let (mut cases, mut server_errors, mut violations, mut errors) = (0, 0, 0, 0);
    for seed in 1..=ROUNDS_MAX {
        let round = round(&flywheel, &python, &script, &folder, seed, &mut tally)?;
        let count = |key: &str| round.get(key).and_then(Value::as_u64).unwrap_or_default();
        cases += count("cases");
        server_errors += count("server_errors");
        violations += count("violations");
        errors += count("errors");
        println!("seed {seed}: {} questions at {} routes", count("cases"), count("routes"));
        if cases >= CASES || server_errors + violations + errors > 0 {
            break;
        }
    }
    at_least(&mut tally, "api: questions", cases as f64, CASES as f64);
    at_most(&mut tally, "api: server errors", server_errors as f64, 0.0);
    at_most(&mut tally, "api: answers that the reference does not declare", violations as f64, 0.0);
    at_most(&mut tally, "api: questions that could not be asked", errors as f64, 0.0);
    Ok(tally)
}

/// Asks in one round. Each has a project and a server of its own, because whoever may do everything can also spoil
/// everything.
fn round(
    flywheel: &Flywheel,
    python: &Path,
    script: &Path,
    folder: &Path,
    seed: u64,
    tally: &mut Tally,
) -> Result<Value> {
    let folder = folder.join(format!("round-{seed}"));
    std::fs::create_dir_all(&folder)?;
    let project = folder.join("shop");
    let shown = project.to_string_lossy();
    process::output(&mut flywheel.call(&["init", "--template", "crm", &shown]))?;
    process::output(&mut flywheel.on(&project, &["turn"]))?;
    let mut server = flywheel.on(&project, &["serve", "--listen", "127.0.0.1:0"]);
    let mut child = server.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let stdout = child.stdout.take().ok_or("the server's output is gone")?;
    let mut served = Served(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let (address, token) =
        line.trim().split_once("/setup?token=").ok_or_else(|| format!("no set-up link: {line}"))?;
    let mut command = Command::new(python);
    command.arg(script).args([address, token]).arg(&folder);
    command.args([seed.to_string(), EXAMPLES.to_string()]);
    let told: Value = serde_json::from_str(process::output(&mut command)?.trim())?;
    let mut scopes: Vec<&str> =
        told["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    scopes.sort_unstable();
    equal(tally, "api: the questions have every permission", &scopes.join(", "), SCOPES);
    holds(tally, "api: the server still runs", served.0.try_wait()?.is_none());
    Ok(told)
}
