//! Models that read semantic views as `metrics.<name>`.

use std::collections::BTreeSet;

use flywheel_base::suggest;

use super::super::Check;
use crate::diagnostic::{Diagnostic, Span};
use crate::file::SourceFile;
use crate::graph::{NodeId, NodeKind};
use crate::metric::Semantics;
use crate::metric::table::{self, MetricReads, SCHEMA};
use crate::model::Model;

/// A query of a learner, a policy or the like that reads semantic views.
pub(crate) struct Asks {
    pub(crate) reader: NodeId,
    pub(crate) reads: MetricReads,
    pub(crate) file: SourceFile,
    /// Where it names the first of them.
    pub(crate) span: Span,
}

impl Check<'_> {
    /// Links what queries read by way of semantic views, and reports views that are not there.
    pub(super) fn metric_reads(&mut self, all: &Semantics<'_>) {
        let loaded = self.loaded;
        for (name, read) in &loaded.models {
            let model = &read.value;
            if model.metrics.is_empty() || !model.config.enabled {
                continue;
            }
            let reader = NodeId::new(NodeKind::Model, name);
            let at = |view: &str| {
                let node = NodeId::new(NodeKind::Semantic, view);
                place(model, &read.file, &node).unwrap_or(Span::FILE)
            };
            let tables = self.link_reads(&reader, &model.metrics, all, &read.file, &at);
            self.checked.metric_tables.insert(name.clone(), tables);
        }
        for asks in std::mem::take(&mut self.asks) {
            self.link_reads(&asks.reader, &asks.reads, all, &asks.file, &|_| asks.span);
        }
    }

    /// Links the metrics and semantic views of a query to its reader; returns the tables behind them.
    fn link_reads(
        &mut self,
        reader: &NodeId,
        reads: &MetricReads,
        all: &Semantics<'_>,
        file: &SourceFile,
        at: &dyn Fn(&str) -> Span,
    ) -> BTreeSet<NodeId> {
        let mut views = reads.views.clone();
        // A table of that name goes before a semantic view.
        views.retain(|view| !self.is_table(view));
        for view in views.iter().filter(|view| all.view(view).is_none()) {
            if self.declared(NodeKind::Semantic, view) {
                continue;
            }
            let message = format!("{SCHEMA}.{view} names no semantic view");
            let known: Vec<&str> = all.views().map(|view| view.semantic.as_str()).collect();
            let hint = match known.is_empty() {
                true => format!("Declare it in metrics/{view}.yaml, with `semantic: {view}`."),
                false => suggest::hint(view, known),
            };
            self.push(file, Diagnostic::error(at(view), message).hint(hint));
        }
        let behind = all.behind(&MetricReads { views, words: reads.words.clone() });
        for metric in &behind.metrics {
            self.checked.graph.link(&NodeId::new(NodeKind::Metric, metric), reader);
        }
        let mut tables = BTreeSet::new();
        for view in &behind.views {
            self.checked.graph.link(&NodeId::new(NodeKind::Semantic, view), reader);
            tables.extend(self.checked.semantic_tables.get(view).cloned());
        }
        tables
    }

    /// Whether a model or a landed table is called `metrics.<name>`.
    fn is_table(&self, name: &str) -> bool {
        let relation = format!("{SCHEMA}.{name}");
        self.checked.sources.contains_key(&relation)
            || self.loaded.models.values().any(|read| read.value.relation() == relation)
    }
}

/// Where a model names a semantic view, or the first one it names if it reads `node` by way of it.
pub(crate) fn place(model: &Model, file: &SourceFile, node: &NodeId) -> Option<Span> {
    let own = std::iter::once(&node.name).filter(|_| node.kind == NodeKind::Semantic);
    let mut views = own.chain(&model.metrics.views);
    let (at, length) = views.find_map(|view| table::place(&file.text, view))?;
    Some(file.span(at, length))
}
