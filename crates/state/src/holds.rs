//! Landed tables that readers see at an older version, because what landed since breaks a promise.

use flywheel_base::{Result, Timestamp};

use crate::Store;
use crate::engine::params;

/// A landed table whose readers are held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The table, `schema.table`.
    pub name: String,
    /// The version readers see; none if they see no table, because none was good yet.
    pub version: Option<i64>,
    /// Why.
    pub reason: String,
    /// Since when, by the logical clock.
    pub held_at: Timestamp,
}

impl Store {
    /// The tables whose readers are held back, by name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn holds(&self) -> Result<Vec<Hold>> {
        self.read("list held tables", |db| {
            db.prepare_cached("SELECT name, version, reason, held_at FROM holds ORDER BY name")?
                .query_map([], |row| {
                    Ok(Hold {
                        name: row.get(0)?,
                        version: row.get(1)?,
                        reason: row.get(2)?,
                        held_at: Timestamp::from_micros(row.get(3)?),
                    })
                })?
                .collect()
        })
    }

    /// Holds readers of a table back, or says anew why.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn hold(&self, hold: &Hold) -> Result<()> {
        self.write("hold a table", |db| {
            db.execute(
                "INSERT OR REPLACE INTO holds (name, version, reason, held_at) VALUES (?,?,?,?)",
                params![hold.name, hold.version, hold.reason, hold.held_at.micros()],
            )
            .map(|_| ())
        })
    }

    /// Lets readers of a table see its newest version again.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn release(&self, name: &str) -> Result<()> {
        self.write("release a table", |db| {
            db.execute("DELETE FROM holds WHERE name = ?", params![name]).map(|_| ())
        })
    }
}
