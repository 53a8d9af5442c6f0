//! Up to which moment the events of each policy are joined.
//!
//! One moment holds for all policies but those whose events could not be read since. Each of these has its own, at which its
//! clock of outcomes stands still: what was decided before is known, no later window counts as closed, and the next join
//! that can read its events looks back from there. Both are in the position that joins commit, so that a turn which is cut
//! off and run again finds what it found.

use std::collections::BTreeMap;

use flywheel_base::{Result, Timestamp};
use flywheel_state::Store;
use flywheel_warehouse::{Lake, Location};
use serde_json::{Map, Value, json};

use super::APP;
use crate::context::{Context, location};

/// Up to which moments events are joined, in microseconds since the epoch (UTC).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Through {
    /// The moment of the newest join; none before the first.
    at: Option<i64>,
    /// Of each policy whose events could not be read since: up to when they are joined.
    behind: BTreeMap<String, i64>,
}

impl Through {
    /// That of `system.outcomes`.
    ///
    /// # Errors
    /// Those of lake and metadata.
    pub(crate) async fn load(ctx: &Context<'_>) -> Result<Self> {
        Ok(Self::of(ctx.lake, ctx.store, &location("system/outcomes")?, APP).await?.1)
    }

    /// What commits of `app` to a table say, with the moment of the newest of them; 0 before the first.
    ///
    /// # Errors
    /// Those of lake and metadata.
    pub(crate) async fn of(
        lake: &Lake,
        store: &Store,
        table: &Location,
        app: &str,
    ) -> Result<(i64, Self)> {
        let head = lake.head(table).await?;
        let last = head.and_then(|state| state.checkpoints.get(app).cloned());
        let committed = last.as_ref().map_or(0, |last| last.sequence);
        let idle = store.idle_position(app, committed)?;
        let position = idle.or_else(|| last.map(|last| last.position));
        Ok((committed, Self::read(committed, position.as_ref())))
    }

    fn read(committed: i64, position: Option<&Value>) -> Self {
        let at = position.and_then(|position| position.get("at")?.as_i64()).unwrap_or_default();
        let behind = position.and_then(|position| position.get("behind")?.as_object());
        let behind = behind.into_iter().flatten();
        Self {
            at: Some(committed.max(at)).filter(|at| *at > 0),
            behind: behind.filter_map(|(name, at)| Some((name.clone(), at.as_i64()?))).collect(),
        }
    }

    /// What a join of `now` commits that could not read the events of the policies `behind`.
    pub(crate) fn position(now: Timestamp, behind: &BTreeMap<String, i64>) -> Value {
        let mut position = Map::from_iter([("at".to_owned(), json!(now.micros()))]);
        if !behind.is_empty() {
            position.insert("behind".to_owned(), json!(behind));
        }
        Value::Object(position)
    }

    /// The policies whose events could not be read, each with the moment up to which they are joined.
    pub(crate) fn behind(&self) -> &BTreeMap<String, i64> {
        &self.behind
    }

    /// Whether the events of a policy could not be read by the newest join.
    pub(crate) fn is_behind(&self, policy: &str) -> bool {
        self.behind.contains_key(policy)
    }

    /// The moment up to which events of a policy are joined; none before the first time.
    pub(crate) fn of_policy(&self, policy: &str) -> Option<i64> {
        self.behind.get(policy).copied().or(self.at)
    }

    /// The moment from which the next join of a policy looks back.
    pub(crate) fn joined(&self, policy: &str, now: Timestamp) -> Timestamp {
        self.of_policy(policy).map_or(now, Timestamp::from_micros).min(now)
    }

    /// The moment up to which it is known of a policy what has happened.
    pub(crate) fn known(&self, policy: &str, now: Timestamp) -> Timestamp {
        self.behind.get(policy).map_or(now, |at| Timestamp::from_micros(*at)).min(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_a_policy_that_cannot_be_read_stands_still() {
        let now = Timestamp::from_micros(100);
        let behind = BTreeMap::from([("shut".to_owned(), 40)]);
        let position = Through::position(Timestamp::from_micros(90), &behind);
        let read = Through::read(70, Some(&position));
        assert_eq!((read.of_policy("shut"), read.of_policy("open")), (Some(40), Some(90)));
        assert_eq!(read.known("shut", now), Timestamp::from_micros(40));
        assert_eq!(read.known("open", now), now);
        assert_eq!(read.joined("open", now), Timestamp::from_micros(90));
        assert!(read.is_behind("shut") && !read.is_behind("open"));
    }

    #[test]
    fn positions_of_before_say_that_everything_was_read() {
        let position = Through::position(Timestamp::from_micros(90), &BTreeMap::new());
        assert_eq!(position, json!({"at": 90}));
        assert!(Through::read(90, Some(&position)).behind().is_empty());
        let never = Through::read(0, None);
        assert_eq!(never.of_policy("p"), None);
        assert_eq!(never.joined("p", Timestamp::from_micros(7)), Timestamp::from_micros(7));
    }
}
