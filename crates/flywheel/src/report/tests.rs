//! What `report` promises.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::*;

fn date(day: u64) -> String {
    let (month, day) = if day <= 31 { (3, day) } else { (4, day - 31) };
    format!("2025-{month:02}-{day:02}")
}

/// A month of a shop whose numbers have the shape of real ones.
pub(crate) fn sample() -> ReportData {
    let lift = |turn: u64, at: f64, wide: f64| {
        let measured = turn.saturating_sub(7) * 330;
        let known = measured > 0;
        let half = wide / (measured.max(1) as f64).sqrt();
        let wobble = ((turn * 7919 % 13) as f64 - 6.0) / 6.0 * half / 3.0;
        LiftPoint {
            turn,
            date: date(turn),
            measured,
            treated_rate: known.then_some(0.124 + at + wobble),
            holdout_rate: known.then_some(0.124),
            lift: known.then_some(at + wobble),
            lower: known.then_some(at + wobble - half),
            upper: known.then_some(at + wobble + half),
            artifact: Some("5d1c0ffee0ddba11".into()),
        }
    };
    let policy = |name: &str, about: &str, at: f64, wide: f64| PolicyReport {
        policy: name.into(),
        description: about.into(),
        description_zh: Some("每位客户每周至多一次，收到三个可能想要的商品。".into()),
        holdout: 0.2,
        window_days: 7,
        paused: None,
        lifts: (1..=30).map(|turn| lift(turn, at, wide)).collect(),
        compared: ["outcome", "order-value"]
            .map(|metric| Compared {
                metric: metric.into(),
                share: metric == "outcome",
                variant: "bold".into(),
                control: "plain".into(),
                rate: Some(at),
                control_rate: Some(0.0),
                difference: Some(at),
                lower: Some(at - wide),
                upper: None,
                standing: "better".into(),
            })
            .to_vec(),
    };
    let turn = |turn: u64| Turn {
        turn,
        date: date(turn),
        rows_landed: if turn == 1 { 26_114 } else { 380 + turn * 37 % 90 },
        rows_quarantined: if turn == 1 { 181 } else { turn * 5 % 7 },
        test_failures: u64::from(turn == 9),
        fits: if turn % 7 == 1 { 4 } else { 1 },
        decisions: 540 + turn * 11 % 60,
        held_out: 108 + turn % 9,
        actions: 436 + turn * 3 % 40,
        outcomes: if turn == 1 { 0 } else { 40 + turn * 2 },
    };
    let stage = |day: u64| {
        let counts = [
            ("champion", 212 + day * 2),
            ("active", 930 + day * 6),
            ("new", 260 - day * 2),
            ("prospect", 310 - day),
            ("at-risk", 340 + day * 3),
            ("churned", 150 + day * 4),
        ];
        StageCounts {
            date: date(day),
            counts: counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
        }
    };
    let moves = [
        ("new", "active", 240),
        ("active", "champion", 96),
        ("active", "at-risk", 310),
        ("at-risk", "active", 142),
        ("at-risk", "churned", 121),
        ("churned", "active", 23),
        ("prospect", "new", 178),
        ("champion", "at-risk", 41),
    ];
    let series = |id: &str, name: &str, zh: &str, level: f64| {
        let week = [1.05, 1.1, 1.1, 1.2, 1.05, 0.7, 0.8];
        let value = |day: u64| level * week[day as usize % 7];
        ForecastSeries {
            id: id.into(),
            name: name.into(),
            name_zh: Some(zh.into()),
            method: "holt-winters".into(),
            interval: 0.9,
            actual: (1..=42)
                .map(|day| DayValue {
                    date: date(day),
                    value: (value(day) * (0.7 + (day * 37 % 11) as f64 / 16.0)).round(),
                })
                .collect(),
            ahead: (43..=56)
                .map(|day| ForecastDay {
                    date: date(day),
                    mean: value(day),
                    lower: Some((value(day) * 0.55).max(0.0)),
                    upper: Some(value(day) * 1.6),
                })
                .collect(),
        }
    };
    let item = |item: &str, name: &str, zh: &str, reason: &str| RecommendedItem {
        item: item.into(),
        name: name.into(),
        name_zh: Some(zh.into()),
        score: 0.8,
        reason: reason.into(),
        reason_zh: Some("与已购商品常一起购买".into()),
    };
    let person = |id: &str, name: &str, stage: &str| Recommended {
        customer: id.into(),
        name: Some(name.into()),
        stage: Some(stage.into()),
        bought: vec!["IVORY TEA TRAY".into(), "SAGE MIXING BOWL".into(), "COPPER SPICE JAR".into()],
        items: vec![
            item("20014", "Copper Cake Stand", "铜色蛋糕架", "bought together with Ivory Tea Tray"),
            item("20007", "Walnut Bread Board", "胡桃木面包板", "customers like this one buy it"),
            item("25003", "Striped Tea Towel", "条纹茶巾", "similar to Sage Mixing Bowl"),
        ],
    };
    let proposal = |code: &str, name: &str, quantity: f64| Proposal {
        date: date(30),
        product: code.into(),
        name: name.into(),
        on_hand: 14.0,
        on_order: 12.0,
        expected_demand: 41.3,
        stockout_risk: Some(0.62),
        quantity,
        cost: quantity * 3.15,
        reason: "26 pieces last 3.1 days, the delivery takes 5".into(),
        reason_zh: None,
    };
    let test = |subject: &str, test: &str, status: &str, failures: u64| TestResult {
        subject: subject.into(),
        test: test.into(),
        status: status.into(),
        failures,
    };
    let bad = |line: u64, column: Option<&str>, reason: &str, raw: &str| QuarantinedRow {
        file: "data/orders/2025-03-07.csv".into(),
        line: Some(line),
        column: column.map(str::to_owned),
        reason: reason.into(),
        raw: raw.into(),
    };
    let step = |kind: &str, node: &str, detail: &str, sql: Option<&str>| LineageStep {
        kind: kind.into(),
        node: node.into(),
        detail: detail.into(),
        sql: sql.map(str::to_owned),
    };
    ReportData {
        project: "demo_shop".into(),
        simulated_seed: Some(42),
        version: "0.1.0".into(),
        command: "flywheel demo --seed 42".into(),
        headline_policy: Some("next_offer".into()),
        totals: Totals {
            files: 214,
            rows_landed: 38_902,
            rows_quarantined: 268,
            models: 13,
            tests: 27,
            fits: 44,
            decisions: 16_840,
            held_out: 3_370,
            actions: 13_470,
            outcomes: 2_611,
        },
        turns: (1..=30).map(turn).collect(),
        policies: vec![
            policy(
                "next_offer",
                "Three products each customer is likely to want, at most once a week.",
                0.071,
                1.9,
            ),
            policy(
                "winback",
                "Asks customers back who are silent for longer than their own rhythm.",
                0.021,
                2.3,
            ),
            PolicyReport {
                policy: "reorder".into(),
                description: "Purchase orders that keep products on the shelf.".into(),
                ..PolicyReport::default()
            },
        ],
        stages: (1..=30).map(stage).collect(),
        moves: moves
            .into_iter()
            .map(|(from, to, customers)| StageMove { from: from.into(), to: to.into(), customers })
            .collect(),
        forecasts: vec![
            series("20014", "Copper Cake Stand", "铜色蛋糕架", 9.0),
            series("22003", "Sage Fairy Lights", "鼠尾草绿串灯", 14.0),
            series("25001", "Indigo Bed Throw", "靛蓝床毯", 5.0),
            series("27002", "Honey Drink Flask", "蜜色保温杯", 11.0),
        ],
        recommendations: vec![
            person("10017", "Mei Zhang", "active"),
            person("10342", "Clara O'Brien", "champion"),
            person("11250", "Samir Patel", "new"),
        ],
        proposals: vec![
            proposal("20014", "Copper Cake Stand", 36.0),
            proposal("22003", "Sage Fairy Lights", 48.0),
            proposal("25001", "Indigo Bed Throw", 12.0),
        ],
        tests: vec![
            test("mart.orders", "invoice_no is unique", "passed", 0),
            test("mart.orders", "customer_id exists in customers", "passed", 0),
            test("mart.products", "price is not null", "warned", 3),
            test("tests/revenue_is_the_same_everywhere.sql", "returns no row", "passed", 0),
        ],
        quarantine: vec![
            bad(
                118,
                Some("quantity"),
                "\"two\" is not a whole number",
                "540411,22009,SAGE FAIRY LIGHTS,two,2025-03-07 11:20:00,12.95,10342.0,United Kingdom",
            ),
            bad(
                204,
                Some("invoiced_at"),
                "\"31/02/2025 25:61\" is not a timestamp",
                "540430,20014,COPPER CAKE STAND,1,31/02/2025 25:61,16.95,10017.0,Germany",
            ),
            bad(
                311,
                None,
                "5 fields instead of 8",
                "540467,25003,STRIPED TEA TOWEL,2,2025-03-07 16:02:00",
            ),
        ],
        lineage: Some(Lineage {
            title: "Revenue on 2025-03-30".into(),
            title_zh: "2025-03-30 的销售额".into(),
            value: "9,412.35".into(),
            steps: vec![
                step(
                    "model",
                    "mart.daily_sales",
                    "90 rows, version 31",
                    Some(
                        "select day, cast(sum(revenue) as decimal(18, 3)) as revenue\nfrom mart.sales\ngroup by day",
                    ),
                ),
                step(
                    "model",
                    "mart.sales",
                    "view",
                    Some(
                        "select * from staging.stg_order_lines\nwhere customer_id is not null and not cancelled and quantity > 0 and unit_price > 0",
                    ),
                ),
                step("source", "raw.order_lines", "38,902 rows, version 30", None),
                step("file", "data/orders/2025-03-30.csv", "431 rows, 3 set aside", None),
            ],
        }),
        truth: Some(TruthReport {
            policies: vec![
                PolicyTruth {
                    policy: "next_offer".into(),
                    messages: 9_980,
                    lift: 0.0745,
                    lift_random: Some(0.003),
                    lift_oracle: Some(0.092),
                },
                PolicyTruth {
                    policy: "winback".into(),
                    messages: 1_410,
                    lift: 0.066,
                    lift_random: None,
                    lift_oracle: None,
                },
            ],
            fill_rate: 0.968,
            lost_revenue: 4_120.5,
            lost_orders: 12,
            empty_shelf_days: 96,
            spoiled_rows: 268,
        }),
    }
}

