//! Forecasts of groups and of all that add up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the forecasts of series, groups and the total are made to add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reconciliation {
    /// The one of the others that erred least, over all levels, when the last two weeks were forecast again.
    #[default]
    Auto,
    /// The series' own forecasts, added up.
    BottomUp,
    /// The total's forecast, divided at each group as the forecasts below it are.
    TopDown,
    /// The total's forecast, divided as the last four weeks were.
    TopDownAverage,
    /// All forecasts count the same.
    Ols,
    /// A forecast counts for less the more series it adds up.
    WlsStructure,
    /// A forecast counts for less the further its past errors scattered.
    WlsVariance,
    /// As before, and errors that went together are known to (MinT with a shrunk covariance); for 5,000 series and groups at most.
    Mint,
}

impl Reconciliation {
    /// Every way, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::Auto,
        Self::BottomUp,
        Self::TopDown,
        Self::TopDownAverage,
        Self::Ols,
        Self::WlsStructure,
        Self::WlsVariance,
        Self::Mint,
    ];
}
