//! Declared keys become tests: what makes a join safe is checked against the data.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::Check;
use super::super::sync::at;
use crate::graph::{NodeId, NodeKind};
use crate::load::Read;
use crate::model::{Failures, ModelTest, SingularTest, TestKind, Threshold, test_name};
use crate::resource::properties::Severity;
use crate::resource::semantic::{EntityKind, Semantic};
use crate::template::{self, Reference};
use crate::yaml::Step;

impl Check<'_> {
    /// Adds `unique`, and `not_null` for what a row is, unless the files demand that already.
    pub(super) fn key_tests(&mut self, read: &Read<Semantic>, table: &NodeId) {
        for (name, entity) in &read.value.entities {
            let kinds: &[TestKind] = match entity.kind {
                EntityKind::Primary => &[TestKind::Unique, TestKind::NotNull],
                EntityKind::Unique => &[TestKind::Unique],
                EntityKind::Foreign => continue,
            };
            let columns = entity.columns(name);
            match columns.as_slice() {
                [column] => {
                    for kind in kinds {
                        self.key_test(read, table, name, column, kind);
                    }
                }
                columns => self.composite_test(read, table, name, columns),
            }
        }
    }

    fn key_test(
        &mut self,
        read: &Read<Semantic>,
        table: &NodeId,
        entity: &str,
        column: &str,
        kind: &TestKind,
    ) {
        let tests = match table.kind {
            NodeKind::Model => {
                &mut self.checked.described.entry(table.name.clone()).or_default().tests
            }
            NodeKind::Source => match self.checked.sources.get_mut(&table.name) {
                Some(source) => &mut source.tests,
                None => return,
            },
            // The keys of learners' tables are the platform's own business.
            _ => return,
        };
        let demanded = tests.iter().any(|test| {
            test.column.as_deref() == Some(column)
                && test.kind == *kind
                && test.condition.is_none()
                && test.severity == Severity::Error
        });
        if demanded {
            return;
        }
        let name = test_name(table, Some(column), kind);
        let taken = tests.iter().any(|test| test.name == name);
        let name = if taken { format!("{name}_of_{entity}") } else { name };
        tests.push(ModelTest {
            name,
            model: table.name.clone(),
            target: table.clone(),
            column: Some(column.to_owned()),
            kind: kind.clone(),
            severity: Severity::Error,
            condition: None,
            threshold: Threshold::default(),
            failures: Failures::default(),
            file: read.file.path.clone(),
            line: at(read.node.find(&[Step::Key("entities"), Step::Key(entity)]), "type").line,
        });
    }

    fn composite_test(
        &mut self,
        read: &Read<Semantic>,
        table: &NodeId,
        entity: &str,
        columns: &[String],
    ) {
        let view = &read.value;
        let bare = view.table.trim().trim_start_matches("{{").trim_end_matches("}}").trim();
        let found =
            template::scan(&format!("{{{{ {bare} }}}}"), &self.loaded.vars, &self.loaded.macros);
        let Ok(scan) = found else { return };
        let (mut refs, mut sources) = (BTreeSet::new(), BTreeSet::new());
        for reference in scan.references {
            match reference {
                Reference::Ref(name) => {
                    refs.insert(name);
                }
                Reference::Source(source, table) => {
                    sources.insert((source, table));
                }
            }
        }
        let quoted: Vec<String> =
            columns.iter().map(|column| format!("\"{}\"", column.replace('"', "\"\""))).collect();
        let list = quoted.join(", ");
        let missing = quoted.iter().map(|column| format!("{column} IS NULL")).collect::<Vec<_>>();
        let condition = match view.entities.get(entity).map(|entity| entity.kind) {
            Some(EntityKind::Primary) => format!("count(*) > 1 OR {}", missing.join(" OR ")),
            _ => format!("count(*) > 1 AND NOT ({})", missing.join(" OR ")),
        };
        let sql = format!(
            "SELECT {list}, count(*) AS n_records FROM {{{{ {bare} }}}} GROUP BY {list} HAVING {condition}"
        );
        self.checked.key_tests.push(SingularTest {
            name: format!("unique_{}_{entity}", table.name.replace('.', "_")),
            path: read.file.path.clone(),
            sql,
            severity: Severity::Error,
            threshold: Threshold::default(),
            failures: Failures::default(),
            tags: Vec::new(),
            refs,
            sources,
            macros: Arc::clone(&self.loaded.macros),
        });
    }
}