/// Whether every element that is opened is closed, in order.
fn check_balanced(html: &str) {
    const VOID: [&str; 3] = ["meta", "link", "br"];
    let body = html.split_once("<head>").map_or(html, |(_, rest)| rest);
    let (before, rest) = body.split_once("<style>").unwrap();
    let (_, rest) = rest.split_once("</style>").unwrap();
    let (middle, _) = rest.split_once("<script>").unwrap();
    let mut open: Vec<String> = Vec::new();
    for tag in format!("{before}{middle}").split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag ends");
        let name: String =
            tag.trim_start_matches('/').chars().take_while(|c| c.is_alphanumeric()).collect();
        if tag.starts_with('/') {
            match open.pop() {
                Some(last) => assert_eq!(last, name),
                None => assert_eq!(name, "head"),
            }
        } else if !tag.ends_with('/') && !VOID.contains(&name.as_str()) {
            open.push(name);
        }
    }
    assert_eq!(open, ["body"]);
}

#[test]
fn the_page_is_whole_in_both_languages_and_loads_nothing() {
    let html = render(&sample());
    check_balanced(&html);
    let count = |text: &str| html.matches(text).count();
    assert_eq!(count("class=\"en\""), count("class=\"zh\""));
    assert!(count("class=\"zh\"") > 100);
    assert!(html.contains("<html lang=\"en\"") && html.contains("zh-CN"));
    for outside in ["http:", "https:", " src=", "url(", "@import", "fetch("] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert!(html.len() < 400_000, "{}", html.len());
}

