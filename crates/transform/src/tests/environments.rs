//! Environments and dbt targets side by side, and what a plan says before anything is built.

use std::collections::BTreeMap;

use super::shop::Shop;
use crate::{BuildOptions, Change, Changes, Impact, ModelDiff, ModelStatus, changes, diff};

const ORDERS: &str = "{{ config(materialized='table') }}
select id, customer, amount from {{ source('raw', 'orders') }} where amount > 0";
const NAMES: &str =
    "{{ config(materialized='table') }} select id, customer from {{ ref('orders') }}";
const SUMS: &str = "{{ config(materialized='table') }}
select customer, sum(amount) as total, count(*) as n from {{ ref('orders') }} group by customer";

async fn shop() -> Shop {
    let shop = Shop::new(&[
        ("models/mart/orders.sql", ORDERS),
        ("models/mart/names.sql", NAMES),
        ("models/mart/sums.sql", SUMS),
    ])
    .await;
    shop.land("raw.orders", "id, customer, amount", "(1, 'a', 10), (2, 'b', 5)").await;
    shop.build().await;
    shop
}

async fn plan(shop: &Shop) -> Changes {
    changes(shop.world(), BuildOptions::default()).await.unwrap()
}

/// `name: change impact columns`, one text for each model.
async fn told(shop: &Shop) -> Vec<String> {
    let plan = plan(shop).await;
    let text = |model: &crate::ModelChange| {
        let all = [
            (&model.columns_added, "+"),
            (&model.columns_removed, "-"),
            (&model.columns_changed, "~"),
        ];
        let columns: Vec<String> = all
            .iter()
            .flat_map(|(names, sign)| names.iter().map(move |name| format!(" {sign}{name}")))
            .collect();
        let rows = if model.rows_changed { " rows" } else { "" };
        format!(
            "{}: {} {}{rows}{}",
            model.name,
            model.change.name(),
            model.impact.name(),
            columns.concat()
        )
    };
    plan.models.iter().map(text).collect()
}

#[tokio::test]
async fn a_plan_tells_whom_a_change_reaches_by_the_columns_they_read() {
    let mut shop = shop().await;
    assert_eq!(told(&shop).await, [""; 0]);
    shop.edit("models/mart/orders.sql", &ORDERS.replace("id, customer", "customer, id"));
    let reordered = told(&shop).await;
    assert_eq!(reordered[0], "mart.orders: modified nothing");
    assert!(
        reordered.contains(&"mart.sums: indirect nothing".to_owned()),
        "it is built again, on the new table: {reordered:?}"
    );
    shop.edit("models/mart/orders.sql", &format!("-- said otherwise\n{ORDERS}"));
    assert_eq!(told(&shop).await, [""; 0], "a comment changes nothing");
    shop.edit("models/mart/orders.sql", &ORDERS.replace("amount from", "amount, 1 as one from"));
    assert_eq!(told(&shop).await[0], "mart.orders: modified non-breaking +one");
    shop.edit(
        "models/mart/orders.sql",
        &ORDERS.replace("amount from", "amount + 1 as amount from"),
    );
    let reached = told(&shop).await;
    assert_eq!(reached[0], "mart.orders: modified breaking ~amount");
    assert!(reached.contains(&"mart.sums: indirect breaking ~total".to_owned()), "{reached:?}");
    assert!(
        !reached.iter().any(|text| text.starts_with("mart.names: indirect breaking")),
        "{reached:?}"
    );
    shop.edit("models/mart/orders.sql", &ORDERS.replace("> 0", "> 7"));
    let reached = told(&shop).await;
    assert!(reached[0].starts_with("mart.orders: modified breaking rows"), "{reached:?}");
    assert!(
        reached.iter().any(|text| text.starts_with("mart.names: indirect breaking rows")),
        "{reached:?}"
    );
    shop.edit("models/mart/orders.sql", &ORDERS.replace(", amount from", " from"));
    let plan = plan(&shop).await;
    assert!(plan.breaks().iter().any(|text| text.contains("mart.sums")), "{:?}", plan.breaks());
    shop.edit("models/mart/orders.sql", ORDERS);
    shop.remove("models/mart/names.sql");
    assert_eq!(told(&shop).await, ["mart.names: removed breaking rows"]);
}

