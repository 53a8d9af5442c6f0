//! Environments: each a publication map of its own over the same physical tables.
//!
//! A model's variant lies at `<schema>/<name>/<fingerprint>`, so two environments that agree about a
//! model name the same table, and a new environment is a copy of a few rows. A promotion moves names
//! of one map to what another map has, in one transaction, and keeps what they were before, so that
//! a rollback is another one. Builds move along with publications: they tell what is up to date.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result, Timestamp, suggest};

use crate::Store;
use crate::engine::{self, Connection, OptionalExtension, params};

/// The environment that every reader sees who names no other.
pub const PRODUCTION: &str = "prod";

/// The longest name of an environment, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// How many promotions of an environment can be taken back; tables only they name may be dropped.
const MOVES_KEPT: i64 = 10;

/// `undone` of a promotion that was taken back; of one that can be it is 0.
const TAKEN_BACK: i64 = 1;

/// `undone` of a promotion that is too old to be taken back.
const TOO_OLD: i64 = 2;

/// An environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Its name.
    pub name: String,
    /// The environment it was made from; none for production.
    pub made_from: Option<String>,
    /// When it was made, by the logical clock; none for production.
    pub created_at: Option<Timestamp>,
    /// How many names readers of it see.
    pub models: usize,
}

/// What each model reads, by name.
pub type Reads = BTreeMap<String, BTreeSet<String>>;

/// What a promotion or a rollback did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentMove {
    /// The promotion's number, from 1.
    pub number: i64,
    /// The environment whose names were moved.
    pub environment: String,
    /// Where the promotion took them from.
    pub made_from: String,
    /// Names that mean something else now, by name.
    pub moved: Vec<String>,
    /// Names that mean nothing any more, by name.
    pub dropped: Vec<String>,
    /// Names that read what moved and were not built since it changed, by name: the next build makes them anew.
    pub stale: Vec<String>,
}

impl Store {
    /// The environment whose publications and builds this store reads and writes.
    #[must_use]
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// This store for another environment.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if there is no such environment.
    pub fn in_environment(mut self, name: &str) -> Result<Self> {
        self.require(name)?;
        name.clone_into(&mut self.environment);
        Ok(self)
    }

