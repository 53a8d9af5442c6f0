//! Tests of order, cycles and selection.

use super::*;

fn model(name: &str) -> NodeId {
    NodeId::new(NodeKind::Model, name)
}

/// `a>b` links model a to model b; a lone name adds it.
fn graph(edges: &str) -> (Graph, Vec<Vec<NodeId>>) {
    let mut graph = Graph::default();
    for edge in edges.split_whitespace() {
        let names: Vec<&str> = edge.split('>').collect();
        for name in &names {
            let file = Some(format!("models/{}/{name}.sql", &name[..1]));
            let tags = if name.ends_with('1') { vec!["one".to_owned()] } else { Vec::new() };
            graph.add(model(name), NodeInfo { file, tags, ..NodeInfo::default() });
        }
        for pair in names.windows(2) {
            graph.link(&model(pair[0]), &model(pair[1]));
        }
    }
    let cycles = graph.finish();
    (graph, cycles)
}

fn names<'a>(ids: impl IntoIterator<Item = &'a NodeId>) -> String {
    ids.into_iter().map(|id| id.name.as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn order_puts_each_node_after_what_it_reads_and_ties_by_name() {
    let (graph, cycles) = graph("c>a b>a c>d z");
    assert!(cycles.is_empty());
    assert_eq!(names(graph.order()), "b c a d z");
}

#[test]
fn each_knot_is_reported_once_by_its_shortest_way() {
    let (graph, cycles) = graph("a>b>c>a b>a x>y>x c>tail self>self");
    let shown: Vec<String> = cycles.iter().map(names).collect();
    assert_eq!(shown, ["a b", "self", "x y"]);
    assert_eq!(graph.order().len(), 7, "what hangs behind a knot is still ordered");
}

#[test]
fn selectors_are_those_of_dbt() {
    let (graph, _) = graph("a1>b1>c1 b1>d other");
    let check = |select: &str, exclude: &str, expected: &str| {
        let select: Vec<String> = vec![select.to_owned()];
        let exclude: Vec<String> = vec![exclude.to_owned()];
        let chosen = graph.select(&select, &exclude).unwrap();
        assert_eq!(names(&chosen), expected, "{select:?} {exclude:?}");
    };
    check("b1", "", "b1");
    check("+b1", "", "a1 b1");
    check("b1+", "", "b1 c1 d");
    check("+b1+", "", "a1 b1 c1 d");
    check("a1+1", "", "a1 b1");
    check("1+c1", "", "b1 c1");
    check("@b1", "", "a1 b1 c1 d");
    check("@d", "", "a1 b1 d");
    check("tag:one", "", "a1 b1 c1");
    check("tag:one", "b1+", "a1");
    check("path:models/a", "", "a1");
    check("path:./models/b/", "", "b1");
    check("models/b", "", "b1");
    check("models/b/b1.sql+", "", "b1 c1 d");
    check("b1.sql", "", "b1");
    check("B1 shop.c.C1", "", "b1 c1");
    check("d other", "", "d other");
    check("tag:one,b1+", "", "b1 c1");
    check("model:*1", "", "a1 b1 c1");
    check("", "tag:one", "d other");
}

#[test]
fn a_selector_that_names_nothing_is_an_error_with_the_nearest_name() {
    let (graph, _) = graph("orders>customers");
    let error = |text: &str| graph.select(&[text.to_owned()], &[]).unwrap_err();
    assert_eq!(error("+order+").hint_text(), Some("Did you mean \"orders\"?"));
    assert_eq!(error("tagg:x").hint_text(), Some("Did you mean \"tag\"?"));
    for text in ["tag:x", "path:x", "sync:orders", ",", "+", "++", "1+", "*x*y*"] {
        assert!(error(text).hint_text().is_some(), "{text}");
    }
}
