//! What people read of a dashboard.

use std::fs;

use flywheel_base::Timestamp;
use flywheel_project::resource::schedule::Language;
use flywheel_project::{Connectors, Project};
use serde_json::json;

use super::super::book::sheets;
use super::*;
use crate::dashboard::{AsOf, Asked, question};

const FILES: &[(&str, &str)] = &[
    ("flywheel.yaml", "name: t\n"),
    (
        "models/mart/orders.sql",
        "select 1 as order_id, 'a' as country, now() as ordered_at, 2.0 as revenue\n",
    ),
    (
        "metrics/orders.yaml",
        "semantic: orders\ntable: ref('orders')\ntime: ordered_at\nentities:\n  order: {type: primary, key: order_id}\n\
         dimensions: {ordered_at: {type: time}, country: {label: {en: Country, zh: 国家}, values: {zz: {label: {en: Zed}}}}}\n\
         measures: {revenue: {aggregate: sum}, orders: {aggregate: count}}\n\
         metrics:\n  revenue: {measure: revenue, unit: CNY, label: {en: Revenue, zh: 成交额}}\n  orders: {measure: orders}\n",
    ),
    (
        "dashboards/shop.yaml",
        "dashboard: shop\ntitle: {en: \"Sales <&>\", zh: 销售}\nfilters: {time: {days: 28}}\ntiles:\n\
         \x20 - {tile: revenue, metrics: revenue}\n  - {tile: lands, metrics: revenue, by: country}\n\
         \x20 - {tile: course, metrics: revenue, show: line, title: {en: Course}}\n  - {tile: lost, metrics: orders}\n  - {tile: note, text: {en: Hello}}\n",
    ),
];

