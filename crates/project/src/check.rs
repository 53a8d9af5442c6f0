//! What can only be said about the folder as a whole: references, legality and cycles.

mod column;
mod connector;
mod exposure;
mod learner;
mod link;
mod openlineage;
mod policy;
mod properties;
pub(crate) mod quality;
mod query;
mod schedule;
mod semantic;
mod split;
mod sync;
mod unit;

use std::collections::BTreeMap;

use flywheel_base::suggest;

use crate::Connectors;
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::file::SourceFile;
use crate::graph::{Graph, NodeId, NodeInfo, NodeKind};
use crate::load::Loaded;
use crate::model::{ModelTest, SingularTest, UnitTest};
use crate::resource::properties::{ColumnProperties, Constraint};
use crate::source::Source;
use crate::template::Reference;

/// What the checks found out.
pub(crate) struct Checked {
    /// The reference graph.
    pub(crate) graph: Graph,
    /// Landed and declared tables by `schema.table`.
    pub(crate) sources: BTreeMap<String, Source>,
    /// The schema behind each source name.
    pub(crate) source_schemas: BTreeMap<String, String>,
    /// Tables that are called otherwise in their schema, by source and name.
    pub(crate) identifiers: BTreeMap<(String, String), String>,
    /// What property files say about each model.
    pub(crate) described: BTreeMap<String, Described>,
    /// The table each semantic view describes.
    pub(crate) semantic_tables: BTreeMap<String, NodeId>,
    /// The table of the lake each quality file is about.
    pub(crate) quality_tables: BTreeMap<String, NodeId>,
    /// Tests of declared keys that have several columns.
    pub(crate) key_tests: Vec<SingularTest>,
    /// Every mistake, those of reading included.
    pub(crate) out: Diagnostics,
}

/// What a property file says about a model.
#[derive(Default)]
pub(crate) struct Described {
    pub(crate) description: Option<String>,
    pub(crate) columns: Vec<ColumnProperties>,
    pub(crate) constraints: Vec<Constraint>,
    pub(crate) tests: Vec<ModelTest>,
    pub(crate) unit_tests: Vec<UnitTest>,
}

/// Checks everything that was read.
pub(crate) fn check(loaded: &mut Loaded, connectors: &Connectors) -> Checked {
    let out = std::mem::take(&mut loaded.out);
    let mut check = Check {
        loaded,
        connectors,
        checked: Checked {
            graph: Graph::default(),
            sources: BTreeMap::new(),
            source_schemas: BTreeMap::new(),
            identifiers: BTreeMap::new(),
            described: BTreeMap::new(),
            semantic_tables: BTreeMap::new(),
            quality_tables: BTreeMap::new(),
            key_tests: Vec::new(),
            out,
        },
    };
    check.add_nodes();
    check.connections();
    check.actions();
    check.openlineage();
    check.syncs();
    check.links();
    check.splits();
    check.declare_sources();
    check.lake_readers();
    check.models();
    check.singular_tests();
    check.learners();
    check.policies();
    check.properties();
    check.unit_tests();
    check.exposures();
    check.semantics();
    check.dictionaries();
    check.qualities();
    check.cycles();
    // Selectors need the finished graph.
    check.schedules();
    check.checked
}

struct Check<'a> {
    loaded: &'a Loaded,
    connectors: &'a Connectors,
    checked: Checked,
}

impl Check<'_> {
    fn push(&mut self, file: &SourceFile, diagnostic: Diagnostic) {
        self.checked.out.push(file, diagnostic);
    }

    fn add_nodes(&mut self) {
        for (id, declared) in &self.loaded.declared {
            // No data flows through a schedule.
            if id.kind == NodeKind::Schedule {
                continue;
            }
            let file = Some(declared.file.clone());
            let model = match id.kind {
                NodeKind::Model => self.loaded.models.get(&id.name),
                _ => None,
            };
            let tags = model.map(|read| read.value.config.tags.clone()).unwrap_or_default();
            let config = model.map(|read| read.value.config.clone());
            self.checked.graph.add(id.clone(), NodeInfo { file, tags, source: None, config });
        }
    }

    /// Whether a resource of this kind is declared, perhaps with mistakes.
    fn declared(&self, kind: NodeKind, name: &str) -> bool {
        self.loaded.declared.contains_key(&NodeId::new(kind, name))
    }

    /// `Did you mean …?` among the resources of these kinds.
    fn near(&self, kinds: &[NodeKind], name: &str) -> String {
        let known = self.loaded.declared.keys().filter(|id| kinds.contains(&id.kind));
        suggest::hint(name, known.map(|id| id.name.as_str()))
    }

    fn models(&mut self) {
        let loaded = self.loaded;
        for (name, read) in &loaded.models {
            let id = NodeId::new(NodeKind::Model, name);
            for reference in read.value.references() {
                let span = query::locate(&read.file, &reference).unwrap_or(Span::FILE);
                self.refer(&id, &reference, &read.file, span);
            }
            let relation = read.value.relation();
            let landed = self.checked.sources.get(&relation).and_then(|s| s.landed_by.as_ref());
            if let Some(landed) = landed {
                let message =
                    format!("model \"{name}\" writes {relation}, where a sync lands rows");
                let hint = format!("Rename the model, or change `to` in sync \"{}\".", landed.sync);
                self.push(&read.file, Diagnostic::error(Span::FILE, message).hint(hint));
            }
            let learner = loaded.declared.get(&NodeId::new(NodeKind::Learner, name));
            if let Some(learner) = learner {
                let message = format!("model \"{name}\" has the name of a learner");
                let hint = format!(
                    "Rename one of them, so that ref('{name}') is clear; the learner is in {}:{}.",
                    learner.file, learner.line
                );
                self.push(&read.file, Diagnostic::error(Span::FILE, message).hint(hint));
            }
        }
    }

    fn singular_tests(&mut self) {
        let loaded = self.loaded;
        for read in &loaded.singular_tests {
            let test = &read.value;
            let refs = test.refs.iter().cloned().map(Reference::Ref);
            let sources = test.sources.iter().cloned().map(|(s, t)| Reference::Source(s, t));
            for reference in refs.chain(sources) {
                let span = query::locate(&read.file, &reference).unwrap_or(Span::FILE);
                // A bad reference is reported; nothing depends on a test, so there is no edge.
                let _: Option<NodeId> = self.resolve(&reference, &read.file, span);
            }
        }
    }

    fn cycles(&mut self) {
        for mut cycle in self.checked.graph.finish() {
            // The graph follows the data; people follow the references, which point the other way.
            cycle.reverse();
            cycle.rotate_right(1);
            let closed: Vec<&NodeId> = cycle.iter().chain(cycle.first()).collect();
            let names = closed.iter().map(|id| id.name.as_str()).collect::<Vec<_>>().join(" → ");
            let file_of = |id: &NodeId| {
                let info = self.checked.graph.info(id);
                info.and_then(|info| info.file.clone()).unwrap_or_default()
            };
            let reads = closed.windows(2).filter_map(|pair| {
                let [reader, read] = pair else { return None };
                Some(format!("{} reads {}", file_of(reader), read.name))
            });
            let hint = match cycle.as_slice() {
                [_] => {
                    "A model cannot read itself; an incremental one reads {{ this }}.".to_owned()
                }
                _ => format!("Take one reference out: {}.", reads.collect::<Vec<_>>().join(", ")),
            };
            let diagnostic =
                Diagnostic::error(Span::FILE, format!("a cycle of references: {names}"));
            let path = cycle.first().map(file_of).unwrap_or_default();
            self.checked.out.push_path(&path, diagnostic.hint(hint));
        }
    }
}
