//! Batches of time: what was missed is built with the next increment, and intervals are built again.

use flywheel_base::Timestamp;
use flywheel_warehouse::WriteMode;

use super::dbt::PROJECT;
use super::shop::{Shop, error_of};
use crate::{BuildOptions, BuildReport, Interval, intervals};

const FACTS: &str = "{{ config(materialized='incremental', incremental_strategy='microbatch', event_time='at', batch_size='day', \
    lookback=1) }} select id, at from {{ source('raw', 'orders') }}";
const MERGED: &str = "{{ config(materialized='incremental', unique_key='id', event_time='at') }}
    select id, at, v from {{ source('raw', 'orders') }}
    {% if is_incremental() %} where at > (select max(at) from {{ this }}) {% endif %}";

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

async fn land(shop: &Shop, values: &str) {
    let query =
        format!("SELECT id, CAST(at AS timestamp) AS at, v FROM (VALUES {values}) AS t(id, at, v)");
    shop.write("raw.orders", WriteMode::Replace, &query).await;
}

async fn restate(shop: &Shop, from: &str, to: &str) -> BuildReport {
    let interval = Some(Interval::new(at(from), at(to)).unwrap());
    shop.build_with(BuildOptions { interval, ..BuildOptions::default() }).await
}

/// `from..to built-or-missing`, one text for each row of the ledger.
fn ledger(shop: &Shop) -> Vec<String> {
    let world = shop.world();
    let rows = intervals(world.project, world.store, world.now).unwrap().into_iter();
    let text = |row: crate::IntervalRow| {
        let status = if row.built_at.is_some() { "built" } else { "missing" };
        format!("{}..{} {status}", row.interval.from.date(), row.interval.to.date())
    };
    rows.map(text).collect()
}

#[tokio::test]
async fn days_without_a_build_are_built_with_the_next_one() {
    let shop = Shop::of_dbt(&[PROJECT, ("models/facts.sql", FACTS)]).await;
    land(&shop, "(1, '2024-04-28', 'a'), (2, '2024-05-01 03:00:00', 'a')").await;
    assert!(shop.build().await.passed());
    assert_eq!(ledger(&shop), ["2024-04-28..2024-05-01 built"], "today is not over");
    // Nobody builds for a week; only the day before the build and that day would be looked at.
    shop.clock.move_to(at("2024-05-08 12:00:00"));
    assert_eq!(ledger(&shop)[1], "2024-05-01..2024-05-08 missing");
    land(
        &shop,
        "(9, '2024-04-28', 'b'), (3, '2024-05-01', 'b'), (4, '2024-05-04', 'b'), (5, '2024-05-08', 'b')",
    )
    .await;
    assert!(shop.build().await.passed());
    assert_eq!(shop.read("select id from main.facts order by id").await, ["1", "3", "4", "5"]);
    let built = ledger(&shop);
    assert!(built.iter().all(|row| row.ends_with(" built")), "{built:?}");
}

#[tokio::test]
async fn a_model_whose_first_day_is_not_over_or_that_had_no_rows_misses_none_of_the_days_after() {
    for empty in [false, true] {
        let shop = Shop::of_dbt(&[PROJECT, ("models/facts.sql", FACTS)]).await;
        land(&shop, "(1, '2024-05-01 03:00:00', 'a')").await;
        if empty {
            let nothing = "SELECT 1 AS id, CAST(NULL AS timestamp) AS at, 'a' AS v WHERE false";
            shop.write("raw.orders", WriteMode::Replace, nothing).await;
        }
        assert!(shop.build().await.passed());
        assert_eq!(ledger(&shop), [""; 0], "no day is over of which there are rows");
        // Nobody builds for a week, and what came late is older than any day that was looked at.
        shop.clock.move_to(at("2024-05-08 12:00:00"));
        land(
            &shop,
            "(0, '2024-04-20', 'b'), (1, '2024-05-01 03:00:00', 'a'), (2, '2024-05-01 20:00:00', 'a'), (3, '2024-05-04', 'a'), (4, '2024-05-08', 'a')",
        )
        .await;
        assert!(shop.build().await.passed());
        let facts = "select id from main.facts order by id";
        assert_eq!(shop.read(facts).await, ["0", "1", "2", "3", "4"], "empty: {empty}");
        assert_eq!(ledger(&shop), ["2024-04-20..2024-05-08 built"]);
    }
}