#[tokio::test]
async fn two_environments_share_what_is_alike_and_are_built_apart() {
    let mut shop = shop().await;
    let now = shop.world().now;
    assert!(shop.store.create_environment("dev", "prod", now).unwrap());
    let path = shop.dir.path().join("meta.db");
    let open =
        |name: &str| flywheel_state::Store::open(&path).unwrap().in_environment(name).unwrap();
    shop.store = open("dev");
    assert!(shop.built().await.is_empty(), "a new environment has nothing to build");
    shop.edit("models/mart/sums.sql", &SUMS.replace("sum(amount)", "max(amount)"));
    assert_eq!(shop.built().await, ["mart.sums"]);
    shop.remove("models/mart/names.sql");
    shop.build().await;
    let in_dev = shop.location_of("mart.orders");
    shop.store = open("prod");
    assert_eq!(shop.location_of("mart.orders"), in_dev);
    assert_eq!(shop.read("select count(*) from mart.names").await, ["2"], "prod keeps its own");
    shop.store.promote("dev", "prod", now).unwrap().unwrap();
    let report = shop.build().await;
    assert!(report.models.iter().all(|model| model.status == ModelStatus::Unchanged), "{report:?}");
    shop.store.roll_back("prod", now).unwrap().unwrap();
    assert_eq!(shop.read("select count(*) from mart.names").await, ["2"]);
    let plan = plan(&shop).await;
    let sums = plan.models.iter().find(|model| model.name == "mart.sums").unwrap();
    assert_eq!((sums.change, sums.impact), (Change::Modified, Impact::Breaking));
}

const REVENUE: &str = "semantic: orders
table: ref('orders')
entities: {order: {type: primary, key: id}}
measures: {amount: {aggregate: sum}}
metrics: {revenue: {measure: amount}, orders_placed: {measure: placed}}
";

fn metric() -> String {
    REVENUE.replace(
        "measures: {amount: {aggregate: sum}}",
        "measures: {amount: {aggregate: sum}, placed: {aggregate: count}}",
    )
}

#[tokio::test]
async fn a_model_that_would_break_its_readers_is_not_published() {
    let mut shop = shop().await;
    shop.remove("models/mart/sums.sql");
    shop.edit("metrics/orders.yaml", &metric());
    shop.build().await;
    shop.edit("models/mart/orders.sql", &ORDERS.replace(", amount from", " from"));
    let planned = plan(&shop).await;
    let broken: Vec<&str> = planned
        .dependents
        .iter()
        .filter(|t| t.breaks.is_some())
        .map(|t| t.node.name.as_str())
        .collect();
    assert_eq!(broken, ["revenue"], "what only counts rows goes on: {:?}", planned.dependents);
    let report = shop.build().await;
    let error = super::shop::error_of(&report, "mart.orders");
    assert!(error.contains("metric \"revenue\"") && error.contains("amount"), "{error}");
    assert!(!report.passed());
    assert_eq!(shop.read("select sum(amount) from mart.orders").await, ["15"]);
    // Both changed together is what the hint says.
    shop.edit(
        "metrics/orders.yaml",
        &metric()
            .replace("revenue: {measure: amount}, ", "")
            .replace("amount: {aggregate: sum}, ", ""),
    );
    assert!(shop.build().await.passed());
    assert_eq!(shop.read("select count(*) from mart.orders").await, ["2"]);
}

fn numbers(diff: &ModelDiff) -> (Option<u64>, Option<u64>, u64, u64, u64) {
    (diff.rows_before, diff.rows_after, diff.added, diff.removed, diff.changed)
}

async fn compared(shop: &Shop) -> Vec<ModelDiff> {
    let plan = plan(shop).await;
    diff(shop.world(), &plan, BuildOptions::default(), 2).await.unwrap()
}

#[tokio::test]
async fn rows_are_compared_with_production_by_key_before_anything_is_built() {
    let mut shop = shop().await;
    shop.edit(
        "models/mart/orders.yml",
        "models: [{name: orders, columns: [{name: id, tests: [unique]}]}, {name: sums, columns: [{name: customer, tests: [unique]}]}]",
    );
    assert!(shop.build().await.passed());
    assert_eq!(compared(&shop).await.len(), 0, "nothing changes");
    shop.edit(
        "models/mart/orders.sql",
        "{{ config(materialized='table') }}
        select id, customer, case when id = 1 then amount * 2 else amount end as amount from {{ source('raw', 'orders') }}
        where id <> 2 union all select 3, 'c', 7",
    );
    let all = compared(&shop).await;
    let orders = all.iter().find(|diff| diff.name == "mart.orders").unwrap();
    assert_eq!(numbers(orders), (Some(2), Some(2), 1, 1, 1), "{orders:?}");
    assert_eq!(orders.key, ["id"]);
    let columns: Vec<(&str, u64)> =
        orders.columns.iter().map(|column| (column.column.as_str(), column.changed)).collect();
    assert_eq!(columns, [("amount", 1)]);
    let samples: Vec<String> = orders
        .samples
        .iter()
        .map(|sample| {
            let values = sample.values.iter().map(|value| {
                let text = |value: &Option<String>| value.clone().unwrap_or_default();
                format!("{}:{}>{}", value.column, text(&value.before), text(&value.after))
            });
            format!(
                "{} {} {}",
                sample.change.name(),
                sample.key.join(","),
                values.collect::<Vec<_>>().join(" ")
            )
        })
        .collect();
    assert_eq!(
        samples,
        [
            "added 3 customer:>c amount:>7",
            "removed 2 customer:b> amount:5>",
            "changed 1 amount:10>20"
        ]
    );
    // What reads it is compared over what it would be.
    let sums = all.iter().find(|diff| diff.name == "mart.sums").unwrap();
    assert_eq!(numbers(sums), (Some(2), Some(2), 1, 1, 1), "{sums:?}");
    assert_eq!(shop.read("select sum(amount) from mart.orders").await, ["15"], "nothing was built");
}

