//! Which version of each model readers see, and what was last built.

use flywheel_base::{Result, Timestamp};

use crate::Store;
use crate::engine::{self, OptionalExtension, Row, params};

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
    /// The dbt target it was built for; empty where there is none, and in maps of older programs.
    pub target: String,
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
    /// Its query with all names resolved, by which a plan tells what a change changes; none for a
    /// source, and for builds of older programs.
    pub sql: Option<String>,
    /// Which times of a model with batches are built; in the words of who builds it.
    pub intervals: Option<String>,
}

impl Store {
    /// The whole publication map of this store's environment, by name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn publications(&self) -> Result<Vec<Publication>> {
        self.publications_of(self.environment())
    }

    /// The whole publication map of an environment, by name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn publications_of(&self, environment: &str) -> Result<Vec<Publication>> {
        self.read("read the publication map", |db| {
            db.prepare_cached(
                "SELECT name, location, version, view_sql, fingerprint, published_at, target FROM publications
                 WHERE environment = ? ORDER BY name",
            )?
            .query_map([environment], |row| {
                Ok(Publication {
                    name: row.get(0)?,
                    location: row.get(1)?,
                    version: row.get(2)?,
                    view_sql: row.get(3)?,
                    fingerprint: row.get(4)?,
                    published_at: Timestamp::from_micros(row.get(5)?),
                    target: row.get(6)?,
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
                db.prepare_cached("INSERT OR REPLACE INTO publications VALUES (?,?,?,?,?,?,?,?)")?;
            for p in publications {
                insert.execute(params![
                    self.environment(),
                    p.name,
                    p.location,
                    p.version,
                    p.view_sql,
                    p.fingerprint,
                    p.published_at.micros(),
                    p.target
                ])?;
            }
            for name in dropped {
                db.execute(
                    "DELETE FROM publications WHERE environment = ? AND name = ?",
                    params![self.environment(), name],
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
                "SELECT name, fingerprint, inputs, location, version, view_sql, tests, built_at, sql, intervals FROM builds WHERE environment = ? AND name = ?",
            )?
            .query_row([self.environment(), name], build_from)
            .optional()
        })
    }

    /// The last builds of all models, by name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn builds(&self) -> Result<Vec<Build>> {
        self.builds_of(self.environment())
    }

    /// The last builds of all models in an environment, by name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn builds_of(&self, environment: &str) -> Result<Vec<Build>> {
        self.read("list builds", |db| {
            db.prepare_cached(
                "SELECT name, fingerprint, inputs, location, version, view_sql, tests, built_at, sql, intervals FROM builds WHERE environment = ? ORDER BY name",
            )?
            .query_map([environment], build_from)?
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
                db.prepare_cached("INSERT OR REPLACE INTO builds VALUES (?,?,?,?,?,?,?,?,?,?,?)")?;
            for b in builds {
                insert.execute(params![
                    self.environment(),
                    b.name,
                    b.fingerprint,
                    b.inputs,
                    b.location,
                    b.version,
                    b.view_sql,
                    b.tests,
                    b.built_at.micros(),
                    b.sql,
                    b.intervals
                ])?;
            }
            Ok(())
        })
    }
}

fn build_from(row: &Row<'_>) -> engine::Result<Build> {
    Ok(Build {
        name: row.get(0)?,
        fingerprint: row.get(1)?,
        inputs: row.get(2)?,
        location: row.get(3)?,
        version: row.get(4)?,
        view_sql: row.get(5)?,
        tests: row.get(6)?,
        built_at: Timestamp::from_micros(row.get(7)?),
        sql: row.get(8)?,
        intervals: row.get(9)?,
    })
}
