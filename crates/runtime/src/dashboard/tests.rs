//! What the tiles of a dashboard ask.

use std::sync::Arc;

use flywheel_base::FixedClock;
use flywheel_project::Connectors;
use serde_json::json;

use super::*;
use crate::Access;

const FILES: &[(&str, &str)] = &[
    ("flywheel.yaml", "name: t\n"),
    (
        "models/mart/orders.sql",
        "select 1 as order_id, 1 as customer_id, 'a' as country, now() as ordered_at, 2.0 as revenue\n",
    ),
    ("models/mart/customers.sql", "select 1 as customer_id, 'a' as segment\n"),
    (
        "metrics/orders.yaml",
        "semantic: orders\ntable: ref('orders')\ntime: ordered_at\nentities:\n  order: {type: primary, key: order_id}\n  customer: {type: foreign, key: customer_id}\n\
         dimensions: {ordered_at: {type: time}, country: {}}\nmeasures: {revenue: {aggregate: sum}, orders: {aggregate: count}}\n\
         metrics:\n  revenue: {measure: revenue}\n  orders: {measure: orders}\n  weekly: {rolling: {metric: revenue, window: 7 days}}\n",
    ),
    (
        "metrics/customers.yaml",
        "semantic: customers\ntable: ref('customers')\nentities: {customer: {type: primary, key: customer_id}}\n\
         dimensions: {segment: {}}\nmeasures: {customers: {aggregate: count}}\nmetrics: {customers: {measure: customers}}\n",
    ),
    (
        "dashboards/shop.yaml",
        "dashboard: shop\nfilters: {time: {days: 28}, dimensions: [country, customer.segment]}\ntiles:\n\
         \x20 - {tile: revenue, metrics: revenue}\n  - {tile: people, metrics: customers}\n  - {tile: course, metrics: revenue, show: line, grain: week}\n\
         \x20 - {tile: split, metrics: revenue, show: line, by: country}\n  - {tile: lands, metrics: revenue, by: country}\n  - {tile: weekly, metrics: weekly}\n\
         \x20 - tile: query\n    sql: select * from {{ ref('orders') }} where {{ var('filters') }}\n    filters: {time: ordered_at, country: country}\n\
         \x20 - {tile: note, text: {en: Hello}}\n",
    ),
];

struct Board {
    project: Project,
    _dir: tempfile::TempDir,
}

fn board() -> Board {
    board_with("name: t", "name: t")
}

/// The same with another text in the place of one.
fn board_with(text: &str, other: &str) -> Board {
    let dir = tempfile::tempdir().unwrap();
    for (name, whole) in FILES {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, whole.replace(text, other)).unwrap();
    }
    let project =
        Project::load(dir.path(), &Connectors::default()).unwrap_or_else(|e| panic!("{e}"));
    Board { project, _dir: dir }
}

fn now() -> Timestamp {
    Timestamp::parse("2025-03-31T12:00:00Z").unwrap()
}

impl Board {
    fn ask(&self, tile: &str, asked: &Asked) -> Result<Question> {
        let board = &self.project.dashboards["shop"];
        let tile = board.tiles.iter().find(|one| one.tile == tile).unwrap();
        question(&self.project, board, tile, asked, now(), None).map(Option::unwrap)
    }
}

fn only(dimension: &str, values: Json) -> Asked {
    let Json::Array(values) = values else { panic!("values are a list") };
    Asked { only: BTreeMap::from([(dimension.to_owned(), values)]), ..Asked::default() }
}

#[test]
fn filters_narrow_every_tile_that_knows_them_and_the_others_say_so() {
    let board = board();
    let asked = only("country", json!(["it's", null]));
    let revenue = board.ask("revenue", &asked).unwrap();
    assert!(revenue.sql.contains("'it''s'"), "{}", revenue.sql);
    assert!(revenue.unfiltered.is_empty());
    let people = board.ask("people", &asked).unwrap();
    assert_eq!(people.unfiltered, ["time", "country"], "customers have neither");
    assert_eq!(people.span, None);
    let query = board.ask("query", &asked).unwrap();
    assert!(query.sql.contains("((country) in ('it''s') or (country) is null)"), "{}", query.sql);
    assert!(query.sql.contains("(ordered_at) >= cast('2025-03-04' as timestamp)"), "{}", query.sql);
    let segment = only("customer.segment", json!(["a"]));
    assert_eq!(board.ask("query", &segment).unwrap().unfiltered, ["customer.segment"]);
    assert!(board.ask("revenue", &segment).unwrap().unfiltered.is_empty());
}

#[test]
fn a_filter_that_is_not_there_is_refused_with_the_nearest() {
    let error = board().ask("revenue", &only("contry", json!(["a"]))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint_text().unwrap().contains("country"), "{}", error.report());
    let wrong = Asked { from: Some("2025-04-09".to_owned()), ..Asked::default() };
    let error = board().ask("revenue", &wrong).unwrap_err();
    assert!(error.message().contains("before it begins"), "{}", error.report());
}

