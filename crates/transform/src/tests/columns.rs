//! Column lineage of models, and of queries with every kind of node.

use super::shop::Shop;
use crate::{Transform, column_lineage, lineage, model_columns};

const STG: (&str, &str) = (
    "models/staging/stg_orders.sql",
    "with kept as (select * from {{ source('raw', 'orders') }} where status <> 'lost')
     select id, customer, price * quantity as amount, day from kept",
);
const REVENUE: (&str, &str) = (
    "models/mart/daily_revenue.sql",
    "{{ config(materialized='table') }}
     select o.day, c.country, sum(o.amount) as revenue, count(*) as orders
     from {{ ref('stg_orders') }} o join {{ source('raw', 'customers') }} c on c.id = o.customer
     group by o.day, c.country",
);

async fn shop(files: &[(&str, &str)]) -> Shop {
    let shop = Shop::new(files).await;
    shop.land(
        "raw.orders",
        "id, customer, status, price, quantity, day",
        "(1, 'a', 'paid', 2.5, 2, 1)",
    )
    .await;
    shop.land("raw.customers", "id, country", "('a', 'cn')").await;
    shop
}

#[tokio::test]
async fn a_column_is_followed_to_the_landed_tables_before_anything_is_built() {
    let shop = shop(&[STG, REVENUE]).await;
    let steps = column_lineage(shop.world(), "mart.daily_revenue", "revenue").await.unwrap();
    let lines: Vec<String> = steps
        .iter()
        .map(|step| {
            let from: Vec<String> = step
                .upstream
                .iter()
                .map(|origin| format!("{}.{}", origin.from.table, origin.from.column))
                .collect();
            format!("{}.{} {:?} {}", step.node, step.column, step.transform, from.join(" "))
        })
        .collect();
    assert_eq!(
        lines,
        [
            "mart.daily_revenue.revenue Aggregate staging.stg_orders.amount",
            "staging.stg_orders.amount Computed raw.orders.price raw.orders.quantity",
            "raw.orders.price Identity ",
            "raw.orders.quantity Identity ",
        ]
    );
    assert_eq!(steps[0].expression.as_deref(), Some("sum(o.amount)"));
    let influences: Vec<String> = steps[0]
        .influences
        .iter()
        .map(|i| format!("{}.{} {:?}", i.by.table, i.by.column, i.how))
        .collect();
    assert_eq!(
        influences,
        [
            "raw.customers.country Group",
            "raw.customers.id Join",
            "staging.stg_orders.customer Join",
            "staging.stg_orders.day Group",
        ]
    );
    let wrong = column_lineage(shop.world(), "daily_revenue", "revenu").await.unwrap_err();
    assert_eq!(wrong.hint_text(), Some("Did you mean \"revenue\"?"));
    assert!(column_lineage(shop.world(), "daily_revenu", "x").await.is_err());
}

#[tokio::test]
async fn texts_in_expressions_are_shown_in_quotes() {
    let sql = "select case when o.status = 'paid' then 'it''s' else o.customer end as a,
         concat(o.customer, 'x') as b, sum(o.price) filter (where o.status <> 'lost') as c
         from {{ source('raw', 'orders') }} o group by 1, 2";
    let shop = shop(&[("models/mart/m.sql", sql)]).await;
    let lineage = model_columns(shop.world(), "mart.m").await.unwrap();
    let told = |at: usize| lineage.columns[at].expression.clone().unwrap();
    assert!(told(0).contains("= 'paid' THEN 'it''s'"), "{}", told(0));
    assert!(told(1).contains("'x'"), "{}", told(1));
    assert!(told(2).contains("'lost'"), "{}", told(2));
}

#[tokio::test]
async fn a_moment_that_becomes_a_text_is_shown_as_the_cast_that_was_written() {
    let sql = "select cast(cast(o.customer as timestamp) as varchar) || '!' as a from {{ source('raw', 'orders') }} o";
    let shop = shop(&[("models/mart/m.sql", sql)]).await;
    let lineage = model_columns(shop.world(), "mart.m").await.unwrap();
    let told = lineage.columns[0].expression.clone().unwrap();
    assert!(told.contains("customer") && !told.contains("moment_text"), "{told}");
    assert_eq!(lineage.columns[0].origins.len(), 1);
}

#[tokio::test]
async fn every_kind_of_query_is_traced() {
    let check = async |sql: &str, expected: &[&str]| {
        let shop = shop(&[("models/mart/m.sql", sql)]).await;
        let lineage = model_columns(shop.world(), "mart.m").await.unwrap();
        let lines: Vec<String> = lineage
            .columns
            .iter()
            .map(|column| {
                let origins: Vec<String> = column
                    .origins
                    .iter()
                    .map(|o| {
                        let kind = match o.transform {
                            Transform::Identity => "",
                            Transform::Computed => "~",
                            Transform::Window => "w",
                            Transform::Aggregate => "Σ",
                        };
                        format!("{kind}{}", o.from.column)
                    })
                    .collect();
                format!("{}: {}", column.column, origins.join(" "))
            })
            .collect();
        assert_eq!(lines, expected, "{sql}");
    };
    let orders = "{{ source('raw', 'orders') }}";
    let customers = "{{ source('raw', 'customers') }}";
    check(
        &format!("select id as n, 1 as one, upper(status) as s from {orders}"),
        &["n: id", "one: ", "s: ~status"],
    )
    .await;
    check(
        &format!("select case when status = 'x' then price else 0 end as p from {orders}"),
        &["p: ~price"],
    )
    .await;
    check(
        &format!(
            "select id, sum(price) over (partition by customer order by day) as run from {orders}"
        ),
        &["id: id", "run: wprice"],
    )
    .await;
    check(
        &format!("select customer as who from {orders} union all select id from {customers}"),
        &["who: id customer"],
    )
    .await;
    check(
        &format!("select id, (select max(country) from {customers} c where c.id = o.customer) as land from {orders} o"),
        &["id: id", "land: Σcountry"],
    )
    .await;
    check(
        &format!("select distinct customer from {orders} where customer in (select id from {customers}) order by 1 limit 3"),
        &["customer: customer"],
    )
    .await;
    check(
        &format!("with recursive t as (select id, 0 as depth from {orders} union all select id, depth + id from t where depth < 3) select * from t"),
        &["id: id", "depth: ~id"],
    )
    .await;
    check(
        &format!("select customer, status, sum(price) as p from {orders} group by rollup(customer, status)"),
        &["customer: customer", "status: status", "p: Σprice"],
    )
    .await;
    check(
        &format!("select o.id, c.country from {orders} o left join {customers} c on c.id = o.customer and o.day > 1"),
        &["id: id", "country: country"],
    )
    .await;
    check(
        &format!("select unnest(make_array(price, quantity)) as n, id from {orders}"),
        &["n: ~price ~quantity", "id: id"],
    )
    .await;
}

#[tokio::test]
async fn the_graph_has_every_node_with_its_sql() {
    let shop = shop(&[STG, REVENUE]).await;
    let graph = lineage(&shop.project).unwrap();
    let model = graph.nodes.iter().find(|node| node.id.name == "daily_revenue").unwrap();
    assert!(model.sql.as_ref().unwrap().contains("staging.stg_orders o join raw.customers c"));
    assert_eq!(model.table.as_deref(), Some("mart.daily_revenue"));
    let edges: Vec<String> =
        graph.edges.iter().map(|edge| format!("{} > {}", edge.from.name, edge.to.name)).collect();
    assert_eq!(
        edges,
        ["raw.customers > daily_revenue", "raw.orders > stg_orders", "stg_orders > daily_revenue"]
    );
}
