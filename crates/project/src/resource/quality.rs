//! `quality/*.yaml`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::properties::Severity;
use super::quantity::{Duration, Share};

/// What is promised about the rows of one table, in the words of the Open Data Contract Standard.
///
/// The table is one of the lake (`table`) or lies in an outside system (`connection` and `stream`), where
/// the database itself computes the figures.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// The name, unique among quality files.
    pub quality: String,
    /// The table of the lake: `ref('orders')` or `source('raw', 'orders')`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The connection whose table is checked, instead of `table`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// What is read there, as in a sync's `options`: `{table: public.orders}`, `{path: '*.csv'}`.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub stream: serde_json::Map<String, Json>,
    /// What is promised, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Columns whose values are never shown in samples of failing rows. Those that a sync of the same
    /// table masks are hidden without being named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<String>,
    /// The checks.
    pub checks: Vec<QualityCheck>,
}

/// One promise: a figure, and what it must be.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct QualityCheck {
    /// The name, unique in the file; made of metric and column if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is promised, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The column; none for what is about the whole table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The figure. Exactly one of `metric` and `query` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
    /// SQL that gives one number or boolean, in the SQL of where the table lies. `{object}` stands for the
    /// table and `{property}` for the column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// What the metric needs to know.
    #[serde(default, skip_serializing_if = "Arguments::is_empty")]
    pub arguments: Arguments,
    /// Only rows that fulfil this SQL condition count.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Whether the figure is a number of rows or a share of all rows in percent.
    #[serde(default, skip_serializing_if = "Unit::is_rows")]
    pub unit: Unit,
    /// The figure is exactly this number, or this boolean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must_be: Option<Json>,
    /// The figure is anything but this number or boolean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must_not_be: Option<Json>,
    /// The figure is above this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must_be_greater_than: Option<f64>,
    /// The figure is this number or above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must_be_greater_or_equal_to: Option<f64>,
    /// The figure is below this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must_be_less_than: Option<f64>,
    /// The figure is this number or below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must_be_less_or_equal_to: Option<f64>,
    /// The figure lies between two numbers, both included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must_be_between: Option<[f64; 2]>,
    /// The figure lies outside of two numbers, neither included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must_not_be_between: Option<[f64; 2]>,
    /// Compares the figure with its own past instead of, or besides, a fixed limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<Monitor>,
    /// `error`: readers keep the last good version. `warn`: it is reported. A check that is only a
    /// monitor warns unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// The side of quality it is about, for reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<QualityDimension>,
    /// What a breach costs the business, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub business_impact: Option<String>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// A figure about a table or a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Metric {
    /// Rows in which the column is NULL.
    NullValues,
    /// Rows in which the column is one of `missingValues`; NULL and the empty text if they are not given.
    MissingValues,
    /// Rows whose value is not one of `validValues` or of a `dictionary`, does not match `pattern`, or is
    /// shorter than `minLength` or longer than `maxLength`. NULL is not invalid.
    InvalidValues,
    /// Rows that repeat the column, or the columns `properties`, of another row; the first is not counted.
    DuplicateValues,
    /// Rows.
    RowCount,
    /// Rows whose value is not in the column `field` of the table `to`. NULL refers to nothing.
    UnmatchedValues,
    /// Rows that came late: the column lies more than `maxDelay` after the column `after`, or, without
    /// `after`, before now by more than `maxDelay`.
    LateValues,
    /// Seconds since the newest value of the column.
    Freshness,
    /// Different values of the column.
    DistinctValues,
    /// The sum of the column.
    Sum,
    /// The mean of the column.
    Average,
}

