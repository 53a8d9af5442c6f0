//! The catalogue by the binary: assets, use, health, search, profiles and savings.

use serde_json::Value;

use crate::house::House;

/// A shop with a landed table, models, a metric and what people say about them.
fn shop() -> House {
    let house = House::new();
    house.write(
        "flywheel.yaml",
        "name: shop\ncatalogue:\n  assets:\n    mart.*: {owner: analytics, tags: [gold]}\n    mart.orders: {certified: true, synonyms: [订单]}\n\
         \x20   raw.customers: {owner: crm, description: 'Accounts of the shop 客户'}\n    model:mart.gone: {owner: nobody}\n",
    );
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: files\nstreams:\n  - stream: orders\n    options: {path: orders.csv}\n\
         \x20 - stream: customers\n    options: {path: customers.csv}\n    columns:\n      - {name: id, type: int64}\n\
         \x20     - {name: email, type: text, mask: partial(2)}\n      - {name: city, type: text}\n",
    );
    house.write(
        "data/orders.csv",
        "id,customer_id,day,amount\n1,1,2024-01-05,10\n2,1,2024-01-20,30\n3,2,2024-03-02,20\n",
    );
    house.write(
        "data/customers.csv",
        "id,email,city\n1,ann@example.com,Rome\n2,benjamin@example.com,Oslo\n",
    );
    house.write(
        "models/mart/orders.sql",
        "{{ config(materialized='table') }} select id, customer_id, cast(day as date) as day, cast(amount as double) as amount from {{ source('raw', 'orders') }}",
    );
    house.write(
        "models/mart/people.sql",
        "{{ config(materialized='table') }} select id, email as contact, city from {{ source('raw', 'customers') }}",
    );
    house.write(
        "models/mart/mart.yml",
        "version: 2\nmodels:\n  - name: orders\n    description: One row per order.\n    columns:\n      - {name: id, description: The order., tests: [unique, not_null]}\n      - {name: amount}\n",
    );
    house.write(
        "metrics/orders.yaml",
        "semantic: orders\ntable: ref('orders')\nowner: sales\ntime: day\nentities: {order: {type: primary, key: id}}\n\
         dimensions: {day: {type: time, grain: day}}\nmeasures: {amount: {aggregate: sum}}\n\
         metrics: {revenue: {measure: amount, label: {en: Revenue, zh: 成交额}, description: What was sold.}}\n",
    );
    house.ok(&["sync"]);
    house.ok(&["build"]);
    house
}

fn json(house: &House, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--output", "json"]].concat();
    serde_json::from_str(&house.ok(&arguments)).unwrap()
}

fn asset(house: &House, name: &str) -> Value {
    json(house, &["catalogue", "show", name])["asset"].clone()
}

#[test]
fn every_asset_is_listed_with_what_files_lake_and_runs_say() {
    let house = shop();
    let listed = json(&house, &["catalogue"]);
    let ids: Vec<String> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{}:{}", one["kind"].as_str().unwrap(), one["name"].as_str().unwrap()))
        .collect();
    for wanted in [
        "connection:files",
        "sync:shop",
        "source:raw.orders",
        "source:raw.customers",
        "model:mart.orders",
        "model:mart.people",
        "semantic:orders",
        "metric:revenue",
    ] {
        assert!(ids.contains(&wanted.to_owned()), "{wanted} of {ids:?}");
    }
    let orders = asset(&house, "mart.orders");
    assert_eq!(
        (orders["owner"].as_str(), orders["certification"].as_str()),
        (Some("analytics"), Some("certified"))
    );
    assert_eq!(
        (orders["rows"].as_i64(), orders["tests_status"].as_str()),
        (Some(3), Some("passed"))
    );
    assert_eq!(orders["upstream"], serde_json::json!(["raw.orders"]));
    assert_eq!(orders["tags"], serde_json::json!(["gold"]));
    assert_eq!(orders["columns"].as_array().unwrap().len(), 4);
    assert_eq!(asset(&house, "revenue")["owner"], "sales");
    assert_eq!(asset(&house, "raw.customers")["owner"], "crm");
    let masked =
        house.sql("select name, \"column\" from system.asset_columns where masked order by 1");
    assert_eq!(masked, ["raw.customers,email"]);
    let warned = house.run(&["catalogue"]);
    let warned = String::from_utf8_lossy(&warned.stderr).into_owned();
    assert!(warned.contains("model:mart.gone"), "{warned}");
    let shown = house.ok(&["catalogue", "show", "people"]);
    assert!(shown.contains("model:mart.people") && shown.contains("analytics"), "{shown}");
    let said = house.fails(2, &["catalogue", "show", "mart.order"]);
    assert!(said.contains("mart.orders"), "{said}");
    assert_eq!(asset(&house, "orders")["kind"], "semantic");
    assert_eq!(asset(&house, "model:mart.orders")["kind"], "model");
}

