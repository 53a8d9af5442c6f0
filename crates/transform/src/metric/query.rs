//! What can be asked.

use serde::{Deserialize, Serialize};

/// A question about metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricQuery {
    /// The metrics: names, labels or synonyms.
    pub metrics: Vec<String>,
    /// What they are grouped by: dimensions and entities (`channel`, `customer.region`), times with a grain
    /// (`time:month`, `customer.signed_up_on:year`), or a grain alone (`month`).
    pub by: Vec<String>,
    /// Only rows that fulfil this condition on dimensions count.
    pub filter: Option<String>,
    /// Only rows of the answer that fulfil this condition on its columns are shown.
    pub having: Option<String>,
    /// The first moment that counts, a date or a moment.
    pub from: Option<String>,
    /// The first moment that no longer counts.
    pub to: Option<String>,
    /// The period that counts, instead of `from` and `to`: `2024`, `2024-Q1`, `2024-03`, `2024-W05`, `2024-03-15`.
    pub during: Option<String>,
    /// Adds to each metric what it was before and how it changed: `previous`, `year` or a span such as `4 weeks`.
    pub compare: Option<String>,
    /// Whether periods without rows are shown.
    pub fill: bool,
    /// Columns of the answer to sort by, with `-` before those that begin with the largest; what is grouped by
    /// if absent.
    pub order: Vec<String>,
    /// How many rows are shown.
    pub limit: Option<u64>,
}
