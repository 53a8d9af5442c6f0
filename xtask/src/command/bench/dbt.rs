//! A dbt project built by dbt-core on DuckDB and by us in the same run: the same nodes, the same rows, how
//! long each takes; then a project of 100 models without changes, and reading one of 1,000 models.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::goal::{at_most, equal, holds, write_files};
use crate::binary::Flywheel;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, figures, process, python};

/// How often each is measured, in turn.
const ROUNDS: usize = 5;
/// The longest our build may take beside dbt's.
const BUILD_MAX: f64 = 0.2;
/// The longest a build or a plan of 100 models may take in which nothing changed, in seconds.
const UNCHANGED_MAX_S: f64 = 0.3;
/// The longest reading 1,000 models may take beside `dbt parse`.
const PARSE_MAX: f64 = 0.1;
/// How far sums of money may differ that two engines add in another order.
const CENTS: f64 = 0.005;

/// The models of the example project, each with its rows compared.
const MODELS: &[&str] = &["loans", "members", "raw_fees", "raw_loans", "raw_members"];

/// Prints the rows of a table of a DuckDB file as lines.
const ROWS: &str = "import sys, duckdb\n\
    rows = duckdb.connect(sys.argv[1], read_only=True).execute('select * from main.' + sys.argv[2] + ' order by 1').fetchall()\n\
    for row in rows: print('|'.join('' if v is None else str(v) for v in row))\n";

/// dbt in its own environment.
struct Dbt {
    python: PathBuf,
}

impl Dbt {
    fn on(&self, project: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.python.with_file_name("dbt"));
        command.arg("--quiet").args(arguments).args(["--profiles-dir", "."]).current_dir(project);
        command.env("DBT_SEND_ANONYMOUS_USAGE_STATS", "false");
        command
    }
}

/// Compares both.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let dbt = Dbt { python: python::with_packages(context, "dbt", python::DBT_PEERS)? };
    let folder = context.scratch("dbt")?;
    let mut tally = Tally::default();
    library(context, &flywheel, &dbt, &folder, &mut tally)?;
    let many = folder.join("hundred");
    generated(&many, 100)?;
    process::run(&mut flywheel.on(&many, &["build", "--output", "json"]))?;
    let mut walls = Vec::new();
    for _ in 0..ROUNDS {
        walls.push(process::measure(&mut quiet(&flywheel, &many, "build"))?.wall_s);
    }
    let wall = figures::median(&walls).unwrap_or(f64::MAX);
    at_most(&mut tally, "dbt: seconds of a build of 100 unchanged models", wall, UNCHANGED_MAX_S);
    let mut plans = Vec::new();
    for _ in 0..ROUNDS {
        plans.push(process::measure(&mut quiet(&flywheel, &many, "plan"))?.wall_s);
    }
    let wall = figures::median(&plans).unwrap_or(f64::MAX);
    at_most(&mut tally, "dbt: seconds of a plan of 100 unchanged models", wall, UNCHANGED_MAX_S);
    let plan = process::output(&mut flywheel.on(&many, &["plan", "--output", "json"]))?;
    let plan: Value = serde_json::from_str(&plan)?;
    let tasks = plan.get("models").and_then(Value::as_array).map_or(usize::MAX, Vec::len);
    holds(&mut tally, "dbt: a plan of 100 unchanged models has no task", tasks == 0);
    let thousand = folder.join("thousand");
    generated(&thousand, 1_000)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(process::measure(&mut quiet(&flywheel, &thousand, "check"))?.wall_s);
        theirs.push(
            process::measure(&mut dbt.on(&thousand, &["--no-partial-parse", "parse"]))?.wall_s,
        );
    }
    ratio(&mut tally, "dbt: reading 1,000 models beside dbt parse", &ours, &theirs, PARSE_MAX);
    Ok(tally)
}

/// A command whose output is not shown.
fn quiet(flywheel: &Flywheel, project: &Path, word: &str) -> Command {
    let mut command = flywheel.on(project, &[word, "--output", "json"]);
    command.stdout(std::process::Stdio::null());
    command
}

fn ratio(tally: &mut Tally, what: &str, ours: &[f64], theirs: &[f64], most: f64) {
    let median = |walls: &[f64]| figures::median(walls).unwrap_or(f64::MAX);
    let (ours, theirs) = (median(ours), median(theirs));
    println!("{what}: {ours:.3} s beside {theirs:.3} s");
    at_most(tally, what, ours / theirs, most);
}

