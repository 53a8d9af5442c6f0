//! Lineage of columns: the queries of TPC-H and TPC-DS and the models of the example projects beside sqlglot, each
//! difference listed; then what it costs on a thousand models.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::dbt::copy;
use super::figure::logged;
use super::goal::{at_least, at_most, holds, succeeds, write_files};
use crate::binary::Flywheel;
use crate::client::{Client, Server, parsed, request};
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process, python};

/// Writes the queries as a project, and asks sqlglot.
const SCRIPT: &str = include_str!("lineage/compare.py");

/// The share of columns whose origins must be the same once differences are explained.
const AGREED_MIN: f64 = 0.95;
/// The longest a model may take to be traced, in milliseconds.
const MODEL_MAX_MS: f64 = 10.0;
/// The longest a question to a graph of 10,000 nodes may take, in milliseconds.
const QUESTION_MAX_MS: f64 = 100.0;

/// The models of the large project and their columns: together more than 10,000 nodes.
const MODELS: usize = 1_000;
const COLUMNS: usize = 12;
/// How many models read the landed table; each other one reads the one so many before it.
const FIRST: usize = 100;
/// How often each is measured; the best counts, because others use the machine as well.
const ROUNDS: usize = 3;

/// The dbt projects that are examples, below `tests/dbt`.
const DBT_PROJECTS: &[&str] = &["library", "bakery"];
/// The templates of `flywheel init` with models.
const TEMPLATES: &[&str] = &["crm", "retail"];
/// The models of all of them, without seeds.
const EXAMPLE_MODELS: usize = 38;

/// Origins by column.
type Origins = BTreeMap<String, BTreeSet<String>>;

/// Compares and measures.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let mut tally = Tally::default();
    for (suite, queries) in [("tpch", 22), ("tpcds", 99)] {
        beside_sqlglot(context, &flywheel, suite, queries, &mut tally)?;
    }
    examples(context, &flywheel, &mut tally)?;
    large(context, &flywheel, &mut tally)?;
    Ok(tally)
}

/// How much of what sqlglot says we say, too.
#[derive(Default)]
struct Agreement {
    models: usize,
    columns: usize,
    same: usize,
    explained: usize,
    deciders: usize,
    overlooked: usize,
}

impl Agreement {
    /// Compares what sqlglot says of a model with what we say, and prints each difference.
    fn add(&mut self, model: &str, said: &Value, ours: (Origins, Origins)) -> Result<()> {
        let (direct, decides) = ours;
        let origins: Origins = serde_json::from_value(said["origins"].clone())?;
        self.models += 1;
        for (column, wanted) in &origins {
            self.columns += 1;
            let nothing = BTreeSet::new();
            let found = direct.get(column).unwrap_or(&nothing);
            if found == wanted {
                self.same += 1;
                continue;
            }
            // What we keep apart: columns that decide about a value and are no part of it.
            let deciding = decides.get(column).unwrap_or(&nothing);
            let missing: Vec<&String> = wanted.difference(found).collect();
            let more: Vec<&String> = found.difference(wanted).collect();
            let kept_apart = more.is_empty() && missing.iter().all(|one| deciding.contains(*one));
            self.explained += usize::from(kept_apart);
            let why = if kept_apart { "only decides" } else { "DIFFERS" };
            println!(
                "lineage: {model}.{column}: sqlglot also {missing:?}, we also {more:?}: {why}"
            );
        }
        let compared: BTreeSet<String> = serde_json::from_value(said["deciding"].clone())?;
        let known: BTreeSet<String> = decides.into_values().flatten().collect();
        self.deciders += compared.len();
        for column in compared.difference(&known) {
            self.overlooked += 1;
            println!("lineage: {model}: {column} decides which rows there are: OVERLOOKED");
        }
        Ok(())
    }

    /// Records whether all models were compared and enough of them agree.
    fn judge(&self, suite: &str, models: usize, tally: &mut Tally) {
        let Self { columns, same, explained, deciders, overlooked, .. } = self;
        println!(
            "lineage: {suite}: {columns} columns of {} queries, {same} the same, {explained} explained; \
             {deciders} columns of filters and joins, {overlooked} overlooked",
            self.models
        );
        holds(
            tally,
            &format!("lineage: {suite}: all {models} queries are traced"),
            self.models == models,
        );
        let agreed = (same + explained) as f64 / (*columns).max(1) as f64;
        at_least(
            tally,
            &format!("lineage: {suite}: share of columns with the origins that sqlglot finds"),
            agreed,
            AGREED_MIN,
        );
        holds(
            tally,
            &format!("lineage: {suite}: columns of filters and joins decide"),
            *deciders > 0 && *overlooked == 0,
        );
    }
}

