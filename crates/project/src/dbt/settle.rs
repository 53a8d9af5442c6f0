//! Settings of dbt's that mean nothing here, or cannot be kept.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::file::SourceFile;
use crate::model::SettingsOf;
use crate::yaml::{Key, Node, Value};

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
    "freshness",
    "packages",
    "external_location",
    "transient",
    "copy_grants",
    "secure",
    "query_tag",
    "snowflake_warehouse",
    "automatic_clustering",
    "dist",
    "sort",
    "sort_type",
    "backup",
    "bind",
    "auto_refresh",
    "file_format",
    "location",
    "location_root",
    "format",
    "partitioned_by",
    "buckets",
    "clustered_by",
    "liquid_clustered_by",
    "auto_liquid_cluster",
    "tblproperties",
    "databricks_tags",
    "databricks_compute",
    "labels",
    "kms_key_name",
    "hours_to_expiration",
    "require_partition_filter",
    "partition_expiration_days",
    "unlogged",
    "on_configuration_change",
    "on_error",
    "semantic_model",
    "target_lag",
    "python_version",
    "submission_method",
    "as_columnstore",
    "engine",
    "order_by",
    "unique_tmp_table_suffix",
];

/// Settings that a project of dbt's may make up; what is nearly one of ours is a mistake.
const OURS: &[&str] = &[
    "materialized",
    "schema",
    "alias",
    "tags",
    "unique_key",
    "incremental_strategy",
    "on_schema_change",
    "enabled",
    "event_time",
    "begin",
    "lookback",
    "batch_size",
    "contract",
    "pre_hook",
    "post_hook",
    "severity",
    "error_if",
    "warn_if",
    "limit",
    "where",
    "store_failures",
    "fail_calc",
    "column_types",
    "delimiter",
    "target_schema",
    "strategy",
    "updated_at",
    "check_cols",
    "invalidate_hard_deletes",
    "hard_deletes",
];

/// Settings that would change it, and what is done instead.
const NOT_KEPT: &[(&str, &str)] = &[
    ("sql_header", "Leave it out; a query needs no settings of its own."),
    ("incremental_predicates", "Leave them out; only files that can hold a key are read."),
    ("merge_update_columns", "Leave it out: a merged row takes over all columns."),
    ("merge_exclude_columns", "Leave it out: a merged row takes over all columns."),
    ("dbt_valid_to_current", "Leave it out; the present state has no dbt_valid_to."),
];

/// Takes out of the settings of such a thing what is not ours or not its own, with a warning where that matters.
pub(crate) fn settle(
    file: &SourceFile,
    settings: &mut Node,
    of: SettingsOf,
    out: &mut Diagnostics,
) {
    let Value::Map(entries) = &mut settings.value else { return };
    for (key, value) in entries.iter_mut() {
        if key.name.ends_with("hook") {
            key.name = key.name.replace('-', "_");
            hooks(value);
        }
        if key.name == "contract" && matches!(value.value, Value::Bool(_)) {
            let enforced = Key { name: "enforced".to_owned(), span: key.span };
            value.value = Value::Map(vec![(enforced, value.clone())]);
        }
    }
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
        let name = key.name.as_str();
        let known = OURS.contains(&name) || PASSED_OVER.contains(&name);
        // What only others have does nothing in dbt either; a condition would change which rows are looked at.
        if OURS.contains(&name) && !of.allows(name) && name != "where" {
            let message = format!("nothing reads the setting \"{name}\" of {}", of.what());
            out.push(file, Diagnostic::warning(key.span, message).hint("Leave it out."));
            return false;
        }
        if !known && flywheel_base::suggest::nearest(name, OURS.iter().copied()).is_none() {
            let message = format!("nothing reads the setting \"{name}\"");
            let hint = "Put notes for people and other tools under `meta:`.";
            out.push(file, Diagnostic::warning(key.span, message).hint(hint));
            return false;
        }
        // Nothing said is nothing set: `+schema:` and `schema=none` mean the default.
        !PASSED_OVER.contains(&key.name.as_str()) && value.value != Value::Null
    });
}

/// Hooks as texts: `{sql: …, transaction: …}` is its statement, and so is a dict in a template, which arrives as a
/// text of JSON.
fn hooks(node: &mut Node) {
    let plain = |node: &mut Node| {
        if let Some(sql) = node.get("sql").cloned() {
            *node = sql;
            return;
        }
        let Value::Text(written) = &mut node.value else { return };
        if !written.trim_start().starts_with('{') {
            return;
        }
        let read: Option<serde_json::Value> = serde_json::from_str(written).ok();
        let sql = read.as_ref().and_then(|read| read.get("sql")).and_then(|sql| sql.as_str());
        if let Some(sql) = sql.map(str::to_owned) {
            *written = sql;
        }
    };
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(plain),
        _ => plain(node),
    }
}
