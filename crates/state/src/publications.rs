//! Which version of each model readers see, and what was last built.

use flywheel_base::{Result, Timestamp};
use rusqlite::{OptionalExtension, Row, params};

use crate::Store;

/// One entry of the publication map: what readers of `name` get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The model, `schema.table`.
    pub name: String,
    /// The table's folder in the lake; none for a view.
    pub location: Option<String>,
    /// The table version readers see; none for a view.
    pub version: Option<i64>,
    /// A view's SQL.
    pub view_sql: Option<String>,
    /// The fingerprint of the model that made it.
    pub fingerprint: String,
    /// When it was published, by the logical clock.
    pub published_at: Timestamp,
}

/// The last build of a model that passed: what a changed-only build compares with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The model, `schema.table`.
    pub name: String,
    /// The fingerprint of its plan.
    pub fingerprint: String,
    /// A digest of the versions of everything it read, and of its tests.
    pub inputs: String,
    /// The table's folder in the lake; none for a view.
    pub location: Option<String>,
    /// The table version that was written.
    pub version: Option<i64>,
    /// A view's SQL.
    pub view_sql: Option<String>,
    /// `passed`, `warned` or `untested`.
    pub tests: String,
    /// When it was built, by the logical clock.
    pub built_at: Timestamp,
}

/// The environment that `flywheel sql` and every reader see.
const PRODUCTION: &str = "prod";

impl Store {
    /// The whole publication map, by name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn publications(&self) -> Result<Vec<Publication>> {
        self.read("read the publication map", |db| {
            db.prepare_cached(
                "SELECT name, location, version, view_sql, fingerprint, published_at FROM publications
                 WHERE environment = ? ORDER BY name",
            )?
            .query_map([PRODUCTION], |row| {
                Ok(Publication {
                    name: row.get(0)?,
                    location: row.get(1)?,
                    version: row.get(2)?,
                    view_sql: row.get(3)?,
                    fingerprint: row.get(4)?,
                    published_at: Timestamp::from_micros(row.get(5)?),
                })
            })?
            .collect()
        })
    }

    /// Moves readers to all of `publications` at once, and away from `dropped`.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn publish(&self, publications: &[Publication], dropped: &[String]) -> Result<()> {
        if publications.is_empty() && dropped.is_empty() {
            return Ok(());
        }
        self.write("publish", |db| {
            let mut insert =
                db.prepare_cached("INSERT OR REPLACE INTO publications VALUES (?,?,?,?,?,?,?)")?;
            for p in publications {
                insert.execute(params![
                    PRODUCTION,
                    p.name,
                    p.location,
                    p.version,
                    p.view_sql,
                    p.fingerprint,
                    p.published_at.micros()
                ])?;
            }
            for name in dropped {
                db.execute(
                    "DELETE FROM publications WHERE environment = ? AND name = ?",
                    params![PRODUCTION, name],
                )?;
            }
            Ok(())
        })
    }

    /// The last build of `name`.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn build(&self, name: &str) -> Result<Option<Build>> {
        self.read("look up a build", |db| {
            db.prepare_cached(
                "SELECT name, fingerprint, inputs, location, version, view_sql, tests, built_at FROM builds WHERE name = ?",
            )?
            .query_row([name], build_from)
            .optional()
        })
    }

    /// The last builds of all models, by name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn builds(&self) -> Result<Vec<Build>> {
        self.read("list builds", |db| {
            db.prepare_cached(
                "SELECT name, fingerprint, inputs, location, version, view_sql, tests, built_at FROM builds ORDER BY name",
            )?
            .query_map([], build_from)?
            .collect()
        })
    }

    /// Records builds.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_builds(&self, builds: &[Build]) -> Result<()> {
        if builds.is_empty() {
            return Ok(());
        }
        self.write("record builds", |db| {
            let mut insert =
                db.prepare_cached("INSERT OR REPLACE INTO builds VALUES (?,?,?,?,?,?,?,?)")?;
            for b in builds {
                insert.execute(params![
                    b.name,
                    b.fingerprint,
                    b.inputs,
                    b.location,
                    b.version,
                    b.view_sql,
                    b.tests,
                    b.built_at.micros()
                ])?;
            }
            Ok(())
        })
    }
}

fn build_from(row: &Row<'_>) -> rusqlite::Result<Build> {
    Ok(Build {
        name: row.get(0)?,
        fingerprint: row.get(1)?,
        inputs: row.get(2)?,
        location: row.get(3)?,
        version: row.get(4)?,
        view_sql: row.get(5)?,
        tests: row.get(6)?,
        built_at: Timestamp::from_micros(row.get(7)?),
    })
}