    /// Every environment, production first, then by name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn environments(&self) -> Result<Vec<Environment>> {
        self.read("list environments", |db| {
            let mut all = vec![(PRODUCTION.to_owned(), None, None)];
            let mut query = db.prepare_cached(
                "SELECT environment, made_from, created_at FROM environments ORDER BY environment",
            )?;
            let rows = query.query_map([], |row| {
                Ok((row.get(0)?, row.get(1)?, Some(Timestamp::from_micros(row.get(2)?))))
            })?;
            for row in rows {
                all.push(row?);
            }
            let mut found = Vec::with_capacity(all.len());
            for (name, made_from, created_at) in all {
                let models = heads(db, &name)?.len();
                found.push(Environment { name, made_from, created_at, models });
            }
            Ok(found)
        })
    }

    /// Makes an environment that sees what `from` sees; says whether it was not there before.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for a name that cannot be one,
    /// [`flywheel_base::ErrorKind::NotFound`] if there is no environment `from`.
    pub fn create_environment(&self, name: &str, from: &str, now: Timestamp) -> Result<bool> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !starts || !name.chars().all(fits) || name.len() > NAME_BYTES_MAX {
            return Err(Error::invalid(format!("\"{name}\" cannot name an environment")).hint(
                "Use letters, digits, `-` and `_`, the first a letter or digit, at most 64 of them.",
            ));
        }
        if name == PRODUCTION {
            return Err(Error::invalid("the environment \"prod\" is always there")
                .hint("Name another one, such as dev."));
        }
        self.require(from)?;
        self.write("make an environment", |db| {
            let names: Vec<String> = heads(db, from)?.into_keys().collect();
            let made = db.execute(
                "INSERT OR IGNORE INTO environments VALUES (?,?,?,?)",
                params![name, from, now.micros(), names.join("\n")],
            )?;
            if made == 0 {
                return Ok(false);
            }
            db.execute(
                "INSERT INTO publications SELECT ?, name, location, version, view_sql, fingerprint, published_at, target
                 FROM publications WHERE environment = ?",
                params![name, from],
            )?;
            db.execute(
                "INSERT INTO builds SELECT ?, name, fingerprint, inputs, location, version, view_sql, tests, built_at, sql, intervals
                 FROM builds WHERE environment = ?",
                params![name, from],
            )?;
            Ok(true)
        })
    }

    /// Lets the names of `to` mean what they mean in `from`, in one step; none if they do already.
    ///
    /// A name of which both have the same variant stays at the newer of the two versions, unless it
    /// `reads` one that moves and was built in `from` with it: together they are what was built
    /// together. A name that `from` had when it was made, or when it was last promoted to `to`, and has
    /// no longer goes; one that `to` got since then stays.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if one of them does not exist,
    /// [`flywheel_base::ErrorKind::Invalid`] if they are the same.
    pub fn promote(
        &self,
        from: &str,
        to: &str,
        reads: &Reads,
        now: Timestamp,
    ) -> Result<Option<EnvironmentMove>> {
        self.require(from)?;
        self.require(to)?;
        if from == to {
            return Err(Error::invalid(format!("\"{from}\" cannot be promoted to itself")));
        }
        self.write("promote an environment", |db| {
            let Planned { moved, dropped, stale, names } = planned(db, from, to, reads)?;
            if moved.is_empty() && dropped.is_empty() {
                return Ok(None);
            }
            db.execute(
                "INSERT INTO environment_moves (environment, made_from, at, names) VALUES (?,?,?,?)",
                params![to, from, now.micros(), names.join("\n")],
            )?;
            let number = db.last_insert_rowid()?;
            for name in moved.iter().chain(&dropped) {
                keep(db, number, to, name)?;
                remove(db, to, name)?;
            }
            for name in &moved {
                db.execute(
                    "INSERT INTO publications SELECT ?, name, location, version, view_sql, fingerprint, ?, target
                     FROM publications WHERE environment = ? AND name = ?",
                    params![to, now.micros(), from, name],
                )?;
                db.execute(
                    "INSERT INTO builds SELECT ?, name, fingerprint, inputs, location, version, view_sql, tests, built_at, sql, intervals
                     FROM builds WHERE environment = ? AND name = ?",
                    params![to, from, name],
                )?;
            }
            forget_old_moves(db, to)?;
            let (environment, made_from) = (to.to_owned(), from.to_owned());
            Ok(Some(EnvironmentMove { number, environment, made_from, moved, dropped, stale }))
        })
    }

    /// How many names [`Store::promote`] would change.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn differing(&self, from: &str, to: &str, reads: &Reads) -> Result<usize> {
        self.read("compare environments", |db| {
            let Planned { moved, dropped, .. } = planned(db, from, to, reads)?;
            Ok(moved.len() + dropped.len())
        })
    }

    /// Takes the newest promotion to `environment` back that was not taken back yet, in one step: what
    /// it moved means again what it meant before. None if there is none.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if there is no such environment.
    pub fn roll_back(&self, environment: &str, now: Timestamp) -> Result<Option<EnvironmentMove>> {
        self.require(environment)?;
        self.write("take a promotion back", |db| {
            let newest: Option<(i64, String)> = db
                .query_row(
                    "SELECT number, made_from FROM environment_moves WHERE environment = ? AND undone = 0
                     ORDER BY number DESC LIMIT 1",
                    [environment],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            let Some((number, made_from)) = newest else { return Ok(None) };
            let names = |kind: &str| -> engine::Result<Vec<String>> {
                db.prepare_cached(
                    "SELECT name FROM environment_before WHERE number = ? AND kind = ? ORDER BY name",
                )?
                .query_map(params![number, kind], |row| row.get(0))?
                .collect()
            };
            let (had, new) = (names("publication")?, names("absent")?);
            for name in had.iter().chain(&new) {
                remove(db, environment, name)?;
            }
            db.execute(
                "INSERT INTO publications SELECT ?, name, location, version, view_sql, fingerprint, ?, target
                 FROM environment_before WHERE number = ? AND kind = 'publication'",
                params![environment, now.micros(), number],
            )?;
            db.execute(
                "INSERT INTO builds SELECT ?, name, fingerprint, inputs, location, version, view_sql, tests, at, sql, intervals
                 FROM environment_before WHERE number = ? AND kind = 'build'",
                params![environment, number],
            )?;
            db.execute(
                "UPDATE environment_moves SET undone = ? WHERE number = ?",
                params![TAKEN_BACK, number],
            )?;
            let environment = environment.to_owned();
            let (moved, dropped, stale) = (had, new, Vec::new());
            Ok(Some(EnvironmentMove { number, environment, made_from, moved, dropped, stale }))
        })
    }

    /// Forgets an environment; says whether it was there. Tables stay as long as others name them.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for production.
    pub fn drop_environment(&self, name: &str) -> Result<bool> {
        if name == PRODUCTION {
            return Err(Error::invalid("the environment \"prod\" cannot be dropped")
                .hint("Everything that reads without naming an environment reads it."));
        }
        self.write("drop an environment", |db| {
            for table in ["publications", "builds"] {
                db.execute(&format!("DELETE FROM {table} WHERE environment = ?"), [name])?;
            }
            db.execute(
                "DELETE FROM environment_before WHERE number IN
                   (SELECT number FROM environment_moves WHERE environment = ?)",
                [name],
            )?;
            db.execute("DELETE FROM environment_moves WHERE environment = ?", [name])?;
            // Another environment of that name shares nothing with those this one was promoted to.
            db.execute("UPDATE environment_moves SET names = NULL WHERE made_from = ?", [name])?;
            Ok(db.execute("DELETE FROM environments WHERE environment = ?", [name])? > 0)
        })
    }

    /// The locations of all tables that an environment, a build or a possible rollback names.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn referenced_locations(&self) -> Result<BTreeSet<String>> {
        self.read("list tables in use", |db| {
            db.prepare_cached(
                "SELECT location FROM publications WHERE location IS NOT NULL
                 UNION SELECT location FROM builds WHERE location IS NOT NULL
                 UNION SELECT location FROM environment_before WHERE location IS NOT NULL",
            )?
            .query_map([], |row| row.get(0))?
            .collect()
        })
    }

    /// The oldest version of each table that an environment, a build or a possible rollback names, by location.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn referenced_versions(&self) -> Result<BTreeMap<String, i64>> {
        self.read("list versions in use", |db| {
            db.prepare_cached(
                "SELECT location, min(version) FROM (
                   SELECT location, version FROM publications
                   UNION ALL SELECT location, version FROM builds
                   UNION ALL SELECT location, version FROM environment_before) AS named
                 WHERE location IS NOT NULL AND version IS NOT NULL GROUP BY location",
            )?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
        })
    }

    /// When versions of the table at `location` that nobody can read any more were last removed, or when that was first
    /// thought of.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn cleared_at(&self, location: &str) -> Result<Option<Timestamp>> {
        let micros: Option<i64> = self.read("look up the upkeep of a table", |db| {
            db.prepare_cached("SELECT cleared_at FROM upkeep WHERE location = ?")?
                .query_row([location], |row| row.get(0))
                .optional()
        })?;
        Ok(micros.map(Timestamp::from_micros))
    }

    /// Notes that the table at `location` was cleared of old versions.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_cleared(&self, location: &str, at: Timestamp) -> Result<()> {
        self.write("note the upkeep of a table", |db| {
            db.execute("INSERT OR REPLACE INTO upkeep VALUES (?,?)", params![location, at.micros()])
                .map(|_| ())
        })
    }

    /// Which of the tables at `present` no environment, no build and no possible rollback has named for
    /// `kept_us` microseconds. Since when a table is idle is noted at the first call that finds it so.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn idle_tables(
        &self,
        present: &[String],
        now: Timestamp,
        kept_us: i64,
    ) -> Result<Vec<String>> {
        let used = self.referenced_locations()?;
        let idle: BTreeSet<&String> =
            present.iter().filter(|location| !used.contains(*location)).collect();
        self.write("note tables that are not in use", |db| {
            let known: Vec<String> = db
                .prepare_cached("SELECT location FROM idle_tables")?
                .query_map([], |row| row.get(0))?
                .collect::<engine::Result<_>>()?;
            for location in known.iter().filter(|location| !idle.contains(location)) {
                db.execute("DELETE FROM idle_tables WHERE location = ?", [location])?;
            }
            let mut note = db.prepare_cached("INSERT OR IGNORE INTO idle_tables VALUES (?,?)")?;
            for location in &idle {
                note.execute(params![location, now.micros()])?;
            }
            db.prepare_cached(
                "SELECT location FROM idle_tables WHERE since <= ? ORDER BY location",
            )?
            .query_map([now.plus_micros(-kept_us).micros()], |row| row.get(0))?
            .collect()
        })
    }

    fn require(&self, name: &str) -> Result<()> {
        let known: Vec<String> = self.read("look up an environment", |db| {
            db.prepare_cached("SELECT environment FROM environments")?
                .query_map([], |row| row.get(0))?
                .collect()
        })?;
        if name == PRODUCTION || known.iter().any(|known| known == name) {
            return Ok(());
        }
        let known = known.iter().map(String::as_str).chain([PRODUCTION]);
        let hint = suggest::hint(name, known);
        Err(Error::not_found(format!("no environment \"{name}\""))
            .hint(format!("{hint} `flywheel environment create {name}` makes it.")))
    }
}

