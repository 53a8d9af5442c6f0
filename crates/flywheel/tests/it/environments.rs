//! Environments and plans by the binary: what is shown, applied, refused, promoted and taken back.

use std::process::Stdio;

use serde_json::Value;

use crate::house::House;

const ORDERS: &str = "{{ config(materialized='table') }} select id, customer, amount from {{ source('raw', 'orders') }}";
const TOTALS: &str = "{{ config(materialized='table') }} select customer, sum(amount) as total from {{ ref('orders') }} group by customer";

fn shop() -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: files\nstreams:\n  - {stream: orders, options: {path: orders.csv}}\n",
    );
    house.write("data/orders.csv", "id,customer,amount,at\n1,a,10,2024-05-01\n2,b,30,2024-05-01\n");
    house.write("models/mart/orders.sql", ORDERS);
    house.write("models/mart/totals.sql", TOTALS);
    house.write(
        "metrics/orders.yaml",
        "semantic: orders\ntable: ref('orders')\nentities: {order: {type: primary, key: id}}\n\
         measures: {amount: {aggregate: sum}}\nmetrics: {revenue: {measure: amount}}\n",
    );
    house.write(
        "actions/send.yaml",
        "action: send\ntype: file\noptions: {path: 'out/{policy}.jsonl'}\n",
    );
    house.write(
        "policies/offer.yaml",
        "policy: offer\naudience: select customer as unit_id from {{ ref('totals') }} where total > 5\n\
         choose: {candidates: [{name: discount}]}\naction: send\npayload: {customer: $unit_id}\noutcome:\n  \
         events: select cast(id as varchar) as event_id, customer as unit_id, cast(at as timestamp) as at, 1.0 as value from {{ source('raw', 'orders') }}\n  \
         window: 3d\nholdout: 10%\n",
    );
    house.ok(&["sync"]);
    house.ok(&["build"]);
    house
}

fn plan_of(house: &House, arguments: &[&str]) -> Value {
    let output = house.run(&[&["plan", "--output", "json"], arguments].concat());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn model<'a>(plan: &'a Value, name: &str) -> &'a Value {
    plan["models"].as_array().unwrap().iter().find(|model| model["name"] == name).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn digest(plan: &Value) -> String {
    plan["digest"].as_str().unwrap().to_owned()
}

#[test]
fn a_plan_is_applied_as_it_was_shown_or_refused_with_reasons() {
    let house = shop();
    let nothing = plan_of(&house, &[]);
    assert_eq!((&nothing["models"], &nothing["unchanged"]), (&serde_json::json!([]), &2.into()));
    house.write("models/mart/orders.sql", ORDERS.replace("amount from", "amount, at from"));
    let plan = plan_of(&house, &[]);
    let orders = model(&plan, "mart.orders");
    assert_eq!(
        (&orders["change"], &orders["impact"], &orders["columns_added"]),
        (&"modified".into(), &"non-breaking".into(), &serde_json::json!(["at"]))
    );
    assert_eq!(model(&plan, "mart.totals")["impact"], "nothing");
    house.write(
        "models/mart/orders.sql",
        ORDERS.replace("amount from", "amount * 2 as amount from"),
    );
    let complaint = house.fails(3, &["apply", &digest(&plan)]);
    assert!(complaint.contains("no longer") && complaint.contains("mart.orders"), "{complaint}");
    let plan = plan_of(&house, &[]);
    let (orders, totals) = (model(&plan, "mart.orders"), model(&plan, "mart.totals"));
    assert_eq!((&orders["impact"], &orders["rows_changed"]), (&"breaking".into(), &false.into()));
    assert_eq!(orders["columns_changed"], serde_json::json!(["amount"]));
    assert_eq!(
        (&totals["change"], &totals["columns_changed"]),
        (&"indirect".into(), &serde_json::json!(["total"]))
    );
    assert_eq!(totals["through"], serde_json::json!(["mart.orders.amount"]));
    let kinds = |kind: &str| {
        plan["dependents"].as_array().unwrap().iter().any(|touched| touched["node"]["kind"] == kind)
    };
    assert!(kinds("metric") && kinds("policy") && kinds("action"), "{plan}");
    house.ok(&["apply", &digest(&plan)]);
    assert_eq!(house.cell("select sum(total) from mart.totals"), "80");
    let complaint = house.fails(3, &["apply", &digest(&plan)]);
    assert!(complaint.contains("no longer"), "a plan is applied once: {complaint}");
    house.fails(2, &["apply", "0123456789abcdef"]);
    house.fails(2, &["apply", "../../x"]);
    house.write(
        "models/mart/orders.sql",
        format!("-- said otherwise\n{}", house.read("models/mart/orders.sql")),
    );
    assert_eq!(plan_of(&house, &[])["models"], serde_json::json!([]), "a comment builds nothing");
}

