//! What the catalogue remembers: who read which table, what its columns hold, and which assets were given up.
//!
//! Reads are counted by day, reader and table, so that a thousand queries a day take one row for each table; days
//! beyond [`READ_DAYS_MAX`] are forgotten.

use flywheel_base::{Result, Timestamp};
use serde_json::Value;

use crate::Store;
use crate::Task;
use crate::engine::{self, OptionalExtension, Row, params};
use crate::runs::{json, task_from};

/// How many days reads are kept for.
pub const READ_DAYS_MAX: i64 = 400;

/// Microseconds in a day.
const DAY_US: i64 = 86_400_000_000;

/// How often one reader read one table on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The table, `schema.name`.
    pub asset: String,
    /// The user's name, or the model or learner that read.
    pub reader: String,
    /// By what: `sql`, `build` or `learn`.
    pub via: String,
    /// Midnight of the day, in UTC.
    pub day: Timestamp,
    /// How often.
    pub count: u64,
    /// The last time.
    pub last_at: Timestamp,
}

/// The profile of a table at a version.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The table, `schema.name`.
    pub asset: String,
    /// Where the rows lie in the lake; none for a view.
    pub location: Option<String>,
    /// The version that was looked at; none for a view.
    pub version: Option<i64>,
    /// When, by the machine's clock.
    pub profiled_at: Timestamp,
    /// A digest of the rows, whatever their order; equal for tables that hold the same.
    pub digest: String,
    /// What its columns hold.
    pub detail: Value,
}

/// An asset that somebody has decided to give up.
#[derive(Clone, Debug, PartialEq)]
pub struct Retirement {
    /// The asset.
    pub asset: String,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// What it cost in a year then.
    pub cost_per_year: f64,
    /// In which currency.
    pub currency: String,
    /// Why, and who decided.
    pub reason: String,
}

impl Store {
    /// Counts reads, each of an asset by a reader, at `at`.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_reads(&self, reads: &[(String, String)], via: &str, at: Timestamp) -> Result<()> {
        if reads.is_empty() {
            return Ok(());
        }
        let day = at.micros().div_euclid(DAY_US);
        self.write("count reads", |db| {
            let mut count = db.prepare_cached(
                "INSERT INTO reads (asset, reader, via, day, count, last_at) VALUES (?,?,?,?,1,?)
                 ON CONFLICT (asset, reader, via, day) DO UPDATE SET count = reads.count + 1,
                   last_at = CASE WHEN excluded.last_at > reads.last_at THEN excluded.last_at ELSE reads.last_at END",
            )?;
            for (asset, reader) in reads {
                count.execute(params![asset, reader, via, day, at.micros()])?;
            }
            db.prepare_cached("DELETE FROM reads WHERE day < ?")?.execute([day - READ_DAYS_MAX])?;
            Ok(())
        })
    }

    /// The reads of the day of `from` and later, newest day first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn reads_since(&self, from: Timestamp) -> Result<Vec<Read>> {
        self.read("list reads", |db| {
            db.prepare_cached(
                "SELECT asset, reader, via, day, count, last_at FROM reads WHERE day >= ? ORDER BY day DESC, asset, reader, via",
            )?
            .query_map([from.micros().div_euclid(DAY_US)], |row| {
                Ok(Read {
                    asset: row.get(0)?,
                    reader: row.get(1)?,
                    via: row.get(2)?,
                    day: Timestamp::from_micros(row.get::<_, i64>(3)? * DAY_US),
                    count: row.get::<_, i64>(4)?.unsigned_abs(),
                    last_at: Timestamp::from_micros(row.get(5)?),
                })
            })?
            .collect()
        })
    }

    /// Keeps the profile of a table, in place of an older one.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_profile(&self, profile: &Profile) -> Result<()> {
        self.write("keep a profile", |db| {
            db.execute(
                "INSERT OR REPLACE INTO profiles (asset, location, version, profiled_at, digest, detail) VALUES (?,?,?,?,?,?)",
                params![
                    profile.asset,
                    profile.location,
                    profile.version,
                    profile.profiled_at.micros(),
                    profile.digest,
                    profile.detail.to_string()
                ],
            )
            .map(|_| ())
        })
    }

    /// The profile of `asset`.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn profile(&self, asset: &str) -> Result<Option<Profile>> {
        self.read("look up a profile", |db| {
            db.prepare_cached(
                "SELECT asset, location, version, profiled_at, digest, detail FROM profiles WHERE asset = ?",
            )?
            .query_row([asset], profile_from)
            .optional()
        })
    }

    /// All profiles, by table.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn profiles(&self) -> Result<Vec<Profile>> {
        self.read("list profiles", |db| {
            db.prepare_cached(
                "SELECT asset, location, version, profiled_at, digest, detail FROM profiles ORDER BY asset",
            )?
            .query_map([], profile_from)?
            .collect()
        })
    }

    /// Notes that an asset is given up; an earlier decision about it is replaced.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn retire(&self, retirement: &Retirement) -> Result<()> {
        self.write("retire an asset", |db| {
            db.execute(
                "INSERT OR REPLACE INTO retirements (asset, decided_at, cost_per_year, currency, reason) VALUES (?,?,?,?,?)",
                params![
                    retirement.asset,
                    retirement.decided_at.micros(),
                    retirement.cost_per_year,
                    retirement.currency,
                    retirement.reason
                ],
            )
            .map(|_| ())
        })
    }

    /// Takes back that an asset is given up; false if it was not.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn unretire(&self, asset: &str) -> Result<bool> {
        self.write("keep an asset", |db| {
            db.execute("DELETE FROM retirements WHERE asset = ?", [asset]).map(|rows| rows > 0)
        })
    }

    /// The assets that are given up, by name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn retirements(&self) -> Result<Vec<Retirement>> {
        self.read("list retirements", |db| {
            db.prepare_cached(
                "SELECT asset, decided_at, cost_per_year, currency, reason FROM retirements ORDER BY asset",
            )?
            .query_map([], |row| {
                Ok(Retirement {
                    asset: row.get(0)?,
                    decided_at: Timestamp::from_micros(row.get(1)?),
                    cost_per_year: row.get(2)?,
                    currency: row.get(3)?,
                    reason: row.get(4)?,
                })
            })?
            .collect()
        })
    }

    /// The tasks that started at `from` or later, oldest first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn tasks_since(&self, from: Timestamp) -> Result<Vec<Task>> {
        self.read("list tasks", |db| {
            db.prepare_cached(
                "SELECT run_id, position, kind, name, status, started_at, duration_ms, rows_in, rows_out, rows_rejected, error, detail
                 FROM tasks WHERE started_at >= ? ORDER BY started_at, run_id, position",
            )?
            .query_map([from.micros()], task_from)?
            .collect()
        })
    }

    /// The run that started first; what happened before it, nobody recorded.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn first_run_at(&self) -> Result<Option<Timestamp>> {
        self.read("look up the first run", |db| {
            let first: Option<i64> =
                db.query_row("SELECT min(started_at) FROM runs", [], |row| row.get(0))?;
            Ok(first.map(Timestamp::from_micros))
        })
    }
}