#[test]
fn reads_are_counted_by_who_reads_and_make_an_asset_used() {
    let house = shop();
    for _ in 0..2 {
        house.ok(&["sql", "select count(*) from mart.orders"]);
    }
    house.ok(&["metric", "query", "revenue"]);
    let reads = house.sql(
        "select asset, via, sum(count) from system.reads group by asset, via order by asset, via",
    );
    assert_eq!(
        reads,
        [
            "mart.orders,metric,1",
            "mart.orders,sql,2",
            "raw.customers,build,1",
            "raw.orders,build,1",
            "revenue,metric,1"
        ]
    );
    let orders = asset(&house, "mart.orders");
    assert_eq!((orders["reads"].as_i64(), orders["readers"].as_i64()), (Some(3), Some(1)));
    assert_eq!(house.sql("select name from system.assets where name = 'system.reads'").len(), 0);
}

#[test]
fn one_query_gives_every_health_score_again() {
    let house = shop();
    let formula = house.ok(&["catalogue", "formula"]);
    let differ = format!(
        "select count(*) as assets, sum(case when abs(f.health - a.health) > 1e-9 then 1 else 0 end) as differ,
           min(a.health) as least, max(a.health) as most
         from ({formula}) as f join system.assets as a on a.kind = f.kind and a.name = f.name"
    );
    let answer = house.cell(&differ);
    let cells: Vec<f64> = answer.split(',').map(|cell| cell.parse().unwrap()).collect();
    assert_eq!(cells[1], 0.0, "{answer}");
    assert!(
        cells[0] >= 8.0 && cells[2] >= 0.0 && cells[3] <= 100.0 && cells[2] < cells[3],
        "{answer}"
    );
    let shown = json(&house, &["catalogue", "show", "mart.orders"]);
    let again = house.cell(shown["health_sql"].as_str().unwrap());
    let score: f64 = again.rsplit(',').next().unwrap().parse().unwrap();
    assert!((score - shown["asset"]["health"].as_f64().unwrap()).abs() < 1e-9);
    // All but documentation (2 of 5), use (1 of 3) and the contract are full.
    let wanted = 100.0 * (0.25 + 0.20 + 0.20 * 0.4 + 0.15 + 0.10 / 3.0) / 1.0;
    assert!((score - wanted).abs() < 1e-9, "{score} is not {wanted}");
    // A failing test takes its part away.
    house.write(
        "data/orders.csv",
        "id,customer_id,day,amount\n1,1,2024-01-05,10\n1,1,2024-01-20,30\n",
    );
    house.ok(&["sync"]);
    house.fails(1, &["build"]);
    let failed = asset(&house, "mart.orders");
    assert_eq!(failed["tests_status"], "failed");
    assert!(failed["health"].as_f64().unwrap() < score - 20.0);
}

