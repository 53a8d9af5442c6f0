//! `alerts/*.yaml`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::Duration;
use super::sync::one_or_many;
use crate::model::OneOrMany;

/// The word that stands for all of a kind: `policies: all`.
pub const ALL: &str = "all";
/// How often a condition is looked at unless it says otherwise.
const EVERY_DEFAULT: Duration = Duration { micros: 300_000_000 };

/// What somebody is told of when it happens, and when it is over. Conditions are looked at after each turn, and by
/// `flywheel serve` as time passes.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// The alert's name.
    pub alert: String,
    /// What it is for; it is told with each alert.
    #[serde(default)]
    pub description: Option<String>,
    /// What it tells of: exactly one condition.
    pub when: AlertWhen,
    /// The actions by which alerts leave: files of `actions/`, such as one of type `chat`, `email` or `webhook`.
    pub send: Vec<String>,
    /// How often a fault that goes on is told again, such as `1d`; once, if absent.
    #[serde(default)]
    pub repeat: Option<Duration>,
    /// How long after a fault was told the same one is not told again, should it come back, such as `1h`: what comes
    /// and goes rings once.
    #[serde(default)]
    pub mute: Option<Duration>,
    /// Whether the end of a fault that was told is told as well.
    #[serde(default = "yes")]
    pub recovered: bool,
    /// Keeps the alert from telling anything.
    #[serde(default)]
    pub paused: bool,
}

fn yes() -> bool {
    true
}

/// What an alert tells of. Lists name what is looked at, or say `all`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertWhen {
    /// Policies that stopped by themselves, were taken back, or whose split is broken.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub policies: Vec<String>,
    /// Which of these; all if absent.
    #[serde(default)]
    pub on: Vec<PolicyFault>,
    /// Quality files of which a promise is not kept, whatever its severity.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub quality: Vec<String>,
    /// Models, `schema.name`, whose newest build failed a test, and landed tables that are held back: readers keep what was
    /// there before.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub models: Vec<String>,
    /// Syncs that have not come to their end for `longer_than`, or that are behind by `more_than`.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub lag: Vec<String>,
    /// Tables, `schema.table`, into which nothing came for `longer_than`.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub freshness: Vec<String>,
    /// The limit of `lag` and `freshness`, such as `2h`.
    #[serde(default)]
    pub longer_than: Option<Duration>,
    /// The limit of `lag` in what the source counts (rows, messages, bytes of a log), for sources that can tell.
    #[serde(default)]
    pub more_than: Option<u64>,
    /// Actions of which deliveries were given up.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub deliveries: Vec<String>,
    /// Learners of which a measure got worse than it was.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub drift: Vec<String>,
    /// A metric that crosses a bound, by its name.
    #[serde(default)]
    pub metric: Option<String>,
    /// Which rows of the metric count: a condition on dimensions, such as `channel = 'app'`.
    #[serde(default)]
    pub filter: Option<String>,
    /// Over how many whole days up to yesterday the metric counts; over all rows if absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 3660))]
    pub days: Option<u32>,
    /// A metric below this is a fault.
    #[serde(default)]
    pub below: Option<f64>,
    /// A metric above this is a fault.
    #[serde(default)]
    pub above: Option<f64>,
    /// SQL that finds what is wrong: rows are a fault. It may read `ref('model')`, landed tables and `system.*`.
    #[serde(default)]
    pub query: Option<String>,
    /// How often the condition is looked at, beside after each turn; `5m` if absent.
    #[serde(default = "every_default")]
    pub every: Duration,
}

fn every_default() -> Duration {
    EVERY_DEFAULT
}

impl AlertWhen {
    /// The keys of the conditions that are given.
    #[must_use]
    pub fn given(&self) -> Vec<&'static str> {
        let all = [
            (!self.policies.is_empty(), "policies"),
            (!self.quality.is_empty(), "quality"),
            (!self.models.is_empty(), "models"),
            (!self.lag.is_empty(), "lag"),
            (!self.freshness.is_empty(), "freshness"),
            (!self.deliveries.is_empty(), "deliveries"),
            (!self.drift.is_empty(), "drift"),
            (self.metric.is_some(), "metric"),
            (self.query.is_some(), "query"),
        ];
        all.into_iter().filter_map(|(given, word)| given.then_some(word)).collect()
    }

    /// The condition as a person reads it, in a line.
    #[must_use]
    pub fn shown(&self) -> String {
        let lists = [
            ("policies", &self.policies),
            ("quality", &self.quality),
            ("models", &self.models),
            ("lag", &self.lag),
            ("freshness", &self.freshness),
            ("deliveries", &self.deliveries),
            ("drift", &self.drift),
        ];
        let mut parts: Vec<String> = lists
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(word, names)| format!("{word} {}", names.join(" ")))
            .collect();
        if let Some(metric) = &self.metric {
            parts.push(format!("metric {metric}"));
        }
        if let Some(below) = self.below {
            parts.push(format!("below {below}"));
        }
        if let Some(above) = self.above {
            parts.push(format!("above {above}"));
        }
        if self.query.is_some() {
            parts.push("a query returns rows".to_owned());
        }
        parts.join(" ")
    }
}

/// Whether a list of names means `name`: it names it, or says `all`.
#[must_use]
pub fn names(list: &[String], name: &str) -> bool {
    list.iter().any(|one| one == ALL || one == name)
}

/// What can be wrong with a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyFault {
    /// A guardrail paused it.
    Paused,
    /// A challenger on trial, or who decided by a promotion, was taken back.
    RolledBack,
    /// The arms are more uneven than chance allows: its lift is not to be believed.
    SplitBroken,
}

impl PolicyFault {
    /// Everything that can be wrong.
    pub const ALL: [Self; 3] = [Self::Paused, Self::RolledBack, Self::SplitBroken];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_or_a_list_names_what_is_looked_at() {
        let when = |text: &str| serde_json::from_str::<AlertWhen>(text).unwrap();
        let one = when(r#"{"policies": "all"}"#);
        assert!(names(&one.policies, "welcome"));
        assert_eq!(one.given(), ["policies"]);
        assert_eq!(one.every, EVERY_DEFAULT);
        let some = when(r#"{"lag": ["orders"], "longer_than": "2h", "every": "1m"}"#);
        assert!(names(&some.lag, "orders") && !names(&some.lag, "people"));
        assert_eq!(some.shown(), "lag orders");
        let both = when(r#"{"metric": "revenue", "below": 10.5, "query": "select 1"}"#);
        assert_eq!(both.given(), ["metric", "query"]);
        assert_eq!(both.shown(), "metric revenue below 10.5 a query returns rows");
    }
}
