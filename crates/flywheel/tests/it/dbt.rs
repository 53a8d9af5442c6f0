//! dbt projects through the binary: everything as it is, selection, files for others.

use std::path::Path;

use crate::house::House;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }
}

/// The bakery, unmodified.
fn bakery() -> House {
    let house = House::new();
    std::fs::remove_file(house.path("flywheel.yaml")).unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/dbt/bakery");
    copy(&from, &house.dir());
    house
}

const SEEDS: [&str; 2] = ["--vars", "{load_source_data: true}"];

fn with_seeds<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &SEEDS].concat()
}

/// Loads the seeds, which a variable switches on, before anything else. A statement at the end of the project reads a
/// model that is not there yet, so the command fails after it has loaded them, as dbt's does.
fn seed_alone(house: &House) {
    let complaint = house.fails(1, &with_seeds(&["build", "--select", "resource_type:seed"]));
    assert!(complaint.contains("on-run-end"), "{complaint}");
}

#[test]
fn an_unmodified_project_is_built_whole_and_leaves_dbts_files() {
    let house = bakery();
    house.ok(&with_seeds(&["build"]));
    assert_eq!(house.cell("select count(*), sum(order_total) from main.orders"), "5,60.15");
    let results: serde_json::Value =
        serde_json::from_str(&house.read("target/run_results.json")).unwrap();
    let of = |kind: &str, status: &str| {
        let results = results["results"].as_array().unwrap().iter();
        let fits = |r: &&serde_json::Value| {
            r["unique_id"].as_str().unwrap().starts_with(kind) && r["status"] == status
        };
        results.filter(fits).count()
    };
    assert_eq!(
        (of("model.", "success"), of("seed.", "success"), of("snapshot.", "success")),
        (14, 6, 1)
    );
    assert_eq!((of("unit_test.", "pass"), of("test.", "fail")), (5, 0));
    let manifest: serde_json::Value =
        serde_json::from_str(&house.read("target/manifest.json")).unwrap();
    assert_eq!(manifest["nodes"]["model.bakery.orders"]["relation_name"], "main.orders");
    let metric = house.ok(&["metric", "query", "bread_revenue_pct", "--output", "csv"]);
    // 9 + 9 + 12 + 12 of 52.50 euros.
    assert!(metric.lines().last().unwrap().starts_with("0.8"), "{metric}");
    let by = |time: &str| {
        house.ok(&["metric", "query", "bread_revenue_pct", "--by", time, "--output", "csv"])
    };
    assert_eq!(by("metric_time__month"), by("time:month"), "as dbt calls it");
    // In another target the tables are others.
    house.ok(&with_seeds(&["build", "--target", "prod"]));
    assert_eq!(house.cell("select count(*) from prod.orders"), "5");
    assert_eq!(
        house.cell("select count(*) from main.orders"),
        "5",
        "the first target keeps its own"
    );
}

