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
    plan_of(shop, &[]).await
}

async fn plan_of(shop: &Shop, select: &[&str]) -> Changes {
    let select: Vec<String> = select.iter().map(|name| (*name).to_owned()).collect();
    let options = BuildOptions { select: &select, ..BuildOptions::default() };
    changes(shop.world(), options).await.unwrap()
}

/// `name: change impact columns`, one text for each model.
async fn told(shop: &Shop) -> Vec<String> {
    texts(&plan(shop).await)
}

fn texts(plan: &Changes) -> Vec<String> {
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
async fn other_rows_of_a_seed_reach_what_reads_it() {
    let mut shop = Shop::new(&[
        ("seeds/codes.csv", "code,n\na,1\nb,2\n"),
        (
            "models/mart/total.sql",
            "{{ config(materialized='table') }} select sum(n) as n from {{ ref('codes') }}",
        ),
        (
            "metrics/codes.yaml",
            "semantic: codes\ntable: ref('codes')\nentities: {code: {type: primary, key: code}}\nmeasures: {n: {aggregate: sum}}\nmetrics: {all_n: {measure: n}}\n",
        ),
    ])
    .await;
    assert!(shop.build().await.passed());
    assert_eq!(told(&shop).await, [""; 0]);
    shop.edit("seeds/codes.csv", "code,n\na,1\nb,5\nc,7\n");
    let planned = plan(&shop).await;
    assert_eq!(
        texts(&planned),
        ["seeds.codes: modified breaking rows ~code ~n", "mart.total: indirect breaking rows ~n"]
    );
    let metric = planned.dependents.iter().find(|touched| touched.node.name == "all_n");
    assert!(metric.is_some(), "{:?}", planned.dependents);
    let all = diff(shop.world(), &planned, BuildOptions::default(), 0).await.unwrap();
    let found = |name: &str| all.iter().find(|diff| diff.name == name).unwrap();
    assert_eq!(numbers(found("seeds.codes")), (Some(2), Some(3), 1, 0, 1), "{all:?}");
    assert_eq!(numbers(found("mart.total")), (Some(1), Some(1), 1, 1, 0), "{all:?}");
    // A column that comes is told beside the rows.
    shop.edit("seeds/codes.csv", "code,n,m\na,1,1\nb,2,1\n");
    assert_eq!(told(&shop).await[0], "seeds.codes: modified breaking rows +m ~code ~n");
}

#[tokio::test]
async fn a_model_that_is_not_selected_is_what_it_is_and_not_what_its_file_says() {
    let mut shop = shop().await;
    // The column goes in a file that is not built now, and what reads it is built as it can be.
    shop.edit("models/mart/orders.sql", &ORDERS.replace(", amount from", " from"));
    shop.edit("models/mart/sums.sql", &SUMS.replace("sum(amount)", "sum(amount) * 2"));
    let plan = plan_of(&shop, &["sums"]).await;
    assert_eq!(texts(&plan), ["mart.sums: modified breaking ~total"]);
    assert_eq!(plan.breaks(), [""; 0]);
    assert!(shop.build_selected("sums").await.passed(), "it is as the plan said");
    // The other way round: tables below stay, and nothing about them fails.
    shop.edit(
        "models/mart/last.sql",
        "{{ config(materialized='table') }} select total from {{ ref('sums') }}",
    );
    shop.build_selected("last").await;
    shop.edit("metrics/sums.yaml", "semantic: sums\ntable: ref('sums')\nentities: {customer: {type: primary, key: customer}}\nmeasures: {total: {aggregate: sum}}\nmetrics: {all_sums: {measure: total}}\n");
    let plan = plan_of(&shop, &["orders", "last"]).await;
    assert_eq!(
        texts(&plan),
        [
            "mart.orders: modified breaking -amount",
            "mart.names: indirect nothing",
            "mart.sums: indirect breaking rows",
        ]
    );
    assert_eq!(plan.breaks(), [""; 0], "the table stays");
    assert!(plan.dependents.is_empty(), "{:?}", plan.dependents);
    // What was never built cannot be read.
    shop.edit("models/mart/new.sql", "{{ config(materialized='table') }} select 1 as x");
    shop.edit(
        "models/mart/reads.sql",
        "{{ config(materialized='table') }} select x from {{ ref('new') }}",
    );
    let breaks = plan_of(&shop, &["reads"]).await.breaks();
    assert_eq!(breaks, ["model mart.reads: it reads \"mart.new\", which has not been built"]);
}

#[tokio::test]
async fn a_plan_tells_of_a_table_that_the_lake_has_lost() {
    let shop = shop().await;
    let folder = shop.dir.path().join("lake").join(shop.location_of("mart.orders").as_str());
    std::fs::remove_dir_all(folder).unwrap();
    assert_eq!(
        told(&shop).await,
        [
            "mart.orders: added non-breaking +id +customer +amount",
            "mart.names: indirect nothing",
            "mart.sums: indirect nothing",
        ]
    );
    assert!(shop.build().await.passed());
    assert_eq!(told(&shop).await, [""; 0]);
}

#[tokio::test]
async fn an_ephemeral_model_is_a_part_of_what_reads_it_in_a_plan_and_in_lineage() {
    const PART: &str = "{{ config(materialized='ephemeral') }}
    select id, customer, amount from {{ source('raw', 'orders') }} where amount > 0";
    let mut shop = shop().await;
    // The table goes for its readers; what reads the model is what it was.
    shop.edit("models/mart/orders.sql", PART);
    let plan_now = plan(&shop).await;
    assert_eq!(plan_now.breaks(), [""; 0]);
    let texts_now = texts(&plan_now);
    assert_eq!(texts_now.iter().filter(|text| text.starts_with("mart.orders")).count(), 1);
    assert_eq!(texts_now.last().unwrap(), "mart.orders: removed breaking rows");
    // Its query is a part of the plan although its table goes.
    shop.edit("models/mart/orders.sql", &PART.replace("> 0", "> 7"));
    assert_ne!(plan(&shop).await.digest, plan_now.digest);
    shop.edit("models/mart/orders.sql", PART);
    assert!(shop.build().await.passed());
    assert_eq!(told(&shop).await, [""; 0]);
    shop.edit("models/mart/orders.sql", &PART.replace("amount from", "amount * 2 as amount from"));
    let reached = told(&shop).await;
    assert_eq!(reached.len(), 3);
    assert_eq!(reached[0], "mart.orders: modified breaking ~amount");
    assert!(
        reached[1].starts_with("mart.names:") && reached[1].ends_with(" nothing"),
        "{reached:?}"
    );
    assert_eq!(reached[2], "mart.sums: modified breaking ~total");
    let all = compared(&shop).await;
    let sums = all.iter().find(|diff| diff.name == "mart.sums").unwrap();
    assert_eq!(numbers(sums), (Some(2), Some(2), 2, 2, 0), "{all:?}");
    let way = crate::column_lineage(shop.world(), "sums", "total").await.unwrap();
    let nodes: Vec<&str> = way.iter().map(|step| step.node.as_str()).collect();
    assert_eq!(nodes, ["mart.sums", "mart.orders", "raw.orders"]);
    let graph = crate::column_graph(shop.world()).await.unwrap();
    assert_eq!(graph.notes, [""; 0]);
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
    shop.store.promote("dev", "prod", &flywheel_state::Reads::new(), now).unwrap().unwrap();
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
async fn numbers_are_compared_by_their_first_digits_and_what_is_no_number_only_with_itself() {
    const NUMBERS: &str = "{{ config(materialized='table') }} select * from (values
        (1, 0.1 + 0.2, 1.5, cast(1.5 as decimal(9, 2))),
        (2, cast('Infinity' as double), cast('NaN' as double), cast(2.5 as decimal(9, 2))),
        (3, cast('-Infinity' as double), 0.0, null)) as t(id, x, y, d)";
    let near = NUMBERS
        .replace("0.1 + 0.2", "0.3")
        .replace("0.0", "-0.0")
        .replace("cast(1.5 as decimal(9, 2))", "cast(1.5 as double)")
        .replace("cast(2.5 as decimal(9, 2))", "cast(2.5 as double)");
    let far = NUMBERS
        .replace("cast('Infinity' as double)", "7.0")
        .replace("cast('NaN' as double)", "7.0")
        .replace("cast('-Infinity' as double)", "cast('Infinity' as double)");
    let by_key = "models: [{name: numbers, columns: [{name: id, tests: [unique]}]}]";
    for (query, keyed, whole) in [(near.as_str(), 0, 0), (&far, 2, 2)] {
        for key in [by_key, "models: []"] {
            let mut shop = Shop::new(&[("models/mart/numbers.sql", NUMBERS)]).await;
            shop.build().await;
            shop.edit("models/mart/numbers.sql", query);
            shop.edit("models/mart/numbers.yml", key);
            let all = compared(&shop).await;
            let expected = match key == by_key {
                true => (Some(3), Some(3), 0, 0, keyed),
                false => (Some(3), Some(3), whole, whole, 0),
            };
            assert_eq!(numbers(&all[0]), expected, "{query} {all:?}");
        }
    }
}

#[tokio::test]
async fn columns_may_have_any_names_and_types_and_none_in_common() {
    let before = "{{ config(materialized='table', unique_key='id') }}
        select 1 as id, 2 as side, 3 as more, 'x' as \"c0\" union all select 2, 2, 3, null";
    let mut shop = Shop::new(&[("models/mart/odd.sql", before)]).await;
    shop.build().await;
    shop.edit(
        "models/mart/odd.sql",
        "{{ config(materialized='table', unique_key='key') }}
        select 1 as key, '2' as side, 4 as more, 'x' as \"c0\" union all select 2, '2', 3, null",
    );
    let all = compared(&shop).await;
    assert_eq!(numbers(&all[0]), (Some(2), Some(2), 1, 1, 0), "{all:?}");
    assert_eq!(
        all[0].note.as_deref(),
        Some("whole rows are compared: not both have the column key")
    );
    let lists = "{{ config(materialized='table') }} select make_array(1) as list";
    shop.edit("models/mart/odd.sql", lists);
    shop.build().await;
    shop.edit("models/mart/odd.sql", &format!("{lists} union all select make_array(2)"));
    let all = compared(&shop).await;
    assert_eq!(numbers(&all[0]), (Some(1), Some(2), 1, 0, 0), "{all:?}");
    assert_eq!(all[0].note.as_deref(), Some("not compared: list"));
}

#[tokio::test]
async fn what_an_environment_gives_up_is_compared_only_if_production_has_it() {
    let mut shop = shop().await;
    let now = shop.world().now;
    shop.store.create_environment("dev", "prod", now).unwrap();
    let path = shop.dir.path().join("meta.db");
    shop.store = flywheel_state::Store::open(&path).unwrap().in_environment("dev").unwrap();
    shop.edit("models/mart/own.sql", "select 1 as x");
    shop.build().await;
    shop.remove("models/mart/own.sql");
    shop.remove("models/mart/names.sql");
    let planned = plan(&shop).await;
    assert_eq!(
        texts(&planned),
        ["mart.names: removed breaking rows", "mart.own: removed breaking rows"]
    );
    let all = diff(shop.world(), &planned, BuildOptions::default(), 0).await.unwrap();
    let told: Vec<(&str, u64)> = all.iter().map(|one| (one.name.as_str(), one.removed)).collect();
    assert_eq!(told, [("mart.names", 2)]);
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
