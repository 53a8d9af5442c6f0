//! How far a log was read beyond its last commit without finding anything to store.
//!
//! Such a position is worth remembering, so that the source need not keep its log, but not worth a
//! version of the table. It is true only together with the commit it followed; without it the log is
//! read again from that commit, which changes nothing.

use flywheel_base::Result;
use serde_json::Value;

use crate::Store;
use crate::engine::{OptionalExtension, params};

impl Store {
    /// The position that `app` has reached since its commit `sequence`, if it has read on.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn idle_position(&self, app: &str, sequence: i64) -> Result<Option<Value>> {
        let found: Option<String> = self.read("look up a position", |db| {
            db.prepare_cached("SELECT position FROM idle_positions WHERE app = ? AND sequence = ?")?
                .query_row(params![app, sequence], |row| row.get(0))
                .optional()
        })?;
        // A text that is no JSON was not written here: the commit's own position is as good.
        Ok(found.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Notes that `app` has read on to `position` since its commit `sequence`.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_idle_position(&self, app: &str, sequence: i64, position: &Value) -> Result<()> {
        let text = position.to_string();
        self.write("record a position", |db| {
            db.execute(
                "INSERT OR REPLACE INTO idle_positions (app, sequence, position) VALUES (?,?,?)",
                params![app, sequence, text],
            )
            .map(|_| ())
        })
    }

    /// Forgets what is kept for the streams of the sync `name`, which was removed: idle positions, and the
    /// types that its columns had.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn forget_positions_of(&self, name: &str) -> Result<()> {
        let of = format!("sync/{name}/");
        self.write("forget the positions of a sync", |db| {
            for table in ["idle_positions", "source_types"] {
                let sql = format!("DELETE FROM {table} WHERE substr(app, 1, length(?1)) = ?1");
                db.execute(&sql, [&of])?;
            }
            Ok(())
        })
    }
}
