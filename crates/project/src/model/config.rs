//! `{{ config(…) }}`, the `config:` of property files and the defaults of `flywheel.yaml`.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

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
}

/// How new rows enter an incremental table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncrementalStrategy {
    /// Rows are added. The default without a `unique_key`.
    #[default]
    Append,
    /// Rows replace those with the same key, others are added. The default with a `unique_key`.
    Merge,
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
    /// How the model is stored: `view`, `table` or `incremental`.
    pub(crate) materialized: Option<Materialized>,
    /// The schema the model appears under.
    pub(crate) schema: Option<String>,
    /// Tags for selection with `tag:`.
    pub(crate) tags: Option<OneOrMany>,
    /// The columns that identify a row.
    pub(crate) unique_key: Option<OneOrMany>,
    /// How new rows enter an incremental table: `append` or `merge`.
    pub(crate) incremental_strategy: Option<IncrementalStrategy>,
    /// What happens when the query's columns change.
    pub(crate) on_schema_change: Option<OnSchemaChange>,
    /// Whether the model is built at all.
    pub(crate) enabled: Option<bool>,
    /// For tests: `error` or `warn`.
    pub(crate) severity: Option<crate::resource::properties::Severity>,
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
        Self {
            materialized: self.materialized.or(weaker.materialized),
            schema: self.schema.or(weaker.schema),
            tags: Some(OneOrMany::Many(all_tags)),
            unique_key: self.unique_key.or(weaker.unique_key),
            incremental_strategy: self.incremental_strategy.or(weaker.incremental_strategy),
            on_schema_change: self.on_schema_change.or(weaker.on_schema_change),
            enabled: self.enabled.or(weaker.enabled),
            severity: self.severity.or(weaker.severity),
        }
    }

    /// The configuration these settings make.
    pub(crate) fn into_config(self) -> ModelConfig {
        let unique_key = self.unique_key.map(OneOrMany::into_vec).unwrap_or_default();
        let strategy = match unique_key.is_empty() {
            true => IncrementalStrategy::Append,
            false => IncrementalStrategy::Merge,
        };
        let mut tags = self.tags.map(OneOrMany::into_vec).unwrap_or_default();
        tags.sort();
        tags.dedup();
        ModelConfig {
            materialized: self.materialized.unwrap_or_default(),
            unique_key,
            incremental_strategy: self.incremental_strategy.unwrap_or(strategy),
            on_schema_change: self.on_schema_change.unwrap_or_default(),
            tags,
            enabled: self.enabled.unwrap_or(true),
        }
    }
}

/// The schema of the settings of a model, or of a test.
pub(crate) fn settings_schema(for_test: bool) -> Schema {
    let mut schema = schemars::schema_for!(Settings);
    let properties = schema.get_mut("properties").and_then(serde_json::Value::as_object_mut);
    if let Some(properties) = properties {
        let allowed_in_tests =
            |key: &String| matches!(key.as_str(), "severity" | "tags" | "enabled");
        properties.retain(|key, _| match for_test {
            true => allowed_in_tests(key),
            false => key != "severity",
        });
    }
    schema
}
