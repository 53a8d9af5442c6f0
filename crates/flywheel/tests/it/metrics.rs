//! Metrics by the binary: declared, listed, shown, asked and refused.

use crate::house::House;

fn shop() -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: files\nstreams:\n  - {stream: orders, options: {path: orders.csv}}\n  - {stream: lines, options: {path: lines.csv}}\n",
    );
    house.write(
        "data/orders.csv",
        "id,channel,day,amount\n1,app,2024-01-05,10\n2,web,2024-01-20,30\n3,app,2024-03-02,20\n",
    );
    house.write("data/lines.csv", "id,order_id,product\n1,1,tea\n2,1,cup\n3,2,tea\n4,3,tea\n");
    house.write(
        "models/orders.sql",
        "{{ config(materialized='table') }} select id, channel, cast(day as date) as day, cast(amount as double) as amount from {{ source('raw', 'orders') }}",
    );
    house.write(
        "metrics/orders.yaml",
        "semantic: orders\ntable: ref('orders')\nowner: sales\ntime: day\nentities: {order: {type: primary, key: id}}\n\
         dimensions:\n  day: {type: time, grain: day}\n  channel: {label: {zh: 渠道}, values: {app: {label: {zh: 手机, en: Phone}, aliases: [APP端]}, web: {aliases: [site]}}}\n\
         measures: {amount: {aggregate: sum}, orders: {aggregate: count}}\n\
         metrics:\n  revenue: {measure: amount, label: {en: Revenue, zh: 成交额}, unit: EUR}\n  orders: {measure: orders}\n",
    );
    house.write(
        "metrics/lines.yaml",
        "semantic: lines\ntable: source('raw', 'lines')\nentities: {line: {type: primary, key: id}, order: {type: foreign, key: order_id}}\n\
         dimensions: {product: {}}\nmeasures: {lines: {aggregate: count}}\nmetrics: {lines: {measure: lines}}\n",
    );
    house.ok(&["sync"]);
    house.ok(&["build"]);
    house
}

