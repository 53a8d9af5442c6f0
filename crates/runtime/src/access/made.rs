//! What tables are made of: by the files as they are, and by the statements that made what readers see.
//!
//! Both count. A model that is edited or removed does not change what its table was made of until it is built again,
//! or swept away.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_project::Project;
use flywheel_project::graph::{NodeId, NodeKind, glob};
use flywheel_project::resource::rule::Rule;
use flywheel_state::Build;
use flywheel_warehouse::{Catalog, TableName};

use super::about;

/// The schema of what learners write.
const LEARNED: &str = "learn.";

/// A table that a reader sees in part.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    /// What decides it, for messages: `rule "customers"`.
    pub(super) rule: String,
    /// Whom to ask.
    pub(super) ask: String,
    /// The names of the rules that show a part only.
    pub(super) rules: BTreeSet<String>,
}

/// The tables that a reader sees in part, by name.
pub(super) type Origins = BTreeMap<String, Origin>;

/// Something of the graph: what is a table by its name in SQL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Table(String),
    Node(NodeId),
}

/// What each table is made of.
pub(super) struct Made<'a> {
    project: &'a Project,
    /// The node behind each table.
    tables: BTreeMap<String, NodeId>,
    /// The tables of each node.
    relations: BTreeMap<NodeId, String>,
    /// Tables that a rule is about.
    ruled: BTreeSet<String>,
    /// What the statements read that made what is published.
    built: BTreeMap<String, BTreeSet<String>>,
}

