//! How healthy assets were: one score an asset and day.

use flywheel_base::{Result, Timestamp};

use crate::Store;
use crate::engine::{self, Row, params};

/// How many days scores are kept for.
pub const HEALTH_DAYS_MAX: i64 = 400;

/// Microseconds in a day.
const DAY_US: i64 = 86_400_000_000;

/// The score of one asset on one day.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthScore {
    /// What kind of asset it is.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Midnight of the day, in UTC.
    pub day: Timestamp,
    /// From 0 to 100.
    pub health: f64,
    /// When it was noted.
    pub at: Timestamp,
}

impl Store {
    /// Notes scores, each of a kind and name, for the day of `at`, in the place of what was noted earlier on it; days beyond
    /// [`HEALTH_DAYS_MAX`] are forgotten.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_health(&self, at: Timestamp, scores: &[(String, String, f64)]) -> Result<()> {
        let day = at.micros().div_euclid(DAY_US);
        self.write("note the health of assets", |db| {
            // An asset that is gone since has no score on this day.
            db.execute("DELETE FROM health_history WHERE day = ?", [day])?;
            let mut insert = db.prepare_cached(
                "INSERT OR REPLACE INTO health_history (kind, name, day, health, at) VALUES (?,?,?,?,?)",
            )?;
            for (kind, name, health) in scores {
                insert.execute(params![kind, name, day, health, at.micros()])?;
            }
            db.execute("DELETE FROM health_history WHERE day < ?", [day - HEALTH_DAYS_MAX])?;
            Ok(())
        })
    }

    /// When scores were last noted for the day of `at`; none if they were not.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn health_noted_at(&self, at: Timestamp) -> Result<Option<Timestamp>> {
        let noted: Option<i64> = self.read("ask when health was noted", |db| {
            db.prepare_cached("SELECT max(at) FROM health_history WHERE day = ?")?
                .query_row([at.micros().div_euclid(DAY_US)], |row| row.get(0))
        })?;
        Ok(noted.map(Timestamp::from_micros))
    }

    /// All scores, oldest day first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn health_history(&self) -> Result<Vec<HealthScore>> {
        self.read("list the health of assets", |db| {
            db.prepare_cached(
                "SELECT kind, name, day, health, at FROM health_history ORDER BY day, kind, name",
            )?
            .query_map([], score)?
            .collect()
        })
    }

    /// The scores of one asset, oldest day first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn health_of(&self, kind: &str, name: &str) -> Result<Vec<HealthScore>> {
        self.read("list the health of an asset", |db| {
            db.prepare_cached(
                "SELECT kind, name, day, health, at FROM health_history WHERE kind = ? AND name = ? ORDER BY day",
            )?
            .query_map([kind, name], score)?
            .collect()
        })
    }
}

fn score(row: &Row<'_>) -> engine::Result<HealthScore> {
    Ok(HealthScore {
        kind: row.get(0)?,
        name: row.get(1)?,
        day: Timestamp::from_micros(row.get::<_, i64>(2)? * DAY_US),
        health: row.get(3)?,
        at: Timestamp::from_micros(row.get(4)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_the_last_score_that_was_noted_and_old_days_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("meta.db")).unwrap();
        let at = |day: i64, hour: i64| Timestamp::from_micros(day * DAY_US + hour * DAY_US / 24);
        let of = |name: &str, health: f64| ("model".to_owned(), name.to_owned(), health);
        assert_eq!(store.health_noted_at(at(1_000, 5)).unwrap(), None);
        store.record_health(at(1_000, 1), &[of("a", 40.0), of("gone", 10.0)]).unwrap();
        store.record_health(at(1_000, 5), &[of("a", 50.0)]).unwrap();
        store.record_health(at(1_001, 1), &[of("a", 60.0), of("b", 1.0)]).unwrap();
        assert_eq!(store.health_noted_at(at(1_000, 23)).unwrap(), Some(at(1_000, 5)));
        let scores = |name: &str| -> Vec<(Timestamp, f64)> {
            let all = store.health_of("model", name).unwrap();
            all.into_iter().map(|one| (one.day, one.health)).collect()
        };
        assert_eq!(scores("a"), [(at(1_000, 0), 50.0), (at(1_001, 0), 60.0)]);
        assert!(scores("gone").is_empty(), "it was gone by the evening");
        assert_eq!(store.health_history().unwrap().len(), 3);
        store.record_health(at(1_001 + HEALTH_DAYS_MAX, 0), &[of("a", 70.0)]).unwrap();
        assert_eq!(scores("a").len(), 2, "the first day is forgotten");
    }

    crate::testing::also_on_postgres!(
        a_day_has_the_last_score_that_was_noted_and_old_days_are_forgotten,
    );
}