fn beside_sqlglot(
    context: &Context,
    flywheel: &Flywheel,
    suite: &str,
    queries: usize,
    tally: &mut Tally,
) -> Result<()> {
    let python = python::with_packages(context, "tpc", python::TPC_PEERS)?;
    let folder = context.scratch(&format!("lineage-{suite}"))?;
    let script = folder.join("compare.py");
    std::fs::write(&script, SCRIPT)?;
    let project = folder.join("project");
    process::run(Command::new(&python).arg(&script).args(["project", suite]).arg(&project))?;
    process::run(&mut flywheel.on(&project, &["sync"]))?;
    let theirs = process::output(Command::new(&python).arg(&script).args(["sqlglot", suite]))?;
    let theirs: BTreeMap<String, Value> = serde_json::from_str(&theirs)?;
    let mut agreement = Agreement::default();
    for (query, said) in &theirs {
        let ours = ours(flywheel, &project, &format!("mart.{query}"))?;
        agreement.add(&format!("{suite} {query}"), said, ours)?;
    }
    agreement.judge(suite, queries, tally);
    let question = ["lineage", "mart.q01", "--output", "json"];
    let checked = best(flywheel, &project, &["check"], tally)?;
    let asked = best(flywheel, &project, &question, tally)?;
    let model_ms = (asked - checked) * 1_000.0 / queries as f64;
    at_most(tally, &format!("lineage: {suite}: CPU ms to trace a model"), model_ms, MODEL_MAX_MS);
    Ok(())
}

/// The processor time of a call, in seconds: the best of some.
fn best(flywheel: &Flywheel, project: &Path, arguments: &[&str], tally: &mut Tally) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let mut command = flywheel.on(project, arguments);
        command.stdout(std::process::Stdio::null());
        let cost = process::measure(&mut command)?;
        succeeds(tally, &format!("lineage: {arguments:?}"), &cost);
        best = best.min(cost.cpu_s);
    }
    Ok(best)
}

/// The models of the example projects: each one's SQL, as the server shows it, by sqlglot and by us.
fn examples(context: &Context, flywheel: &Flywheel, tally: &mut Tally) -> Result<()> {
    let python = python::with_packages(context, "tpc", python::TPC_PEERS)?;
    let folder = context.scratch("lineage-examples")?;
    let script = folder.join("compare.py");
    std::fs::write(&script, SCRIPT)?;
    let mut agreement = Agreement::default();
    for &name in DBT_PROJECTS {
        let project = folder.join(name);
        copy(&context.root.join("tests/dbt").join(name), &project)?;
        // The seeds of the bakery are read only if somebody says so.
        let file = project.join("dbt_project.yml");
        let text = std::fs::read_to_string(&file)?;
        std::fs::write(file, text.replace("var('load_source_data', false)", "true"))?;
        process::output(&mut flywheel.on(&project, &["build", "--output", "json"]))?;
        example(flywheel, &python, &script, &project, &mut agreement)?;
    }
    for &name in TEMPLATES {
        let project = folder.join(name);
        let shown = project.to_string_lossy();
        process::output(&mut flywheel.call(&["init", "--template", name, &shown]))?;
        process::output(&mut flywheel.on(&project, &["sync", "--output", "json"]))?;
        example(flywheel, &python, &script, &project, &mut agreement)?;
    }
    agreement.judge("examples", EXAMPLE_MODELS, tally);
    Ok(())
}

/// Compares the models of one example project.
fn example(
    flywheel: &Flywheel,
    python: &Path,
    script: &Path,
    project: &Path,
    agreement: &mut Agreement,
) -> Result<()> {
    let given = project.join("lineage.json");
    std::fs::write(&given, models_of(flywheel, project)?.to_string())?;
    let theirs = process::output(Command::new(python).arg(script).arg("models").arg(&given))?;
    let theirs: BTreeMap<String, Value> = serde_json::from_str(&theirs)?;
    let name = project.file_name().unwrap_or_default().to_string_lossy();
    for (table, said) in &theirs {
        let ours = ours(flywheel, project, table)?;
        agreement.add(&format!("{name} {table}"), said, ours)?;
    }
    Ok(())
}

/// The SQL of each model as the server shows it, and the columns of every table.
fn models_of(flywheel: &Flywheel, project: &Path) -> Result<Value> {
    let mut tables = json!({});
    let listed = "select table_schema, table_name, column_name from information_schema.columns";
    for row in flywheel.sql(project, listed)? {
        let text = |key: &str| row[key].as_str().unwrap_or_default();
        // Which type a column has makes no difference to where it comes from.
        tables[text("table_schema")][text("table_name")][text("column_name")] = json!("VARCHAR");
    }
    let server = Server::start(flywheel, project)?;
    let token = server.token(&["view"])?;
    let mut client = Client::connect(&server.address)?;
    let mut ask = |path: &str| -> Result<Value> {
        let (status, answer) = client.ask(&request(&server.address, "GET", path, &token, ""))?;
        parsed(path, status, &answer)
    };
    let mut queries = json!({});
    for model in ask("/v1/models")?["items"].as_array().into_iter().flatten() {
        let name = model["name"].as_str().unwrap_or_default();
        let about = ask(&format!("/v1/models/{name}"))?;
        let (schema, table) = name.split_once('.').ok_or("a model without a schema")?;
        for column in about["columns"].as_array().into_iter().flatten() {
            let column = column["column"].as_str().unwrap_or_default();
            tables[schema][table][column] = json!("VARCHAR");
        }
        let sql = about["compiled"].as_str().unwrap_or_default();
        if model["materialized"] != "seed" && !sql.trim().is_empty() {
            queries[name] = json!(sql);
        }
    }
    Ok(json!({"queries": queries, "tables": tables}))
}

