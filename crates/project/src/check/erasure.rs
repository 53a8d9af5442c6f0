//! The `erasure:` of `flywheel.yaml`: tables that there are, with at least one column each.

use flywheel_base::suggest;

use super::Check;
use crate::diagnostic::Diagnostic;
use crate::yaml::Step;

/// Schemas whose tables follow from others, so that nobody's key is declared in them.
const OURS: [&str; 2] = ["system.", "learn."];

impl Check<'_> {
    pub(super) fn erasure(&mut self) {
        let loaded = self.loaded;
        let Some(read) = &loaded.project else { return };
        let known = self.relations();
        let mut mistakes = Vec::new();
        for (table, columns) in &read.value.erasure.keys {
            let span =
                read.node.find(&[Step::Key("erasure"), Step::Key("keys"), Step::Key(table)]).span;
            let mut wrong = |message: String, hint: &str| {
                mistakes.push(Diagnostic::error(span, message).hint(hint));
            };
            if OURS.iter().any(|ours| table.starts_with(ours)) {
                let message = format!("erasure declares the key of a person in \"{table}\"");
                wrong(
                    message,
                    "Declare the landed tables; what is made of them is found by itself.",
                );
            } else if !known.contains(table) {
                let message = format!("erasure names the unknown table \"{table}\"");
                let hint = suggest::hint(table, known.iter().map(String::as_str));
                wrong(message, &hint);
            }
            if columns.is_empty() || columns.iter().any(|column| column.trim().is_empty()) {
                let message = format!("erasure names no column of \"{table}\" that holds the key");
                wrong(message, "Name it: `raw.orders: [customer_id]`.");
            }
        }
        for mistake in mistakes {
            self.push(&read.file, mistake);
        }
    }
}