#[test]
fn new_rows_are_told_apart_from_new_queries() {
    let house = shop();
    let before = digest(&plan_of(&house, &[]));
    house.write("data/orders.csv", "id,customer,amount,at\n1,a,11,2024-05-01\n");
    house.ok(&["sync"]);
    let plan = plan_of(&house, &[]);
    assert_eq!(model(&plan, "mart.orders")["change"], "new-data");
    assert_eq!(model(&plan, "mart.totals")["change"], "new-data", "it is built again, too");
    assert_ne!(digest(&plan), before);
    house.ok(&["apply", &digest(&plan)]);
    assert_eq!(house.cell("select total from mart.totals"), "11");
}

#[test]
fn a_table_that_the_lake_lost_costs_nobody_the_others_and_is_built_anew() {
    let house = shop();
    std::fs::remove_dir_all(house.path(".flywheel/lake/mart/orders")).unwrap();
    assert_eq!(house.cell("select sum(total) from mart.totals"), "40");
    let lost = "select name from system.tables where location is not null and version is null";
    assert_eq!(house.sql(lost), ["mart.orders"]);
    let complaint = house.fails(2, &["sql", "select count(*) from mart.orders"]);
    assert!(complaint.contains("mart/orders"), "{complaint}");
    let plan = plan_of(&house, &[]);
    assert_eq!(model(&plan, "mart.orders")["change"], "added");
    house.ok(&["apply", &digest(&plan)]);
    assert_eq!(house.cell("select sum(amount) from mart.orders"), "40");
    assert_eq!(house.sql(lost), [""; 0]);
}

