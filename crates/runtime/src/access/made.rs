//! What tables are made of: by the files as they are, by the statements that made what readers see, and by the
//! statements that people sent.
//!
//! All count. A model that is edited or removed does not change what its table was made of until it is built again,
//! or swept away; what a table of a person's statement was made of is kept with the table, at whatever remove.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::Result;
use flywheel_project::Project;
use flywheel_project::graph::{NodeId, NodeKind, glob};
use flywheel_project::resource::rule::{OtherMask, Rule, RuleMask};
use flywheel_state::{Build, Made as Statement, MadeKind, Store};
use flywheel_warehouse::{Catalog, TableName};

use super::about;
use crate::Workspace;

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
    /// What the statements read that made what is published, and what people's statements made.
    built: BTreeMap<String, BTreeSet<String>>,
    /// What people's statements had made of others before, under names of which others may still have been made.
    former: BTreeMap<String, BTreeSet<String>>,
    /// What people's statements made, with what was kept of it.
    statements: BTreeMap<String, BTreeSet<String>>,
    /// What views of people's statements name themselves.
    views: BTreeMap<String, BTreeSet<String>>,
    /// Every table and view that is, was, or may come.
    known: BTreeSet<String>,
}

impl<'a> Made<'a> {
    /// What everything is made of now.
    ///
    /// # Errors
    /// Those of the metadata.
    pub(super) fn now(workspace: &'a Workspace, catalog: &Catalog) -> Result<Self> {
        let store = &workspace.store;
        let made = Self::new(&workspace.project, catalog, &store.builds()?, &store.made()?);
        Ok(Self { former: store.made_before()?, ..made })
    }

    fn new(project: &'a Project, catalog: &Catalog, builds: &[Build], made: &[Statement]) -> Self {
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
            for part in ["moves", "levels"] {
                tables.insert(format!("learn.{name}_{part}"), node.clone());
            }
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
        let mut known: BTreeSet<String> = catalog.names().map(ToString::to_string).collect();
        known.extend(builds.iter().map(|build| build.name.clone()));
        known.extend(tables.keys().chain(&ruled).cloned());
        let made = || made.iter().filter(|made| made.kind != MadeKind::Schema);
        known.extend(made().flat_map(|made| made.reads.iter().chain([&made.name]).cloned()));
        let mut built: BTreeMap<String, BTreeSet<String>> = builds
            .iter()
            .filter_map(|build| Some((build.name.clone(), read_by(build.sql.as_deref()?, &known))))
            .collect();
        let (mut statements, mut views) = (BTreeMap::new(), BTreeMap::new());
        for made in made() {
            built.entry(made.name.clone()).or_default().extend(made.reads.iter().cloned());
            statements.insert(made.name.clone(), made.reads.clone());
            if let (MadeKind::View, Some(sql)) = (made.kind, &made.sql) {
                // A name without schema meant one of those that were read.
                let mut named = read_by(sql, &known);
                named.extend(made.reads.iter().filter(|read| speaks_of(sql, read)).cloned());
                views.insert(made.name.clone(), named);
            }
        }
        let former = BTreeMap::new();
        Self { project, tables, relations, ruled, built, former, statements, views, known }
    }

    /// Tables that are not in the catalog, of which others may hold the rows.
    pub(super) fn gone(&self, catalog: &Catalog) -> Result<BTreeSet<TableName>> {
        let read = self.built.values().chain(self.former.values()).flatten();
        let read = read.map(|name| TableName::parse(name));
        let gone = read.filter(|name| !name.as_ref().is_ok_and(|name| catalog.contains(name)));
        gone.collect()
    }

    /// Whether a rule decides by itself what is seen of the table, or `rule` clears it.
    pub(super) fn settled(&self, relation: &str, rule: &str) -> bool {
        let cleared = |rule: &Rule| rule.cleared.iter().any(|table| glob(table, relation));
        self.ruled.contains(relation)
            || self.project.rules.get(rule).is_some_and(|rule| cleared(&rule.value))
    }

    /// Whether a rule is about the table.
    fn is_about(&self, rule: &Rule, relation: &str) -> bool {
        let model = match self.tables.get(relation) {
            Some(NodeId { kind: NodeKind::Model, name }) => self.project.models.get(name),
            _ => None,
        };
        let tags = model.map(|model| model.config.tags.as_slice()).unwrap_or_default();
        about(rule, relation, tags)
    }

    /// What a place is made of directly, or was when others were made of it.
    fn above(&self, place: &Place) -> Vec<Place> {
        let mut above = self.of_itself(place);
        if let Place::Table(relation) = place {
            let former = self.former.get(relation).into_iter().flatten();
            above.extend(former.cloned().map(Place::Table));
        }
        above
    }

    /// What a place is made of directly.
    fn of_itself(&self, place: &Place) -> Vec<Place> {
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

    /// What a view reads itself; what anything else is made of.
    fn names(&self, place: &Place) -> Vec<Place> {
        match place {
            Place::Table(relation) => match self.views.get(relation) {
                Some(named) => named.iter().cloned().map(Place::Table).collect(),
                None => self.above(place),
            },
            Place::Node(_) => self.above(place),
        }
    }

    /// These tables and all that they are made of, but for what lies behind what settles it for `rule`.
    fn reached(&self, from: &BTreeSet<String>, rule: Option<&str>) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut looked_at = BTreeSet::new();
        let mut waiting: Vec<Place> = from.iter().cloned().map(Place::Table).collect();
        while let Some(place) = waiting.pop() {
            if let Place::Table(relation) = &place {
                reached.insert(relation.clone());
                if rule.is_some_and(|rule| self.settled(relation, rule)) {
                    continue;
                }
            }
            let above = match &place {
                Place::Table(relation) if from.contains(relation) => self.of_itself(&place),
                _ => self.above(&place),
            };
            if looked_at.insert(place) {
                waiting.extend(above);
            }
        }
        reached
    }