#[tokio::test]
async fn an_interval_is_built_again_and_nothing_beside_it() {
    let shop =
        Shop::of_dbt(&[PROJECT, ("models/facts.sql", FACTS), ("models/merged.sql", MERGED)]).await;
    land(&shop, "(1, '2024-04-10', 'a'), (2, '2024-04-20', 'a'), (3, '2024-04-30', 'a')").await;
    assert!(shop.build().await.passed());
    land(
        &shop,
        "(7, '2024-04-10', 'b'), (2, '2024-04-20', 'b'), (8, '2024-04-20 23:59:59', 'b'), (3, '2024-04-30', 'b')",
    )
    .await;
    let report = restate(&shop, "2024-04-20 08:00:00", "2024-04-21").await;
    assert!(report.passed(), "{report:#?}");
    let facts = "select id from main.facts order by id";
    assert_eq!(shop.read(facts).await, ["1", "2", "3", "8"], "whole batches are built");
    let merged = "select id, v from main.merged order by id";
    assert_eq!(
        shop.read(merged).await,
        ["1 a", "2 a", "3 a", "8 b"],
        "what happened before eight is not in the interval"
    );
    let again = restate(&shop, "2024-04-20", "2024-04-21").await;
    assert!(again.passed());
    assert_eq!(shop.read(merged).await, ["1 a", "2 b", "3 a", "8 b"]);
    // The clock of the test stands still: what was built at one moment is one interval.
    assert_eq!(ledger(&shop), ["2024-04-10..2024-05-01 built"]);
}

#[tokio::test]
async fn a_backfill_of_a_new_model_leaves_gaps_that_the_next_build_fills() {
    let begins = FACTS.replace("lookback=1", "lookback=1, begin='2024-04-01'");
    let shop = Shop::of_dbt(&[PROJECT, ("models/facts.sql", &begins)]).await;
    land(&shop, "(1, '2024-04-02', 'a'), (2, '2024-04-11', 'a'), (3, '2024-05-01', 'a')").await;
    assert!(restate(&shop, "2024-04-10", "2024-04-15").await.passed());
    let facts = "select id from main.facts order by id";
    assert_eq!(shop.read(facts).await, ["2"]);
    assert_eq!(
        ledger(&shop),
        [
            "2024-04-01..2024-04-10 missing",
            "2024-04-10..2024-04-15 built",
            "2024-04-15..2024-05-01 missing"
        ]
    );
    assert!(shop.build().await.passed());
    assert_eq!(shop.read(facts).await, ["1", "2", "3"]);
    assert!(shop.built().await.is_empty(), "nothing is missing any more");
}

#[tokio::test]
async fn nothing_from_before_its_begin_is_in_a_model() {
    let begins = FACTS.replace("lookback=1", "lookback=1, begin='2024-04-01'");
    let mut shop = Shop::of_dbt(&[PROJECT, ("models/facts.sql", &begins)]).await;
    land(&shop, "(1, '2024-03-31 23:59:59', 'a'), (2, '2024-04-01', 'a'), (3, '2024-05-01', 'a')")
        .await;
    assert!(shop.build().await.passed());
    let facts = "select id from main.facts order by id";
    assert_eq!(shop.read(facts).await, ["2", "3"]);
    assert_eq!(ledger(&shop), ["2024-04-01..2024-05-01 built"]);
    let anew = BuildOptions { full_refresh: true, ..BuildOptions::default() };
    assert!(shop.build_with(anew).await.passed());
    assert_eq!(shop.read(facts).await, ["2", "3"]);
    // Neither would it be in a new query, whose rows are told before it is built.
    shop.edit("models/facts.sql", &begins.replace("select id, at", "select id, at, 1 as one"));
    let plan = crate::changes(shop.world(), BuildOptions::default()).await.unwrap();
    let all = crate::diff(shop.world(), &plan, BuildOptions::default(), 0).await.unwrap();
    assert_eq!((all[0].rows_before, all[0].rows_after), (Some(2), Some(2)), "{all:?}");
    shop.edit("models/facts.sql", &begins.replace("04-01", "03-01"));
    assert!(shop.build().await.passed());
    assert_eq!(shop.read(facts).await, ["1", "2", "3"], "what is missing is built");
}

#[tokio::test]
async fn what_cannot_be_told_by_time_is_refused() {
    let plain = "{{ config(materialized='incremental', unique_key='id') }} select 1 as id";
    let shop =
        Shop::of_dbt(&[PROJECT, ("models/plain.sql", plain), ("models/facts.sql", FACTS)]).await;
    land(&shop, "(1, '2024-04-10', 'a')").await;
    let interval = Some(Interval::new(at("2024-04-01"), at("2024-04-02")).unwrap());
    let select = ["plain".to_owned()];
    let of = |select| BuildOptions { select, interval, ..BuildOptions::default() };
    let error = crate::build(shop.world(), of(&select)).await.unwrap_err();
    assert!(error.message().contains("\"plain\"") && error.message().contains("plain.sql"));
    assert!(error.hint_text().unwrap().contains("event_time"));
    assert!(shop.build_with(of(&[])).await.passed(), "what can be told by time is built");
    let anew = BuildOptions { full_refresh: true, ..of(&[]) };
    assert!(crate::build(shop.world(), anew).await.is_err());
    let wrong = FACTS.replace("event_time='at'", "event_time='id'");
    let shop = Shop::of_dbt(&[PROJECT, ("models/facts.sql", &wrong)]).await;
    let text = "SELECT 'x' AS id, CAST('2024-04-01' AS timestamp) AS at";
    shop.write("raw.orders", WriteMode::Replace, text).await;
    let report = shop.build().await;
    assert!(error_of(&report, "main.facts").contains("neither date nor time"), "{report:#?}");
}
