//! `{{ config(…) }}`, the `config:` of property files and the defaults of `flywheel.yaml`.

use std::collections::BTreeMap;

use flywheel_base::Result;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use super::Threshold;
use super::snapshot::{HardDeletes, SnapshotStrategy};
use crate::resource::project_file::{Materialized, ModelDefaults};

/// How a model is built, once all places that configure it are merged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModelConfig {
    /// How it is stored.
    pub materialized: Materialized,
    /// The columns that identify a row; needed for `merge`.
    pub unique_key: Vec<String>,
    /// How new rows enter an incremental table.
    pub incremental_strategy: IncrementalStrategy,
    /// What happens when the query's columns change.
    pub on_schema_change: OnSchemaChange,
    /// Tags for selection with `tag:`, sorted.
    pub tags: Vec<String>,
    /// Whether the model is built at all.
    pub enabled: bool,
    /// The column that says when a row happened, for `microbatch`.
    pub event_time: Option<String>,
    /// The first moment of `microbatch`, a date or a time.
    pub begin: Option<String>,
    /// How many batches before the last one `microbatch` builds again.
    pub lookback: u32,
    /// The length of a batch of `microbatch`.
    pub batch_size: Option<BatchSize>,
    /// What the table is called, if not as its file.
    pub alias: Option<String>,
    /// Whether its query has to give just the columns that are declared, in their types.
    pub contract: bool,
    /// Statements before it is built, as templates.
    pub pre_hooks: Vec<String>,
    /// Statements after it was built, as templates.
    pub post_hooks: Vec<String>,
}

/// The length of a batch of `microbatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchSize {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A month.
    Month,
    /// A year.
    Year,
}

/// How new rows enter an incremental table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncrementalStrategy {
    /// Rows are added. The default without a `unique_key`.
    #[default]
    Append,
    /// Rows replace those with the same key, others are added; two new rows of one key are refused. The
    /// default with a `unique_key`.
    Merge,
    /// Rows with the keys of new rows are removed, then all new rows are added. The default with a
    /// `unique_key` in a dbt project.
    #[serde(rename = "delete+insert")]
    DeleteInsert,
    /// Rows of the last batches of time, by `event_time`, are replaced by new ones.
    Microbatch,
}

/// What happens when an incremental query's columns differ from the table's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnSchemaChange {
    /// The build stops.
    #[default]
    Fail,
    /// New columns are left out.
    Ignore,
    /// New columns are added.
    AppendNewColumns,
    /// New columns are added, missing ones are removed.
    SyncAllColumns,
}

/// One text or several.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    /// One text, or a list of them.
    One(String),
    /// One text, or a list of them.
    Many(Vec<String>),
}

