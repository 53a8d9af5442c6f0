//! Environments and plans by the binary: what is shown, applied, refused, promoted and taken back.

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
    assert_eq!(model(&plan_of(&house, &[]), "mart.orders")["impact"], "nothing");
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
    house.ok(&["environment", "create", "dev"]);
    house.ok(&["environment", "create", "dev"]);
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
        ["prod,,2,0", "dev,prod,2,1"]
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
    house.ok(&["environment", "drop", "dev"]);
    house.ok(&["environment", "rollback"]);
    assert_eq!(house.cell(total), "40");
    assert!(!house.ok(&["environment", "list"]).contains("dev"));
}