/// What a name means in an environment.
#[derive(PartialEq, Eq)]
struct Head {
    fingerprint: String,
    location: Option<String>,
    version: Option<i64>,
    published_at: i64,
    built_at: Option<i64>,
}

impl Head {
    /// When its rows became what they are: a promotion publishes later, and a build may find nothing new.
    fn changed_at(&self) -> i64 {
        self.built_at.map_or(self.published_at, |at| at.min(self.published_at))
    }

    /// Whether it was built before something that it reads changed. A view shows what is there.
    fn is_older_than(&self, since: i64) -> bool {
        self.location.is_some() && self.built_at.unwrap_or(self.published_at) < since
    }

    /// Whether readers see the same rows, whenever it was published.
    fn shows_what(&self, other: &Self) -> bool {
        let same_table = self.location == other.location && self.version == other.version;
        same_table && self.fingerprint == other.fingerprint
    }
}

fn heads(db: &Connection, environment: &str) -> engine::Result<BTreeMap<String, Head>> {
    db.prepare_cached(
        "SELECT p.name, p.fingerprint, p.location, p.version, p.published_at, b.built_at FROM publications AS p
         LEFT JOIN builds AS b ON b.environment = p.environment AND b.name = p.name WHERE p.environment = ?",
    )?
    .query_map([environment], |row| {
        let head = Head {
            fingerprint: row.get(1)?,
            location: row.get(2)?,
            version: row.get(3)?,
            published_at: row.get(4)?,
            built_at: row.get(5)?,
        };
        Ok((row.get(0)?, head))
    })?
    .collect()
}