/// The example project, from nothing each time.
fn library(
    context: &Context,
    flywheel: &Flywheel,
    dbt: &Dbt,
    folder: &Path,
    tally: &mut Tally,
) -> Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut last = (PathBuf::new(), PathBuf::new());
    for round in 0..ROUNDS {
        let (a, b) = (folder.join(format!("ours-{round}")), folder.join(format!("theirs-{round}")));
        for at in [&a, &b] {
            copy(&context.root.join("tests/dbt/library"), at)?;
        }
        let cost = process::measure(&mut quiet(flywheel, &a, "build"))?;
        holds(tally, "dbt: our build of the example project succeeds", cost.success);
        ours.push(cost.wall_s);
        // A test of the project warns on purpose, which is no failure of either.
        theirs.push(process::measure(&mut dbt.on(&b, &["build"]))?.wall_s);
        last = (a, b);
    }
    ratio(tally, "dbt: a build beside dbt-duckdb", &ours, &theirs, BUILD_MAX);
    let (a, b) = last;
    equal(tally, "dbt: the same nodes with the same outcomes", &nodes(&a)?, &nodes(&b)?);
    let database = b.join("library.duckdb");
    for model in MODELS {
        let query = format!("select * from main.{model} order by 1");
        let mut found = flywheel.on(&a, &["sql", &query, "--output", "csv"]);
        let found = process::output(&mut found)?;
        let mut wanted = Command::new(&dbt.python);
        let wanted = process::output(wanted.args(["-c", ROWS]).arg(&database).arg(model))?;
        let same = same_rows(&found, &wanted);
        holds(tally, &format!("dbt: {model} has the same rows"), same);
    }
    Ok(())
}

/// How many nodes of each kind ended how, from `run_results.json`.
fn nodes(project: &Path) -> Result<String> {
    let text = std::fs::read_to_string(project.join("target/run_results.json"))?;
    let read: Value = serde_json::from_str(&text)?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for result in read["results"].as_array().into_iter().flatten() {
        let id = result["unique_id"].as_str().unwrap_or_default();
        let kind = id.split('.').next().unwrap_or_default();
        let name = if kind == "test" { "" } else { id };
        let status = result["status"].as_str().unwrap_or_default();
        *counts.entry(format!("{kind} {name} {status}")).or_default() += 1;
    }
    Ok(counts.iter().map(|(what, n)| format!("{n} {what}")).collect::<Vec<_>>().join(", "))
}

/// Whether CSV with a heading and lines of values say the same.
fn same_rows(csv: &str, lines: &str) -> bool {
    let ours: Vec<Vec<&str>> = csv.lines().skip(1).map(|l| l.split(',').collect()).collect();
    let theirs: Vec<Vec<&str>> = lines.lines().map(|l| l.split('|').collect()).collect();
    let value = |a: &str, b: &str| match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() < CENTS,
        _ => {
            // A moment's day and time are apart by a T or a blank.
            let plain = |text: &str| {
                let text = text.trim_matches('"').to_lowercase();
                match (text.get(..10), text.get(10..11), text.get(11..)) {
                    (Some(day), Some("t"), Some(time)) => format!("{day} {time}"),
                    _ => text,
                }
            };
            plain(a) == plain(b)
        }
    };
    ours.len() == theirs.len()
        && ours
            .iter()
            .zip(&theirs)
            .all(|(a, b)| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| value(a, b)))
}

/// A project of so many models: a tenth reads a seed, the others read one of those before.
fn generated(project: &Path, models: usize) -> Result<()> {
    let mut files = vec![
        (
            "dbt_project.yml".to_owned(),
            "name: many\nversion: '1.0'\nprofile: many\nmodels: {many: {+materialized: table}}\n"
                .to_owned(),
        ),
        (
            "profiles.yml".to_owned(),
            "many: {target: dev, outputs: {dev: {type: duckdb, path: many.duckdb, threads: 2}}}\n"
                .to_owned(),
        ),
        ("seeds/numbers.csv".to_owned(), "id,n\n1,10\n2,20\n3,30\n".to_owned()),
        (
            "macros/twice.sql".to_owned(),
            "{% macro twice(column) %}({{ column }} * 2){% endmacro %}\n".to_owned(),
        ),
    ];
    let mut properties = String::from("version: 2\nmodels:\n");
    for at in 0..models {
        let read = if at < models / 10 { "numbers".to_owned() } else { format!("m_{}", at / 2) };
        files.push((
            format!("models/part_{}/m_{at}.sql", at / 100),
            format!(
                "with source as (\n    select * from {{{{ ref('{read}') }}}}\n)\nselect id, {{{{ twice('n') }}}} % 1000 as n\nfrom source\n{{% if var('small', true) %}}where id < 100{{% endif %}}\n"
            ),
        ));
        properties.push_str(&format!(
            "  - name: m_{at}\n    description: The model {at}.\n    columns:\n      - name: id\n        data_tests: [not_null, unique]\n"
        ));
    }
    files.push(("models/models.yml".to_owned(), properties));
    let files: Vec<(&str, String)> =
        files.iter().map(|(path, text)| (path.as_str(), text.clone())).collect();
    write_files(project, &files)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => {
                std::fs::copy(entry.path(), target)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_the_same_but_for_cents_and_ways_of_writing() {
        assert!(same_rows("a,b\n1,2.501\n2,true\n", "1|2.5\n2|True\n"));
        assert!(!same_rows("a\n1\n", "1\n2\n"));
        assert!(!same_rows("a,b\n1,x\n", "1|y\n"));
    }
}
