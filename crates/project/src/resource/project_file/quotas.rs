//! `quotas` of `flywheel.yaml`.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::quantity::{Duration, Size};

/// What users of the server may take of the machine at most. Without an entry there is no limit but those of the server: all
/// queries together stay within `memory`, four run at once, and an answer over HTTP has 100,000 rows and takes ten minutes at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quotas {
    /// By the role of the user: `analyst: {memory: 512MiB, time: 1m}`. It holds for each user of the role, not for all together.
    #[serde(default)]
    pub roles: BTreeMap<String, Quota>,
    /// By the name of the user. What is said here takes the place of what is said for the role.
    #[serde(default)]
    pub users: BTreeMap<String, Quota>,
}

/// What one user may take. What is left out has no limit of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Memory of one query; beyond it the query goes on through the disk, and ends where it cannot.
    #[serde(default)]
    pub memory: Option<Size>,
    /// How long one query may work. The time in which its reader takes the rows does not count.
    #[serde(default)]
    pub time: Option<Duration>,
    /// Rows of one answer. A query with more has none.
    #[serde(default)]
    pub rows: Option<NonZeroU64>,
    /// Queries at once; more wait a while, and then are refused.
    #[serde(default)]
    pub queries: Option<NonZeroU32>,
    /// Requests to the API within a minute; more are refused until it is over. Links of dashboards, keys of published queries
    /// and keys in pages have limits of their own.
    #[serde(default)]
    pub requests_per_minute: Option<NonZeroU64>,
}

impl Quotas {
    /// What a user with a role may take.
    #[must_use]
    pub fn of(&self, user: Option<&str>, role: Option<&str>) -> Quota {
        let role = role.and_then(|role| self.roles.get(role)).copied().unwrap_or_default();
        let user = user.and_then(|user| self.users.get(user)).copied().unwrap_or_default();
        Quota {
            memory: user.memory.or(role.memory),
            time: user.time.or(role.time),
            rows: user.rows.or(role.rows),
            queries: user.queries.or(role.queries),
            requests_per_minute: user.requests_per_minute.or(role.requests_per_minute),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_user_takes_the_place_of_what_is_said_of_the_role() {
        let quotas: Quotas = serde_json::from_value(serde_json::json!({
            "roles": {"analyst": {"time": "30s", "rows": 500}},
            "users": {"anna": {"time": "5m", "queries": 2}},
        }))
        .unwrap();
        let anna = quotas.of(Some("anna"), Some("analyst"));
        assert_eq!(anna.time, Some(Duration { micros: 300_000_000 }));
        assert_eq!((anna.rows, anna.queries), (NonZeroU64::new(500), NonZeroU32::new(2)));
        let other = quotas.of(Some("wang"), Some("analyst"));
        assert_eq!((other.time, other.queries), (Some(Duration { micros: 30_000_000 }), None));
        assert_eq!(quotas.of(Some("wang"), Some("viewer")), Quota::default());
        assert_eq!(quotas.of(None, None), Quota::default());
    }
}