#[test]
fn a_figure_about_the_assets_is_a_metric_like_any_other() {
    let house = shop();
    house.write(
        "models/system.yml",
        "version: 2\nsources:\n  - name: system\n    tables: [{name: assets}]\n",
    );
    house.write(
        "metrics/kpi.yaml",
        "semantic: assets\ntable: source('system', 'assets')\nentities: {asset: {type: foreign, key: name}}\n\
         dimensions: {kind: {}, owner: {}}\nmeasures:\n  assets: {aggregate: count}\n  health: {aggregate: average}\n\
         \x20 owned: {aggregate: sum, expression: 'case when owner is null then 0 else 1 end'}\n\
         metrics:\n  assets: {measure: assets, label: {zh: 资产数}}\n  owned: {measure: owned}\n  asset_health: {measure: health}\n\
         \x20 owned_share: {ratio: {of: owned, per: assets}}\n",
    );
    let answer = house.ok(&[
        "metric",
        "query",
        "assets,owned_share",
        "--by",
        "kind",
        "--where",
        "kind = 'model'",
        "--output",
        "csv",
    ]);
    assert_eq!(answer.lines().nth(1), Some("model,2,1.0"), "{answer}");
    let health = house.ok(&["metric", "query", "asset_health", "--output", "csv"]);
    let health: f64 = health.lines().nth(1).unwrap().parse().unwrap();
    assert!((1.0..=100.0).contains(&health));
}

#[test]
fn a_profile_is_kept_until_there_is_another_version_and_shows_no_masked_value() {
    let house = shop();
    let first = json(&house, &["profile", "raw.customers"]);
    let first = &first[0];
    assert_eq!((first["rows"].as_i64(), first["kept"].as_bool()), (Some(2), Some(false)));
    let email = &first["columns"][1];
    assert_eq!((email["masked"].as_bool(), email["distincts"].as_i64()), (Some(true), Some(2)));
    assert_eq!((&email["min"], &email["top"]), (&Value::Null, &serde_json::json!([])));
    assert_eq!(json(&house, &["profile", "raw.customers"])[0]["kept"], true);
    assert_eq!(json(&house, &["profile", "raw.customers", "--again"])[0]["kept"], false);
    // What is made of a masked column is masked, whatever it is called.
    let people = json(&house, &["profile", "mart.people"]);
    let masked: Vec<&str> = people[0]["columns"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|column| column["masked"] == true)
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(masked, ["contact"]);
    house.ok(&["profile", "--all"]);
    let rows = house.sql("select distinct \"table\" from system.profiles order by 1");
    assert_eq!(rows, ["mart.orders", "mart.people", "raw.customers", "raw.orders"]);
    let amounts = house.cell("select \"min\", \"max\", mean, median, distincts, distincts_exact from system.profiles where \"table\" = 'mart.orders' and \"column\" = 'amount'");
    assert_eq!(amounts, "10.0,30.0,20.0,20.0,3,true");
    house.write("data/orders.csv", "id,customer_id,day,amount\n1,1,2024-01-05,10\n2,1,2024-01-20,30\n3,2,2024-03-02,20\n4,2,2024-03-03,40\n");
    house.ok(&["sync"]);
    let newer = json(&house, &["profile", "raw.orders"]);
    assert_eq!((newer[0]["kept"].as_bool(), newer[0]["rows"].as_i64()), (Some(false), Some(4)));
    let said = house.fails(2, &["profile", "revenue"]);
    assert!(said.contains("no table"), "{said}");
    house.fails(2, &["profile"]);
    house.fails(2, &["profile", "raw.nothing"]);
}

#[test]
fn words_of_both_languages_find_assets_and_columns() {
    let house = shop();
    let first = |words: &str| {
        let found = json(&house, &["search", words]);
        found["places"][0]["name"].as_str().map(str::to_owned)
    };
    for (words, wanted) in [
        ("成交额", "revenue"),
        ("revenue", "revenue"),
        ("订单", "mart.orders"),
        ("客户", "raw.customers"),
        ("custmers", "raw.customers"),
        ("mart.people.contact", "mart.people.contact"),
    ] {
        assert_eq!(first(words).as_deref(), Some(wanted), "{words}");
    }
    assert_eq!(first("zebra"), None);
    house.fails(2, &["search", "x", "--kind", "sheet"]);
}

