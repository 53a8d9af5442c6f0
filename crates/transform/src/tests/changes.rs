//! What is built when, and what readers see of it.

use flywheel_base::Timestamp;
use flywheel_project::graph::Known;

use super::shop::{Shop, error_of};
use crate::{At, ModelStatus, catalog_at};

const STG: (&str, &str) = (
    "models/staging/stg_orders.sql",
    "select id, customer, amount from {{ source('raw', 'orders') }} where amount is not null",
);
const REVENUE: (&str, &str) = (
    "models/mart/revenue.sql",
    "{{ config(materialized='table') }}
select customer, sum(amount) as revenue from {{ ref('stg_orders') }} group by customer",
);

async fn shop() -> Shop {
    let shop = Shop::new(&[STG, REVENUE]).await;
    shop.land("raw.orders", "id, customer, amount", "(1, 'a', 10), (2, 'b', 5), (3, 'a', 1)").await;
    shop
}

#[tokio::test]
async fn views_and_tables_appear_to_readers_and_an_unchanged_project_builds_nothing() {
    let shop = shop().await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:?}");
    assert_eq!(report.published, ["mart.revenue", "staging.stg_orders"]);
    assert_eq!(report.model("mart.revenue").unwrap().rows, Some(2));
    let revenue = "select * from mart.revenue order by customer";
    assert_eq!(shop.read(revenue).await, ["a 11", "b 5"]);

    let again = shop.build().await;
    assert!(again.models.iter().all(|model| model.status == ModelStatus::Unchanged), "{again:?}");
    assert!(again.published.is_empty());
    assert_eq!(shop.head_of("mart.revenue").await, 0);

    shop.land("raw.orders", "id, customer, amount", "(4, 'b', 7)").await;
    assert_eq!(shop.built().await, ["mart.revenue"]);
    assert_eq!(shop.read(revenue).await, ["a 11", "b 12"]);
}

#[tokio::test]
async fn a_comment_builds_nothing_and_another_query_is_another_table() {
    let mut shop = shop().await;
    shop.build().await;
    let first = shop.location_of("mart.revenue");

    shop.edit(REVENUE.0, &format!("-- yearly\n{}", REVENUE.1.replace("sum(", "SUM (  ")));
    assert!(shop.built().await.is_empty());
    assert_eq!(shop.location_of("mart.revenue"), first);

    shop.edit(REVENUE.0, &REVENUE.1.replace("sum(amount)", "sum(amount * 2)"));
    assert_eq!(shop.built().await, ["mart.revenue"]);
    let second = shop.location_of("mart.revenue");
    assert_ne!(second, first);
    assert_eq!(shop.read("select sum(revenue) from mart.revenue").await, ["32"]);

    shop.edit(STG.0, &STG.1.replace("is not null", "> 4"));
    assert_eq!(
        shop.built().await,
        ["mart.revenue", "staging.stg_orders"],
        "a view is part of its readers"
    );

    shop.edit(STG.0, STG.1);
    shop.edit(REVENUE.0, REVENUE.1);
    shop.build().await;
    assert_eq!(shop.location_of("mart.revenue"), first, "the first variant's table is used again");
    assert_eq!(shop.read("select sum(revenue) from mart.revenue").await, ["16"]);
}

#[tokio::test]
async fn selectors_choose_and_what_is_not_built_is_asked_for() {
    let shop = shop().await;
    let alone = shop.build_selected("revenue").await;
    assert!(alone.published.is_empty());
    let text = error_of(&alone, "mart.revenue");
    assert!(text.contains("staging.stg_orders"), "{text}");
    assert!(text.contains("flywheel build --select +revenue"), "{text}");

    let both = shop.build_selected("+revenue").await;
    assert_eq!(both.published, ["mart.revenue", "staging.stg_orders"]);
    shop.land("raw.orders", "id, customer, amount", "(4, 'b', 7)").await;
    let below = shop.build_selected("stg_orders").await;
    assert_eq!(below.models.len(), 1);
    assert_eq!(shop.read("select sum(revenue) from mart.revenue").await, ["16"]);
    let report = shop.build_selected("stg_orders+").await;
    assert_eq!(report.published, ["mart.revenue"]);
}

#[tokio::test]
async fn a_view_whose_file_changed_is_read_as_it_was_published_until_it_is_built() {
    let mut shop = shop().await;
    shop.land("raw.customers", "id, customer, amount", "(1, 'z', 1)").await;
    shop.build().await;
    shop.edit(STG.0, "select * from {{ source('raw', 'customers') }}");
    shop.land("raw.orders", "id, customer, amount", "(4, 'b', 7)").await;
    shop.build_selected("revenue").await;
    let total = "select sum(revenue) from mart.revenue";
    assert_eq!(shop.read(total).await, ["23"], "the landed rows are not missed");
    shop.build().await;
    assert_eq!(shop.read(total).await, ["1"]);
}

#[tokio::test]
async fn a_model_that_is_gone_is_gone_for_readers() {
    let mut shop = shop().await;
    shop.build().await;
    shop.remove(REVENUE.0);
    let report = shop.build().await;
    assert_eq!(report.removed, ["mart.revenue"]);
    let names: Vec<String> =
        shop.store.publications().unwrap().into_iter().map(|seen| seen.name).collect();
    assert_eq!(names, ["staging.stg_orders"]);
}

