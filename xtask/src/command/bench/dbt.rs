//! Two dbt projects built by dbt-core on DuckDB and by us in the same run: the same nodes, the same rows of every
//! table and view, how long each takes; then a project of 100 models without changes, and reading one of 1,000 models.
//!
//! The library is dbt's customary example; the bakery has what larger projects have (packages, unit tests, contracts,
//! versions, a snapshot, semantic models) and the rows that jafgen makes for a year.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::goal::{at_most, equal, holds, write_files};
use crate::binary::Flywheel;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, figures, process, python};

/// Writes rows of jafgen as seeds of the bakery.
const SHOP: &str = include_str!("dbt/shop.py");
/// Prints what a DuckDB file holds.
const RELATIONS: &str = include_str!("dbt/relations.py");

/// How often each is measured, in turn.
const ROUNDS: usize = 5;
/// How often the bakery is, which takes dbt long.
const BAKERY_ROUNDS: usize = 3;
/// The longest our build may take beside dbt's.
const BUILD_MAX: f64 = 0.2;
/// The longest a build or a plan of 100 models may take in which nothing changed, in seconds.
const UNCHANGED_MAX_S: f64 = 0.3;
/// The longest reading 1,000 models may take beside `dbt parse`.
const PARSE_MAX: f64 = 0.1;
/// How far sums of money may differ that two engines add in another order.
const CENTS: f64 = 0.005;

/// The bakery's seeds are read.
const SEEDS: [&str; 2] = ["--vars", "{load_source_data: true}"];

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
    bakery(context, &flywheel, &dbt, &folder, &mut tally)?;
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
    compare(flywheel, dbt, &Built { name: "library", ours: &last.0, theirs: &last.1 }, tally)
}

/// The bakery, from nothing each time, by two commands as such projects say: its seeds, which a variable switches on,
/// and then all else, which reads them as sources. Both count; how long the second takes alone is printed. Its unit
/// tests of an incremental model need a table, so dbt has to make an empty one before, which does not count.
fn bakery(
    context: &Context,
    flywheel: &Flywheel,
    dbt: &Dbt,
    folder: &Path,
    tally: &mut Tally,
) -> Result<()> {
    let python = python::with_packages(context, "jafgen", python::SHOP_DATA)?;
    let project = folder.join("bakery");
    copy(&context.root.join("tests/dbt/bakery"), &project)?;
    let script = folder.join("shop.py");
    std::fs::write(&script, SHOP)?;
    let mut shop = Command::new(python);
    shop.arg(&script).arg(folder).arg(project.join("seeds/bakery-data"));
    process::output(&mut shop)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut our_builds, mut their_builds) = (Vec::new(), Vec::new());
    let mut last = (PathBuf::new(), PathBuf::new());
    for round in 0..BAKERY_ROUNDS {
        let name = |whose: &str| folder.join(format!("bakery-{whose}-{round}"));
        let (a, b) = (name("ours"), name("theirs"));
        copy(&project, &a)?;
        copy(&project, &b)?;
        copy(&context.root.join("tests/dbt/packages"), &b.join("dbt_packages"))?;
        // A hook reads a model that is not there yet, so both fail in the end; the seeds are compared below.
        let mut seeds = quiet(flywheel, &a, "build");
        let seeded = process::measure(seeds.args(["--select", "resource_type:seed"]).args(SEEDS))?;
        keep_results(&a)?;
        let cost = process::measure(&mut quiet(flywheel, &a, "build"))?;
        holds(tally, "dbt: our build of the bakery succeeds", cost.success);
        ours.push(seeded.wall_s + cost.wall_s);
        our_builds.push(cost.wall_s);
        let seeded = process::measure(dbt.on(&b, &["seed"]).args(SEEDS))?;
        keep_results(&b)?;
        let empty = ["run", "--empty", "--select", "+guest_days"];
        process::run(&mut dbt.on(&b, &empty))?;
        let cost = process::measure(&mut dbt.on(&b, &["build", "--full-refresh"]))?;
        holds(tally, "dbt: dbt's build of the bakery succeeds", cost.success);
        theirs.push(seeded.wall_s + cost.wall_s);
        their_builds.push(cost.wall_s);
        last = (a, b);
    }
    if let (Some(ours), Some(theirs)) =
        (figures::median(&our_builds), figures::median(&their_builds))
    {
        println!("dbt: a build of the bakery without its seeds: {ours:.3} s beside {theirs:.3} s");
    }
    ratio(tally, "dbt: a build of the bakery beside dbt-duckdb", &ours, &theirs, BUILD_MAX);
    compare(flywheel, dbt, &Built { name: "bakery", ours: &last.0, theirs: &last.1 }, tally)
}

/// Keeps what a build of the seeds says of them beside what the next one will say.
fn keep_results(project: &Path) -> Result<()> {
    let target = project.join("target");
    std::fs::rename(target.join("run_results.json"), target.join("seed_results.json"))?;
    Ok(())
}

/// A project that both have built.
struct Built<'a> {
    name: &'a str,
    ours: &'a Path,
    theirs: &'a Path,
}