fn table(columns: &[(&str, &'static str)], rows: Vec<Vec<Json>>) -> Table {
    let column = |&(name, kind): &(&str, &'static str)| Column {
        name: name.to_owned(),
        kind,
        arrow_type: String::new(),
    };
    Table {
        columns: columns.iter().map(column).collect(),
        row_count: rows.len(),
        rows,
        truncated: false,
        elapsed_ms: 0.0,
        sql: String::new(),
    }
}

fn answer_of(tile: &str) -> Option<Table> {
    let figures =
        [("revenue", "number"), ("revenue_before", "integer"), ("revenue_change", "number")];
    match tile {
        "revenue" => {
            Some(table(&figures, vec![vec![json!(12_345.5), json!(11_960), json!(0.0322)]]))
        }
        "lands" => {
            let rows = (0..12).map(|n| vec![json!(format!("<b>x</b> {n}")), json!(1_000 - n)]);
            Some(table(&[("country", "text"), ("revenue", "integer")], rows.collect()))
        }
        "course" => {
            let rows = (1..=12).map(|n| vec![json!(format!("2025-03-{n:02}T00:00:00Z")), json!(n)]);
            Some(table(&[("time", "moment"), ("revenue", "integer")], rows.collect()))
        }
        _ => None,
    }
}

/// Gives what was answered to `check`, in a language.
fn with_answers(language: Language, check: impl FnOnce(Answered<'_>)) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in FILES {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let project =
        Project::load(dir.path(), &Connectors::default()).unwrap_or_else(|e| panic!("{e}"));
    let board = &project.dashboards["shop"].value;
    let now = Timestamp::parse("2025-03-31T12:00:00Z").unwrap();
    let chosen = Asked::default();
    let tiles = board.tiles.iter().filter(|tile| tile.shown().is_some()).map(|tile| {
        let asked = question(&project, board, tile, &chosen, now, None).unwrap().unwrap();
        let answer = answer_of(&tile.tile);
        (tile, answer.map(|table| Answer { question: asked, table, course: None }))
    });
    check(Answered {
        board,
        names: Names::new(&project, board, language).unwrap(),
        chosen: &chosen,
        as_of: AsOf::new(&project, board, &chosen, now).unwrap(),
        simulated: false,
        tiles: tiles.collect(),
    });
}

#[test]
fn every_tile_is_said_in_few_lines_and_what_failed_says_so() {
    with_answers(Language::En, |answered| {
        let said = message(&answered, Some("https://flywheel.example.com/dashboards/shop"));
        assert_eq!(said.title, "Sales <&> 2025-03-31");
        let text = &said.text;
        assert!(
            text.starts_with("https://flywheel.example.com/dashboards/shop\n\nRevenue: "),
            "{text}"
        );
        let revenue =
            "Revenue: 12,345.5 CNY (+3.2%, 11,960 CNY the time before) [2025-03-04 – 2025-03-31]\n";
        assert!(text.contains(revenue), "{text}");
        assert!(text.contains("\nRevenue by Country ["), "{text}");
        assert!(text.contains("\n  Country | Revenue\n  <b>x</b> 0 | 1,000 CNY\n"), "{text}");
        assert!(text.contains("<b>x</b> 9 | 991 CNY\n  … 2 more rows\n"), "{text}");
        // Of a line the newest are the ones to look at.
        assert!(text.contains("\nCourse\n  Time | Revenue\n  2025-03-03 | 3 CNY\n"), "{text}");
        assert!(text.contains("  2025-03-12 | 12 CNY\n  … 2 earlier rows\n"), "{text}");
        assert!(text.ends_with("\norders: could not be answered"), "{text}");
        assert!(said.brief.contains("<b>x</b> 2 | 998 CNY\n  … 9 more rows\n"), "{}", said.brief);
        assert!(said.brief.len() < text.len());
        let tiles: Vec<&Json> = said.tiles.iter().map(|tile| &tile["tile"]).collect();
        assert_eq!(tiles, ["revenue", "lands", "course", "lost"]);
        assert_eq!(said.tiles[1]["rows"].as_array().unwrap().len(), 12);
        assert_eq!(said.tiles[1]["columns"][0]["title"], "Country");
        assert_eq!(said.tiles[1]["labels"]["country"]["zz"]["en"], "Zed");
        assert_eq!(said.tiles[3]["answered"], false);
    });
}

#[test]
fn nothing_of_the_data_is_html() {
    with_answers(Language::En, |answered| {
        let html = message(&answered, Some("https://a.example/\"><script>")).html;
        assert!(
            html.contains("<h1 style=\"font-size:20px\">Sales &lt;&amp;&gt; 2025-03-31</h1>"),
            "{html}"
        );
        assert!(html.contains("&lt;b&gt;x&lt;/b&gt; 0"), "{html}");
        assert!(!html.contains("<b>x") && !html.contains("<script"), "{html}");
        assert!(html.contains("<b>12,345.5 CNY (+3.2%"), "{html}");
    });
}

#[test]
fn titles_are_those_of_the_page_in_its_language_also_in_the_workbook() {
    with_answers(Language::Zh, |answered| {
        let said = message(&answered, None);
        assert_eq!(said.title, "销售 2025-03-31");
        let revenue =
            "成交额: 12,345.5 CNY（+3.2%，上一时段 11,960 CNY） [2025-03-04 – 2025-03-31]\n";
        assert!(said.text.starts_with(revenue), "{}", said.text);
        assert!(said.text.contains("\n成交额（按 国家） ["), "{}", said.text);
        assert!(said.text.contains("\n  … 另有更早的 2 行"), "{}", said.text);
        let sheets = sheets(answered);
        let names: Vec<&str> = sheets.iter().map(|sheet| sheet.name.as_str()).collect();
        assert_eq!(names, ["关于", "成交额", "成交额（按 国家）", "Course"]);
        let failed = [json!("orders"), json!("未能查询")];
        assert!(sheets[0].rows.iter().any(|row| row[..] == failed), "{:?}", sheets[0].rows);
    });
}

#[test]
fn figures_are_grouped_rounded_and_signed() {
    for (text, expected) in [
        ("0", "0"),
        ("999", "999"),
        ("1000", "1,000"),
        ("-1234567.50", "-1,234,567.5"),
        ("12.00", "12"),
    ] {
        assert_eq!(grouped(text), expected);
    }
    for (change, expected) in [
        (json!(0.5), Some("+50%")),
        (json!(-0.123), Some("-12.3%")),
        (json!(-0.0001), Some("±0%")),
        (json!(null), None),
    ] {
        assert_eq!(change_of(&change).as_deref(), expected);
    }
    with_answers(Language::En, |answered| {
        let names = &answered.names;
        for (value, expected) in [
            (json!(null), "–"),
            (json!(1.005_4), "1.01"),
            (json!("12345678901234567890.55"), "12,345,678,901,234,567,890.55"),
            (json!(9_007_199_254_740_991_i64), "9,007,199,254,740,991"),
            (json!("not a number"), "not a number"),
        ] {
            assert_eq!(figure(names, None, &value), expected);
        }
        assert_eq!(text_of(names, &json!("a\nb\u{7}")), "a b ");
        assert_eq!(text_of(names, &json!("x".repeat(300))).chars().count(), CELL_CHARS_MAX + 1);
    });
}