#[test]
fn only_what_changed_is_selected() {
    let house = bakery();
    house.ok(&with_seeds(&["build"]));
    let state = house.path("before");
    copy(&house.path("target"), &state);
    let state = state.to_str().unwrap().to_owned();
    let selected = |words: &[&str]| -> Vec<String> {
        let words = [&["build", "--output", "json", "--state", &state, "--select"], words].concat();
        let report: serde_json::Value =
            serde_json::from_str(&house.ok(&with_seeds(&words))).unwrap();
        let models = report["models"].as_array().unwrap().iter();
        models.map(|model| model["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(selected(&["state:modified+"]), [""; 0]);
    house.write("models/staging/stg_guests.sql", "select id as guest_id, upper(name) as guest_name from {{ source('till', 'raw_guests') }}\n");
    assert_eq!(
        selected(&["state:modified+1"]),
        ["main.stg_guests", "main.guests_v1", "main.guests_v2"]
    );
    let complaint = house.fails(2, &with_seeds(&["build", "--select", "state:modified"]));
    assert!(complaint.contains("--state"), "{complaint}");
    let complaint = house.fails(2, &with_seeds(&["build", "--selector", "just_stagin"]));
    assert!(complaint.contains("just_staging"), "{complaint}");
    let complaint = house.fails(2, &["build", "--vars", "[1]"]);
    assert!(complaint.contains("--vars is not a mapping"), "{complaint}");
}

#[test]
fn a_command_of_dbts_is_answered_with_ours() {
    let house = bakery();
    for (word, ours) in [
        ("run", "flywheel build"),
        ("seed", "resource_type:seed"),
        ("docs", "flywheel serve"),
        ("deps", "dbt_packages"),
    ] {
        let complaint = house.fails(2, &[word]);
        assert!(complaint.contains("dbt's") && complaint.contains(ours), "{complaint}");
    }
    assert!(house.fails(2, &["docs", "generate"]).contains("flywheel serve"));
    let complaint = house.fails(2, &["metric", "run"]);
    assert!(!complaint.contains("dbt"), "it is none of dbt's: {complaint}");
    let complaint = house.fails(2, &["biuld"]);
    assert!(complaint.contains("build") && !complaint.contains("dbt"), "{complaint}");
    let complaint = house.fails(2, &with_seeds(&["build", "--target", "prd"]));
    assert!(complaint.contains("Did you mean \"prod\"?"), "{complaint}");
}

#[test]
fn seeds_that_are_loaded_once_stay_for_builds_without_them() {
    let house = bakery();
    let orders = "select count(*), sum(order_total) from main.orders";
    let first = house.fails(1, &["build"]);
    assert!(first.contains("raw.raw_orders"), "nothing is there before: {first}");
    seed_alone(&house);
    house.ok(&["build"]);
    assert_eq!(house.cell(orders), "5,60.15");
    let plan = |words: &[&str]| -> serde_json::Value {
        let words = [&["plan", "--output", "json"], words].concat();
        serde_json::from_str(&house.ok(&words)).unwrap()
    };
    assert_eq!(plan(&[])["models"].as_array().unwrap().len(), 0, "nothing is left to do");
    let report: serde_json::Value =
        serde_json::from_str(&house.ok(&["build", "--output", "json"])).unwrap();
    assert_eq!(report["removed"].as_array().unwrap().len(), 0, "seeds that are read stay");
    let unchanged = |model: &serde_json::Value| model["status"] == "unchanged";
    assert!(report["models"].as_array().unwrap().iter().all(unchanged), "{report:#}");
    assert_eq!(house.cell("select count(*) from raw.raw_orders"), "5");
    house.ok(&["source", "freshness"]);
    // New rows in the seeds are there when they are loaded again, and what reads them follows.
    let seed = "seeds/bakery-data/raw_orders.csv";
    house.write(seed, house.read(seed).replace("1250,88,1338", "1250,188,1438"));
    house.ok(&["build"]);
    assert_eq!(house.cell(orders), "5,60.15", "files of seeds are not read");
    house.ok(&with_seeds(&["build", "--select", "resource_type:seed"]));
    house.ok(&["build"]);
    assert_eq!(house.cell(orders), "5,61.15");
}

#[test]
fn freshness_of_a_source_is_a_command_with_an_exit_code() {
    let house = bakery();
    seed_alone(&house);
    let words = with_seeds(&["source", "freshness", "--output", "json"]);
    let told: serde_json::Value = serde_json::from_str(&house.ok(&words)).unwrap();
    let of = |table: &str| {
        let found = told.as_array().unwrap().iter().find(|row| row["table"] == table);
        found.map(|row| row["status"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("raw.raw_orders").as_deref(), Some("warn"), "orders of 2024 are old");
    assert_eq!(
        of("raw.raw_items").as_deref(),
        Some("pass"),
        "just written, and no column says more"
    );
    assert_eq!(of("raw.raw_bakeries"), None, "null takes back what the source says");
    house.write(
        "models/staging/__sources.yml",
        house.read("models/staging/__sources.yml").replace("count: 36500", "count: 1"),
    );
    house.fails(1, &with_seeds(&["source", "freshness", "--select", "source:till.raw_orders"]));
}

#[test]
fn a_project_asks_the_database_and_keeps_a_record_of_its_runs() {
    let house = House::new();
    std::fs::remove_file(house.path("flywheel.yaml")).unwrap();
    house.write(
        "dbt_project.yml",
        "name: kiosk
on-run-start: \"create table if not exists audit.runs (model varchar, n bigint)\"
on-run-end: \"{% for res in results if res.status == 'error' %}insert into audit.runs values ('failed {{ res.node.name }}', 0); {% endfor %}\"
models:
  +materialized: table
  +post-hook: \"insert into audit.runs select '{{ this.identifier }}', count(*) from {{ this }}\"
",
    );
    house.write("seeds/sales.csv", "day,kind,n\n1,tea,2\n1,pie,3\n2,tea,5\n");
    house.write("models/days.sql", "select day, sum(n) as n from {{ ref('sales') }} group by day");
    house.write(
        "models/wide.sql",
        "{%- set kinds = dbt_utils.get_column_values(ref('sales'), 'kind', order_by='kind') %}
select day, {{ dbt_utils.pivot('kind', kinds, then_value='n') }} from {{ ref('sales') }} group by day",
    );
    house.write(
        "models/latest.sql",
        "{%- call statement('last', fetch_result=True) -%}select max(day) from {{ ref('days') }}{%- endcall -%}
select {{ dbt_utils.star(ref('days')) }} from {{ ref('days') }}
{%- if execute %} where day = {{ load_result('last')['data'][0][0] }}{% endif %}",
    );
    house.ok(&["build"]);
    assert_eq!(house.sql("select day, pie, tea from main.wide order by day"), ["1,3,2", "2,0,5"]);
    assert_eq!(house.cell("select n from main.latest"), "5");
    let runs = "select model, n from audit.runs order by 1, 2";
    assert_eq!(house.sql(runs), ["days,2", "latest,1", "wide,2"]);
    house.ok(&["build"]);
    assert_eq!(house.sql(runs).len(), 3, "nothing was built again");

    house.write("seeds/sales.csv", "day,kind,n\n1,tea,2\n1,pie,3\n2,tea,5\n3,gum,1\n");
    house.write(
        "models/bad.sql",
        "{{ config(post_hook='delete from audit.nothing') }} select 1 as x",
    );
    let complaint = house.fails(1, &["build"]);
    assert!(complaint.contains("audit.nothing"), "{complaint}");
    assert_eq!(house.cell("select gum from main.wide where day = 3"), "1");
    assert_eq!(house.cell("select day from main.latest"), "3");
    assert_eq!(house.cell("select count(*) from audit.runs where model = 'failed bad'"), "1");
    house.fails(2, &["sql", "select * from main.bad"]);
}
