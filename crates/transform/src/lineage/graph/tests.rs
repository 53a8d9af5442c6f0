//! Names, depths and marks of a small graph.

use super::{AssetKind, ColumnGraph, ColumnKey, Direction, EdgeKind, Mark};

fn shop() -> ColumnGraph {
    let mut graph = ColumnGraph::default();
    let mail = graph.add(ColumnKey::new(AssetKind::Source, "raw.orders", "mail"));
    let amount = graph.add(ColumnKey::new(AssetKind::Source, "raw.orders", "amount"));
    let domain = graph.add(ColumnKey::new(AssetKind::Model, "mart.orders", "domain"));
    let revenue = graph.add(ColumnKey::new(AssetKind::Model, "mart.orders", "amount"));
    let metric = graph.add(ColumnKey::whole(AssetKind::Metric, "revenue"));
    graph.add(ColumnKey::new(AssetKind::Measure, "orders", "domain"));
    graph.link(mail, domain, EdgeKind::Transform);
    graph.link(mail, revenue, EdgeKind::Filter);
    graph.link(amount, revenue, EdgeKind::Aggregate);
    graph.link(revenue, metric, EdgeKind::Aggregate);
    graph
}

fn found(graph: &ColumnGraph, text: &str) -> Vec<String> {
    let found = graph.find(text).unwrap();
    found.iter().map(|at| graph.nodes()[*at].key.to_string()).collect()
}

#[test]
fn a_name_is_found_however_a_person_writes_it() {
    let graph = shop();
    assert_eq!(found(&graph, "mart.orders.amount"), ["mart.orders.amount"]);
    assert_eq!(found(&graph, "orders.domain"), ["mart.orders.domain"]);
    assert_eq!(found(&graph, "measure:orders.domain"), ["measure:orders.domain"]);
    assert_eq!(found(&graph, "metric:revenue"), ["metric:revenue"]);
    assert_eq!(found(&graph, "revenue"), ["metric:revenue"]);
    assert_eq!(found(&graph, "raw.orders"), ["raw.orders.mail", "raw.orders.amount"]);
    let several = graph.find("orders.amount").unwrap_err();
    assert!(several.message().contains("raw.orders, mart.orders"), "{several}");
    let wrong = graph.find("mart.orders.amont").unwrap_err();
    assert_eq!(wrong.hint_text(), Some("Did you mean \"amount\"?"));
    let wrong = graph.find("mart.order").unwrap_err();
    assert_eq!(wrong.hint_text(), Some("Did you mean \"mart.orders\"?"));
}

#[test]
fn a_question_goes_as_deep_as_it_is_asked_and_says_so() {
    let graph = shop();
    let metric = graph.find("revenue").unwrap();
    let whole = graph.around(&metric, Direction::Upstream, usize::MAX);
    let names: Vec<String> = whole
        .nodes
        .iter()
        .map(|(at, steps)| format!("{steps} {}", graph.nodes()[*at].key))
        .collect();
    assert_eq!(
        names,
        ["0 metric:revenue", "1 mart.orders.amount", "2 raw.orders.mail", "2 raw.orders.amount"]
    );
    assert!(!whole.cut);
    let near = graph.around(&metric, Direction::Upstream, 1);
    assert_eq!((near.nodes.len(), near.edges.len(), near.cut), (2, 1, true));
    let below = graph.around(&graph.find("raw.orders.amount").unwrap(), Direction::Downstream, 9);
    assert_eq!(below.nodes.len(), 3);
}

#[test]
fn a_mark_goes_where_values_go_and_not_where_they_only_decide() {
    let mut graph = shop();
    let mail = graph.find("raw.orders.mail").unwrap()[0];
    graph.mark(mail, Mark::Masked("hmac".to_owned()));
    graph.spread_marks();
    graph.spread_marks();
    let mark = |text: &str| graph.nodes()[graph.find(text).unwrap()[0]].mark.clone();
    assert_eq!(mark("mart.orders.domain"), Some(Mark::Derived("raw.orders.mail".to_owned())));
    assert_eq!(mark("mart.orders.amount"), None);
    assert_eq!(mark("revenue"), None);
}

#[test]
fn a_circle_ends() {
    let mut graph = shop();
    let (first, last) = (graph.find("raw.orders.amount").unwrap(), graph.find("revenue").unwrap());
    graph.link(last[0], first[0], EdgeKind::Learn);
    graph.link(first[0], first[0], EdgeKind::Transform);
    assert_eq!(graph.around(&first, Direction::Downstream, usize::MAX).nodes.len(), 3);
}

#[test]
fn of_two_ways_of_values_the_stronger_is_kept() {
    let mut graph = ColumnGraph::default();
    let a = graph.add(ColumnKey::new(AssetKind::Source, "raw.t", "a"));
    let b = graph.add(ColumnKey::new(AssetKind::Model, "m.t", "b"));
    for kind in [EdgeKind::Identity, EdgeKind::Aggregate, EdgeKind::Transform, EdgeKind::Filter] {
        graph.link(a, b, kind);
        graph.link(a, b, kind);
    }
    let kinds: Vec<EdgeKind> = graph.edges().iter().map(|edge| edge.kind).collect();
    assert_eq!(kinds, [EdgeKind::Aggregate, EdgeKind::Filter]);
}