/// What a promotion does.
struct Planned {
    moved: Vec<String>,
    dropped: Vec<String>,
    stale: Vec<String>,
    /// Every name of the environment that is promoted.
    names: Vec<String>,
}

fn planned(db: &Connection, from: &str, to: &str, reads: &Reads) -> engine::Result<Planned> {
    let (new, old) = (heads(db, from)?, heads(db, to)?);
    let base = shared_names(db, from, to)?;
    let base: BTreeSet<&str> = base.iter().flat_map(|names| names.lines()).collect();
    let newer = |(name, head): &(&String, &Head)| match old.get(*name) {
        Some(now) if now.fingerprint == head.fingerprint => {
            head.published_at > now.published_at && head != &now
        }
        _ => true,
    };
    let mut moved: BTreeSet<&String> = new.iter().filter(newer).map(|(name, _)| name).collect();
    let (mut along, mut stale) = (Vec::new(), Vec::new());
    for (name, since) in reached(&moved, &new, reads) {
        let Some((name, head)) = new.get_key_value(name) else { continue };
        if head.is_older_than(since) {
            stale.push(name.clone());
        } else if old.get(name).is_some_and(|now| !now.shows_what(head)) {
            along.push(name);
        }
    }
    moved.extend(along);
    let gone = |name: &&String| !new.contains_key(*name) && base.contains(name.as_str());
    let dropped = old.keys().filter(gone).cloned().collect();
    let moved = moved.into_iter().cloned().collect();
    Ok(Planned { moved, dropped, stale, names: new.into_keys().collect() })
}