#[test]
fn giving_up_a_third_of_300_000_saves_90_000_once_it_is_gone() {
    let house = shop();
    house.write(
        "flywheel.yaml",
        "name: shop\ncatalogue:\n  cost_per_year: 300000\n  savings_target: 50%\n  prices: {currency: USD}\n  assets:\n\
         \x20   mart.people: {cost_per_year: 60000}\n    mart.copy: {cost_per_year: 30000}\n    mart.orders: {cost_per_year: 70000}\n",
    );
    house.write(
        "models/mart/copy.sql",
        "{{ config(materialized='table') }} select id, email as contact, city from {{ source('raw', 'customers') }}",
    );
    house.ok(&["build"]);
    house.ok(&["profile", "--all"]);
    let before = json(&house, &["savings"]);
    let found: Vec<(&str, &str)> = before["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["asset"].as_str().unwrap(), one["why"].as_str().unwrap()))
        .collect();
    assert_eq!(
        found,
        [("model:mart.people", "duplicate")],
        "the copy comes first by its name, so the other is one too many"
    );
    assert_eq!(
        (before["saved_per_year"].as_f64(), before["possible_per_year"].as_f64()),
        (Some(0.0), Some(60_000.0))
    );
    let said = house.fails(3, &["savings", "retire", "raw.customers", "--reason", "x"]);
    assert!(said.contains("mart.copy"), "{said}");
    house.ok(&["savings", "retire", "mart.people", "mart.copy", "--reason", "nobody asks"]);
    let agreed = json(&house, &["savings"]);
    assert_eq!(
        (agreed["saved_per_year"].as_f64(), agreed["agreed_per_year"].as_f64()),
        (Some(0.0), Some(90_000.0))
    );
    for model in ["people", "copy"] {
        std::fs::remove_file(house.dir().join(format!("models/mart/{model}.sql"))).unwrap();
    }
    house.ok(&["build"]);
    let saved = json(&house, &["savings"]);
    assert_eq!(saved["saved_per_year"].as_f64(), Some(90_000.0), "{saved}");
    assert_eq!(
        (saved["base_per_year"].as_f64(), saved["saved_share"].as_f64()),
        (Some(300_000.0), Some(0.3))
    );
    assert_eq!(
        (saved["target_share"].as_f64(), saved["target_per_year"].as_f64()),
        (Some(0.5), Some(150_000.0))
    );
    let shown = house.ok(&["savings"]);
    assert!(
        shown.contains("90000.00 USD a year of 300000.00") && shown.contains("(30.0 %)"),
        "{shown}"
    );
    assert!(shown.contains("150000.00 (50 %)"), "{shown}");
    let sum = house.cell("select sum(amount_per_year) from system.savings where status = 'saved'");
    assert_eq!(sum, "90000.0");
    house.ok(&["savings", "keep", "mart.copy"]);
    assert_eq!(json(&house, &["savings"])["saved_per_year"].as_f64(), Some(60_000.0));
    house.fails(2, &["savings", "keep", "mart.copy"]);
}

#[test]
fn what_costs_cannot_be_is_refused_at_its_line() {
    let house = House::new();
    house.write(
        "flywheel.yaml",
        "name: shop\ncatalogue:\n  prices: {work_hour: -1}\n  assets:\n    raw.x: {ownr: a}\n",
    );
    let said = house.fails(2, &["catalogue"]);
    assert!(
        said.contains("flywheel.yaml:3")
            && said.contains("flywheel.yaml:5")
            && said.contains("owner"),
        "{said}"
    );
}

#[test]
fn how_healthy_each_asset_was_is_kept_by_day() {
    let house = shop();
    let days = |of: &str| {
        house.sql(&format!(
            "select cast(day as date) as noted_on from system.health_history where kind = 'model' and name = 'mart.orders'{of} order by noted_on"
        ))
    };
    // The sync and the build above were on one day, or on two around midnight.
    assert!(matches!(days("").len(), 1 | 2), "{:?}", days(""));
    house.ok(&["turn", "--replay", "2024-05-01..2024-05-03"]);
    assert_eq!(
        days(" and cast(day as date) < date '2024-06-01'"),
        ["2024-05-01", "2024-05-02", "2024-05-03"]
    );
    let wrong = "select count(*) from system.health_history where health is null or health < 0 or health > 100";
    assert_eq!(house.sql(wrong), ["0"]);
    let kinds = "select count(distinct kind) > 2 from system.health_history";
    assert_eq!(house.sql(kinds), ["true"]);
}
