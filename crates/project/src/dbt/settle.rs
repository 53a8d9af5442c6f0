//! Settings of dbt's that mean nothing here, or cannot be kept.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::file::SourceFile;
use crate::yaml::{Node, Value};

/// Settings that do not change what is read.
const PASSED_OVER: &[&str] = &[
    "meta",
    "docs",
    "group",
    "access",
    "grants",
    "persist_docs",
    "indexes",
    "quoting",
    "quote_columns",
    "database",
    "description",
    "full_refresh",
    "partition_by",
    "cluster_by",
    "options",
    "static_analysis",
    "store_failures_as",
    "concurrent_batches",
    "target_database",
    "snapshot_meta_column_names",
];

/// Settings that would change it, and what is done instead.
const NOT_KEPT: &[(&str, &str)] = &[
    ("pre_hook", "Write it as a model that this one reads."),
    ("post_hook", "Write it as a model that reads this one."),
    ("pre-hook", "Write it as a model that this one reads."),
    ("post-hook", "Write it as a model that reads this one."),
    ("alias", "Name the file as the table shall be called."),
    ("sql_header", "Leave it out; a query needs no settings of its own."),
    ("contract", "Write the columns' tests; types are those of the query."),
    ("incremental_predicates", "Leave them out; only files that can hold a key are read."),
    ("store_failures", "Failing rows are counted; a test's query shows them."),
    ("fail_calc", "Rows are counted: let the test return one for each failure."),
    ("merge_update_columns", "Leave it out: a merged row takes over all columns."),
    ("merge_exclude_columns", "Leave it out: a merged row takes over all columns."),
    ("dbt_valid_to_current", "Leave it out; the present state has no dbt_valid_to."),
];

/// Takes out of `settings` what is not ours, with a warning where that matters.
pub(crate) fn settle(file: &SourceFile, settings: &mut Node, out: &mut Diagnostics) {
    let Value::Map(entries) = &mut settings.value else { return };
    entries.retain(|(key, value)| {
        if let Some((name, hint)) = NOT_KEPT.iter().find(|(name, _)| *name == key.name) {
            let is_off = |node: &Node| node.value == Value::Bool(false);
            let off = is_off(value) || value.get("enforced").is_some_and(is_off);
            if !off && value.value != Value::Null {
                let message = format!("the setting \"{name}\" has no effect");
                out.push(file, Diagnostic::warning(key.span, message).hint(*hint));
            }
            return false;
        }
        // Nothing said is nothing set: `+schema:` and `schema=none` mean the default.
        !PASSED_OVER.contains(&key.name.as_str()) && value.value != Value::Null
    });
}
