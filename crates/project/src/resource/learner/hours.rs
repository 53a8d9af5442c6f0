//! The best hour for each unit.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::quantity::Duration;

/// At which hour of the day, or of the week, each unit is there: when to send to them.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// SQL with columns `unit_id` and `at` (timestamp): one row per event that a unit began by itself, such as a visit or an order.
    /// Opens of messages and clicks in them follow the hour at which these were sent, and would only repeat it.
    pub events: String,
    /// The time zone whose hours are meant, such as `Asia/Shanghai`; UTC if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Whether hours of the week are told apart, not of the day.
    #[serde(default)]
    pub by_weekday: bool,
    /// How many hours from the best one on are meant, 1 to 24; 3 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 24))]
    pub window_hours: Option<usize>,
    /// After this long an event counts for half; `90d` if absent.
    #[serde(default = "half_life_default")]
    pub half_life: Duration,
    /// The newest events held back to judge the hours by; `14d` if absent.
    #[serde(default = "holdout_default")]
    pub holdout: Duration,
}

fn half_life_default() -> Duration {
    Duration::days(90)
}
fn holdout_default() -> Duration {
    Duration::days(14)
}