impl OneOrMany {
    /// As a list.
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// Settings of a model; each may be absent.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// How the model is stored: `view`, `table`, `incremental` or `ephemeral`.
    pub(crate) materialized: Option<Materialized>,
    /// The schema the model appears under.
    pub(crate) schema: Option<String>,
    /// Tags for selection with `tag:`.
    pub(crate) tags: Option<OneOrMany>,
    /// The columns that identify a row.
    pub(crate) unique_key: Option<OneOrMany>,
    /// How new rows enter an incremental table: `append`, `merge`, `delete+insert` or `microbatch`.
    pub(crate) incremental_strategy: Option<IncrementalStrategy>,
    /// What happens when the query's columns change.
    pub(crate) on_schema_change: Option<OnSchemaChange>,
    /// Whether the model is built at all.
    pub(crate) enabled: Option<bool>,
    /// The column that says when a row happened.
    pub(crate) event_time: Option<String>,
    /// The first moment of `microbatch`.
    pub(crate) begin: Option<String>,
    /// How many batches before the last one are built again.
    pub(crate) lookback: Option<u32>,
    /// The length of a batch.
    pub(crate) batch_size: Option<BatchSize>,
    /// What the table is called, if not as its file.
    pub(crate) alias: Option<String>,
    /// Whether the query has to give just the columns that are declared.
    pub(crate) contract: Option<Contract>,
    /// Statements before the table is built.
    pub(crate) pre_hook: Option<OneOrMany>,
    /// Statements after the table was built.
    pub(crate) post_hook: Option<OneOrMany>,
    /// For tests: `error` or `warn`.
    pub(crate) severity: Option<crate::resource::properties::Severity>,
    /// For tests: how many failures make it fail, `>10`.
    pub(crate) error_if: Option<String>,
    /// For tests: how many failures make it warn, `>10`.
    pub(crate) warn_if: Option<String>,
    /// For tests: how many failures are counted at most.
    pub(crate) limit: Option<u64>,
    /// For tests: whether failing rows are kept in a table.
    pub(crate) store_failures: Option<bool>,
    /// For tests: SQL over failing rows that says how many failures they are.
    pub(crate) fail_calc: Option<String>,
    /// For seeds: the SQL types of columns.
    pub(crate) column_types: Option<BTreeMap<String, String>>,
    /// For seeds: what separates values.
    pub(crate) delimiter: Option<String>,
    /// For snapshots: the schema, as it is.
    pub(crate) target_schema: Option<String>,
    /// For snapshots: `timestamp` or `check`.
    pub(crate) strategy: Option<SnapshotStrategy>,
    /// For snapshots: the column that says when a row changed.
    pub(crate) updated_at: Option<String>,
    /// For snapshots: the columns that are compared, or `all`.
    pub(crate) check_cols: Option<OneOrMany>,
    /// For snapshots: whether rows that vanish are closed.
    pub(crate) invalidate_hard_deletes: Option<bool>,
    /// For snapshots: what happens to rows that vanish: `ignore`, `invalidate` or `new_record`.
    pub(crate) hard_deletes: Option<HardDeletes>,
}

/// dbt's `contract:` of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Contract {
    /// Whether it counts.
    pub(crate) enforced: bool,
    /// dbt's own: whether types are compared by their names.
    pub(crate) alias_types: Option<bool>,
}

impl From<&ModelDefaults> for Settings {
    fn from(defaults: &ModelDefaults) -> Self {
        Self {
            materialized: defaults.materialized,
            schema: defaults.schema.clone(),
            tags: Some(OneOrMany::Many(defaults.tags.clone())),
            ..Self::default()
        }
    }
}

impl Settings {
    /// These settings over `weaker` ones; tags add up, as in dbt.
    pub(crate) fn over(self, weaker: Self) -> Self {
        let tags = |settings: Option<OneOrMany>| settings.map(OneOrMany::into_vec);
        let mut all_tags = tags(weaker.tags).unwrap_or_default();
        all_tags.extend(tags(self.tags).unwrap_or_default());
        let mut column_types = weaker.column_types.unwrap_or_default();
        column_types.extend(self.column_types.unwrap_or_default());
        let hooks = |weaker: Option<OneOrMany>, own: Option<OneOrMany>| {
            let mut all = weaker.map(OneOrMany::into_vec).unwrap_or_default();
            all.extend(own.map(OneOrMany::into_vec).unwrap_or_default());
            Some(OneOrMany::Many(all))
        };
        Self {
            materialized: self.materialized.or(weaker.materialized),
            schema: self.schema.or(weaker.schema),
            tags: Some(OneOrMany::Many(all_tags)),
            unique_key: self.unique_key.or(weaker.unique_key),
            incremental_strategy: self.incremental_strategy.or(weaker.incremental_strategy),
            on_schema_change: self.on_schema_change.or(weaker.on_schema_change),
            enabled: self.enabled.or(weaker.enabled),
            event_time: self.event_time.or(weaker.event_time),
            begin: self.begin.or(weaker.begin),
            lookback: self.lookback.or(weaker.lookback),
            batch_size: self.batch_size.or(weaker.batch_size),
            alias: self.alias.or(weaker.alias),
            contract: self.contract.or(weaker.contract),
            pre_hook: hooks(weaker.pre_hook, self.pre_hook),
            post_hook: hooks(weaker.post_hook, self.post_hook),
            severity: self.severity.or(weaker.severity),
            error_if: self.error_if.or(weaker.error_if),
            warn_if: self.warn_if.or(weaker.warn_if),
            limit: self.limit.or(weaker.limit),
            store_failures: self.store_failures.or(weaker.store_failures),
            fail_calc: self.fail_calc.or(weaker.fail_calc),
            column_types: Some(column_types),
            delimiter: self.delimiter.or(weaker.delimiter),
            target_schema: self.target_schema.or(weaker.target_schema),
            strategy: self.strategy.or(weaker.strategy),
            updated_at: self.updated_at.or(weaker.updated_at),
            check_cols: self.check_cols.or(weaker.check_cols),
            invalidate_hard_deletes: self
                .invalidate_hard_deletes
                .or(weaker.invalidate_hard_deletes),
            hard_deletes: self.hard_deletes.or(weaker.hard_deletes),
        }
    }