#[test]
fn simulated_customers_are_named_so_and_real_ones_are_not() {
    let html = render(&sample());
    for words in ["Simulated customers.", "模拟客户。", "seed 42", "种子 42"] {
        assert!(html.contains(words), "{words}");
    }
    let real = ReportData { simulated_seed: None, truth: None, ..sample() };
    let html = render(&real);
    for words in ["imulated", "模拟客户", "种子", "simulator knows"] {
        assert!(!html.contains(words), "{words}");
    }
}

#[test]
fn the_headline_follows_the_interval() {
    let mut data = sample();
    assert!(render(&data).contains("and it helps"));
    let set = |data: &mut ReportData, lower: f64, upper: f64| {
        let point = data.policies[0].lifts.last_mut().unwrap();
        (point.lift, point.lower, point.upper) =
            (Some((lower + upper) / 2.0), Some(lower), Some(upper));
    };
    set(&mut data, -0.01, 0.05);
    assert!(render(&data).contains("No evidence yet"));
    set(&mut data, -0.05, -0.01);
    assert!(render(&data).contains("it does harm"));
    data.policies[0].lifts.clear();
    assert!(!render(&data).contains("helps"));
}

/// Puts `text` in the place of every text of a value.
fn replace(value: &mut Json, text: &str) {
    match value {
        Json::String(old) => text.clone_into(old),
        Json::Array(items) => items.iter_mut().for_each(|item| replace(item, text)),
        Json::Object(entries) => {
            let mut hostile = serde_json::Map::new();
            for (key, mut item) in std::mem::take(entries) {
                replace(&mut item, text);
                hostile.insert(
                    if item.is_u64() && key.contains("risk") { text.into() } else { key },
                    item,
                );
            }
            *entries = hostile;
        }
        _ => {}
    }
}

