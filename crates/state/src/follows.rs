//! Syncs that a server follows: who has paused which, and how each was doing when the server last said so.

use flywheel_base::{Error, Result, Timestamp};
use serde_json::Value;

use crate::Store;
use crate::engine::params;

/// What a person last said of following a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowPause {
    /// The sync.
    pub sync: String,
    /// Whether it is not to be followed until somebody lets it go on.
    pub paused: bool,
    /// Why, for the record; empty once it goes on.
    pub reason: String,
    /// Who said so.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// How a followed sync was doing.
#[derive(Clone, Debug, PartialEq)]
pub struct FollowState {
    /// The sync.
    pub sync: String,
    /// When that was said.
    pub at: Timestamp,
    /// What was said, as an object.
    pub detail: Value,
}

impl Store {
    /// Keeps what a person says of following a sync, in the place of what was said before.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_follow_pause(&self, pause: &FollowPause) -> Result<()> {
        self.write("record a pause of following", |db| {
            db.execute(
                "INSERT OR REPLACE INTO follow_pauses (sync, paused, reason, by_whom, at) VALUES (?,?,?,?,?)",
                params![pause.sync, pause.paused, pause.reason, pause.by, pause.at.micros()],
            )
            .map(|_| ())
        })
    }

    /// What was last said of following each sync of which anything was, by name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn follow_pauses(&self) -> Result<Vec<FollowPause>> {
        self.read("list pauses of following", |db| {
            db.prepare_cached(
                "SELECT sync, paused, reason, by_whom, at FROM follow_pauses ORDER BY sync",
            )?
            .query_map([], |row| {
                Ok(FollowPause {
                    sync: row.get(0)?,
                    paused: row.get(1)?,
                    reason: row.get(2)?,
                    by: row.get(3)?,
                    at: Timestamp::from_micros(row.get(4)?),
                })
            })?
            .collect()
        })
    }

    /// Keeps how a followed sync is doing, in the place of what was said before.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_follow(&self, state: &FollowState) -> Result<()> {
        self.write("record how a followed sync is doing", |db| {
            db.execute(
                "INSERT OR REPLACE INTO follow_states (sync, at, detail) VALUES (?,?,?)",
                params![state.sync, state.at.micros(), state.detail.to_string()],
            )
            .map(|_| ())
        })
    }

    /// How each sync that was followed was doing when that was last said, by name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn follows(&self) -> Result<Vec<FollowState>> {
        let rows: Vec<(String, i64, String)> = self.read("list followed syncs", |db| {
            db.prepare_cached("SELECT sync, at, detail FROM follow_states ORDER BY sync")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect()
        })?;
        let state = |(sync, at, detail): (String, i64, String)| {
            let detail = serde_json::from_str(&detail).map_err(|error| {
                Error::corrupt(format!("what was said of the followed sync \"{sync}\" is no JSON"))
                    .caused_by(error)
            })?;
            Ok(FollowState { sync, at: Timestamp::from_micros(at), detail })
        };
        rows.into_iter().map(state).collect()
    }

    /// Forgets how a sync is doing that is not followed any more; that it was paused stays.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn forget_follow(&self, sync: &str) -> Result<()> {
        self.write("forget a followed sync", |db| {
            db.execute("DELETE FROM follow_states WHERE sync = ?", [sync]).map(|_| ())
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_said_last_of_a_followed_sync_is_what_is_told_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("meta.db")).unwrap();
        let pause = |paused: bool, at: i64| FollowPause {
            sync: "shop".into(),
            paused,
            reason: if paused { "the source is moved".into() } else { String::new() },
            by: "ada".into(),
            at: Timestamp::from_micros(at),
        };
        assert!(store.follow_pauses().unwrap().is_empty());
        store.record_follow_pause(&pause(true, 1)).unwrap();
        store.record_follow_pause(&pause(false, 2)).unwrap();
        assert_eq!(store.follow_pauses().unwrap(), [pause(false, 2)]);

        let state = |at: i64| FollowState {
            sync: "shop".into(),
            at: Timestamp::from_micros(at),
            detail: json!({"rows_in": at}),
        };
        store.record_follow(&state(1)).unwrap();
        store.record_follow(&state(2)).unwrap();
        assert_eq!(store.follows().unwrap(), [state(2)]);
        store.forget_follow("shop").unwrap();
        assert!(store.follows().unwrap().is_empty());
        assert_eq!(store.follow_pauses().unwrap(), [pause(false, 2)]);
    }

    crate::testing::also_on_postgres!(what_was_said_last_of_a_followed_sync_is_what_is_told_of_it,);
}
