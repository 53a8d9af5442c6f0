//! dbt's semantic models to semantic views.

use super::{Loaded, Read};
use crate::dbt::{Import, wait};
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{NodeId, NodeKind};

impl Loaded {
    /// Imports what property files say about the meaning of models; our own files win.
    pub(super) fn import_semantics(&mut self) {
        if !self.layout.dbt {
            return;
        }
        let extras = std::mem::take(&mut self.extras);
        let mut out = std::mem::take(&mut self.out);
        let mut import = Import::new(&mut out);
        let mut waiting = Vec::new();
        for (file, extra) in &extras {
            for node in &extra.semantic_models {
                import.semantic_model(file, node, &mut waiting);
            }
            for node in &extra.semantic_columns {
                import.model(file, node, &mut waiting);
            }
            waiting.extend(extra.metrics.iter().filter_map(|node| wait(file, node, None)));
        }
        let views = import.finish(waiting);
        self.extras = extras;
        self.out = out;
        for view in views {
            let name = view.semantic.semantic.clone();
            let id = NodeId::new(NodeKind::Semantic, &name);
            if self.declared.contains_key(&id) || crate::names::problem(&name).is_some() {
                let message = format!("semantic model \"{name}\" is left out");
                let hint = "A semantic view needs a name of its own, in lower-case letters.";
                let diagnostic = Diagnostic::warning(view.node.span, message).hint(hint);
                self.out.push(&view.file, diagnostic);
                continue;
            }
            self.declare(id, &view.file, view.node.get("name").map_or(Span::FILE, |n| n.span));
            self.imported.insert(name.clone());
            let read = Read { value: view.semantic, file: view.file, node: view.node };
            self.semantics.insert(name, read);
        }
    }
}