/// What values are made of, and what else decides, by column of a table.
fn ours(flywheel: &Flywheel, project: &Path, table: &str) -> Result<(Origins, Origins)> {
    let asked = ["lineage", table, "--columns", "--upstream", "--depth", "1", "--output", "json"];
    let answer: Value = serde_json::from_str(&process::output(&mut flywheel.on(project, &asked))?)?;
    let (mut direct, mut decides) = (Origins::new(), Origins::new());
    for edge in answer["edges"].as_array().into_iter().flatten() {
        let text = |key: &str| edge[key].as_str().unwrap_or_default();
        let column = text("to").strip_prefix(&format!("{table}.")).unwrap_or_default().to_owned();
        let into = if edge["direct"] == true { &mut direct } else { &mut decides };
        into.entry(column).or_default().insert(text("from").to_owned());
    }
    Ok((direct, decides))
}

fn large(context: &Context, flywheel: &Flywheel, tally: &mut Tally) -> Result<()> {
    let project = context.scratch("lineage-large")?;
    let names: Vec<String> = (0..COLUMNS).map(|n| format!("c{n}")).collect();
    let mut files = vec![
        ("flywheel.yaml".to_owned(), "name: large\n".to_owned()),
        (
            "connections/f.yaml".to_owned(),
            "connection: f\ntype: csv\noptions: {folder: data}\n".to_owned(),
        ),
        (
            "syncs/s.yaml".to_owned(),
            "sync: s\nconnection: f\nstreams: [{stream: t, options: {path: t.csv}}]\n".to_owned(),
        ),
        ("data/t.csv".to_owned(), format!("{}\n{}\n", names.join(","), ["1"; COLUMNS].join(","))),
    ];
    for n in 0..MODELS {
        let from = match n.checked_sub(FIRST) {
            None => "{{ source('raw', 't') }}".to_owned(),
            Some(before) => format!("{{{{ ref('m{before}') }}}}"),
        };
        let columns: Vec<String> =
            names.iter().map(|name| format!("{name} + {n} as {name}")).collect();
        let sql = format!("select {} from {from} where c0 > -1\n", columns.join(", "));
        files.push((format!("models/mart/m{n}.sql"), sql));
    }
    let files: Vec<(&str, String)> =
        files.iter().map(|(path, text)| (path.as_str(), text.clone())).collect();
    write_files(&project, &files)?;
    for command in ["sync", "build"] {
        let cost = process::measure(&mut flywheel.on(&project, &[command]))?;
        succeeds(tally, &format!("lineage: {command} of 1,000 models"), &cost);
    }
    let question = ["lineage", "mart.m999.c1", "--output", "json"];
    let checked = best(flywheel, &project, &["check"], tally)?;
    let asked = best(flywheel, &project, &question, tally)?;
    let plain = best(flywheel, &project, &["build", "--full-refresh"], tally)?;
    std::fs::write(
        project.join("flywheel.yaml"),
        "name: large\nopenlineage: {file: told.jsonl}\n",
    )?;
    let told = best(flywheel, &project, &["build", "--full-refresh"], tally)?;
    println!(
        "lineage: a build of 1,000 models: {plain:.2} CPU s, {told:.2} when it tells its lineage"
    );
    let model_ms = (asked - checked) * 1_000.0 / MODELS as f64;
    at_most(tally, "lineage: CPU ms to trace a model", model_ms, MODEL_MAX_MS);
    let more_ms = (told - plain) * 1_000.0 / MODELS as f64;
    at_most(
        tally,
        "lineage: CPU ms more for a model of a build that tells it",
        more_ms,
        MODEL_MAX_MS,
    );
    let mut command = flywheel.on(&project, &question);
    command
        .env("FLYWHEEL_LOG", "flywheel_runtime=debug")
        .env("NO_COLOR", "1")
        .stdout(std::process::Stdio::null());
    let log = String::from_utf8_lossy(&command.output()?.stderr).into_owned();
    at_least(tally, "lineage: nodes of the graph", logged(&log, "nodes"), 10_000.0);
    at_most(tally, "lineage: ms of a question to it", logged(&log, "answer_ms"), QUESTION_MAX_MS);
    Ok(())
}