/// Compares how each node ended, and the rows of every table and view that dbt has made.
fn compare(flywheel: &Flywheel, dbt: &Dbt, built: &Built<'_>, tally: &mut Tally) -> Result<()> {
    let Built { name, ours, theirs } = built;
    equal(
        tally,
        &format!("dbt: {name}: the same nodes with the same outcomes"),
        &nodes(ours)?,
        &nodes(theirs)?,
    );
    let database = theirs.join(format!("{name}.duckdb"));
    let script = theirs.join("target/relations.py");
    std::fs::write(&script, RELATIONS)?;
    let held = || {
        let mut command = Command::new(&dbt.python);
        command.arg(&script).arg(&database);
        command
    };
    let listed = process::output(&mut held())?;
    holds(tally, &format!("dbt: {name}: dbt has made tables"), !listed.is_empty());
    for line in listed.lines() {
        let (relation, columns) = line.split_once(' ').ok_or("a relation without columns")?;
        let columns: usize = columns.parse()?;
        let order: Vec<String> = (1..=columns).map(|place| place.to_string()).collect();
        let query = format!("select * from {relation} order by {}", order.join(", "));
        let found = flywheel.sql(ours, &query)?;
        let wanted = process::output(held().arg(relation))?;
        let wanted = wanted.lines().map(serde_json::from_str);
        let wanted: Vec<Value> = wanted.collect::<std::result::Result<_, _>>()?;
        let difference = difference(&found, &wanted);
        if let Some(difference) = &difference {
            println!("dbt: {name}: {relation}: {difference}");
        }
        let what = format!("dbt: {name}: {relation} has the same {} rows", wanted.len());
        holds(tally, &what, difference.is_none());
    }
    Ok(())
}

/// How many nodes of each kind ended how, from what a build reports and what one of the seeds alone before it does.
/// What makes nothing (exposures, saved queries, hooks) is not told by us.
fn nodes(project: &Path) -> Result<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for name in ["run_results.json", "seed_results.json"] {
        let path = project.join("target").join(name);
        if !path.exists() {
            continue;
        }
        let read: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
        for result in read["results"].as_array().into_iter().flatten() {
            let id = result["unique_id"].as_str().unwrap_or_default();
            let kind = id.split('.').next().unwrap_or_default();
            if ["exposure", "saved_query", "operation"].contains(&kind) {
                continue;
            }
            let name = if kind == "test" { "" } else { id };
            let status = result["status"].as_str().unwrap_or_default();
            *counts.entry(format!("{kind} {name} {status}")).or_default() += 1;
        }
    }
    Ok(counts.iter().map(|(what, n)| format!("{n} {what}")).collect::<Vec<_>>().join(", "))
}

/// The first difference between two lists of rows, if there is one. What snapshots add about the moment they were
/// made is no part of it.
fn difference(ours: &[Value], theirs: &[Value]) -> Option<String> {
    if ours.len() != theirs.len() {
        return Some(format!("{} rows instead of {}", ours.len(), theirs.len()));
    }
    ours.iter().zip(theirs).zip(1..).find_map(|((ours, theirs), row)| {
        let (ours, theirs) = (cells(ours), cells(theirs));
        if !ours.keys().eq(theirs.keys()) {
            let (ours, theirs) = (ours.keys(), theirs.keys());
            return Some(format!("columns {ours:?} instead of {theirs:?}"));
        }
        let mut both = ours.iter().zip(theirs.values());
        let ((column, found), wanted) =
            both.find(|((_, found), wanted)| !same_cell(found, wanted))?;
        Some(format!("row {row}: {column} is {found} instead of {wanted}"))
    })
}

/// The cells of a row by their columns.
fn cells(row: &Value) -> BTreeMap<&str, &Value> {
    let columns = row.as_object().into_iter().flatten();
    let kept = columns.filter(|(name, _)| !name.starts_with("dbt_"));
    kept.map(|(name, value)| (name.as_str(), value)).collect()
}

/// Whether two cells are the same but for how numbers and moments are written.
fn same_cell(ours: &Value, theirs: &Value) -> bool {
    if ours == theirs || ours.is_null() || theirs.is_null() {
        return ours == theirs;
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (ours, theirs) = (text(ours), text(theirs));
    if let (Ok(ours), Ok(theirs)) = (ours.parse::<f64>(), theirs.parse::<f64>()) {
        return (ours - theirs).abs() < CENTS;
    }
    // A moment's day and time are apart by a T or a blank.
    let plain = |text: &str| match (text.get(..10), text.get(10..11), text.get(11..)) {
        (Some(day), Some("T"), Some(time)) => format!("{day} {time}"),
        _ => text.to_owned(),
    };
    plain(&ours) == plain(&theirs)
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

/// Copies a folder with all that is in it.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
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
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_the_same_but_for_cents_and_ways_of_writing() {
        let difference = |ours: Value, theirs: Value| difference(&[ours], &[theirs]);
        let at = |time: &str, price: Value| json!({"at": time, "price": price, "held": null});
        let (ours, theirs) =
            (at("2024-07-01T07:10:00", json!("2.501")), at("2024-07-01 07:10:00", json!(2.5)));
        assert_eq!(difference(ours, theirs), None);
        assert_eq!(difference(json!({"dbt_scd_id": "a"}), json!({"dbt_scd_id": "b"})), None);
        for (ours, theirs, expected) in [
            (json!({"n": 1}), json!({"n": 2}), "row 1: n is 1 instead of 2"),
            (json!({"n": "x"}), json!({"n": "y"}), "row 1: n is \"x\" instead of \"y\""),
            (json!({"n": null}), json!({"n": ""}), "row 1: n is null instead of \"\""),
            (json!({"n": true}), json!({"n": false}), "row 1: n is true instead of false"),
            (json!({"n": 1}), json!({"m": 1}), "columns [\"n\"] instead of [\"m\"]"),
        ] {
            assert_eq!(difference(ours, theirs).as_deref(), Some(expected));
        }
        assert_eq!(
            super::difference(&[json!({}), json!({})], &[json!({})]).as_deref(),
            Some("2 rows instead of 1")
        );
    }
}
