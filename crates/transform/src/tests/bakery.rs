//! A dbt project with everything such projects have: unit tests, contracts, hooks, kept failures, freshness.

use flywheel_warehouse::WriteMode;

use super::dbt::{PROJECT, examples, files_below};
use super::shop::{Shop, error_of};
use crate::{FreshnessStatus, ModelStatus, TestScope, TestStatus};

/// The bakery with its seeds enabled.
async fn bakery() -> Shop {
    let mut files = Vec::new();
    files_below(&examples().join("bakery"), "", &mut files);
    for (path, text) in &mut files {
        if path == "dbt_project.yml" {
            *text = text.replace("var('load_source_data', false)", "true");
        }
    }
    let files: Vec<(&str, &str)> =
        files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    Shop::of_dbt(&files).await
}

#[tokio::test]
async fn the_bakery_is_built_and_tested_whole() {
    let shop = bakery().await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(report.models.len(), 21, "as many seeds, models and snapshots as dbt builds");
    let tests = || report.models.iter().flat_map(|model| &model.tests).chain(&report.tests);
    assert_eq!(tests().filter(|test| test.is_unit()).count(), 5);
    assert!(tests().all(|test| test.status == TestStatus::Passed), "{report:#?}");
    assert!(report.notes.is_empty(), "{:?}", report.notes);
    assert_eq!(
        shop.read("select order_id, subtotal, count_items, is_bread_order, guest_order_number from main.orders order by 1").await,
        [
            "o1 12.50 2 true 1",
            "o2 3.50 1 false 2",
            "o3 21.00 2 true 1",
            "o4 12.00 1 true 3",
            "o5 3.50 1 false 1"
        ]
    );
    assert_eq!(
        shop.read("select guest_name, count_orders, lifetime_spend, guest_type from main.guests_v2 order by 1").await,
        ["Ada 3 31.41 returning", "Bo 1 24.99 new", "Cleo 1 3.75 new"]
    );
    assert_eq!(
        shop.read("select count(*), max(date_day) from main.bakery_days").await,
        ["62 2024-08-31"]
    );
    assert_eq!(
        shop.read(
            "select count_bread, count_drink, count_all from main.order_mix where order_id = 'o1'"
        )
        .await,
        ["1 1 2"],
        "a column for each kind of product"
    );
    let again = shop.build().await;
    assert!(again.models.iter().all(|model| model.status == ModelStatus::Unchanged), "{again:#?}");
    assert!(again.models.iter().all(|model| model.tests.is_empty()), "nothing is tested again");
}

const UNIT: &str = "unit_tests:\n  - name: halves\n    model: a\n    given:\n      - input: source('raw', 'orders')\n        rows: [{n: 3}, {n: 3}, {n: 4}]\n    expect:\n      rows: [{half: 1.5}, {half: 2}]\n";

#[tokio::test]
async fn a_failing_unit_test_shows_the_difference_and_nothing_is_built() {
    let mut shop = Shop::of_dbt(&[
        PROJECT,
        ("models/a.sql", "{{ config(materialized='table') }} select n / 2 as half from {{ source('raw', 'orders') }}"),
        ("models/b.sql", "select * from {{ ref('a') }}"),
        ("models/a.yml", UNIT),
    ])
    .await;
    shop.land("raw.orders", "n", "(7)").await;
    let report = shop.build().await;
    let model = report.model("main.a").unwrap();
    assert_eq!(model.status, ModelStatus::Failed, "{report:#?}");
    let test = &model.tests[0];
    assert_eq!(
        (test.name.as_str(), test.status, test.scope),
        ("a.halves", TestStatus::Failed, TestScope::Given)
    );
    assert_eq!(test.sample.columns, ["difference", "half"]);
    assert_eq!(test.sample.rows, [["unexpected", "1.5"]]);
    assert_eq!(report.model("main.b").unwrap().status, ModelStatus::Skipped);
    assert!(report.published.is_empty());

    shop.edit(
        "models/a.yml",
        &UNIT.replace("{half: 1.5}, {half: 2}", "{half: 2}, {half: 1.5}, {half: 1.5}"),
    );
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(shop.read("select half from main.b").await, ["3.5"], "whole numbers divide exactly");
    shop.edit("models/a.sql", "{{ config(materialized='table') }} select n / 4 as half from {{ source('raw', 'orders') }}");
    let report = shop.build().await;
    assert!(!report.passed(), "another query is tested again");
    assert_eq!(shop.read("select half from main.b").await, ["3.5"], "readers keep the good one");
}

