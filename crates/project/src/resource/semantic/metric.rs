//! Metrics: what they are, and how they are computed.

use flywheel_base::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Label;
use super::time::{Grain, Offset, TimeSpan};

/// A figure of the business; exactly one of `measure`, `ratio`, `derived`, `cumulative`, `to_date`, `rolling`,
/// `offset`, `compare`, `share` and `conversion` says how it is computed.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("oneOf" = [
    {"required": ["measure"]},
    {"required": ["ratio"]},
    {"required": ["derived"]},
    {"required": ["cumulative"]},
    {"required": ["to_date"]},
    {"required": ["rolling"]},
    {"required": ["offset"]},
    {"required": ["compare"]},
    {"required": ["share"]},
    {"required": ["conversion"]},
]))]
pub struct Metric {
    /// What people call it.
    pub label: Label,
    /// Other words for it.
    pub synonyms: Vec<String>,
    /// What it says, and what it does not.
    pub description: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// What it is measured in, such as `EUR`, `orders` or `%`.
    pub unit: Option<String>,
    /// Whether more of it is better.
    pub direction: Option<Direction>,
    /// How far it can be relied on.
    pub certification: Certification,
    /// What is shown where there is nothing to compute it from. Without, that is 0 for counts and nothing for
    /// everything else.
    pub default: Option<f64>,
    /// Only rows that fulfil this condition on dimensions count: `channel = 'app' and customer.region in ('north')`.
    pub filter: Option<String>,
    /// A measure of this semantic view, as it is.
    pub measure: Option<String>,
    /// One metric divided by another.
    pub ratio: Option<Ratio>,
    /// Arithmetic over metrics: `(revenue - cost) / revenue`. Division by zero gives nothing.
    pub derived: Option<String>,
    /// All of it since the beginning.
    pub cumulative: Option<Cumulative>,
    /// What there was since the month, quarter or year began: MTD, QTD, YTD.
    pub to_date: Option<ToDate>,
    /// What there was in the last days, weeks or months before each period's end.
    pub rolling: Option<Rolling>,
    /// What it was a period, or some time, before.
    pub offset: Option<OffsetMetric>,
    /// How it differs from what it was before.
    pub compare: Option<Compare>,
    /// Which share it has of a total.
    pub share: Option<ShareOf>,
    /// How many were followed by something else.
    pub conversion: Option<Conversion>,
}

/// Whether more is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// More is better.
    Up,
    /// Less is better.
    Down,
}

impl Direction {
    /// The direction's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// How far a metric can be relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Certification {
    /// Somebody works on it.
    #[default]
    Draft,
    /// Its owner stands for it.
    Certified,
    /// It should no longer be used.
    Deprecated,
}

impl Certification {
    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Certified => "certified",
            Self::Deprecated => "deprecated",
        }
    }
}

/// One metric divided by another.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ratio {
    /// The metric above.
    pub of: String,
    /// The metric below.
    pub per: String,
}

/// All of a metric since the beginning.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cumulative {
    /// The metric.
    pub metric: String,
}

/// What there was since a period began.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToDate {
    /// The metric.
    pub metric: String,
    /// The period.
    pub period: Grain,
}

/// What there was in the last days, weeks or months.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rolling {
    /// The metric.
    pub metric: String,
    /// How far the window reaches back from the period's end.
    pub window: TimeSpan,
}

/// What a metric was before.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OffsetMetric {
    /// The metric.
    pub metric: String,
    /// How much earlier.
    pub by: Offset,
}

/// How a metric differs from what it was before.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    /// The metric.
    pub metric: String,
    /// What it is compared with.
    pub by: Offset,
    /// How the difference is given.
    #[serde(rename = "as", default)]
    pub form: CompareAs,
}

/// How a difference is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CompareAs {
    /// As a share of what it was: 0.25 for a quarter more.
    #[default]
    Change,
    /// What it is minus what it was.
    Difference,
    /// What it is divided by what it was.
    Ratio,
}

/// Which share a metric has of a total.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareOf {
    /// The metric.
    pub metric: String,
    /// The dimensions whose values each have a total of their own; `[time]` if absent. Those a query does not
    /// group by count for nothing.
    #[serde(default = "within_default")]
    pub within: Vec<String>,
}

