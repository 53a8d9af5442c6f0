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

/// What the tasks of one name came to.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkSum {
    /// The name.
    pub name: String,
    /// How long they took together.
    pub seconds: f64,
    /// How many ended without an error.
    pub succeeded: u64,
    /// How many of these brought no row.
    pub idle: u64,
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

    /// What tasks of a kind that started at `from` or later came to, by name. Nothing of their details is read, so that many of
    /// them cost little.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn work_since(&self, kind: &str, from: Timestamp) -> Result<Vec<WorkSum>> {
        self.read("add up tasks", |db| {
            db.prepare_cached(
                "SELECT name, coalesce(sum(duration_ms), 0.0), sum(CASE WHEN status = 'succeeded' THEN 1 ELSE 0 END),
                        sum(CASE WHEN status = 'succeeded' AND rows_out = 0 THEN 1 ELSE 0 END)
                 FROM tasks WHERE kind = ? AND started_at >= ? GROUP BY name ORDER BY name",
            )?
            .query_map(params![kind, from.micros()], |row| {
                let (succeeded, idle): (i64, i64) = (row.get(2)?, row.get(3)?);
                Ok(WorkSum {
                    name: row.get(0)?,
                    seconds: row.get::<_, f64>(1)? / 1_000.0,
                    succeeded: u64::try_from(succeeded).unwrap_or_default(),
                    idle: u64::try_from(idle).unwrap_or_default(),
                })
            })?
            .collect()
        })
    }

    /// When each task of a kind that started at `from` or later did, and its detail as it is stored; oldest first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn details_since(&self, kind: &str, from: Timestamp) -> Result<Vec<(Timestamp, String)>> {
        self.read("list details of tasks", |db| {
            db.prepare_cached(
                "SELECT started_at, detail FROM tasks WHERE kind = ? AND started_at >= ?
                 ORDER BY started_at, run_id, position",
            )?
            .query_map(params![kind, from.micros()], |row| {
                Ok((Timestamp::from_micros(row.get(0)?), row.get(1)?))
            })?
            .collect()
        })
    }

    /// The newest task of each name of a kind, of those that started at `from` or later.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn newest_since(&self, kind: &str, from: Timestamp) -> Result<Vec<Task>> {
        self.read("list the newest tasks", |db| {
            db.prepare_cached(
                "SELECT t.run_id, t.position, t.kind, t.name, t.status, t.started_at, t.duration_ms, t.rows_in, t.rows_out,
                        t.rows_rejected, t.error, t.detail
                 FROM tasks t JOIN (SELECT name, max(started_at) AS newest FROM tasks
                                    WHERE kind = ? AND started_at >= ? GROUP BY name) n
                   ON n.name = t.name AND n.newest = t.started_at
                 WHERE t.kind = ? ORDER BY t.started_at, t.run_id, t.position",
            )?
            .query_map(params![kind, from.micros(), kind], task_from)?
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
    use crate::{Run, TaskOutcome};

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

    #[test]
    fn work_is_added_up_by_name_and_the_newest_task_of_each_is_told() {
        let (_folder, store) = store();
        let task = |run: &str, position: i64, name: &str, rows_out: u64, at: i64| Task {
            run_id: run.to_owned(),
            position,
            kind: "sync".to_owned(),
            name: name.to_owned(),
            status: "succeeded".to_owned(),
            started_at: day(at),
            duration_ms: Some(250.0),
            outcome: TaskOutcome {
                rows_out: Some(rows_out),
                detail: serde_json::json!({"at": at}),
                ..TaskOutcome::default()
            },
        };
        let failed = |task: Task| Task { status: "failed".to_owned(), ..task };
        let learned = |task: Task| Task { kind: "learn".to_owned(), ..task };
        for (run, tasks) in [
            ("a", vec![task("a", 0, "x", 1, 1), task("a", 1, "y", 1, 1)]),
            ("b", vec![task("b", 0, "x", 0, 2), failed(task("b", 1, "y", 0, 3))]),
            ("c", vec![learned(task("c", 0, "x", 4, 4))]),
        ] {
            let row = Run {
                run_id: run.to_owned(),
                kind: "turn".to_owned(),
                turn: None,
                logical_at: day(1),
                status: "succeeded".to_owned(),
                started_at: day(1),
                ended_at: None,
                error: None,
                detail: Value::Null,
            };
            store.start_run(&row).unwrap();
            store.record_tasks(&tasks).unwrap();
        }
        let sum = |name: &str, seconds, succeeded, idle| WorkSum {
            name: name.to_owned(),
            seconds,
            succeeded,
            idle,
        };
        let all = store.work_since("sync", day(0)).unwrap();
        assert_eq!(all, [sum("x", 0.5, 2, 1), sum("y", 0.5, 1, 0)]);
        assert_eq!(store.work_since("sync", day(2)).unwrap()[0], sum("x", 0.25, 1, 1));
        let newest = store.newest_since("sync", day(0)).unwrap();
        let newest: Vec<_> = newest.iter().map(|task| (&*task.name, &*task.status)).collect();
        assert_eq!(newest, [("x", "succeeded"), ("y", "failed")]);
        assert_eq!(store.newest_since("sync", day(4)).unwrap(), []);
        let details = store.details_since("sync", day(2)).unwrap();
        assert_eq!(
            details,
            [(day(2), r#"{"at":2}"#.to_owned()), (day(3), r#"{"at":3}"#.to_owned())]
        );
    }

    crate::testing::also_on_postgres!(
        reads_are_counted_by_day_and_reader_and_old_days_are_forgotten,
        a_retirement_can_be_changed_and_taken_back,
        work_is_added_up_by_name_and_the_newest_task_of_each_is_told,
    );
}