#[test]
fn a_question_is_answered_in_both_languages_and_as_json() {
    let house = shop();
    let csv = |arguments: &[&str]| house.ok(&[arguments, &["--output", "csv"]].concat());
    let answer = csv(&["metric", "query", "revenue,orders", "--by", "month", "--fill"]);
    assert_eq!(
        answer.trim(),
        "time,revenue,orders\n2024-01-01,40.0,2\n2024-02-01,,0\n2024-03-01,20.0,1"
    );
    let answer = csv(&["metric", "query", "成交额", "--by", "渠道", "--where", "渠道 = '手机'"]);
    assert_eq!(answer.trim(), "channel,revenue\napp,30.0");
    let shown =
        house.ok(&["metric", "query", "lines", "--by", "order.channel", "--output", "json"]);
    let rows: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        rows,
        serde_json::json!([{"order_channel": "app", "lines": 3}, {"order_channel": "web", "lines": 1}])
    );
    let listed: serde_json::Value =
        serde_json::from_str(&house.ok(&["metric", "list", "--output", "json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 3);
    let channel = serde_json::json!({"en": null, "zh": "渠道"});
    assert_eq!(listed[0]["dimension_labels"], serde_json::json!({"order.channel": channel}));
    assert_eq!(listed[2]["dimension_labels"], serde_json::json!({"channel": channel}));
    let app = serde_json::json!({"app": {"en": "Phone", "zh": "手机"}});
    assert_eq!(listed[0]["value_labels"], serde_json::json!({"order.channel": app}));
    let compile = ["metric", "compile", "revenue", "--by", "渠道", "--output", "json"];
    let compiled: serde_json::Value = serde_json::from_str(&house.ok(&compile)).unwrap();
    assert_eq!(compiled["columns"][0]["labels"], app, "{compiled}");
    assert_eq!(compiled["columns"][1].get("labels"), None, "{compiled}");
    for (condition, row) in [
        ("channel = 'phone'", "app,30.0"),
        ("channel in ('APP端')", "app,30.0"),
        ("渠道 <> 'Phone'", "web,30.0"),
        ("channel = 'Site'", "web,30.0"),
    ] {
        let asked = csv(&["metric", "query", "revenue", "--by", "channel", "--where", condition]);
        assert_eq!(asked.trim(), format!("channel,revenue\n{row}"), "{condition}");
    }
    let shown = house.ok(&["metric", "show", "成交额"]);
    assert!(
        shown.contains("Revenue / 成交额") && shown.contains("EUR") && shown.contains("sales"),
        "{shown}"
    );
    let sql = house.ok(&["metric", "compile", "revenue", "--by", "channel"]);
    assert_eq!(house.sql(sql.trim()), ["app,30.0", "web,30.0"], "what is shown is what runs");
}

#[test]
fn a_question_that_would_count_twice_is_refused() {
    let house = shop();
    let said = house.fails(2, &["metric", "query", "revenue", "--by", "product"]);
    assert!(said.contains("\"lines\" has many rows per order"), "{said}");
    assert!(said.contains("Define the measure in \"lines\""), "{said}");
}

#[test]
fn what_metrics_are_made_of_is_checked_against_the_tables() {
    let house = shop();
    let said = house.ok(&["metric", "check"]);
    assert!(said.contains("tables have all that metrics are made of"), "{said}");
    let declared = "semantic: lines\ntable: source('raw', 'lines')\nentities: {line: {type: primary, key: id}, order: {type: foreign, key: order_id}}\n\
                    dimensions: {product: {}, colour: {}}\nmeasures: {lines: {aggregate: count}, pieces: {aggregate: sum, expression: quantity}}\n\
                    metrics: {lines: {measure: lines}, pieces: {measure: pieces}}\n";
    house.write("metrics/lines.yaml", declared);
    let checked = house.run(&["metric", "check", "--output", "csv"]);
    assert_eq!(checked.status.code(), Some(1));
    let rows = String::from_utf8_lossy(&checked.stdout);
    assert!(
        rows.contains("lines,dimension colour,") && rows.contains("lines,measure pieces,"),
        "{rows}"
    );
    let said = house.fails(2, &["metric", "query", "pieces"]);
    let expected =
        "measure pieces of semantic \"lines\" (metrics/lines.yaml): unknown column \"quantity\"";
    assert!(said.contains(expected), "{said}");
    assert_eq!(house.ok(&["metric", "query", "lines", "--output", "csv"]).trim(), "lines\n4");
}

#[test]
fn a_question_is_asked_in_an_environment() {
    let house = shop();
    house.ok(&["environment", "create", "dev"]);
    house.write(
        "models/orders.sql",
        "{{ config(materialized='table') }} select id, channel, cast(day as date) as day, cast(amount as double) * 2 as amount from {{ source('raw', 'orders') }}",
    );
    house.ok(&["build", "--environment", "dev"]);
    let ask = |more: &[&str]| {
        house.ok(&[&["metric", "query", "revenue", "--output", "csv"], more].concat())
    };
    assert_eq!(ask(&[]).trim(), "revenue\n60.0");
    assert_eq!(ask(&["--environment", "dev"]).trim(), "revenue\n120.0");
}

#[test]
fn a_declared_key_that_occurs_twice_is_not_published() {
    let house = shop();
    house.write(
        "data/orders.csv",
        "id,channel,day,amount\n1,app,2024-01-05,10\n1,web,2024-01-20,30\n",
    );
    house.ok(&["sync"]);
    let said = house.fails(1, &["build"]);
    assert!(said.contains("unique_orders_id"), "{said}");
    let asked = house.run(&["metric", "query", "revenue", "--output", "csv"]);
    assert_eq!(String::from_utf8_lossy(&asked.stdout).trim(), "revenue\n60.0");
    let said = String::from_utf8_lossy(&asked.stderr);
    assert!(said.contains("main.orders is read at its last good version"), "{said}");
}

#[test]
fn metrics_are_tables_in_sql_and_no_row_counts_twice() {
    let house = shop();
    // Lines are more than orders: a flat join would count the revenue of order 1 twice.
    assert_eq!(
        house.sql("select order_channel, lines from metrics.lines order by order_channel"),
        ["app,3", "web,1"]
    );
    assert_eq!(
        house.sql("select channel, revenue, revenue / orders as each from metrics.orders group by channel having revenue > 10 order by 1"),
        ["app,30.0,15.0", "web,30.0,30.0"]
    );
    assert_eq!(
        house.cell(
            "select revenue from metrics.orders where channel = 'app' and day < date '2024-02-01'"
        ),
        "10.0"
    );
    assert_eq!(
        house.sql("select m.time_month, m.revenue from metrics.orders as m order by m.time_month"),
        ["2024-01-01,40.0", "2024-03-01,20.0"]
    );
    // An answer may be joined and taken further like any other rows.
    assert_eq!(
        house.cell("with m as (select channel, revenue from metrics.orders) select max(m.revenue) from m join main.orders o on o.channel = m.channel"),
        "30.0"
    );
    let complaint = |sql: &str| house.fails(2, &["sql", sql]);
    let joined = complaint(
        "select o.channel, m.revenue from metrics.orders m join main.orders o on o.channel = m.channel",
    );
    assert!(
        joined.contains("could count rows of a metric several times") && joined.contains("channel"),
        "{joined}"
    );
    assert!(complaint("select sum(revenue) from metrics.orders").contains("added up already"));
    assert!(
        complaint("select day, revenue from metrics.orders")
            .contains("name periods, such as time_day, time_month, time_year")
    );
    for from in ["metrics.orders tablesample (10 percent)", "metrics.orders as m(a, b)"] {
        let said = complaint(&format!("select channel, revenue from {from}"));
        assert!(said.contains("takes no sample, no version and no other names"), "{from}: {said}");
    }
    for by in ["rollup(channel)", "cube(channel)", "grouping sets ((channel), ())"] {
        let said = complaint(&format!("select channel, revenue from metrics.orders group by {by}"));
        assert!(said.contains("grouped in several ways at once"), "{by}: {said}");
    }
    assert!(complaint("select * from metrics.orders").contains("every metric by every dimension"));
    assert!(complaint("select channel from metrics.orders").contains("names no metric"));
    assert!(complaint("select revenue from metrics.orders where revenue > 3").contains("HAVING"));
    assert!(
        complaint("select revenue, chanel from metrics.orders")
            .contains("Did you mean \"channel\"?")
    );
    assert!(complaint("select revenue from metrics.order").contains("Did you mean \"orders\"?"));
    // Revenue belongs to orders; grouping it by a product of their lines would count orders once a line.
    let multiplied = complaint("select product, revenue from metrics.orders");
    assert!(multiplied.contains("product"), "{multiplied}");
}

#[test]
fn models_and_learners_read_metrics_and_follow_what_they_mean() {
    let house = shop();
    house.write(
        "models/mart/channels.sql",
        "{{ config(materialized='table') }}\nselect channel, revenue, orders\nfrom metrics.orders\n",
    );
    house.write(
        "models/mart/products.sql",
        "{{ config(materialized='table') }} select product, lines from metrics.lines",
    );
    house.write(
        "learners/stages.yaml",
        "learner: stages\nsegment:\n  events: select channel as unit_id, time_day as at, revenue as value from metrics.orders\n",
    );
    house.ok(&["build"]);
    assert_eq!(
        house.sql("select * from mart.channels order by channel"),
        ["app,30.0,2", "web,30.0,1"]
    );
    house.ok(&["learn"]);
    assert_eq!(house.cell("select count(distinct unit_id) from learn.stages"), "2");
    let planned = || {
        let plan: serde_json::Value =
            serde_json::from_str(&house.ok(&["plan", "--output", "json"])).unwrap();
        let models = plan["models"].as_array().unwrap().clone();
        let name = |model: &serde_json::Value| model["name"].as_str().unwrap().to_owned();
        models.iter().map(name).collect::<Vec<_>>()
    };
    assert!(planned().is_empty());
    // What the metric means changes, and so does what is made of it.
    let semantic = std::fs::read_to_string(house.dir().join("metrics/orders.yaml")).unwrap();
    let filtered = semantic.replace(
        "revenue: {measure: amount,",
        "revenue: {measure: amount, filter: \"channel <> 'web'\",",
    );
    house.write("metrics/orders.yaml", &filtered);
    assert_eq!(planned(), ["mart.channels"]);
    house.ok(&["build"]);
    assert_eq!(
        house.sql("select channel, revenue from mart.channels order by 1"),
        ["app,30.0", "web,"]
    );
    let lineage = house.ok(&["lineage", "metric:revenue", "--downstream"]);
    assert!(lineage.contains("mart.channels.revenue"), "{lineage}");
    let above = house.ok(&["lineage", "mart.channels.revenue", "--upstream"]);
    assert!(above.contains("metric:revenue") && above.contains("raw.orders.amount"), "{above}");
    // A metric of a model that reads it is a circle, told at both of its ends.
    house.write(
        "models/orders.sql",
        "select id, channel, day, amount\nfrom {{ source('raw', 'orders') }}\nwhere amount > (select revenue from metrics.orders)\n",
    );
    let circle = house.fails(2, &["check"]);
    assert!(circle.contains("a cycle of references"), "{circle}");
    assert!(
        circle.contains("models/orders.sql:3") && circle.contains("metrics/orders.yaml:2"),
        "{circle}"
    );
}

#[test]
fn metrics_go_to_another_tool_and_come_back_with_the_same_answers() {
    let house = shop();
    let asked = ["metric", "query", "成交额,lines", "--by", "order.channel", "--output", "csv"];
    let (before, document) = (house.ok(&asked), house.ok(&["export", "osi"]));
    assert!(document.contains("SUM(orders.amount)"), "{document}");
    house.write("shop.yaml", &document);
    let taken = house.fails(2, &["import", "osi", "shop.yaml"]);
    assert!(taken.contains("a semantic view \"lines\" already"), "{taken}");
    for name in ["lines", "orders"] {
        std::fs::remove_file(house.path(&format!("metrics/{name}.yaml"))).unwrap();
    }
    house.ok(&["import", "osi", "shop.yaml"]);
    house.ok(&["check"]);
    assert_eq!(house.ok(&asked), before);
    assert_eq!(house.ok(&["export", "osi"]), document);
    house.write("shop.yaml", document.replace("SUM(orders.amount)", "MAX(orders.amount)"));
    house.ok(&["import", "osi", "shop.yaml", "--force"]);
    assert_ne!(house.ok(&asked), before, "what another tool changed is taken");
}