#[tokio::test]
async fn without_a_key_whole_rows_are_compared_and_duplicates_are_told() {
    let mut shop = shop().await;
    shop.edit("models/mart/names.sql", &NAMES.replace("id, customer", "customer, 1 as one"));
    shop.build().await;
    shop.edit(
        "models/mart/names.sql",
        "{{ config(materialized='table') }} select customer, 1 as one from {{ ref('orders') }}
         union all select 'a', 1 union all select 'z', 1",
    );
    let all = compared(&shop).await;
    assert_eq!(numbers(&all[0]), (Some(2), Some(4), 2, 0, 0), "{all:?}");
    shop.edit(
        "models/mart/names.yml",
        "models: [{name: names, columns: [{name: customer, tests: [unique]}]}]",
    );
    let all = compared(&shop).await;
    assert_eq!(numbers(&all[0]), (Some(2), Some(4), 2, 0, 0), "{all:?}");
    assert!(
        all[0].note.as_ref().unwrap().contains("several rows have the same customer"),
        "{all:?}"
    );
    shop.remove("models/mart/sums.sql");
    let all = compared(&shop).await;
    let gone = all.iter().find(|diff| diff.name == "mart.sums").unwrap();
    assert_eq!(numbers(gone), (Some(2), None, 0, 2, 0));
}

#[tokio::test]
async fn what_an_environment_has_built_is_compared_as_it_lies_there() {
    let mut shop = shop().await;
    let now = shop.world().now;
    shop.store.create_environment("dev", "prod", now).unwrap();
    let path = shop.dir.path().join("meta.db");
    shop.store = flywheel_state::Store::open(&path).unwrap().in_environment("dev").unwrap();
    shop.edit("models/mart/sums.sql", &SUMS.replace("sum(amount)", "sum(amount) + 1"));
    shop.build().await;
    let planned = plan(&shop).await;
    assert!(planned.models.is_empty(), "{:?}", planned.models);
    let all = diff(shop.world(), &planned, BuildOptions::default(), 0).await.unwrap();
    assert_eq!(all.iter().map(|diff| diff.name.as_str()).collect::<Vec<_>>(), ["mart.sums"]);
    assert_eq!(numbers(&all[0]), (Some(2), Some(2), 2, 2, 0), "it has no key");
}

#[tokio::test]
async fn models_that_are_not_built_here_are_taken_from_production() {
    let shared = BTreeMap::new();
    let mut shop = shop().await;
    let now = shop.world().now;
    shop.store.create_environment("dev", "prod", now).unwrap();
    // Production gets a table and a view over it that the environment does not know.
    shop.edit("models/mart/fresh.sql", "{{ config(materialized='table') }} select 7 as x");
    shop.edit("models/mart/seen.sql", "select x * 2 as x from {{ ref('fresh') }}");
    shop.build().await;
    let path = shop.dir.path().join("meta.db");
    shop.store = flywheel_state::Store::open(&path).unwrap().in_environment("dev").unwrap();
    shop.edit("models/mart/mine.sql", "select x + 1 as x from {{ ref('seen') }}");
    let select = ["mine".to_owned()];
    let options = BuildOptions { select: &select, ..BuildOptions::default() };
    let report = shop.build_with(options).await;
    let error = super::shop::error_of(&report, "mart.mine");
    assert!(error.contains("mart.seen") && error.contains("not been built"), "{error}");
    let report = shop.build_with(BuildOptions { defer: Some(&shared), ..options }).await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(report.published, ["mart.mine"], "what is deferred is not built");
    assert_eq!(shop.read("select x from mart.mine").await, ["15"]);
    let fresh = shop.location_of("mart.fresh");
    shop.store = flywheel_state::Store::open(&path).unwrap();
    assert_eq!(shop.location_of("mart.fresh"), fresh, "it is the same table");
}
