//! The catalogue of a project with a thousand models: how long it takes to open, to search and to reproduce.

use super::figure::logged;
use super::goal::{at_most, equal, succeeds, write_files};
use crate::Result;
use crate::binary::Flywheel;
use crate::context::Context;
use crate::process;
use crate::tally::Tally;

/// The models, half of them tables; a hundred read the landed table, each other one the hundredth before it.
const MODELS: usize = 1_000;
const FIRST: usize = 100;

/// The times the catalogue is opened; the best counts, because others use the machine as well.
const TIMES: usize = 5;
/// The longest it may take to open and to search beside reading the project's files, which each command does first.
const OPEN_MAX: f64 = 2.0;
const SEARCH_MAX: f64 = 2.5;
/// The longest it may take to find what words fit once there is an index.
const FIND_MAX_MS: f64 = 20.0;
/// What is looked for; the first two have words of every model.
const QUESTIONS: &[&str] = &[
    "model number 997 of the shop",
    "第997个模型",
    "mart.m42",
    "amount",
    "模型",
    "nothing like it",
];

/// Makes the project, builds it, and asks.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let project = context.scratch("catalogue")?;
    let mut files = vec![
        (
            "flywheel.yaml".to_owned(),
            "name: large\ncatalogue: {assets: {mart.*: {owner: data}}}\n".to_owned(),
        ),
        (
            "connections/f.yaml".to_owned(),
            "connection: f\ntype: csv\noptions: {folder: data}\n".to_owned(),
        ),
        (
            "syncs/s.yaml".to_owned(),
            "sync: s\nconnection: f\nstreams: [{stream: t, options: {path: t.csv}}]\n".to_owned(),
        ),
        ("data/t.csv".to_owned(), "id,amount\n1,2\n2,3\n".to_owned()),
    ];
    let mut properties = "version: 2\nmodels:\n".to_owned();
    for n in 0..MODELS {
        let from = match n.checked_sub(FIRST) {
            None => "{{ source('raw', 't') }}".to_owned(),
            Some(before) => format!("{{{{ ref('m{before}') }}}}"),
        };
        let kind = if n % 2 == 0 { "view" } else { "table" };
        let sql = format!(
            "{{{{ config(materialized='{kind}') }}}} select id, amount + {n} as amount from {from}\n"
        );
        files.push((format!("models/mart/m{n}.sql"), sql));
        properties.push_str(&format!(
            "  - {{name: m{n}, description: Model number {n} of the shop 第{n}个模型}}\n"
        ));
    }
    files.push(("models/mart/mart.yml".to_owned(), properties));
    let files: Vec<(&str, String)> =
        files.iter().map(|(path, text)| (path.as_str(), text.clone())).collect();
    write_files(&project, &files)?;
    let mut tally = Tally::default();
    for command in ["sync", "build"] {
        let cost = process::measure(&mut flywheel.on(&project, &[command]))?;
        succeeds(&mut tally, &format!("catalogue: {command}"), &cost);
    }
    let mut best = |arguments: &[&str]| -> Result<f64> {
        let mut best = f64::INFINITY;
        for _ in 0..TIMES {
            let cost = process::measure(&mut flywheel.on(&project, arguments))?;
            succeeds(&mut tally, &format!("catalogue: {arguments:?}"), &cost);
            best = best.min(cost.wall_s * 1_000.0);
        }
        Ok(best)
    };
    let checked = best(&["check"])?;
    let opened = best(&["catalogue", "--kind", "sync"])?;
    let searched = best(&["search", "模型 997", "--limit", "1"])?;
    println!(
        "catalogue: {checked:.0} ms to read the project's files, {opened:.0} to open the catalogue, {searched:.0} to \
         make its index and search"
    );
    let what = "catalogue: time to open it, beside reading the project's files";
    at_most(&mut tally, what, opened / checked, OPEN_MAX);
    let what = "catalogue: time to index and search it, beside reading the project's files";
    at_most(&mut tally, what, searched / checked, SEARCH_MAX);
    let mut slowest = 0.0_f64;
    for &question in QUESTIONS {
        let mut best = f64::INFINITY;
        for _ in 0..TIMES {
            let mut command = flywheel.on(&project, &["search", question, "--output", "json"]);
            command.env("FLYWHEEL_LOG", "flywheel_runtime=debug").env("NO_COLOR", "1");
            let log = String::from_utf8_lossy(&command.output()?.stderr).into_owned();
            best = best.min(logged(&log, "search_ms"));
        }
        println!("catalogue: {best:.2} ms to find \"{question}\"");
        slowest = slowest.max(best);
    }
    at_most(&mut tally, "catalogue: ms to find words, the slowest question", slowest, FIND_MAX_MS);
    let formula = process::output(&mut flywheel.on(&project, &["catalogue", "formula"]))?;
    let differ = format!(
        "select count(*) from ({formula}) as f join system.assets as a on a.kind = f.kind and a.name = f.name where abs(f.health - a.health) > 1e-9"
    );
    equal(
        &mut tally,
        "catalogue: scores that one query does not give again",
        &flywheel.value(&project, &differ)?,
        "0",
    );
    Ok(tally)
}
