//! Environments and dbt targets side by side, and what a plan says before anything is built.

use super::shop::Shop;
use crate::{BuildOptions, Change, Changes, Impact, ModelStatus, changes};

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
    assert_eq!(told(&shop).await, ["mart.orders: modified nothing"]);
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