#[test]
fn hostile_data_stays_text() {
    let attack = "\"><script>alert(1)</script><img onerror='x' x=\u{0} </style>";
    let mut json = serde_json::to_value(sample()).unwrap();
    replace(&mut json, attack);
    let mut data: ReportData = serde_json::from_value(json).unwrap();
    data.stages[0].counts.insert(attack.into(), 3);
    let html = render(&data);
    assert_eq!(html.matches("<script").count(), 1);
    assert_eq!(html.matches("</style").count(), 1);
    assert!(!html.contains("<img") && !html.contains("onerror='") && !html.contains('\u{0}'));
    check_balanced(&html);
}

#[test]
fn an_empty_project_has_a_page_too() {
    let html = render(&ReportData::default());
    check_balanced(&html);
    assert!(!html.contains("<section id="));
}

#[test]
fn odd_numbers_do_not_break_a_drawing() {
    let mut data = sample();
    let series = &mut data.forecasts[0];
    series.actual.clear();
    series.ahead.truncate(1);
    series.ahead[0].mean = f64::NAN;
    data.stages.truncate(1);
    data.stages[0].counts = BTreeMap::new();
    data.policies[1].lifts.truncate(9);
    let html = render(&data);
    assert!(!html.contains("NaN") && !html.contains("inf,"));
    check_balanced(&html);
}

#[test]
fn numbers_read_well() {
    use markup::{number, percent, points, whole};
    assert_eq!(
        (whole(0), whole(999), whole(1_234_567)),
        ("0".into(), "999".into(), "1,234,567".into())
    );
    assert_eq!((number(-1234.5, 1), number(-0.001, 1)), ("−1,234.5".into(), "0.0".into()));
    assert_eq!(
        (percent(0.1839), points(0.074), points(-0.02)),
        ("18.4 %".into(), "+7.4".into(), "−2.0".into())
    );
}
