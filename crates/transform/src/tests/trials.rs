//! Tests: what they find, what a failure stops, and when they run.

use flywheel_project::graph::Known;

use super::shop::Shop;
use crate::{BuildOptions, ModelStatus, TestScope, TestStatus, test};

const ORDERS: (&str, &str) = (
    "models/staging/stg_orders.sql",
    "{{ config(materialized='table') }} select * from {{ source('raw', 'orders') }}",
);
const CUSTOMERS: (&str, &str) = (
    "models/staging/stg_customers.sql",
    "{{ config(materialized='table') }} select * from {{ source('raw', 'customers') }}",
);
const REVENUE: (&str, &str) = (
    "models/mart/revenue.sql",
    "{{ config(materialized='table') }} select sum(amount) as revenue from {{ ref('stg_orders') }}",
);
const TESTS: &str = "
models:
  - name: stg_orders
    columns:
      - name: id
        tests: [unique, not_null]
      - name: status
        tests:
          - accepted_values: {values: [paid, open], severity: warn}
      - name: customer
        tests:
          - relationships: {to: ref('stg_customers'), field: id}
          - not_null: {where: status = 'paid'}
";

async fn shop() -> Shop {
    let shop = Shop::new(&[ORDERS, CUSTOMERS, REVENUE, ("models/tests.yml", TESTS)]).await;
    shop.land(
        "raw.orders",
        "id, customer, status, amount",
        "(1, 'a', 'paid', 10), (2, null, 'open', 5)",
    )
    .await;
    shop.land("raw.customers", "id", "('a'), ('b')").await;
    shop
}

