//! What can only be said about the folder as a whole: references, legality and cycles.

mod alert;
mod column;
mod connector;
mod crm;
pub(crate) mod dashboard;
mod erasure;
mod exposure;
mod extension;
mod grant;
mod learner;
mod link;
mod merge;
mod metadata;
mod openlineage;
mod policy;
mod properties;
mod published;
pub(crate) mod quality;
mod query;
mod quotas;
mod rule;
mod schedule;
mod semantic;
mod sign_in;
mod split;
mod sync;
mod topic;
mod unit;

use std::collections::{BTreeMap, BTreeSet};

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
    /// The tables behind the semantic views that models read, by model.
    pub(crate) metric_tables: BTreeMap<String, BTreeSet<NodeId>>,
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
pub(crate) fn check(
    loaded: &mut Loaded,
    connectors: &Connectors,
    hides: Option<&dyn Fn(&NodeId) -> bool>,
) -> Checked {
    let out = std::mem::take(&mut loaded.out);
    let mut check = Check {
        loaded,
        connectors,
        hides,
        asks: Vec::new(),
        checked: Checked {
            graph: Graph::default(),
            sources: BTreeMap::new(),
            source_schemas: BTreeMap::new(),
            identifiers: BTreeMap::new(),
            described: BTreeMap::new(),
            semantic_tables: BTreeMap::new(),
            metric_tables: BTreeMap::new(),
            quality_tables: BTreeMap::new(),
            key_tests: Vec::new(),
            out,
        },
    };
    check.add_nodes();
    check.connections();
    check.actions();
    check.openlineage();
    check.metadata();
    check.sign_in();
    check.quotas();
    check.syncs();
    check.links();
    check.splits();
    check.merged_tables();
    check.declare_sources();
    check.lake_readers();
    check.merges();
    check.models();
    check.singular_tests();
    check.learners();
    check.policies();
    check.contact();
    check.properties();
    check.unit_tests();
    check.exposures();
    check.queries();
    check.semantics();
    check.dashboards();
    check.dictionaries();
    check.qualities();
    check.cycles();
    // Selectors need the finished graph.
    check.schedules();
    check.alerts();
    check.topics();
    check.rules();
    check.grants();
    check.erasure();
    check.extensions();
    check.checked
}

struct Check<'a> {
    loaded: &'a Loaded,
    connectors: &'a Connectors,
    /// What whoever is told of the mistakes does not see; none if they see everything.
    hides: Option<&'a dyn Fn(&NodeId) -> bool>,
    /// Queries of resources that read semantic views, which are checked after the queries.
    asks: Vec<semantic::Asks>,
    checked: Checked,
}

impl Check<'_> {
    fn push(&mut self, file: &SourceFile, diagnostic: Diagnostic) {
        self.checked.out.push(file, diagnostic);
    }

    fn add_nodes(&mut self) {
        for (id, declared) in &self.loaded.declared {
            // No data flows through a schedule, an alert, a rule, a grant or an extension, and a topic says what its events are.
            if matches!(
                id.kind,
                NodeKind::Schedule
                    | NodeKind::Alert
                    | NodeKind::Rule
                    | NodeKind::Grant
                    | NodeKind::Extension
                    | NodeKind::Topic
            ) {
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
            let names = closed.iter().map(|id| called(id)).collect::<Vec<_>>().join(" → ");
            let reads: Vec<(Place<'_>, String)> = closed
                .windows(2)
                .filter_map(|pair| {
                    let [reader, read] = pair else { return None };
                    Some((self.place(reader, read), called(read)))
                })
                .collect();
            let hint = match cycle.as_slice() {
                [_] => {
                    "A model cannot read itself; an incremental one reads {{ this }}.".to_owned()
                }
                _ => {
                    let all = reads.iter().map(|(place, read)| format!("{place} reads {read}"));
                    format!("Take one reference out: {}.", all.collect::<Vec<_>>().join(", "))
                }
            };
            let Some((place, _)) = reads.into_iter().next() else { continue };
            let message = format!("a cycle of references: {names}");
            let diagnostic = Diagnostic::error(place.span, message).hint(hint);
            match place.text {
                Some(file) => self.checked.out.push(file, diagnostic),
                None => self.checked.out.push_path(&place.path, diagnostic),
            }
        }
    }
}

impl<'a> Check<'a> {
    /// Where a resource says that it reads another one.
    fn place(&self, reader: &NodeId, read: &NodeId) -> Place<'a> {
        let loaded = self.loaded;
        let found = match reader.kind {
            NodeKind::Model => loaded.models.get(&reader.name).map(|model| {
                let span = match read.kind {
                    NodeKind::Semantic | NodeKind::Metric => {
                        semantic::place(&model.value, &model.file, read)
                    }
                    NodeKind::Source => {
                        let table = read.name.rsplit('.').next().unwrap_or(&read.name);
                        let reference = Reference::Source(String::new(), table.to_owned());
                        query::locate(&model.file, &reference)
                    }
                    _ => query::locate(&model.file, &Reference::Ref(read.name.clone())),
                };
                (&*model.file, span.unwrap_or(Span::FILE))
            }),
            NodeKind::Semantic => loaded
                .semantics
                .get(&reader.name)
                .map(|view| (&*view.file, sync::at(&view.node, "table"))),
            NodeKind::Metric => {
                let mut views = loaded.semantics.values();
                let view = views.find(|view| view.value.metrics.contains_key(&reader.name));
                view.map(|view| (&*view.file, semantic::key(&view.node, "metrics", &reader.name)))
            }
            _ => None,
        };
        match found {
            Some((file, span)) => Place { path: file.path.clone(), span, text: Some(file) },
            None => {
                let info = self.checked.graph.info(reader);
                let path = info.and_then(|info| info.file.clone()).unwrap_or_default();
                Place { path, span: Span::FILE, text: None }
            }
        }
    }
}

/// Where something is said.
struct Place<'a> {
    path: String,
    span: Span,
    text: Option<&'a SourceFile>,
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.span.line {
            0 => write!(f, "{}", self.path),
            line => write!(f, "{}:{line}", self.path),
        }
    }
}

/// What a file calls a node that it reads.
fn called(id: &NodeId) -> String {
    match id.kind {
        NodeKind::Semantic => format!("{}.{}", crate::metric::table::SCHEMA, id.name),
        _ => id.name.clone(),
    }
}
