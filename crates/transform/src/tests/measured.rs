//! Models that read metrics: what they give, when they are built again, and where their columns come from.

use super::shop::{Shop, error_of};
use crate::{AssetKind, ColumnKey, Direction, column_graph, column_lineage};

const ORDERS: (&str, &str) = (
    "models/staging/orders.sql",
    "{{ config(materialized='table') }} select id, customer, channel, amount from {{ source('raw', 'orders') }}",
);
const VIEW: (&str, &str) = (
    "metrics/orders.yaml",
    "semantic: orders
table: ref('orders')
entities:
  order: {type: primary, key: id}
  customer: {type: foreign, key: customer}
dimensions: {channel: {}}
measures: {amount: {aggregate: sum}, orders: {aggregate: count}, p50: {aggregate: quantile, p: 0.5, expression: amount}}
metrics:
  revenue: {measure: amount}
  orders: {measure: orders}
  middle: {measure: p50}
  each: {ratio: {of: revenue, per: orders}}
",
);
const CUSTOMERS: (&str, &str) = (
    "metrics/customers.yaml",
    "semantic: customers\ntable: source('raw', 'customers')\nentities: {customer: {type: primary, key: id}}\ndimensions: {country: {}}\n",
);
const CHANNELS: (&str, &str) = (
    "models/mart/channels.sql",
    "{{ config(materialized='table') }}
with asked as (select channel, revenue, each from metrics.orders)
select channel, revenue, each * 2 as twice from asked where revenue > 5",
);
const COUNTRIES: (&str, &str) = (
    "models/mart/countries.sql",
    "{{ config(materialized='table') }}\nselect customer_country, middle, orders\nfrom metrics.orders",
);

async fn shop(files: &[(&str, &str)]) -> Shop {
    let mut all = vec![ORDERS, VIEW, CUSTOMERS];
    all.extend(files);
    let shop = Shop::new(&all).await;
    let rows = "(1, 'a', 'app', 10.0), (2, 'a', 'web', 30.0), (3, 'b', 'app', 20.0), (4, 'b', 'shop', 1.0)";
    shop.land("raw.orders", "id, customer, channel, amount", rows).await;
    shop.land("raw.customers", "id, country", "('a', 'cn'), ('b', 'de')").await;
    shop
}

#[tokio::test]
async fn a_model_reads_what_a_question_answers() {
    let shop = shop(&[CHANNELS, COUNTRIES]).await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:?}");
    let channels = shop.read("select * from mart.channels order by channel").await;
    assert_eq!(channels, ["app 30.0 30.0", "web 30.0 60.0"]);
    let countries = shop.read("select * from mart.countries order by 1").await;
    assert_eq!(countries, ["cn 20.0 2", "de 10.5 2"]);
}

#[tokio::test]
async fn only_what_a_changed_metric_means_is_built_again() {
    let mut shop = shop(&[CHANNELS, COUNTRIES]).await;
    assert_eq!(shop.built().await.len(), 3);
    assert!(shop.built().await.is_empty(), "nothing changed");
    let described =
        VIEW.1.replace("revenue: {measure: amount}", "revenue: {measure: amount, unit: EUR}");
    shop.edit(VIEW.0, &described);
    assert!(shop.built().await.is_empty(), "a unit is no other figure");
    let filtered = VIEW.1.replace(
        "revenue: {measure: amount}",
        "revenue: {measure: amount, filter: \"channel <> 'web'\"}",
    );
    shop.edit(VIEW.0, &filtered);
    assert_eq!(shop.built().await, ["mart.channels"], "the other model reads another metric");
    let channels = shop.read("select channel, revenue from mart.channels").await;
    assert_eq!(channels, ["app 30.0"]);
    // New rows of a table that only the dimension lies in.
    shop.land("raw.customers", "id, country", "('c', 'fr')").await;
    assert_eq!(shop.built().await, ["mart.countries"]);
    shop.land("raw.orders", "id, customer, channel, amount", "(5, 'c', 'app', 7.0)").await;
    assert_eq!(shop.built().await, ["mart.channels", "mart.countries", "staging.orders"]);
}