    /// What is to be kept of a table that a statement makes of others: these, and all that they were made of, so that it
    /// is known also when they are gone or made of something else. What a rule is about is left out where that rule was
    /// settled on the way.
    pub(super) fn lineage(&self, of: &BTreeSet<String>) -> BTreeSet<String> {
        let rules = self.project.rules.values();
        let by_rule: Vec<(&Rule, BTreeSet<String>)> =
            rules.map(|rule| (&rule.value, self.reached(of, Some(&rule.rule)))).collect();
        let mut all = self.reached(of, None);
        all.retain(|relation| {
            let about: Vec<_> =
                by_rule.iter().filter(|(rule, _)| self.is_about(rule, relation)).collect();
            about.is_empty() || about.iter().any(|(_, reached)| reached.contains(relation))
        });
        // What was kept once is kept on.
        all.extend(of.iter().filter_map(|read| self.statements.get(read)).flatten().cloned());
        all.extend(of.iter().cloned());
        all
    }

    /// Whether something may have been made of what has that name, or reads it for everybody: models of any environment
    /// and whatever a file declares to read it, itself or through views.
    ///
    /// # Errors
    /// Those of the metadata.
    pub(super) fn is_read(&self, store: &Store, relation: &str) -> Result<bool> {
        let mut names: BTreeSet<String> = [relation.to_owned()].into();
        loop {
            let over = self.views.keys().filter(|view| {
                let reads = self.statements.get(*view);
                reads.is_some_and(|reads| !reads.is_disjoint(&names))
            });
            let more: Vec<String> = over.filter(|view| !names.contains(*view)).cloned().collect();
            if more.is_empty() {
                break;
            }
            names.extend(more);
        }
        if names.iter().any(|name| self.tables.contains_key(name)) {
            return Ok(true);
        }
        for environment in store.environments()? {
            let builds = store.builds_of(&environment.name)?;
            let mut sql = builds.iter().filter_map(|build| build.sql.as_deref());
            if sql.any(|sql| !read_by(sql, &names).is_empty()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The rules whose conditions and masks ask a table, or something that is made of it: whoever changes it changes what
    /// they show. A name that nothing has yet counts, since a rule may mean what is made under it.
    pub(super) fn rules_that_ask(&self, relation: &str) -> Vec<&'a Rule> {
        let asks = |rule: &&Rule| {
            let texts: Vec<&str> = subqueries(rule).collect();
            let spoken = |name: &str| texts.iter().any(|text| speaks_of(text, name));
            if texts.is_empty() {
                return false;
            }
            if spoken(relation) {
                return true;
            }
            let asked = self.known.iter().filter(|name| spoken(name)).cloned().collect();
            self.reached(&asked, None).contains(relation)
        };
        self.project.rules.values().map(|rule| &rule.value).filter(asks).collect()
    }

    /// One of our own tables that a person's statement made a stored table of, unless a rule decides what is seen of it.
    pub(super) fn own_origin(&self, relation: &str, ours: &BTreeSet<String>) -> Option<String> {
        let reads = self.statements.get(relation).filter(|_| !self.ruled.contains(relation))?;
        reads.intersection(ours).next().cloned()
    }

    /// A table seen in part by `rule` that the place was made of, unless what lies between was settled.
    fn origin_by(&self, place: &Place, origins: &Origins, rule: &str) -> Option<String> {
        let mut looked_at = BTreeSet::new();
        let mut waiting = self.of_itself(place);
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
        let mut waiting = self.names(&Place::Table(relation.to_owned()));
        while let Some(place) = waiting.pop() {
            if let Place::Table(relation) = &place {
                if hidden.contains(relation) {
                    return true;
                }
                if stored(relation) {
                    continue;
                }
            }
            let above = self.names(&place);
            if looked_at.insert(place) {
                waiting.extend(above);
            }
        }
        false
    }
}

/// Which of the `known` tables, by name, a statement names, or could: what only looks like a name is one as well.
pub(crate) fn read_by(sql: &str, known: &BTreeSet<String>) -> BTreeSet<String> {
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

/// Whether a statement could mean the table by its name, with its schema or without.
fn speaks_of(sql: &str, relation: &str) -> bool {
    let plain = |text: &str| text.replace('"', "").to_lowercase();
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let sql = plain(sql);
    let name = plain(relation.split_once('.').map_or(relation, |(_, name)| name));
    match name.chars().all(part) {
        true => sql.split(|c| !part(c)).any(|word| word == name),
        false => sql.contains(&name),
    }
}

/// What of a rule asks tables.
fn subqueries(rule: &Rule) -> impl Iterator<Item = &str> {
    let rows = rule.readers.iter().filter_map(|readers| readers.rows.as_deref());
    let masks = rule.readers.iter().flat_map(|readers| readers.masks.values());
    let masks = masks.filter_map(|mask| match mask {
        Some(RuleMask::Other(OtherMask::Sql(sql))) => Some(sql.as_str()),
        _ => None,
    });
    rows.chain(masks).filter(|sql| sql.to_lowercase().contains("select"))
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

    #[test]
    fn a_statement_may_mean_a_table_without_its_schema() {
        for (sql, expected) in [
            ("region in (select region from assignments)", true),
            ("exists (select 1 from RAW.\"Assignments\" a)", true),
            ("select 1 from assignments_2", false),
        ] {
            assert_eq!(speaks_of(sql, "raw.assignments"), expected, "{sql}");
        }
    }
}