#[tokio::test]
async fn a_unit_test_that_cannot_be_run_says_why() {
    let shop = Shop::of_dbt(&[
        PROJECT,
        ("models/a.sql", "select id, v from {{ source('raw', 'orders') }} join {{ source('raw', 'customers') }} using (id)"),
        (
            "models/a.yml",
            "unit_tests:\n  - {name: lacks, model: a, given: [{input: \"source('raw', 'orders')\", rows: [{id: 1}]}], expect: {rows: [{id: 1}]}}\n  \
             - {name: wrong, model: a, given: [{input: \"source('raw', 'orders')\", rows: [{idd: 1}]}, {input: \"source('raw', 'customers')\", rows: []}], expect: {rows: []}}\n",
        ),
    ])
    .await;
    shop.land("raw.orders", "id, v", "(1, 'a')").await;
    shop.land("raw.customers", "id", "(1)").await;
    let report = shop.build().await;
    let tests = &report.model("main.a").unwrap().tests;
    let text = |at: usize| tests[at].error.as_ref().unwrap().report.clone();
    assert!(text(0).contains("source('raw', 'customers'), which is not given"), "{}", text(0));
    assert!(text(1).contains("\"idd\"") && text(1).contains("models/a.yml:3"), "{}", text(1));
}

const CONTRACT: &str = "models:\n  - name: a\n    config: {contract: {enforced: true}}\n    columns:\n      - {name: id, data_type: bigint, constraints: [{type: not_null}, {type: unique}]}\n      - {name: price, data_type: 'numeric(10, 2)', constraints: [{type: check, expression: price >= 0}]}\n";