#[test]
fn time_is_compared_with_as_long_before_in_whole_periods() {
    let board = board();
    let number = board.ask("revenue", &Asked::default()).unwrap();
    let day = |text: &str| NaiveDate::parse_from_str(text, "%Y-%m-%d").unwrap();
    assert_eq!(number.span, Some(Span { from: day("2025-03-04"), to: day("2025-04-01") }));
    assert_eq!(number.compare.as_deref(), Some("28 days"));
    let weeks = board.ask("course", &Asked::default()).unwrap();
    assert_eq!(weeks.span, Some(Span { from: day("2025-03-03"), to: day("2025-04-07") }));
    assert_eq!((weeks.compare.as_deref(), weeks.grain), (Some("5 weeks"), Some("week")));
    let whole = board.ask("revenue", &Asked { whole: true, ..Asked::default() }).unwrap();
    assert_eq!((whole.span, whole.compare), (None, None));
    assert_eq!(
        board.ask("weekly", &Asked::default()).unwrap().grain,
        Some("day"),
        "a window is over time"
    );
}

#[test]
fn the_day_is_that_of_the_schedule_else_that_of_the_metrics() {
    let held = board_with(
        "dimensions: {ordered_at: {type: time}",
        "dimensions: {ordered_at: {type: time, timezone: Asia/Shanghai}",
    );
    let late = Timestamp::parse("2025-03-31T23:00:00Z").unwrap();
    let board = &held.project.dashboards["shop"];
    let last = |held: &Board, zone: Option<&str>| {
        let asked = Asked { zone: zone.map(str::to_owned), ..Asked::default() };
        let board = &held.project.dashboards["shop"];
        let tile = &board.tiles[0];
        let asked = question(&held.project, board, tile, &asked, late, None).unwrap().unwrap();
        asked.span.unwrap().to.pred_opt().unwrap().to_string()
    };
    assert_eq!(last(&held, None), "2025-04-01", "orders of this morning are shown in Shanghai");
    assert_eq!(last(&held, Some("America/New_York")), "2025-03-31");
    let plain = self::board();
    assert_eq!(last(&plain, None), "2025-03-31");
    assert_eq!(last(&plain, Some("Asia/Shanghai")), "2025-04-01");
    let as_of = AsOf::new(&held.project, board, &Asked::default(), late).unwrap();
    assert_eq!(as_of.day.to_string(), "2025-04-01");
    assert_eq!(as_of.shown, "2025-04-01 07:00 +08:00");
    assert_eq!(as_of.stamp, "2025-04-01T070000");
}

#[test]
fn a_query_is_narrowed_by_the_value_that_is_called_so() {
    let held = board_with(
        "country: {}}",
        "country: {values: {a: {label: {en: Austria}, aliases: [AT]}, 'true': {label: {en: Home}}}}}",
    );
    for (chosen, narrowed) in [
        (json!(["Austria", "at", "b"]), "and (country) in ('a', 'a', 'b'))"),
        (
            json!(["Home", false, null]),
            "(cast(country as varchar) in ('true', 'false') or cast(country as varchar) is null)",
        ),
        (json!([true]), "and (country) in (true))"),
    ] {
        let query = held.ask("query", &only("country", chosen)).unwrap();
        assert!(query.sql.contains(narrowed), "{}", query.sql);
    }
}

#[test]
fn lines_of_a_split_are_those_of_the_largest_values() {
    let held = board();
    let rank = held.ask("split", &Asked::default()).unwrap();
    assert!(rank.ranks && rank.sql.contains("LIMIT 6"), "{}", rank.sql);
    let board = &held.project.dashboards["shop"];
    let tile = board.tiles.iter().find(|one| one.tile == "split").unwrap();
    let lines = [json!("a"), json!("b")];
    let drawn = question(&held.project, board, tile, &Asked::default(), now(), Some(&lines))
        .unwrap()
        .unwrap();
    assert!(!drawn.ranks && drawn.sql.contains("'a', 'b'"), "{}", drawn.sql);
    assert!(values(&held.project, board, "customer.segment").is_ok());
    assert!(values(&held.project, board, "city").is_err());
}

#[tokio::test]
async fn dashboards_of_a_simulated_project_end_with_its_last_turn() {
    let turned = Timestamp::parse("2010-01-31T23:59:59Z").unwrap();
    for (file, expected) in [("name: t\nsimulated: true\n", turned), ("name: t\n", now())] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("flywheel.yaml"), file).unwrap();
        let clock = Arc::new(FixedClock::new(now()));
        let workspace = Workspace::open(dir.path(), Access::Write, clock).await.unwrap();
        assert_eq!(as_of(&workspace).unwrap(), now(), "no turn yet: {file}");
        workspace.store.begin_turn(turned).unwrap();
        assert_eq!(as_of(&workspace).unwrap(), expected, "{file}");
    }
}