#[tokio::test]
async fn columns_are_followed_through_metrics() {
    let shop = shop(&[CHANNELS, COUNTRIES]).await;
    let steps = column_lineage(shop.world(), "channels", "twice").await.unwrap();
    let lines: Vec<String> = steps
        .iter()
        .map(|step| {
            let from = step.upstream.iter();
            let from: Vec<String> =
                from.map(|one| format!("{}.{}", one.from.table, one.from.column)).collect();
            format!("{} {}.{} {}", step.kind.word(), step.node, step.column, from.join(" "))
        })
        .collect();
    assert_eq!(
        lines,
        [
            "model mart.channels.twice metrics.orders.each",
            "semantic metrics.orders.each staging.orders.amount",
            "model staging.orders.amount raw.orders.amount",
            "source raw.orders.amount ",
        ]
    );
    let graph = column_graph(shop.world()).await.unwrap();
    assert!(graph.notes.is_empty(), "{:?}", graph.notes);
    let above = |column: &str| {
        let key = ColumnKey::new(AssetKind::Model, "mart.channels", column);
        let start = graph.number(&key).unwrap();
        let near = graph.inputs(start);
        let near = near.map(|edge| graph.nodes()[edge.from].key.to_string());
        let mut near: Vec<String> = near.collect();
        near.dedup();
        near
    };
    assert_eq!(above("twice"), ["metric:each", "metric:revenue"]);
    assert_eq!(above("channel"), ["dimension:orders.channel", "metric:revenue"]);
    let revenue = graph.number(&ColumnKey::whole(AssetKind::Metric, "revenue")).unwrap();
    let below = graph.around(&[revenue], Direction::Downstream, 10);
    let below: Vec<String> =
        below.nodes.iter().map(|(number, _)| graph.nodes()[*number].key.to_string()).collect();
    assert!(below.contains(&"mart.channels.twice".to_owned()), "{below:?}");
}

#[tokio::test]
async fn a_question_that_a_model_may_not_ask_is_told_with_its_place() {
    let said = async |sql: &str| {
        let shop = shop(&[("models/mart/asks.sql", sql)]).await;
        let report = shop.build().await;
        error_of(&report, "mart.asks")
    };
    let unknown = said("select channel,\n  revenu\nfrom metrics.orders").await;
    assert!(unknown.contains("models/mart/asks.sql:3:6"), "{unknown}");
    assert!(unknown.contains("has no column") && unknown.contains("revenue"), "{unknown}");
    let again = said("select avg(middle) as m from metrics.orders").await;
    assert!(again.contains("A metric is added up already"), "{again}");
    let joined =
        said("select o.id, revenue from {{ ref('orders') }} o join metrics.orders m on true").await;
    assert!(joined.contains("could count rows of a metric several times"), "{joined}");
}

#[tokio::test]
async fn a_unit_test_gives_the_rows_behind_a_metric() {
    let tested = |given: &str| {
        format!(
            "version: 2\nunit_tests:\n  - name: adds_up\n    model: channels\n    given:\n{given}    expect:\n      rows: [{{channel: app, revenue: 12, twice: 12}}]\n"
        )
    };
    let rows = "      - {input: ref('orders'), rows: [{id: 1, channel: app, amount: 5}, {id: 2, channel: app, amount: 7}]}\n";
    let mut shop = shop(&[CHANNELS]).await;
    shop.edit("models/mart/tests.yml", &tested(rows));
    let report = shop.build().await;
    assert!(report.passed(), "{report:?}");
    shop.edit("models/mart/tests.yml", &tested("      - {input: ref('channels'), rows: []}\n"));
    let report = format!("{:?}", shop.build().await);
    assert!(
        report.contains("the model reads ref('orders') by way of metrics, which is not given"),
        "{report}"
    );
}
