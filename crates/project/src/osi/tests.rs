//! Semantic models in and out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value as Json;

use super::aggregate::{Parts, Shape, parts};
use super::{Options, export, import, text};
use crate::diagnostic::Diagnostics;
use crate::file::SourceFile;
use crate::{Connectors, Project, yaml};

const FOREIGN: &str = include_str!("tests/foreign.yaml");

/// A project in which everything that a semantic view can say is said.
const PROJECT: &[(&str, &str)] = &[
    ("flywheel.yaml", "name: shop\ndescription: A shop.\n"),
    ("models/mart/orders.sql", "select 1 as invoice_no, 2 as customer_id, 'x' as channel, 3.0 as revenue, 1 as stock, now() as ordered_at\n"),
    ("models/mart/customers.sql", "select 2 as customer_id, 'north' as region\n"),
    ("metrics/customers.yaml", "semantic: customers\ntable: ref('customers')\nentities:\n  customer: {type: primary, key: customer_id}\ndimensions:\n  region: {label: {en: Region, zh: 地区}, values: {north: {label: {zh: 北}}}}\n"),
    ("metrics/orders.yaml", "semantic: orders
table: ref('orders')
description: One row per order.
owner: ann
time: ordered_at
entities:
  order: {type: primary, key: invoice_no}
  customer: {type: foreign, key: customer_id}
dimensions:
  ordered_at: {type: time, timezone: Asia/Shanghai}
  channel: {synonyms: [way, 渠道]}
  large: {expression: revenue > 100}
measures:
  orders: {aggregate: count}
  revenue: {aggregate: sum, description: Without tax.}
  buyers: {aggregate: count_distinct, expression: customer_id}
  middle: {aggregate: median, expression: revenue}
  high: {aggregate: quantile, p: 0.9, expression: revenue * 2}
  stock: {aggregate: sum, over_time: {take: last}}
metrics:
  revenue: {measure: revenue, label: {en: Revenue, zh: 成交额}, unit: EUR, direction: up, certification: certified}
  orders: {measure: orders}
  buyers: {measure: buyers}
  middle: {measure: middle}
  high: {measure: high}
  stock: {measure: stock}
  app_revenue: {measure: revenue, filter: \"channel = 'app' and customer.region in ('north')\", default: 0}
  order_value: {ratio: {of: revenue, per: orders}}
  twice: {derived: (revenue + app_revenue) / buyers}
  revenue_ytd: {to_date: {metric: revenue, period: year}}
  revenue_share: {share: {metric: revenue}}
"),
];

fn options(models: &[&str]) -> Options {
    let models: BTreeSet<String> = models.iter().map(|one| (*one).to_owned()).collect();
    Options { schema: "raw".into(), models, views: BTreeMap::new() }
}

fn parsed(text: &str) -> Json {
    let mut out = Diagnostics::default();
    yaml::parse(&SourceFile::new("m.yaml", text), &mut out).unwrap().to_json()
}

fn load(files: &[(&str, &str)]) -> (tempfile::TempDir, Project) {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let project = Project::load(folder.path(), &Connectors::default())
        .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    (folder, project)
}

/// What a project declares, as JSON.
fn views(project: &Project) -> Json {
    project
        .semantics
        .iter()
        .map(|(name, view)| (name.clone(), serde_json::to_value(&view.value).unwrap()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// The project with the files of an import in the place of its own metrics.
fn again(document: &Json) -> (Json, Vec<String>) {
    let imported = import("m.yaml", &text(document), &options(&["orders", "customers"])).unwrap();
    let models = PROJECT.iter().filter(|(path, _)| !path.starts_with("metrics/")).copied();
    let made = imported.files.iter().map(|made| (made.path.as_str(), made.text.as_str()));
    let (_folder, project) = load(&models.chain(made).collect::<Vec<_>>());
    (views(&project), notes(&imported.notes))
}

fn notes(notes: &[crate::datax::Note]) -> Vec<String> {
    notes.iter().map(|note| format!("{}: {}", note.at, note.message)).collect()
}

/// The entry of a list with this name.
fn named<'j>(list: &'j mut Json, name: &str) -> &'j mut Json {
    list.as_array_mut().unwrap().iter_mut().find(|one| one["name"] == name).unwrap()
}

#[test]
fn what_is_exported_comes_back_word_for_word() {
    let (_folder, project) = load(PROJECT);
    let exported = export(&project, &[]).unwrap();
    assert_eq!(
        parsed(&text(&exported.document)),
        exported.document,
        "what is written is what was meant"
    );
    let (back, notes) = again(&exported.document);
    assert_eq!(back, views(&project));
    assert_eq!(notes, Vec::<String>::new());
    let told = super::tests::notes(&exported.notes).join("\n");
    for metric in ["stock", "revenue_ytd", "revenue_share"] {
        assert!(told.contains(&format!("metric \"{metric}\"")), "{told}");
    }
}

#[test]
fn metrics_are_sql_that_others_can_read() {
    let (_folder, project) = load(PROJECT);
    let exported = export(&project, &[]).unwrap().document;
    let mut shown = String::new();
    let model = &exported["semantic_model"][0];
    for metric in model["metrics"].as_array().unwrap() {
        let sql = metric["expression"]["dialects"][0]["expression"].as_str().unwrap();
        writeln!(shown, "{}: {sql}", metric["name"].as_str().unwrap()).unwrap();
    }
    assert_eq!(shown, include_str!("tests/metrics.txt"));
    assert_eq!(model["relationships"][0]["to_columns"][0], "customer_id");
    assert_eq!(model["datasets"][1]["source"], "mart.orders");
}

#[test]
fn what_another_tool_changed_wins_over_our_note() {
    let (_folder, project) = load(PROJECT);
    let mut document = export(&project, &[]).unwrap().document;
    let model = &mut document["semantic_model"][0];
    let changed = &mut named(&mut model["metrics"], "revenue")["expression"]["dialects"][0];
    changed["expression"] = "AVG(orders.revenue)".into();
    let (back, notes) = again(&document);
    let metrics = &back["orders"]["metrics"];
    let measure = metrics["revenue"]["measure"].as_str().unwrap();
    assert_eq!(back["orders"]["measures"][measure]["aggregate"], "average");
    assert_eq!(metrics["buyers"]["measure"], "buyers", "others are as they were");
    // The value of an order was told by sums, and still is.
    let of = metrics["order_value"]["ratio"]["of"].as_str().unwrap();
    let sum = metrics[of]["measure"].as_str().unwrap();
    assert_eq!(back["orders"]["measures"][sum]["aggregate"], "sum");
    assert!(metrics.get("revenue_ytd").is_none(), "nobody knows what it would be made of now");
    let told = notes.join("\n");
    assert!(told.contains("was changed since it was exported"), "{told}");
    assert!(told.contains("metric \"revenue_ytd\": is in Flywheel's note alone"), "{told}");
}

#[test]
fn a_model_of_another_tool_becomes_views_and_says_what_is_left_out() {
    let imported = import("shop.yaml", FOREIGN, &options(&["orders"])).unwrap();
    let mut shown = String::new();
    for made in &imported.files {
        writeln!(shown, "# {}\n{}", made.path, made.text).unwrap();
    }
    for note in notes(&imported.notes) {
        writeln!(shown, "note: {note}").unwrap();
    }
    assert_eq!(shown, include_str!("tests/foreign.txt"));
    let models = [
        ("flywheel.yaml", "name: shop\n"),
        ("models/orders.sql", "select 1 as order_id\n"),
        ("models/crm.yml", "sources:\n  - name: crm\n    tables: [{name: customers}]\n"),
    ];
    let made = imported.files.iter().map(|made| (made.path.as_str(), made.text.as_str()));
    load(&models.into_iter().chain(made).collect::<Vec<_>>());
}

#[test]
fn names_in_chinese_stay_apart_and_are_kept_as_labels() {
    let sql = |text: &str| {
        format!("expression: {{dialects: [{{dialect: ANSI_SQL, expression: \"{text}\"}}]}}")
    };
    let document = format!(
        "version: '0.2.0'
semantic_model:
  - name: shop
    datasets:
      - name: orders
        source: s.orders
        primary_key: [id]
        fields:
          - {{name: id, {}}}
          - {{name: visits, {}}}
          - {{name: 渠道, {}, dimension: {{}}}}
    metrics:
      - {{name: 订单数, {}, ai_context: {{synonyms: [订单数, 单量]}}}}
      - {{name: 访问数, {}}}
",
        sql("id"),
        sql("visits"),
        sql("channel"),
        sql("COUNT(orders.id)"),
        sql("SUM(orders.visits)"),
    );
    let imported = import("m.yaml", &document, &options(&[])).unwrap();
    assert_eq!(notes(&imported.notes), Vec::<String>::new());
    let others = [
        ("flywheel.yaml", "name: shop\n"),
        ("models/s.yml", "sources:\n  - name: s\n    tables: [{name: orders}]\n"),
    ];
    let made = imported.files.iter().map(|made| (made.path.as_str(), made.text.as_str()));
    let (_folder, project) = load(&others.into_iter().chain(made).collect::<Vec<_>>());
    let view = &project.semantics["orders"].value;
    let mut called: Vec<(&str, Vec<String>)> = view
        .metrics
        .values()
        .map(|metric| (metric.label.zh.as_deref().unwrap(), metric.synonyms.clone()))
        .collect();
    called.sort();
    assert_eq!(called, [("订单数", vec!["单量".to_owned()]), ("访问数", Vec::new())]);
    let dimension = view.dimensions.values().next().unwrap();
    assert_eq!(dimension.label.zh.as_deref(), Some("渠道"));
    assert_eq!(dimension.expression.as_deref(), Some("channel"));
}

#[test]
fn mistakes_are_told_with_their_places() {
    let error =
        |text: &str| import("m.yaml", text, &options(&[])).unwrap_err().message().to_owned();
    let model = |rest: &str| format!("version: '0.2.0'\nsemantic_model:\n  - name: a\n{rest}");
    let check = |text: &str, expected: &str| {
        let found = error(text);
        assert!(found.contains(expected), "{found}\n\nwanted: {expected}");
    };
    check("semantic_model: []\n", "has no `version`");
    check("version: '3.0'\nsemantic_model: [{name: a}]\n", "version \"3.0\" is not read");
    check("version: '0.2.0'\n", "has no `semantic_model`");
    check(&model(""), "has no data sets");
    check(&model("    datasets: [{name: x}]\n"), "needs a name and a source");
    check(
        &model("    datasets: [{name: x, source: s.x}, {name: x, source: s.y}]\n"),
        "two data sets",
    );
    check(
        &model("    datasets: [{name: x, source: s.x}, {name: X, source: s.y}]\n"),
        "two data sets",
    );
    let one = "    datasets: [{name: x, source: s.x}]\n";
    check(&model(&format!("{one}    metrics: [{{name: m}}]\n")), "metric \"m\" has no expression");
    check(
        &model(&format!(
            "{one}    relationships: [{{name: r, from: x, to: y, from_columns: [a], to_columns: [b]}}]\n"
        )),
        "unknown data set \"y\"",
    );
    check(
        &model(&format!(
            "{one}    relationships: [{{name: r, from: x, to: x, from_columns: [a], to_columns: []}}]\n"
        )),
        "as many `from_columns`",
    );
    check("version: [\n", "m.yaml");
    let taken = Options {
        views: BTreeMap::from([("x".to_owned(), "metrics/x.yaml".to_owned())]),
        ..options(&[])
    };
    let found = import("m.yaml", &model(one), &taken).unwrap_err();
    assert!(found.message().contains("already"), "{found}");
}

#[test]
fn aggregates_are_taken_apart() {
    let shape = |sql: &str| match parts(sql) {
        Ok(Parts { calls, shape, default }) => {
            let of: Vec<String> = calls
                .iter()
                .map(|call| {
                    format!("{}({})", call.aggregate.word(), call.of.as_deref().unwrap_or("*"))
                })
                .collect();
            let shape = match shape {
                Shape::One => "one".to_owned(),
                Shape::Ratio => "ratio".to_owned(),
                Shape::Derived(text) => text,
            };
            format!(
                "{} | {shape}{}",
                of.join(" "),
                default.map_or_else(String::new, |d| format!(" | {d}"))
            )
        }
        Err(reason) => format!("! {reason}"),
    };
    let check = |sql: &str, expected: &str| assert_eq!(shape(sql), expected, "{sql}");
    check("SUM(o.x)", "sum(o.x) | one");
    check(" ( sum ( o.x ) ) ", "sum(o.x) | one");
    check("count(*)", "count(*) | one");
    check("COUNT(1)", "count(*) | one");
    check("Count(Distinct o.x)", "count_distinct(o.x) | one");
    check("AVG(o.a) / AVG(o.b)", "average(o.a) average(o.b) | ratio");
    check("CAST(SUM(o.a) AS DOUBLE PRECISION) / NULLIF(SUM(o.b), 0)", "sum(o.a) sum(o.b) | ratio");
    check("SUM(o.a) - SUM(o.a) * 0.5", "sum(o.a) | part_0 - part_0 * 0.5");
    check("COALESCE(SUM(o.a), 0)", "sum(o.a) | one | 0");
    check("SUM(CASE WHEN o.t = 'a(' THEN o.x END)", "sum(CASE WHEN o.t = 'a(' THEN o.x END) | one");
    check("percentile_cont(0.5) within group (order by o.x)", "median(o.x) | one");
    check("SUM(o.x", "! a parenthesis does not close");
    check("SUM('x)", "! a text that begins with ' does not end");
    check("SUM(DISTINCT o.x)", "! DISTINCT is taken over in COUNT alone");
    check("SUM(MAX(o.x))", "! an aggregate stands within another");
    check(
        "SUM(o.x) FILTER (WHERE o.y)",
        "! FILTER is taken over".replace("taken", "not taken").as_str(),
    );
    check("o.x", "! it puts no rows together: write SUM, COUNT, AVG, MIN, MAX or MEDIAN");
    check("SUM()", "! an aggregate takes one expression");
    check("NULLIF(SUM(o.x), 1)", "! NULLIF is taken over against 0 alone");
}
