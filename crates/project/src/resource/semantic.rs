//! `metrics/*.yaml`.

mod metric;
mod time;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use metric::{
    Certification, Compare, CompareAs, Conversion, ConversionAs, Cumulative, Direction, Metric,
    MetricKind, OffsetMetric, Ratio, Rolling, ShareOf, ToDate,
};
pub use time::{Grain, Offset, TimeSpan, TimeUnit};

use super::sync::one_or_many;
use crate::model::OneOrMany;

/// What a table means: its keys, what it can be grouped by, what can be counted in it, and the metrics
/// made of that.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Semantic {
    /// The semantic view's name.
    pub semantic: String,
    /// The table: `ref('orders')` or `source('raw', 'orders')`.
    pub table: String,
    /// What one row means.
    #[serde(default)]
    pub description: Option<String>,
    /// Who answers for it; metrics without an owner of their own are theirs.
    #[serde(default)]
    pub owner: Option<String>,
    /// The time dimension that measures are counted by unless they say otherwise.
    #[serde(default)]
    pub time: Option<String>,
    /// The keys by which the table is joined, by the name of what they identify.
    #[serde(default)]
    pub entities: BTreeMap<String, Entity>,
    /// What metrics can be grouped and filtered by.
    #[serde(default)]
    pub dimensions: BTreeMap<String, Dimension>,
    /// What can be added up, counted or averaged.
    #[serde(default)]
    pub measures: BTreeMap<String, Measure>,
    /// The metrics, by a name that is unique in the project.
    #[serde(default)]
    pub metrics: BTreeMap<String, Metric>,
}

/// What people call something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// In English.
    #[serde(default)]
    pub en: Option<String>,
    /// In Chinese.
    #[serde(default)]
    pub zh: Option<String>,
}

impl Label {
    /// Every name that is given.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        [self.en.as_deref(), self.zh.as_deref()].into_iter().flatten()
    }
}

/// A key.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entity {
    /// How many rows of the table have one value of the key.
    #[serde(rename = "type")]
    pub kind: EntityKind,
    /// The column, or several that make the key together; the entity's name if absent.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub key: Vec<String>,
    /// The entity of another semantic view that a foreign key refers to, if it is called otherwise
    /// there: `buyer` and `seller` both refer to `customer`.
    #[serde(default)]
    pub to: Option<String>,
    /// What it identifies.
    #[serde(default)]
    pub description: Option<String>,
    /// What people call it.
    #[serde(default)]
    pub label: Label,
    /// Other words for it.
    #[serde(default)]
    pub synonyms: Vec<String>,
}

impl Entity {
    /// The key's columns, for the entity `name`.
    #[must_use]
    pub fn columns(&self, name: &str) -> Vec<String> {
        if self.key.is_empty() { vec![name.to_owned()] } else { self.key.clone() }
    }
}

/// How many rows have one value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EntityKind {
    /// Exactly one, and the key is never missing: it is what a row is. A test is made of it.
    Primary,
    /// At most one. A test is made of it.
    Unique,
    /// Any number: the key refers to another table.
    Foreign,
}

impl EntityKind {
    /// The kind's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Unique => "unique",
            Self::Foreign => "foreign",
        }
    }

    /// Whether a join to the key finds at most one row.
    #[must_use]
    pub fn is_single(self) -> bool {
        self != Self::Foreign
    }
}

/// Something to group and filter by.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dimension {
    /// Whether it is a time.
    #[serde(rename = "type")]
    pub kind: DimensionKind,
    /// SQL over the table's columns; the column with the dimension's name if absent.
    pub expression: Option<String>,
    /// The finest grain a time can be grouped by.
    pub grain: Option<Grain>,
    /// The time zone in which days begin, such as `Asia/Shanghai`; UTC if absent.
    pub timezone: Option<String>,
    /// What it says.
    pub description: Option<String>,
    /// What people call it.
    pub label: Label,
    /// Other words for it.
    pub synonyms: Vec<String>,
    /// What people call its values, by the value in the table.
    pub values: BTreeMap<String, ValueName>,
}

impl Dimension {
    /// Values that have a name for people, each with that name.
    pub fn value_labels(&self) -> impl Iterator<Item = (&str, &Label)> {
        let named = self.values.iter().filter(|(_, name)| name.label.texts().next().is_some());
        named.map(|(value, name)| (value.as_str(), &name.label))
    }
}

/// What a dimension holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DimensionKind {
    /// Values to group by as they are.
    #[default]
    Categorical,
    /// Dates or moments, grouped by day, week, month and so on.
    Time,
}

/// What people call a value.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ValueName {
    /// Its name.
    pub label: Label,
    /// Other words for it.
    pub aliases: Vec<String>,
}

/// Something that can be added up, counted or averaged.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// How rows are put together.
    pub aggregate: Aggregate,
    /// SQL over the table's columns; the column with the measure's name if absent, and rows for `count`.
    #[serde(default)]
    pub expression: Option<String>,
    /// For `quantile`: which share of the values lies below it, such as 0.95; above 0 and below 1.
    #[serde(default)]
    pub p: Option<f64>,
    /// For `median` and `quantile`: whether every value is looked at, or a sketch of them of bounded size.
    #[serde(default)]
    pub method: Option<QuantileMethod>,
    /// The time dimension it is counted by; that of the semantic view if absent.
    #[serde(default)]
    pub time: Option<String>,
    /// For what cannot be added up over time, such as stock or a balance: which moment of a period counts.
    #[serde(default)]
    pub over_time: Option<OverTime>,
    /// What it is.
    #[serde(default)]
    pub description: Option<String>,
}

/// How rows are put together.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// The sum.
    Sum,
    /// How many rows, or how many that have a value.
    Count,
    /// How many different values.
    CountDistinct,
    /// The mean.
    Average,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The middle one.
    Median,
    /// The value below which a share `p` of the values lies, between two values by a straight line.
    Quantile,
}

impl Aggregate {
    /// The aggregate's word in files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Count => "count",
            Self::CountDistinct => "count_distinct",
            Self::Average => "average",
            Self::Min => "min",
            Self::Max => "max",
            Self::Median => "median",
            Self::Quantile => "quantile",
        }
    }

    /// Whether it is a quantile, of which those of parts say nothing about that of the whole.
    #[must_use]
    pub fn is_quantile(self) -> bool {
        matches!(self, Self::Median | Self::Quantile)
    }
}

/// How a quantile is found.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum QuantileMethod {
    /// From every value; memory grows with the values of a group.
    #[default]
    Exact,
    /// From a t-digest of the values, whose memory does not grow with them; it is nearest at both ends.
    Approximate,
}

/// What counts of a period if values cannot be added up over time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OverTime {
    /// The moment of the period that counts.
    pub take: Take,
    /// Entities or dimensions of which each has its own first or last moment, such as `account`; without,
    /// it is the first or last moment at which the table has rows.
    #[serde(default)]
    pub per: Vec<String>,
}

/// Which moment of a period counts.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Take {
    /// The first.
    First,
    /// The last.
    Last,
}