/// How many events were followed by something else.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conversion {
    /// The metric of what comes first, made of one measure; it is also what dimensions and time belong to.
    pub from: String,
    /// The metric of what follows, made of one measure.
    pub to: String,
    /// The entity that both have in common, such as `customer`.
    pub entity: String,
    /// How long after the first the other may come.
    pub within: TimeSpan,
    /// Whether the share or the number is given.
    #[serde(rename = "as", default)]
    pub form: ConversionAs,
}

/// How a conversion is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConversionAs {
    /// The share of what came first that was followed by the other.
    #[default]
    Rate,
    /// How much of what came first was followed by the other.
    Count,
}

/// How a metric is computed.
#[derive(Clone, Copy, Debug)]
pub enum MetricKind<'a> {
    /// A measure of its semantic view.
    Measure(&'a str),
    /// One metric divided by another.
    Ratio(&'a Ratio),
    /// Arithmetic over metrics.
    Derived(&'a str),
    /// All of it since the beginning.
    Cumulative(&'a Cumulative),
    /// Since a period began.
    ToDate(&'a ToDate),
    /// In the last days, weeks or months.
    Rolling(&'a Rolling),
    /// What it was before.
    Offset(&'a OffsetMetric),
    /// How it differs from what it was before.
    Compare(&'a Compare),
    /// Which share it has of a total.
    Share(&'a ShareOf),
    /// How many were followed by something else.
    Conversion(&'a Conversion),
}

impl Metric {
    /// How it is computed.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] unless exactly one way is given; a loaded project's metrics have one.
    pub fn kind(&self) -> Result<MetricKind<'_>> {
        let kinds = [
            self.measure.as_deref().map(MetricKind::Measure),
            self.ratio.as_ref().map(MetricKind::Ratio),
            self.derived.as_deref().map(MetricKind::Derived),
            self.cumulative.as_ref().map(MetricKind::Cumulative),
            self.to_date.as_ref().map(MetricKind::ToDate),
            self.rolling.as_ref().map(MetricKind::Rolling),
            self.offset.as_ref().map(MetricKind::Offset),
            self.compare.as_ref().map(MetricKind::Compare),
            self.share.as_ref().map(MetricKind::Share),
            self.conversion.as_ref().map(MetricKind::Conversion),
        ];
        let mut given = kinds.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(kind), None) => Ok(kind),
            _ => Err(Error::invalid("a metric does not have exactly one kind").hint(
                "Give one of measure, ratio, derived, cumulative, to_date, rolling, offset, compare, share and conversion.",
            )),
        }
    }
}

impl<'a> MetricKind<'a> {
    /// The kind's key in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Measure(_) => "measure",
            Self::Ratio(_) => "ratio",
            Self::Derived(_) => "derived",
            Self::Cumulative(_) => "cumulative",
            Self::ToDate(_) => "to_date",
            Self::Rolling(_) => "rolling",
            Self::Offset(_) => "offset",
            Self::Compare(_) => "compare",
            Self::Share(_) => "share",
            Self::Conversion(_) => "conversion",
        }
    }

    /// The metrics it names, each with its key; those of `derived` are in its expression.
    #[must_use]
    pub fn inputs(self) -> Vec<(&'static str, &'a str)> {
        match self {
            Self::Measure(_) | Self::Derived(_) => Vec::new(),
            Self::Ratio(ratio) => vec![("of", &ratio.of), ("per", &ratio.per)],
            Self::Cumulative(kind) => vec![("metric", &kind.metric)],
            Self::ToDate(kind) => vec![("metric", &kind.metric)],
            Self::Rolling(kind) => vec![("metric", &kind.metric)],
            Self::Offset(kind) => vec![("metric", &kind.metric)],
            Self::Compare(kind) => vec![("metric", &kind.metric)],
            Self::Share(kind) => vec![("metric", &kind.metric)],
            Self::Conversion(kind) => vec![("from", &kind.from), ("to", &kind.to)],
        }
    }
}

fn within_default() -> Vec<String> {
    vec!["time".to_owned()]
}