impl Metric {
    /// Its word in files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::NullValues => "nullValues",
            Self::MissingValues => "missingValues",
            Self::InvalidValues => "invalidValues",
            Self::DuplicateValues => "duplicateValues",
            Self::RowCount => "rowCount",
            Self::UnmatchedValues => "unmatchedValues",
            Self::LateValues => "lateValues",
            Self::Freshness => "freshness",
            Self::DistinctValues => "distinctValues",
            Self::Sum => "sum",
            Self::Average => "average",
        }
    }

    /// Whether it counts rows, so that a share of all rows makes sense.
    #[must_use]
    pub fn counts_rows(self) -> bool {
        !matches!(
            self,
            Self::RowCount | Self::Freshness | Self::DistinctValues | Self::Sum | Self::Average
        )
    }

    /// Whether the Open Data Contract Standard knows it.
    #[must_use]
    pub fn is_standard(self) -> bool {
        matches!(
            self,
            Self::NullValues
                | Self::MissingValues
                | Self::InvalidValues
                | Self::DuplicateValues
                | Self::RowCount
        )
    }
}

/// What a metric needs to know.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Arguments {
    /// Values that mean that there is none, for `missingValues`. `[null, '', 'N/A']`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_values: Option<Vec<Json>>,
    /// The values that are valid, for `invalidValues`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_values: Option<Vec<Json>>,
    /// The dictionary whose codes are valid, for `invalidValues`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dictionary: Option<String>,
    /// A regular expression that valid values match, for `invalidValues`; not for SQLite, which has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// The fewest characters of a valid value, for `invalidValues`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u32>,
    /// The most characters of a valid value, for `invalidValues`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u32>,
    /// The columns that are unique together, for `duplicateValues`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<String>,
    /// The other table, for `unmatchedValues`: `ref('customers')` in the lake, the table's name in a
    /// database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The column of the other table; the checked column's name if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The column of when it happened, for `lateValues`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How late is still in time, for `lateValues`: `2h`, `1d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_delay: Option<Duration>,
}

impl Arguments {
    /// Whether nothing is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Rows or percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// A number of rows.
    #[default]
    Rows,
    /// A share of all rows that count, 0 to 100; 0 of a table without rows.
    Percent,
}

impl Unit {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn is_rows(&self) -> bool {
        *self == Self::Rows
    }

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Percent => "percent",
        }
    }
}

/// A side of quality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QualityDimension {
    /// Values are true.
    Accuracy,
    /// Nothing is missing.
    Completeness,
    /// Values have the agreed form.
    Conformity,
    /// Tables agree with each other.
    Consistency,
    /// Every record is there.
    Coverage,
    /// Rows come in time.
    Timeliness,
    /// Nothing is there twice.
    Uniqueness,
}

impl QualityDimension {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::Completeness => "completeness",
            Self::Conformity => "conformity",
            Self::Consistency => "consistency",
            Self::Coverage => "coverage",
            Self::Timeliness => "timeliness",
            Self::Uniqueness => "uniqueness",
        }
    }
}

/// Watches a figure: is it what its own past lets one expect?
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Monitor {
    /// What a figure is compared with.
    #[serde(default)]
    pub method: MonitorMethod,
    /// How often a figure without anomaly may be called one: `1%` is one in a hundred, `0.1%` to `20%`.
    #[serde(default = "one_percent")]
    pub false_alarms: Share,
    /// How many earlier figures it takes before there is a verdict; 14, or 28 for `seasonal`, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<u32>,
    /// How many of the newest earlier figures count, at most 365; 56 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// Which way it may not go.
    #[serde(default)]
    pub direction: Direction,
    /// What makes an earlier figure: the last of each day, or every run.
    #[serde(default)]
    pub every: Every,
}

fn one_percent() -> Share {
    Share::of(0.01)
}

/// What a figure is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MonitorMethod {
    /// All earlier figures: their median, and how far they usually are from it.
    #[default]
    Robust,
    /// Earlier figures of the same day of the week.
    Seasonal,
}

impl MonitorMethod {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Robust => "robust",
            Self::Seasonal => "seasonal",
        }
    }
}

/// Which way a figure may not go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Neither way.
    #[default]
    Both,
    /// Up: only a figure that is too high is an anomaly.
    Up,
    /// Down: only a figure that is too low is an anomaly.
    Down,
}

/// What makes an earlier figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Every {
    /// The last of each day, in UTC.
    #[default]
    Day,
    /// Every run.
    Run,
}