impl<'a> Made<'a> {
    pub(super) fn new(project: &'a Project, catalog: &Catalog, builds: &[Build]) -> Self {
        let mut tables = BTreeMap::new();
        let mut relations = BTreeMap::new();
        for relation in project.sources.keys() {
            let node = NodeId::new(NodeKind::Source, relation);
            tables.insert(relation.clone(), node.clone());
            relations.insert(node, relation.clone());
        }
        for (name, model) in &project.models {
            let node = NodeId::new(NodeKind::Model, name);
            tables.insert(model.relation(), node.clone());
            relations.insert(node, model.relation());
        }
        for name in project.learners.keys() {
            let node = NodeId::new(NodeKind::Learner, name);
            tables.insert(format!("learn.{name}"), node.clone());
            tables.insert(format!("learn.{name}_moves"), node.clone());
            relations.insert(node, format!("learn.{name}"));
        }
        let tags = |relation: &String| match tables.get(relation) {
            Some(NodeId { kind: NodeKind::Model, name }) => {
                project.models.get(name).map(|model| model.config.tags.clone()).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let mut ruled: BTreeSet<String> = tables
            .keys()
            .filter(|relation| {
                let tags = tags(relation);
                project.rules.values().any(|rule| about(rule, relation, &tags))
            })
            .cloned()
            .collect();
        let named = project.rules.values().flat_map(|rule| &rule.tables);
        ruled.extend(named.filter(|table| !table.contains('*')).cloned());
        let known = || {
            let seen = catalog.names().map(ToString::to_string);
            seen.chain(builds.iter().map(|build| build.name.clone())).collect::<BTreeSet<_>>()
        };
        let known = if project.rules.is_empty() { BTreeSet::new() } else { known() };
        let built = builds
            .iter()
            .filter_map(|build| Some((build.name.clone(), read_by(build.sql.as_deref()?, &known))));
        Self { project, tables, relations, ruled, built: built.collect() }
    }

    /// Whether a rule decides by itself what is seen of the table, or `rule` clears it.
    fn settled(&self, relation: &str, rule: &str) -> bool {
        let cleared = |rule: &Rule| rule.cleared.iter().any(|table| glob(table, relation));
        self.ruled.contains(relation)
            || self.project.rules.get(rule).is_some_and(|rule| cleared(&rule.value))
    }

    /// What a place is made of directly.
    fn above(&self, place: &Place) -> Vec<Place> {
        let of = |id: &NodeId| match self.relations.get(id) {
            Some(relation) => Place::Table(relation.clone()),
            None => Place::Node(id.clone()),
        };
        match place {
            Place::Node(id) => self.project.graph.upstream(id).map(of).collect(),
            Place::Table(relation) => {
                let declared = self.tables.get(relation).into_iter();
                let declared = declared.flat_map(|id| self.project.graph.upstream(id)).map(of);
                let built = self.built.get(relation).into_iter().flatten();
                declared.chain(built.cloned().map(Place::Table)).collect()
            }
        }
    }

    /// A table seen in part by `rule` that the place was made of, unless what lies between was settled.
    fn origin_by(&self, place: &Place, origins: &Origins, rule: &str) -> Option<String> {
        let mut looked_at = BTreeSet::new();
        let mut waiting = self.above(place);
        while let Some(place) = waiting.pop() {
            if let Place::Table(relation) = &place {
                if origins.get(relation).is_some_and(|origin| origin.rules.contains(rule)) {
                    return Some(relation.clone());
                }
                if self.settled(relation, rule) {
                    continue;
                }
            }
            let above = self.above(&place);
            if looked_at.insert(place) {
                waiting.extend(above);
            }
        }
        None
    }

    fn origin(&self, place: &Place, origins: &Origins) -> Option<String> {
        let rules: BTreeSet<&String> = origins.values().flat_map(|origin| &origin.rules).collect();
        rules.into_iter().find_map(|rule| match place {
            Place::Table(relation) if self.settled(relation, rule) => None,
            place => self.origin_by(place, origins, rule),
        })
    }

    /// A table seen in part that a stored table was made of, unless that was settled.
    pub(super) fn origin_of(&self, relation: &str, origins: &Origins) -> Option<String> {
        self.origin(&Place::Table(relation.to_owned()), origins)
    }

    /// Whether nobody declares any more what a learner wrote, so that nothing says what it was made of.
    pub(super) fn is_orphan(&self, relation: &str) -> bool {
        relation.starts_with(LEARNED)
            && !self.tables.contains_key(relation)
            && !self.ruled.contains(relation)
    }

    /// Whether something that is no table was made of tables seen in part.
    pub(super) fn node_hides(&self, kind: NodeKind, name: &str, origins: &Origins) -> bool {
        self.origin(&Place::Node(NodeId::new(kind, name)), origins).is_some()
    }

    /// Whether a view reads what is not seen as it is: `hidden` has what is not, but for views.
    pub(super) fn view_hides(
        &self,
        relation: &str,
        catalog: &Catalog,
        hidden: &BTreeSet<String>,
    ) -> bool {
        let stored = |relation: &str| {
            let name = TableName::parse(relation).ok();
            name.is_some_and(|name| catalog.contains(&name) && !catalog.is_view(&name))
        };
        let mut looked_at = BTreeSet::new();
        let mut waiting = self.above(&Place::Table(relation.to_owned()));
        while let Some(place) = waiting.pop() {
            if let Place::Table(relation) = &place {
                if hidden.contains(relation) {
                    return true;
                }
                if stored(relation) {
                    continue;
                }
            }
            let above = self.above(&place);
            if looked_at.insert(place) {
                waiting.extend(above);
            }
        }
        false
    }
}

/// Which of the `known` tables, by name, a statement names, or could: what only looks like a name is one as well.
pub(super) fn read_by(sql: &str, known: &BTreeSet<String>) -> BTreeSet<String> {
    let plain = |text: &str| text.replace('"', "").to_lowercase();
    let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    let sql = plain(sql);
    let mut spoken = BTreeSet::new();
    for word in sql.split(|c| !part(c)) {
        let parts: Vec<&str> = word.split('.').collect();
        spoken.extend(parts.windows(2).map(|pair| pair.join(".")));
    }
    let named = |name: &&String| {
        let name = plain(name);
        match name.chars().all(part) && name.matches('.').count() == 1 {
            true => spoken.contains(&name),
            // Names with other characters are rare, so that it may take longer to find them.
            false => sql.contains(&name),
        }
    };
    known.iter().filter(named).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_names_tables_however_it_writes_them() {
        let known = ["raw.people", "raw.people_2", "m.Sums", "odd-one.a b", "x.y"];
        let known: BTreeSet<String> = known.into_iter().map(str::to_owned).collect();
        for (sql, expected) in [
            ("select * from raw.people", vec!["raw.people"]),
            (
                "select \"raw\".\"people\".id from\n\"raw\".\"people\", RAW.PEOPLE_2",
                vec!["raw.people", "raw.people_2"],
            ),
            ("select 1 from m.sums as s, \"odd-one\".\"a b\"", vec!["m.Sums", "odd-one.a b"]),
            ("select raw, people from y.x", vec![]),
            ("select lake.x.y.z", vec!["x.y"]),
        ] {
            let found = read_by(sql, &known);
            assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{sql}");
        }
    }
}
