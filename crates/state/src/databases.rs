//! How each database was doing when it was last asked: those of connections, and our own stores.

use flywheel_base::{Error, Result, Timestamp};
use serde_json::Value;

use crate::Store;
use crate::engine::params;

/// What was found of one database.
#[derive(Clone, Debug, PartialEq)]
pub struct DatabaseState {
    /// Whether it is a store of ours.
    pub own: bool,
    /// The connection, or the store.
    pub name: String,
    /// When it was asked.
    pub checked_at: Timestamp,
    /// What was found, as an object.
    pub detail: Value,
}

impl Store {
    /// Keeps what was found in the place of all that was found before.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_databases(&self, found: &[DatabaseState]) -> Result<()> {
        self.write("record databases", |db| {
            db.execute("DELETE FROM databases", [])?;
            let mut insert = db.prepare_cached(
                "INSERT OR REPLACE INTO databases (own, name, checked_at, detail) VALUES (?,?,?,?)",
            )?;
            for one in found {
                let detail = one.detail.to_string();
                insert.execute(params![one.own, one.name, one.checked_at.micros(), detail])?;
            }
            Ok(())
        })
    }

    /// What was found last, connections by name and then our own stores.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn databases(&self) -> Result<Vec<DatabaseState>> {
        let rows: Vec<(bool, String, i64, String)> = self.read("list databases", |db| {
            db.prepare_cached(
                "SELECT own, name, checked_at, detail FROM databases ORDER BY own, name",
            )?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
            .collect()
        })?;
        let state = |(own, name, checked_at, detail): (bool, String, i64, String)| {
            let detail = serde_json::from_str(&detail).map_err(|error| {
                Error::corrupt(format!("what was found of the database \"{name}\" is no JSON"))
                    .caused_by(error)
            })?;
            Ok(DatabaseState { own, name, checked_at: Timestamp::from_micros(checked_at), detail })
        };
        rows.into_iter().map(state).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_found_last_takes_the_place_of_all_before() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("meta.db")).unwrap();
        let one = |own: bool, name: &str, at: i64| DatabaseState {
            own,
            name: name.to_owned(),
            checked_at: Timestamp::from_micros(at),
            detail: json!({"reachable": true}),
        };
        store.record_databases(&[one(true, "lake", 1), one(false, "gone", 1)]).unwrap();
        store.record_databases(&[one(true, "lake", 2), one(false, "shop", 2)]).unwrap();
        assert_eq!(store.databases().unwrap(), [one(false, "shop", 2), one(true, "lake", 2)]);
    }

    crate::testing::also_on_postgres!(what_was_found_last_takes_the_place_of_all_before,);
}