/// Every name that reads one of `moved`, at whatever remove, with the moment at which the newest of them changed.
fn reached<'a>(
    moved: &BTreeSet<&String>,
    heads: &BTreeMap<String, Head>,
    reads: &'a Reads,
) -> BTreeMap<&'a str, i64> {
    let mut readers: BTreeMap<&str, Vec<&'a str>> = BTreeMap::new();
    for (reader, read) in reads {
        for name in read {
            readers.entry(name).or_default().push(reader);
        }
    }
    let mut found = BTreeMap::new();
    for start in moved {
        let since = heads.get(*start).map_or(i64::MIN, Head::changed_at);
        let (mut open, mut seen) = (vec![start.as_str()], BTreeSet::new());
        while let Some(name) = open.pop() {
            for reader in readers.get(name).into_iter().flatten() {
                if seen.insert(*reader) {
                    let newest = found.entry(*reader).or_insert(since);
                    *newest = since.max(*newest);
                    open.push(reader);
                }
            }
        }
    }
    found
}

/// Notes what `name` means, for a rollback.
fn keep(db: &Connection, number: i64, environment: &str, name: &str) -> engine::Result<()> {
    let kept = db.execute(
        "INSERT INTO environment_before (number, kind, name, location, version, view_sql, fingerprint, at, target)
         SELECT ?, 'publication', name, location, version, view_sql, fingerprint, published_at, target
         FROM publications WHERE environment = ? AND name = ?",
        params![number, environment, name],
    )?;
    if kept == 0 {
        db.execute(
            "INSERT INTO environment_before (number, kind, name, fingerprint, at) VALUES (?, 'absent', ?, '', 0)",
            params![number, name],
        )?;
    }
    db.execute(
        "INSERT INTO environment_before (number, kind, name, fingerprint, inputs, location, version, view_sql, tests, at, sql, intervals)
         SELECT ?, 'build', name, fingerprint, inputs, location, version, view_sql, tests, built_at, sql, intervals
         FROM builds WHERE environment = ? AND name = ?",
        params![number, environment, name],
    )?;
    Ok(())
}

/// The names, one a line, that `from` had when it and `to` were last the same: at its newest promotion to
/// `to` that was not taken back, or else when it was made. None of production, which was never made.
fn shared_names(db: &Connection, from: &str, to: &str) -> engine::Result<Option<String>> {
    let promoted: Option<String> = db
        .query_row(
            "SELECT names FROM environment_moves
             WHERE environment = ? AND made_from = ? AND undone <> ? AND names IS NOT NULL
             ORDER BY number DESC LIMIT 1",
            params![to, from, TAKEN_BACK],
            |row| row.get(0),
        )
        .optional()?;
    if promoted.is_some() {
        return Ok(promoted);
    }
    db.query_row("SELECT base FROM environments WHERE environment = ?", [from], |row| row.get(0))
        .optional()
}

fn remove(db: &Connection, environment: &str, name: &str) -> engine::Result<()> {
    for table in ["publications", "builds"] {
        db.execute(
            &format!("DELETE FROM {table} WHERE environment = ? AND name = ?"),
            params![environment, name],
        )?;
    }
    Ok(())
}

/// Forgets promotions that are older than the newest few, or taken back, so that their tables can go.
fn forget_old_moves(db: &Connection, environment: &str) -> engine::Result<()> {
    let old = "SELECT number FROM environment_moves WHERE environment = ?1 AND (undone = 1 OR number NOT IN
        (SELECT number FROM environment_moves WHERE environment = ?1 AND undone = 0 ORDER BY number DESC LIMIT ?2))";
    db.execute(
        &format!("DELETE FROM environment_before WHERE number IN ({old})"),
        params![environment, MOVES_KEPT],
    )?;
    db.execute(
        &format!(
            "UPDATE environment_moves SET undone = {TOO_OLD} WHERE undone = 0 AND number IN ({old})"
        ),
        params![environment, MOVES_KEPT],
    )?;
    Ok(())
}