#[tokio::test]
async fn mistakes_in_sql_name_the_model_the_file_and_what_was_probably_meant() {
    let check = async |sql: &str, expected: &[&str]| {
        let shop = Shop::new(&[("models/mart/orders_daily.sql", sql)]).await;
        shop.land("raw.orders", "id, customer, amount", "(1, 'a', 10)").await;
        shop.land("raw.customers", "customer", "('a')").await;
        let report = shop.build().await;
        let text = error_of(&report, "mart.orders_daily");
        for part in ["model \"orders_daily\" (models/mart/orders_daily.sql)"].iter().chain(expected)
        {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(report.blocked, ["mart.orders_daily"]);
    };
    check("select amont from {{ source('raw', 'orders') }}", &["amont", "amount"]).await;
    check(
        "select o.id from {{ source('raw', 'orders') }} o join raw.customers c on true",
        &["raw.customers", "without declaring it", "{{ source('raw', 'customers') }}"],
    )
    .await;
    check("select id from {{ source('raw', 'orders') }} join raw.custmers", &["raw.custmers"])
        .await;
    check("select id, from {{ source('raw', 'orders') }} )", &[]).await;
}

#[tokio::test]
async fn a_source_that_has_not_landed_is_named_and_stops_only_its_readers() {
    let shop = Shop::new(&[
        STG,
        ("models/mart/people.sql", "select * from {{ source('raw', 'customers') }}"),
    ])
    .await;
    shop.land("raw.orders", "id, customer, amount", "(1, 'a', 10)").await;
    let report = shop.build().await;
    assert_eq!(report.published, ["staging.stg_orders"]);
    assert!(
        error_of(&report, "mart.people").contains("\"raw.customers\", which does not exist yet")
    );
}

#[tokio::test]
async fn a_lake_that_lost_a_table_gets_it_back() {
    let shop = shop().await;
    shop.build().await;
    let folder = shop.dir.path().join("lake").join(shop.location_of("mart.revenue").as_str());
    std::fs::remove_dir_all(folder).unwrap();
    let reopened = Shop { lake: reopen(&shop).await, ..shop };
    assert_eq!(reopened.built().await, ["mart.revenue"]);
    assert_eq!(reopened.read("select sum(revenue) from mart.revenue").await, ["16"]);
}

async fn reopen(shop: &Shop) -> flywheel_warehouse::Lake {
    let options = flywheel_warehouse::LakeOptions {
        memory_bytes: 256 << 20,
        spill_dir: shop.dir.path().join("spill"),
        partitions: 2,
        clock: std::sync::Arc::clone(&shop.clock) as _,
        exact_division: false,
    };
    flywheel_warehouse::Lake::open(&shop.dir.path().join("lake"), options).await.unwrap()
}

#[tokio::test]
async fn a_query_that_asks_for_the_time_is_built_again_when_time_moves() {
    let sql = "{{ config(materialized='table') }} select id, current_date() as day from {{ source('raw', 'orders') }}";
    let shop = Shop::new(&[("models/mart/today.sql", sql)]).await;
    shop.land("raw.orders", "id", "(1)").await;
    shop.build().await;
    assert!(shop.built().await.is_empty());
    shop.clock.move_to(Timestamp::parse("2024-05-02").unwrap());
    assert_eq!(shop.built().await, ["mart.today"]);
    assert_eq!(shop.read("select day from mart.today").await, ["2024-05-02"]);
}

#[tokio::test]
async fn readers_of_the_past_see_the_versions_of_that_time() {
    let shop = shop().await;
    shop.build().await;
    let before = Timestamp::parse("2024-05-01T12:00:00Z").unwrap();
    shop.clock.move_to(Timestamp::parse("2024-05-02").unwrap());
    shop.land("raw.orders", "id, customer, amount", "(4, 'b', 7)").await;
    shop.build().await;
    let total = "select sum(revenue) from mart.revenue";
    assert_eq!(shop.read(total).await, ["23"]);
    let at = catalog_at(shop.world(), &At::Time(before)).await.unwrap();
    assert_eq!(shop.read_in(at.clone(), total).await, ["16"]);
    assert_eq!(shop.read_in(at, "select count(*) from raw.orders").await, ["3"]);

    let table = shop.table("raw.orders");
    let first = catalog_at(shop.world(), &At::Version { table, version: 0 }).await.unwrap();
    assert_eq!(shop.read_in(first, "select count(*) from staging.stg_orders").await, ["3"]);
    let table = shop.table("raw.orders");
    assert!(catalog_at(shop.world(), &At::Version { table, version: 9 }).await.is_err());
    let long_ago = At::Time(Timestamp::parse("2020-01-01").unwrap());
    assert_eq!(catalog_at(shop.world(), &long_ago).await.unwrap().names().count(), 1, "the view");
}

#[tokio::test]
async fn a_build_can_be_run_by_a_server() {
    fn movable<T: Send>(task: T) -> T {
        task
    }
    let shop = shop().await;
    let select = ["+revenue".to_owned()];
    let options = crate::BuildOptions { select: &select, ..crate::BuildOptions::default() };
    let report = movable(crate::build(shop.world(), options)).await.unwrap();
    assert_eq!(report.published.len(), 2);
    assert!(movable(crate::test(shop.world(), &[], &[], &Known::new())).await.unwrap().is_empty());
    let steps = movable(crate::column_lineage(shop.world(), "revenue", "revenue")).await.unwrap();
    assert_eq!(steps.len(), 3);
    assert!(movable(crate::catalog(shop.world())).await.unwrap().names().count() > 2);
}