fn profile_from(row: &Row<'_>) -> engine::Result<Profile> {
    Ok(Profile {
        asset: row.get(0)?,
        location: row.get(1)?,
        version: row.get(2)?,
        profiled_at: Timestamp::from_micros(row.get(3)?),
        digest: row.get(4)?,
        detail: json(row, 5)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("meta.db")).unwrap();
        (folder, store)
    }

    fn day(n: i64) -> Timestamp {
        Timestamp::from_micros(n * DAY_US + 5)
    }

    #[test]
    fn reads_are_counted_by_day_and_reader_and_old_days_are_forgotten() {
        let (_folder, store) = store();
        let read = |asset: &str, reader: &str| (asset.to_owned(), reader.to_owned());
        for _ in 0..3 {
            let both = [read("raw.orders", "ann"), read("mart.sales", "ann")];
            store.record_reads(&both, "sql", day(10)).unwrap();
        }
        store.record_reads(&[read("raw.orders", "ben")], "sql", day(11)).unwrap();
        let reads = store.reads_since(day(0)).unwrap();
        let counts: Vec<(&str, &str, u64)> = reads
            .iter()
            .map(|read| (read.asset.as_str(), read.reader.as_str(), read.count))
            .collect();
        assert_eq!(
            counts,
            [("raw.orders", "ben", 1), ("mart.sales", "ann", 3), ("raw.orders", "ann", 3)]
        );
        assert_eq!(store.reads_since(day(11)).unwrap().len(), 1);
        store.record_reads(&[read("raw.orders", "ann")], "sql", day(11 + READ_DAYS_MAX)).unwrap();
        assert_eq!(store.reads_since(day(0)).unwrap().len(), 2, "day 10 is beyond what is kept");
        store.record_reads(&[], "sql", day(0)).unwrap();
    }

    #[test]
    fn a_retirement_can_be_changed_and_taken_back() {
        let (_folder, store) = store();
        let retired = |cost| Retirement {
            asset: "raw.old".into(),
            decided_at: day(1),
            cost_per_year: cost,
            currency: "USD".into(),
            reason: "nobody reads it".into(),
        };
        store.retire(&retired(10.0)).unwrap();
        store.retire(&retired(12.5)).unwrap();
        assert_eq!(store.retirements().unwrap(), [retired(12.5)]);
        assert!(store.unretire("raw.old").unwrap());
        assert!(!store.unretire("raw.old").unwrap());
    }

    crate::testing::also_on_postgres!(
        reads_are_counted_by_day_and_reader_and_old_days_are_forgotten,
        a_retirement_can_be_changed_and_taken_back,
    );
}