#[tokio::test]
async fn a_contract_gives_the_types_and_refuses_what_breaks_it() {
    let a =
        "{{ config(materialized='table') }} select price, id from {{ source('raw', 'orders') }}";
    let mut shop = Shop::of_dbt(&[PROJECT, ("models/a.sql", a), ("models/a.yml", CONTRACT)]).await;
    shop.land("raw.orders", "id, price", "(1, 2.5), (2, 3)").await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(
        shop.read("select id, price, arrow_typeof(price) from main.a order by id").await,
        ["1 2.50 Decimal128(10, 2)", "2 3.00 Decimal128(10, 2)"]
    );
    for (values, expected) in [
        ("(1, 2.5), (1, 3.0)", "unique (id)"),
        ("(1, 2.5), (null, 3.0)", "not_null (id)"),
        ("(1, -2.5)", "check (price >= 0)"),
    ] {
        let query = format!("SELECT id, price FROM (VALUES {values}) AS t(id, price)");
        shop.write("raw.orders", WriteMode::Replace, &query).await;
        let text = error_of(&shop.build().await, "main.a");
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(shop.read("select count(*) from main.a").await, ["2"], "readers keep the good one");
    shop.edit(
        "models/a.sql",
        &a.replace("price, id", "cast(price as varchar) as price, id, 1 as more"),
    );
    let text = error_of(&shop.build().await, "main.a");
    for expected in [
        "\"price\" is declared as numeric(10, 2), and the query gives varchar",
        "\"more\" is in the query and not declared",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    shop.edit("models/a.yml", &CONTRACT.replace("data_type: bigint, ", ""));
    let text = error_of(&shop.build().await, "main.a");
    assert!(text.contains("column \"id\" has no data_type"), "{text}");
}

#[tokio::test]
async fn failing_rows_are_kept_and_counted_as_the_test_says() {
    let yml = |config: &str| {
        format!(
            "models: [{{name: a, columns: [{{name: n, tests: [{{unique: {{config: {{{config}}}}}}}]}}]}}]"
        )
    };
    let mut shop = Shop::of_dbt(&[
        PROJECT,
        ("models/a.sql", "select * from (values (1), (1), (1), (3), (3)) as t(n)"),
        ("models/a.yml", &yml("store_failures: true, severity: warn")),
    ])
    .await;
    let test = |report: &crate::BuildReport| report.model("main.a").unwrap().tests[0].clone();
    let found = test(&shop.build().await);
    assert_eq!((found.status, found.failures), (TestStatus::Warned, 2));
    let table = found.stored.unwrap();
    assert_eq!(table, "main_dbt_test__audit.unique_a_n");
    assert_eq!(
        shop.read(&format!("select unique_field, n_records from {table} order by 1")).await,
        ["1 3", "3 2"]
    );
    shop.edit("models/a.yml", &yml("fail_calc: sum(n_records), error_if: '>5'"));
    let found = test(&shop.build().await);
    assert_eq!((found.status, found.failures), (TestStatus::Warned, 5));
    shop.edit("models/a.yml", &yml("fail_calc: max(n_records), limit: 1, error_if: '>=2'"));
    assert_eq!(test(&shop.build().await).status, TestStatus::Failed);
}

#[tokio::test]
async fn hooks_that_read_are_run_and_others_are_named() {
    let shop = Shop::of_dbt(&[
        ("dbt_project.yml", "name: shop\non-run-start: [\"create index log_x on log (x)\"]\non-run-end: \"select count(*) from {{ ref('a') }}\"\n"),
        ("models/a.sql", "{{ config(materialized='table', pre_hook=\"select 1; {{ log('x') }}\", post_hook=[\"grant select on {{ this }} to bo\"]) }} select 1 as x"),
        ("models/b.sql", "{{ config(materialized='table', post_hook=\"select cast('oven' as int) + x from {{ this }}\") }} select 1 as x"),
    ])
    .await;
    let report = shop.build().await;
    assert_eq!(report.model("main.a").unwrap().status, ModelStatus::Built, "{report:#?}");
    let text = error_of(&report, "main.b");
    assert!(text.contains("the post-hook") && text.contains("oven"), "{text}");
    let notes = &report.model("main.a").unwrap().notes;
    assert!(
        notes.len() == 1
            && notes[0].contains("grant select on main.a to bo")
            && notes[0].contains("is not run"),
        "{notes:?}"
    );
    assert!(
        report.notes[0].contains("on-run-start \"create index log_x on log (x)\" is not run"),
        "{:?}",
        report.notes
    );
}

#[tokio::test]
async fn a_source_is_as_fresh_as_its_newest_row() {
    let yml = "sources:\n  - name: shop\n    schema: raw\n    freshness: {warn_after: {count: 1, period: day}, error_after: {count: 3, period: day}}\n    loaded_at_field: \"cast(at as timestamp)\"\n    tables:\n      - name: visits\n      - {name: gone}\n      - {name: old, freshness: null}\n";
    let shop =
        Shop::of_dbt(&[PROJECT, ("models/s.yml", yml), ("models/a.sql", "select 1 as x")]).await;
    let check = async |at: &str, expected: FreshnessStatus| {
        let query =
            format!("SELECT id, at FROM (VALUES (1, '2024-01-01'), (2, '{at}')) AS t(id, at)");
        shop.write("raw.visits", WriteMode::Replace, &query).await;
        let outcomes =
            crate::freshness(shop.world(), &["source:shop".to_owned()], &[]).await.unwrap();
        let names: Vec<&str> = outcomes.iter().map(|outcome| outcome.table.as_str()).collect();
        assert_eq!(names, ["raw.gone", "raw.visits"]);
        assert!(outcomes[0].error.is_some(), "a table that is not there is not fresh");
        assert_eq!(outcomes[1].status, expected, "{outcomes:?}");
    };
    // It is 2024-05-01.
    check("2024-04-30 12:00:00", FreshnessStatus::Pass).await;
    check("2024-04-29 12:00:00", FreshnessStatus::Warn).await;
    check("2024-04-01", FreshnessStatus::Error).await;
}

#[tokio::test]
async fn a_table_is_called_as_its_alias_says() {
    let shop = Shop::of_dbt(&[
        PROJECT,
        ("models/a.sql", "{{ config(materialized='table', alias='first') }} select 1 as x"),
        ("models/b.sql", "{{ config(alias='second') }} select x + 1 as x from {{ ref('a') }}"),
    ])
    .await;
    assert!(shop.build().await.passed());
    assert_eq!(shop.read("select x from main.second").await, ["2"]);
    assert_eq!(shop.read("select x from main.first").await, ["1"]);
    assert!(shop.built().await.is_empty(), "nothing changed");
}