    /// The configuration these settings make; what they leave open is dbt's choice in a project of dbt's.
    pub(crate) fn into_config(self, dbt: bool) -> ModelConfig {
        let unique_key = self.unique_key.map(OneOrMany::into_vec).unwrap_or_default();
        let strategy = match (unique_key.is_empty(), dbt) {
            (true, _) => IncrementalStrategy::Append,
            (false, true) => IncrementalStrategy::DeleteInsert,
            (false, false) => IncrementalStrategy::Merge,
        };
        let on_schema_change = match dbt {
            true => OnSchemaChange::Ignore,
            false => OnSchemaChange::Fail,
        };
        let mut tags = self.tags.map(OneOrMany::into_vec).unwrap_or_default();
        tags.sort();
        tags.dedup();
        ModelConfig {
            materialized: self.materialized.unwrap_or_default(),
            unique_key,
            incremental_strategy: self.incremental_strategy.unwrap_or(strategy),
            on_schema_change: self.on_schema_change.unwrap_or(on_schema_change),
            tags,
            enabled: self.enabled.unwrap_or(true),
            event_time: self.event_time,
            begin: self.begin,
            lookback: self.lookback.unwrap_or(1),
            batch_size: self.batch_size,
            alias: self.alias,
            contract: self.contract.is_some_and(|contract| contract.enforced),
            pre_hooks: self.pre_hook.map(OneOrMany::into_vec).unwrap_or_default(),
            post_hooks: self.post_hook.map(OneOrMany::into_vec).unwrap_or_default(),
        }
    }

    /// How many failures a test takes.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a condition is none.
    pub(crate) fn threshold(&self) -> Result<Threshold> {
        let read = |text: &Option<String>| text.as_deref().map(str::parse).transpose();
        Ok(Threshold {
            error_if: read(&self.error_if)?,
            warn_if: read(&self.warn_if)?,
            limit: self.limit,
        })
    }
}

/// What settings are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SettingsOf {
    /// A model.
    Model,
    /// A test.
    Test,
    /// A seed.
    Seed,
    /// A snapshot.
    Snapshot,
}

impl SettingsOf {
    /// Whether such settings have this key.
    pub(crate) fn allows(self, key: &str) -> bool {
        let everywhere = matches!(key, "tags" | "enabled");
        let of_tests = matches!(
            key,
            "severity" | "error_if" | "warn_if" | "limit" | "store_failures" | "fail_calc"
        );
        let of_seeds = matches!(key, "column_types" | "delimiter");
        let of_snapshots = matches!(
            key,
            "target_schema"
                | "strategy"
                | "updated_at"
                | "check_cols"
                | "invalidate_hard_deletes"
                | "hard_deletes"
        );
        let of_tables = matches!(key, "alias" | "pre_hook" | "post_hook" | "schema" | "contract");
        everywhere
            || match self {
                Self::Model => !of_tests && !of_seeds && !of_snapshots,
                Self::Test => of_tests,
                Self::Seed => of_seeds || of_tables,
                Self::Snapshot => of_snapshots || of_tables || key == "unique_key",
            }
    }

    /// What has such settings, for messages.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Model => "a model",
            Self::Test => "a test",
            Self::Seed => "a seed",
            Self::Snapshot => "a snapshot",
        }
    }

    /// The schema of such settings.
    pub(crate) fn schema(self) -> Schema {
        let mut schema = schemars::schema_for!(Settings);
        let properties = schema.get_mut("properties").and_then(serde_json::Value::as_object_mut);
        if let Some(properties) = properties {
            properties.retain(|key, _| self.allows(key));
        }
        schema
    }
}
