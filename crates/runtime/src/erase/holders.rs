//! Where the key of a person is, by the lineage of columns.
//!
//! From the declared columns on, a column holds keys if it passes one on as it is, or cast to another type. What is made of
//! a key otherwise, such as a sum per person, is made anew from rows without the person.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use flywheel_transform::{AssetKind, ColumnGraph, ColumnKey, EdgeKind};

/// The column of an audience that says whom a decision is about.
const UNIT: &str = "unit_id";

/// How expressions begin that keep a key what it is.
const CASTS: [&str; 3] = ["cast(", "try_cast(", "arrow_cast("];

/// What holds keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holders {
    /// Tables and those of their columns that hold keys.
    pub(super) tables: BTreeMap<String, BTreeSet<String>>,
    /// Policies that decide about such persons.
    pub(super) policies: BTreeSet<String>,
    /// Policies whose units are known to be something else.
    pub(super) others: BTreeSet<String>,
    /// Systems outside that get keys, and by what: `action mail`.
    pub(super) outside: BTreeSet<String>,
}

impl Holders {
    /// Finds them from the declared columns on.
    pub(super) fn find(graph: &ColumnGraph, declared: &BTreeMap<String, Vec<String>>) -> Self {
        let mut found = Self::default();
        let mut seen = BTreeSet::new();
        let mut open = VecDeque::new();
        for (table, columns) in declared {
            let held = found.tables.entry(table.clone()).or_default();
            for column in columns {
                held.insert(column.clone());
                for kind in [AssetKind::Source, AssetKind::Model] {
                    let key = ColumnKey::new(kind, table.as_str(), column.as_str());
                    open.extend(graph.number(&key).filter(|number| seen.insert(*number)));
                }
            }
        }
        let mut onwards: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut made: BTreeSet<usize> = BTreeSet::new();
        for edge in graph.edges() {
            made.insert(edge.to);
            let to = graph.nodes().get(edge.to);
            let expression = to.and_then(|node| node.expression.as_deref());
            if keeps(edge.kind, expression) {
                onwards.entry(edge.from).or_default().push(edge.to);
            }
        }
        while let Some(at) = open.pop_front() {
            if let Some(node) = graph.nodes().get(at) {
                found.note(&node.key);
            }
            let next = onwards.get(&at).into_iter().flatten();
            open.extend(next.copied().filter(|number| seen.insert(*number)));
        }
        for (number, node) in graph.nodes().iter().enumerate() {
            let unit =
                node.key.kind == AssetKind::Policy && node.key.column.as_deref() == Some(UNIT);
            // Of an audience that cannot be traced nothing is made known of its units: then it may be about persons.
            if unit && made.contains(&number) && !found.policies.contains(&node.key.asset) {
                found.others.insert(node.key.asset.clone());
            }
        }
        found
    }

    fn note(&mut self, key: &ColumnKey) {
        let Some(column) = &key.column else { return };
        match key.kind {
            // What a learner reads is no column of its tables.
            AssetKind::Learner if column.contains('.') => {}
            AssetKind::Source | AssetKind::Model | AssetKind::Learner => {
                self.tables.entry(key.asset.clone()).or_default().insert(column.clone());
            }
            AssetKind::Policy if column == UNIT => {
                self.policies.insert(key.asset.clone());
            }
            AssetKind::Action => {
                self.outside.insert(format!("action {}", key.asset));
            }
            AssetKind::Outside => {
                self.outside.insert(format!("sync to {}", key.asset));
            }
            _ => {}
        }
    }
}

/// Whether a key is still the same key behind an edge.
fn keeps(kind: EdgeKind, expression: Option<&str>) -> bool {
    match kind {
        EdgeKind::Identity => true,
        EdgeKind::Transform => expression.is_some_and(|expression| {
            let expression = expression.trim_start().to_lowercase();
            CASTS.iter().any(|cast| expression.starts_with(cast))
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(graph: &mut ColumnGraph, kind: AssetKind, asset: &str, column: &str) -> usize {
        graph.add(ColumnKey::new(kind, asset, column))
    }

    #[test]
    fn a_key_is_followed_as_long_as_it_stays_the_same() {
        let mut graph = ColumnGraph::default();
        let id = column(&mut graph, AssetKind::Source, "raw.people", "id");
        let same = column(&mut graph, AssetKind::Model, "mart.people", "customer");
        let text = column(&mut graph, AssetKind::Model, "mart.people", "as_text");
        let sum = column(&mut graph, AssetKind::Model, "mart.people", "twice");
        let count = column(&mut graph, AssetKind::Model, "mart.days", "people");
        let input = column(&mut graph, AssetKind::Learner, "learn.next", "history.user_id");
        let output = column(&mut graph, AssetKind::Learner, "learn.next", "user_id");
        let unit = column(&mut graph, AssetKind::Policy, "welcome", "unit_id");
        let sent = column(&mut graph, AssetKind::Action, "mail", "unit_id");
        let sku = column(&mut graph, AssetKind::Source, "raw.items", "sku");
        let item = column(&mut graph, AssetKind::Policy, "reorder", "unit_id");
        column(&mut graph, AssetKind::Policy, "untraced", "unit_id");
        graph.link(id, same, EdgeKind::Identity);
        graph.link(same, text, EdgeKind::Transform);
        graph.explain(text, Some("CAST(customer AS Utf8)".to_owned()));
        graph.link(same, sum, EdgeKind::Transform);
        graph.explain(sum, Some("customer * 2".to_owned()));
        graph.link(same, count, EdgeKind::Aggregate);
        graph.link(text, input, EdgeKind::Identity);
        graph.link(input, output, EdgeKind::Identity);
        graph.link(output, unit, EdgeKind::Identity);
        graph.link(unit, sent, EdgeKind::Identity);
        graph.link(sku, item, EdgeKind::Identity);
        let declared = BTreeMap::from([("raw.people".to_owned(), vec!["id".to_owned()])]);
        let found = Holders::find(&graph, &declared);
        let tables: Vec<String> = found
            .tables
            .iter()
            .flat_map(|(table, columns)| columns.iter().map(move |one| format!("{table}.{one}")))
            .collect();
        assert_eq!(
            tables,
            ["learn.next.user_id", "mart.people.as_text", "mart.people.customer", "raw.people.id"]
        );
        assert_eq!(found.policies, BTreeSet::from(["welcome".to_owned()]));
        assert_eq!(
            found.others,
            BTreeSet::from(["reorder".to_owned()]),
            "what is not traced may be about persons"
        );
        assert_eq!(found.outside, BTreeSet::from(["action mail".to_owned()]));
    }

    #[test]
    fn a_declared_column_counts_even_if_nothing_has_landed() {
        let declared = BTreeMap::from([("raw.people".to_owned(), vec!["id".to_owned()])]);
        let found = Holders::find(&ColumnGraph::default(), &declared);
        assert_eq!(found.tables.len(), 1);
    }
}