#[test]
fn a_column_dropped_upstream_names_what_breaks_and_readers_keep_the_last_good_version() {
    let house = shop();
    house.write("models/mart/orders.sql", ORDERS.replace(", amount", ""));
    let told = house.run(&["plan"]);
    let told = crate::house::text(&told.stdout) + &crate::house::text(&told.stderr);
    for word in ["metric \"revenue\"", "policy \"offer\"", "model mart.totals", "cannot be applied"]
    {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert_eq!(house.run(&["plan"]).status.code(), Some(3));
    let plan = plan_of(&house, &[]);
    assert_eq!(model(&plan, "mart.orders")["columns_removed"], serde_json::json!(["amount"]));
    let metric = plan["dependents"]
        .as_array()
        .unwrap()
        .iter()
        .find(|t| t["node"]["name"] == "revenue")
        .unwrap();
    let place = metric["breaks"].as_str().unwrap();
    assert!(place.contains("metrics/orders.yaml:") && place.contains("amount"), "{place}");
    let complaint = house.fails(3, &["apply", &digest(&plan)]);
    assert!(complaint.contains("breaks") && complaint.contains("offer"), "{complaint}");
    assert_eq!(house.cell("select sum(amount) from mart.orders"), "40");
    assert_eq!(house.cell("select sum(total) from mart.totals"), "40");
    house.fails(3, &["turn"]);
    assert_eq!(house.cell("select sum(total) from mart.totals"), "40");
}

#[test]
fn an_environment_costs_nothing_and_is_promoted_and_taken_back_in_one_step() {
    let house = shop();
    let complaint = house.fails(2, &["build", "--environment", "dev"]);
    assert!(complaint.contains("environment create dev"), "{complaint}");
    let create = || house.ok(&["environment", "create", "dev", "--output", "json"]);
    assert_eq!(json(&create()), serde_json::json!({"environment": "dev", "created": true}));
    assert_eq!(json(&create()), serde_json::json!({"environment": "dev", "created": false}));
    let built: Value =
        serde_json::from_str(&house.ok(&["build", "--environment", "dev", "--output", "json"]))
            .unwrap();
    assert!(built["models"].as_array().unwrap().iter().all(|model| model["status"] == "unchanged"));
    house.write(
        "models/mart/orders.sql",
        ORDERS.replace("amount from", "amount * 3 as amount from"),
    );
    let plan = plan_of(&house, &["--environment", "dev"]);
    let complaint = house.fails(3, &["apply", &digest(&plan)]);
    assert!(complaint.contains("--environment dev"), "{complaint}");
    house.ok(&["apply", &digest(&plan), "--environment", "dev"]);
    let total = "select sum(total) from mart.totals";
    let in_dev = || house.ok(&["sql", total, "--environment", "dev", "--output", "csv"]);
    assert_eq!(in_dev().lines().last(), Some("120"));
    assert_eq!(house.cell(total), "40", "production is as it was");
    assert_eq!(
        house.sql("select environment, made_from, models, differing from system.environments"),
        ["prod,,2,0", "dev,prod,2,2"],
        "totals was built from the other orders"
    );
    house.fails(2, &["sql", "delete from raw.orders", "--environment", "dev"]);

    house.ok(&["environment", "promote", "dev"]);
    assert_eq!(house.cell(total), "120");
    let again = house.run(&["environment", "promote", "dev"]);
    assert!(crate::house::text(&again.stderr).contains("already"));
    let unchanged: Value = serde_json::from_str(&house.ok(&["build", "--output", "json"])).unwrap();
    assert!(
        unchanged["models"].as_array().unwrap().iter().all(|model| model["status"] == "unchanged"),
        "what was promoted is not built again: {unchanged}"
    );
    let dropped = house.ok(&["environment", "drop", "dev", "--output", "json"]);
    assert_eq!(json(&dropped), serde_json::json!({"environment": "dev", "dropped": true}));
    house.ok(&["environment", "rollback"]);
    assert_eq!(house.cell(total), "40");
    assert!(!house.ok(&["environment", "list"]).contains("dev"));
}

#[test]
fn models_that_were_built_together_are_promoted_together() {
    let house = shop();
    house.ok(&["environment", "create", "dev"]);
    house.write(
        "models/mart/orders.sql",
        ORDERS.replace("amount from", "amount * 3 as amount from"),
    );
    house.ok(&["build", "--environment", "dev"]);
    // Production goes on with the query of before, and has the newer totals.
    house.write("models/mart/orders.sql", ORDERS);
    house.write("data/orders.csv", "id,customer,amount,at\n1,a,10,2024-05-01\n3,b,1,2024-05-02\n");
    house.ok(&["sync"]);
    house.ok(&["build"]);
    let (sums, totals) =
        ("select sum(amount) from mart.orders", "select sum(total) from mart.totals");
    assert_eq!(house.cell(sums), house.cell(totals));
    let done = json(&house.ok(&["environment", "promote", "dev", "--output", "json"]));
    assert_eq!(done["moved"], serde_json::json!(["mart.orders", "mart.totals"]));
    assert_eq!(done["stale"], serde_json::json!([]));
    assert_eq!((house.cell(sums), house.cell(totals)), ("120".to_owned(), "120".to_owned()));
    house.ok(&["environment", "rollback"]);
    assert_eq!(house.cell(sums), house.cell(totals));
    house.ok(&["build"]);
    assert_eq!(house.cell(sums), house.cell(totals));
}

#[test]
fn two_applies_of_one_plan_at_once_end_in_one_refusal() {
    let house = shop();
    house.write(
        "models/mart/orders.sql",
        ORDERS.replace("amount from", "amount * 2 as amount from"),
    );
    let plan = digest(&plan_of(&house, &[]));
    let start = || {
        let mut command = crate::house::binary();
        command.arg("-C").arg(house.dir()).args(["apply", &plan]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [start(), start()].map(|child| child.wait_with_output().unwrap());
    let (done, refused): (Vec<_>, Vec<_>) = both.iter().partition(|output| output.status.success());
    assert_eq!((done.len(), refused.len()), (1, 1), "{both:?}");
    let complaint = crate::house::text(&refused[0].stderr);
    assert!(
        complaint.contains("no longer") || complaint.contains("another flywheel"),
        "{complaint}"
    );
    assert_eq!(house.cell("select sum(total) from mart.totals"), "80", "it was built once");
}

#[test]
fn a_build_that_would_break_a_metric_or_a_policy_is_blocked() {
    let house = shop();
    // Nothing but the metric reads the column: every model could be built.
    house.write("models/mart/orders.sql", ORDERS.replace(", amount", ""));
    house.write(
        "models/mart/totals.sql",
        "{{ config(materialized='table') }} select customer, 9 as total from {{ ref('orders') }}",
    );
    let plan = plan_of(&house, &[]);
    let broken: Vec<&str> = plan["dependents"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|touched| !touched["breaks"].is_null())
        .map(|touched| touched["node"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(broken, ["revenue"], "{plan}");
    let complaint = house.fails(3, &["build"]);
    assert!(
        complaint.contains("metric \"revenue\"") && complaint.contains("amount"),
        "{complaint}"
    );
    assert_eq!(house.cell("select sum(amount) from mart.orders"), "40");
    let answer = house.ok(&["metric", "query", "revenue", "--output", "csv"]);
    assert_eq!(answer.lines().last(), Some("40"));
    // A policy whose payload names a column that its audience no longer has.
    house.write("models/mart/orders.sql", ORDERS);
    house.write(
        "models/mart/totals.sql",
        "{{ config(materialized='table') }} select customer as who, 9 as total from {{ ref('orders') }}",
    );
    let complaint = house.fails(3, &["build"]);
    assert!(
        complaint.contains("policy \"offer\"") && complaint.contains("customer"),
        "{complaint}"
    );
}

#[test]
fn rows_that_would_differ_are_counted_and_shown() {
    let house = shop();
    house.write(
        "models/mart/orders.sql",
        ORDERS.replace(
            "amount from",
            "case when id = 2 then amount + 1 else amount end as amount from",
        ),
    );
    let plan = plan_of(&house, &["--diff"]);
    let orders =
        plan["diff"].as_array().unwrap().iter().find(|d| d["name"] == "mart.orders").unwrap();
    assert_eq!(
        (&orders["key"], &orders["added"], &orders["removed"], &orders["changed"]),
        (&serde_json::json!(["id"]), &0.into(), &0.into(), &1.into())
    );
    assert_eq!(orders["columns"], serde_json::json!([{"column": "amount", "changed": 1}]));
    let told = house.run(&["plan", "--diff"]);
    let told = crate::house::text(&told.stdout) + &crate::house::text(&told.stderr);
    assert!(told.contains("mart.orders changed 2: amount 30 -> 31"), "{told}");
    house.fails(2, &["plan", "--diff", "--samples", "51"]);
    house.fails(2, &["plan", "--samples", "3"]);
    assert_eq!(house.cell("select sum(amount) from mart.orders"), "40", "nothing was built");
}

#[test]
fn tables_that_no_environment_names_are_removed_and_no_others() {
    let house = shop();
    let variants = || {
        let folder = house.dir().join(".flywheel/lake/mart/orders");
        std::fs::read_dir(folder).unwrap().count()
    };
    assert_eq!(variants(), 1);
    for factor in 2..4 {
        house.write(
            "models/mart/orders.sql",
            ORDERS.replace("amount from", &format!("amount * {factor} as amount from")),
        );
        house.ok(&["build"]);
    }
    assert_eq!(variants(), 3, "a week has not passed");
    house.ok(&["environment", "create", "keep"]);
    house.write("models/mart/orders.sql", ORDERS);
    house.ok(&["build"]);
    let gone: Value = serde_json::from_str(&house.ok(&[
        "environment",
        "clean",
        "--days",
        "0",
        "--output",
        "json",
    ]))
    .unwrap();
    let gone: Vec<&str> =
        gone.as_array().unwrap().iter().map(|one| one["location"].as_str().unwrap()).collect();
    assert_eq!(variants(), 2, "one for each of two environments: {gone:?}");
    assert!(gone.iter().all(|one| one.starts_with("mart/")), "{gone:?}");
    let in_keep = house.ok(&[
        "sql",
        "select sum(amount) from mart.orders",
        "--environment",
        "keep",
        "--output",
        "csv",
    ]);
    assert_eq!(in_keep.lines().last(), Some("120"));
    assert_eq!(house.cell("select sum(amount) from mart.orders"), "40");
    house.ok(&["environment", "drop", "keep"]);
    house.ok(&["environment", "clean", "--days", "0"]);
    assert_eq!(variants(), 1);
    assert_eq!(house.ok(&["environment", "clean", "--days", "0", "--output", "json"]).trim(), "[]");
}

#[test]
fn an_interval_is_built_again_by_its_dates() {
    let house = shop();
    let facts = "{{ config(materialized='incremental', incremental_strategy='microbatch', event_time='at', batch_size='day', \
        begin='2024-04-30') }} select id, amount, cast(at as timestamp) as at from {{ source('raw', 'orders') }}";
    house.write("models/mart/facts.sql", facts);
    house.ok(&["build"]);
    let missing =
        "select count(*) from system.intervals where model = 'mart.facts' and status = 'missing'";
    assert_eq!(house.cell(missing), "0");
    house.write("data/orders.csv", "id,customer,amount,at\n1,a,11,2024-05-01\n2,b,30,2024-05-01\n");
    house.ok(&["sync"]);
    let total = "select sum(amount) from mart.facts";
    house.ok(&["build"]);
    assert_eq!(house.cell(total), "40", "what is long over is not looked at again");
    house.ok(&["build", "--select", "facts", "--from", "2024-05-01", "--to", "2024-05-02"]);
    assert_eq!(house.cell(total), "41");
    let spans = house.sql("select status, cast(from_at as date), cast(to_at as date) from system.intervals where from_at = '2024-05-01'");
    assert_eq!(spans, ["built,2024-05-01,2024-05-02"]);
    let complaint = house
        .fails(2, &["build", "--select", "orders", "--from", "2024-05-01", "--to", "2024-05-02"]);
    assert!(complaint.contains("event_time"), "{complaint}");
    house.fails(2, &["build", "--from", "2024-05-02", "--to", "2024-05-01"]);
    house.fails(2, &["build", "--from", "2024-05-02"]);
    house.fails(2, &["build", "--from", "soon", "--to", "2024-05-01"]);
}

#[test]
fn a_part_of_a_dbt_project_is_built_on_another_targets_tables() {
    let house = House::new();
    std::fs::remove_file(house.path("flywheel.yaml")).unwrap();
    house.write("dbt_project.yml", "name: shop\nprofile: shop\n");
    house.write(
        "profiles.yml",
        "shop:\n  target: dev\n  outputs:\n    dev: {type: duckdb, schema: dev}\n    prod: {type: duckdb, schema: main_prod}\n",
    );
    house.write("models/a.sql", "{{ config(materialized='table') }} select 20 as x");
    house.write("models/b.sql", "select x + 1 as x from {{ ref('a') }}");
    house.write("models/c.sql", "select x * 2 as x from {{ ref('b') }}");
    house.ok(&["build", "--target", "prod"]);
    std::fs::rename(house.path("target"), house.path("prod-artifacts")).unwrap();
    let alone = house.fails(1, &["build", "--select", "c"]);
    assert!(alone.contains("has not been built"), "{alone}");
    let state = house.path("prod-artifacts");
    let state = state.to_str().unwrap();
    house.ok(&["build", "--select", "c", "--defer", "--state", state]);
    assert_eq!(house.cell("select x from dev.c"), "42");
    assert_eq!(house.cell("select x from main_prod.c"), "42", "production keeps its own");
    house.write("models/a.sql", "{{ config(materialized='table') }} select 30 as x");
    house.ok(&["build", "--target", "prod"]);
    house.write("models/c.sql", "select x * 3 as x from {{ ref('b') }}");
    house.ok(&["build", "--select", "c", "--defer", "--state", state]);
    assert_eq!(house.cell("select x from dev.c"), "93", "production's newest is read");
    let gone = house.fails(2, &["build", "--select", "c", "--defer", "--state", "nowhere"]);
    assert!(gone.contains("manifest.json"), "{gone}");
}