fn outcomes(report: &crate::BuildReport) -> Vec<String> {
    let tests = &report.model("staging.stg_orders").unwrap().tests;
    let line = |test: &crate::TestOutcome| {
        let column = test.name.split("stg_orders_").nth(1).unwrap_or(&test.name);
        format!("{} {} {}", column.split("__").next().unwrap(), test.status.name(), test.failures)
    };
    let mut lines: Vec<String> = tests.iter().map(line).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn tests_mean_what_they_mean_in_dbt() {
    let shop = shop().await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    shop.land(
        "raw.orders",
        "id, customer, status, amount",
        "(2, 'x', 'lost', 1), (2, null, 'paid', 1), (null, 'x', 'gone', 1), (null, 'a', 'gone', 1)",
    )
    .await;
    let report = shop.build().await;
    assert_eq!(
        outcomes(&report),
        ["customer failed 1", "customer failed 2", "id failed 1", "id failed 2", "status warned 2"],
        "unique and accepted_values count values, the others rows"
    );
    let tests = &report.model("staging.stg_orders").unwrap().tests;
    let status = tests.iter().find(|test| test.status == TestStatus::Warned).unwrap();
    assert_eq!(status.sample.columns, ["value", "n_records"]);
    assert_eq!(status.sample.rows, [["gone", "2"], ["lost", "1"]]);
    assert!(status.sql.contains("NOT IN ('paid', 'open')"), "{}", status.sql);
}

#[tokio::test]
async fn an_error_keeps_readers_and_what_follows_on_the_last_good_version() {
    let shop = shop().await;
    shop.build().await;
    let revenue = "select revenue from mart.revenue";
    let orders = "select count(*) from staging.stg_orders";
    assert_eq!(shop.read(revenue).await, ["15"]);

    shop.land("raw.orders", "id, customer, status, amount", "(2, 'a', 'paid', 100)").await;
    let report = shop.build().await;
    assert!(!report.passed());
    assert_eq!(report.blocked, ["mart.revenue", "staging.stg_orders"]);
    assert_eq!(report.model("mart.revenue").unwrap().status, ModelStatus::Skipped);
    assert_eq!(
        (shop.read(revenue).await, shop.read(orders).await),
        (vec!["15".into()], vec!["2".into()])
    );

    let replaced = "select * from (values (1, 'a', 'paid', 10), (2, 'b', 'open', 100)) t(id, customer, status, amount)";
    shop.write("raw.orders", flywheel_warehouse::WriteMode::Replace, replaced).await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(report.published, ["mart.revenue", "staging.stg_orders"]);
    assert_eq!(shop.read(revenue).await, ["110"]);
}

#[tokio::test]
async fn a_warning_publishes_and_is_repeated_until_it_is_gone() {
    let shop = shop().await;
    shop.land("raw.orders", "id, customer, status, amount", "(3, 'a', 'lost', 1)").await;
    for expected in [ModelStatus::Built, ModelStatus::Unchanged] {
        let report = shop.build().await;
        assert!(report.passed());
        let orders = report.model("staging.stg_orders").unwrap();
        assert_eq!(orders.status, expected);
        assert!(orders.tests.iter().any(|test| test.status == TestStatus::Warned));
    }
    assert_eq!(shop.read("select revenue from mart.revenue").await, ["16"]);
}

#[tokio::test]
async fn tests_run_again_when_they_or_what_they_read_change_and_nothing_is_rebuilt() {
    let mut shop = shop().await;
    shop.build().await;
    let quiet = shop.build().await;
    assert!(quiet.model("staging.stg_orders").unwrap().tests.is_empty());

    let values = "select * from (values ('b')) t(id)";
    shop.write("raw.customers", flywheel_warehouse::WriteMode::Replace, values).await;
    let report = shop.build().await;
    let orders = report.model("staging.stg_orders").unwrap();
    assert_eq!(orders.tests.len(), 1, "only the test that reads customers");
    assert_eq!(orders.status, ModelStatus::Failed);
    assert_eq!(report.published, ["staging.stg_customers"]);

    let easier =
        TESTS.replace("- relationships: {to: ref('stg_customers'), field: id}", "- unique");
    shop.edit("models/tests.yml", &easier);
    let report = shop.build().await;
    let orders = report.model("staging.stg_orders").unwrap();
    assert_eq!((orders.status, orders.tests.len()), (ModelStatus::Unchanged, 5));
}

#[tokio::test]
async fn a_singular_test_blocks_the_last_model_it_reads() {
    let positive = "select * from {{ ref('revenue') }} r, {{ ref('stg_orders') }} o where revenue < 0 -- none;";
    let shop = Shop::new(&[ORDERS, REVENUE, ("tests/positive_revenue.sql", positive)]).await;
    shop.land("raw.orders", "id, amount", "(1, 10)").await;
    assert!(shop.build().await.passed());
    shop.land("raw.orders", "id, amount", "(2, -20)").await;
    let report = shop.build().await;
    assert_eq!(report.published, ["staging.stg_orders"]);
    assert_eq!(report.blocked, ["mart.revenue"]);
    let failed = &report.model("mart.revenue").unwrap().tests[0];
    assert_eq!((failed.name.as_str(), failed.failures), ("positive_revenue", 2));
    assert_eq!(shop.read("select revenue from mart.revenue").await, ["10"]);
}

#[tokio::test]
async fn a_test_of_a_source_stops_what_reads_it() {
    let sources = super::shop::SOURCES.replace(
        "      - name: orders",
        "      - name: orders\n        columns:\n          - name: id\n            tests: [unique]",
    );
    let shop = Shop::new(&[ORDERS, ("models/sources.yml", &sources)]).await;
    shop.land("raw.orders", "id", "(1)").await;
    assert!(shop.build().await.passed());
    assert!(shop.build().await.tests.is_empty(), "an unchanged source is not tested again");
    shop.land("raw.orders", "id", "(1)").await;
    let report = shop.build().await;
    assert_eq!(report.tests[0].status, TestStatus::Failed);
    assert_eq!(report.model("staging.stg_orders").unwrap().status, ModelStatus::Skipped);
    assert_eq!(shop.read("select count(*) from staging.stg_orders").await, ["1"]);
}

#[tokio::test]
async fn a_mistake_in_one_test_is_put_to_that_test() {
    let tests = TESTS.replace("where: status = 'paid'", "where: statos = 'paid'");
    let tests = tests.replace("- name: status", "- name: stats");
    let shop = Shop::new(&[ORDERS, CUSTOMERS, REVENUE, ("models/tests.yml", &tests)]).await;
    shop.land("raw.orders", "id, customer, status, amount", "(1, 'a', 'paid', 10)").await;
    shop.land("raw.customers", "id", "('a')").await;
    let report = shop.build().await;
    let broken: Vec<&str> = report
        .model("staging.stg_orders")
        .unwrap()
        .tests
        .iter()
        .filter_map(|test| test.error.as_ref())
        .map(|error| error.report.as_str())
        .collect();
    assert_eq!(broken.len(), 2, "{broken:?}");
    assert!(broken.iter().any(|text| text.contains("statos")), "{broken:?}");
    assert!(
        broken
            .iter()
            .any(|text| text.contains("no column \"stats\"") && text.contains("\"status\""))
    );
}

#[tokio::test]
async fn without_tests_everything_is_published_and_the_next_build_tests_it() {
    let shop = shop().await;
    shop.land("raw.orders", "id, customer, status, amount", "(2, 'a', 'paid', 1)").await;
    let options = BuildOptions { run_tests: false, ..BuildOptions::default() };
    assert_eq!(shop.build_with(options).await.published.len(), 3);
    let report = shop.build().await;
    let orders = report.model("staging.stg_orders").unwrap();
    assert_eq!((orders.status, orders.tests.len()), (ModelStatus::Failed, 5));
}

#[tokio::test]
async fn the_test_command_looks_at_what_readers_see() {
    let shop = shop().await;
    let before = test(shop.world(), &[], &[], &Known::new()).await.unwrap();
    assert!(before.iter().all(|test| test.error.is_some()), "nothing is built yet");
    shop.build().await;
    shop.land("raw.orders", "id, customer, status, amount", "(2, 'a', 'paid', 1)").await;
    let after = test(shop.world(), &["stg_orders".to_owned()], &[], &Known::new()).await.unwrap();
    assert_eq!(after.len(), 5);
    assert!(after.iter().all(|test| test.status == TestStatus::Passed), "{after:#?}");
    // A test has a name of its own, and a kind.
    let one = after[0].name.clone();
    let known = Known::new();
    let itself = std::slice::from_ref(&one);
    let only = test(shop.world(), itself, &[], &known).await.unwrap();
    assert_eq!(only.iter().map(|test| &test.name).collect::<Vec<_>>(), [&one]);
    let orders = ["stg_orders".to_owned()];
    let others = test(shop.world(), &orders, itself, &known).await.unwrap();
    assert_eq!(others.len(), 4, "{others:#?}");
    let words = [one, "stg_orders".to_owned()];
    assert_eq!(test(shop.world(), &words, &[], &known).await.unwrap().len(), 5);
    let units = test(shop.world(), &["test_type:unit".to_owned()], &[], &known).await.unwrap();
    assert!(units.is_empty(), "{units:#?}");
    let wrong = test(shop.world(), &["test_type:odd".to_owned()], &[], &known).await.unwrap_err();
    assert!(wrong.message().contains("test_type"), "{wrong:?}");
}

#[tokio::test]
async fn a_test_that_reads_a_later_model_blocks_what_was_built_meanwhile() {
    let tests = "
models:
  - name: stg_orders
    columns:
      - name: amount
        tests:
          - relationships: {to: ref('revenue'), field: revenue}
";
    let shop = Shop::new(&[ORDERS, REVENUE, ("models/tests.yml", tests)]).await;
    shop.land("raw.orders", "id, amount", "(1, 10), (2, 20)").await;
    let report = shop.build().await;
    assert_eq!(report.blocked, ["mart.revenue", "staging.stg_orders"]);
    assert!(report.published.is_empty());
    assert!(shop.store.builds().unwrap().is_empty());
}

#[tokio::test]
async fn a_reference_is_looked_up_for_new_rows_only_while_the_other_table_keeps_its_values() {
    let scope_of = |report: &crate::BuildReport| {
        let tests = &report.model("mart.orders").unwrap().tests;
        let test = tests.iter().find(|test| test.name.contains("relationships")).unwrap();
        (test.scope, test.status, test.failures)
    };
    let files = |field: &str| {
        let incremental = |key: &str, from: &str| {
            format!(
                "{{{{ config(materialized='incremental', unique_key='{key}') }}}} select * from {{{{ source('raw', '{from}') }}}} \
                 {{% if is_incremental() %}} where at > (select max(at) from {{{{ this }}}}) {{% endif %}}"
            )
        };
        let tests = format!(
            "models:\n  - name: orders\n    columns:\n      - name: customer\n        tests:\n          - relationships: {{to: ref('customers'), field: {field}}}\n"
        );
        [
            ("models/mart/orders.sql", incremental("id", "orders")),
            ("models/mart/customers.sql", incremental("id", "customers")),
            ("models/tests.yml", tests),
        ]
    };
    for (field, renamed, scope) in [
        ("id", "('a', 'z', 2)", TestScope::NewRows),
        // A merge by id can take a name away that old orders refer to.
        ("name", "('a', 'z', 2)", TestScope::Table),
    ] {
        let texts = files(field);
        let shop = Shop::new(&texts.each_ref().map(|(path, text)| (*path, text.as_str()))).await;
        shop.land("raw.orders", "id, customer, at", "(1, 'a', 1)").await;
        shop.land("raw.customers", "id, name, at", "('a', 'a', 1), ('b', 'b', 1)").await;
        assert_eq!(scope_of(&shop.build().await), (TestScope::Table, TestStatus::Passed, 0));

        shop.land("raw.orders", "id, customer, at", "(2, 'b', 2)").await;
        shop.land("raw.customers", "id, name, at", renamed).await;
        let found = scope_of(&shop.build().await);
        let lost = u64::from(field == "name");
        assert_eq!((found.0, found.2), (scope, lost), "{field}");

        shop.land("raw.orders", "id, customer, at", "(3, 'nobody', 3)").await;
        assert_eq!(scope_of(&shop.build().await).2, lost + 1, "{field}: the new row");
    }
}
