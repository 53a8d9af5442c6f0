//! Declared keys become tests, and metrics are nodes of the graph.

use super::loaded;
use crate::graph::{NodeId, NodeKind};

const CASE: &str = "
=== flywheel.yaml
name: t
=== models/sources.yml
sources:
  - {name: raw, tables: [{name: lines}]}
=== models/orders.sql
select 1 as id
=== models/orders.yml
models:
  - name: orders
    columns: [{name: id, tests: [unique, not_null: {severity: warn}]}]
=== metrics/orders.yaml
semantic: orders
table: ref('orders')
entities:
  order: {type: primary, key: id}
  number: {type: unique}
  customer: {type: foreign}
measures: {orders: {aggregate: count}}
metrics: {orders: {measure: orders}, twice: {derived: orders * 2}}
=== metrics/lines.yaml
semantic: lines
table: source('raw', 'lines')
entities: {line: {type: primary, key: [order_id, line]}}
";

#[test]
fn declared_keys_are_tested_unless_the_files_do_so_already() {
    let project = loaded(CASE);
    let mut names: Vec<&str> = project.model_tests().map(|test| test.name.as_str()).collect();
    names.sort_unstable();
    // A `not_null` that only warns does not make a join safe.
    let expected = [
        "not_null_orders_id",
        "not_null_orders_id_of_order",
        "unique_orders_id",
        "unique_orders_number",
    ];
    assert_eq!(names, expected);
    let test = project.singular_tests.get("unique_raw_lines_line").unwrap();
    assert!(
        test.sql.contains(
            "GROUP BY \"order_id\", \"line\" HAVING count(*) > 1 OR \"order_id\" IS NULL"
        )
    );
    assert!(test.sources.contains(&("raw".to_owned(), "lines".to_owned())));
}

#[test]
fn metrics_stand_between_tables_and_what_is_made_of_them() {
    let project = loaded(CASE);
    let above = project.graph.ancestors(&NodeId::new(NodeKind::Metric, "twice"));
    let names: Vec<String> = above.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["model \"orders\"", "semantic \"orders\"", "metric \"orders\""]);
    assert_eq!(project.semantic_tables["lines"], NodeId::new(NodeKind::Source, "raw.lines"));
}
