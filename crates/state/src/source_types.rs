//! Which types the columns of a stream had when its rows were last delivered to another system.
//!
//! A read that is no log says nothing of what the types were. Without this text a column that the source
//! has widened since is not recognised as such, and its target keeps the type it has; no row is lost.

use flywheel_base::Result;

use crate::Store;
use crate::engine::{OptionalExtension, params};

impl Store {
    /// The types that `app` has noted, in its own words; none if it has not.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn source_types(&self, app: &str) -> Result<Option<String>> {
        self.read("look up the types of a stream", |db| {
            db.prepare_cached("SELECT types FROM source_types WHERE app = ?")?
                .query_row([app], |row| row.get(0))
                .optional()
        })
    }

    /// Notes the types of `app`, in its own words.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_source_types(&self, app: &str, types: &str) -> Result<()> {
        self.write("note the types of a stream", |db| {
            db.execute(
                "INSERT OR REPLACE INTO source_types (app, types) VALUES (?,?)",
                params![app, types],
            )
            .map(|_| ())
        })
    }
}
